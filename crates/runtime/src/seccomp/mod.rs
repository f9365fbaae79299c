//! System call filters: profiles, and the programs that the kernel runs for them.
//!
//! `profile` chooses rules for a container, `docker` is the table of the default profile, `check` refuses what cannot be
//! done, `compiler` makes a program of a filter (libseccomp's, with what is newer than libseccomp, made short by
//! `condense`), `cache` keeps programs on disk so that a start only reads one file. `listener` connects the new process
//! to the supervisor that a filter may ask.

mod bpf;
mod cache;
mod check;
mod compiler;
mod condense;
mod docker;
pub mod known;
mod listener;
mod newer;
mod profile;

use std::path::Path;

use failure::Result;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag};

pub(crate) use bpf::mutes;
use check::notifies;
pub(crate) use listener::{Connection, Listener};
pub use profile::{Profile, docker_default, parse_docker_json};
pub use sys::seccomp::Instruction;

/// The program of a filter: from the cache directory if it is there, else compiled, and put there.
///
/// # Errors
/// The filter asks for what cannot be expressed.
pub fn compile(filter: &LinuxSeccomp, cache: Option<&Path>) -> Result<Vec<Instruction>> {
    find(filter, cache).map(|program| program.instructions)
}

/// The same, with the names of calls that nobody knows: they are left out, as with runc.
pub(crate) fn compile_and_tell(filter: &LinuxSeccomp, cache: Option<&Path>) -> Result<(Vec<Instruction>, Vec<String>)> {
    let program = find(filter, cache)?;
    let unknown = if program.unknown == 0 { Vec::new() } else { compiler::unknown(filter) };
    Ok((program.instructions, unknown))
}

fn find(filter: &LinuxSeccomp, cache: Option<&Path>) -> Result<cache::Program> {
    check::filter(filter)?;
    let Some(directory) = cache else { return compiler::compile(filter) };
    cache::find_or_make(directory, &cache::key(filter), || compiler::compile(filter))
}

/// The flags for seccomp(2) of a filter that says nothing about them, as with runc: `SPEC_ALLOW`, since the mitigation of
/// speculative store bypass that a filter would else turn on (before Linux 5.16) costs more than it gives.
pub const DEFAULT_FLAGS: u32 = 1 << 2;

/// The flags for seccomp(2) that go with a filter.
#[must_use]
pub fn flags(filter: &LinuxSeccomp) -> u32 {
    const TSYNC: u32 = 1;
    const LOG: u32 = 1 << 1;
    const WAIT_KILLABLE_RECV: u32 = 1 << 5;
    let Some(flags) = filter.flags() else { return DEFAULT_FLAGS };
    let notifies = notifies(filter);
    let bits = flags.iter().map(|flag| match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => LOG,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => DEFAULT_FLAGS,
        // The thread beside the one that loads the filter has to stay free of it, and ends before the program begins.
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync if notifies => 0,
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => TSYNC,
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv if notifies => WAIT_KILLABLE_RECV,
        // Nobody is waited for.
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
    });
    bits.fold(0, |all, bit| all | bit)
}
