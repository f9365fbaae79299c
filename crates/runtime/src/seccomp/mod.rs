//! System call filters: profiles, and the programs that the kernel runs for them.
//!
//! `profile` chooses rules for a container, `docker` is the table of the default profile, `compiler` makes a program of a
//! filter (libseccomp's, with what is newer than libseccomp, made short by `condense`), `cache` keeps programs on disk so that a start only reads
//! one file.

mod bpf;
mod cache;
mod compiler;
mod condense;
mod docker;
mod newer;
mod profile;

use std::path::Path;

use failure::Result;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag};

pub use profile::{Profile, docker_default, parse_docker_json};
pub use sys::seccomp::Instruction;

/// The program of a filter: from the cache directory if it is there, else compiled, and put there.
///
/// # Errors
/// The filter asks for what cannot be expressed, or for a supervisor.
pub fn compile(filter: &LinuxSeccomp, cache: Option<&Path>) -> Result<Vec<Instruction>> {
    let Some(directory) = cache else { return compiler::compile(filter) };
    cache::find_or_make(directory, &cache::key(filter), || compiler::compile(filter))
}

/// The flags for seccomp(2) of a filter that says nothing about them, as with runc: `SPEC_ALLOW`, since the mitigation of
/// speculative store bypass that a filter would else turn on (before Linux 5.16) costs more than it gives.
pub const DEFAULT_FLAGS: u32 = 1 << 2;

/// The flags for seccomp(2) that go with a filter.
#[must_use]
pub fn flags(filter: &LinuxSeccomp) -> u32 {
    const LOG: u32 = 1 << 1;
    let Some(flags) = filter.flags() else { return DEFAULT_FLAGS };
    let bits = flags.iter().map(|flag| match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => LOG,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => DEFAULT_FLAGS,
        // The process that loads the filter has one thread, and there is no supervisor to wait for.
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync | LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
    });
    bits.fold(0, |all, bit| all | bit)
}
