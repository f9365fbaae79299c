//! System call filters: profiles, and the programs that the kernel runs for them.
//!
//! `profile` chooses rules for a container, `docker` is the table of the default profile, `compile` makes a program of a
//! filter (libseccomp's, with what is newer than libseccomp, made short by `condense`), `cache` keeps programs on disk so that a start only reads
//! one file.

mod bpf;
mod cache;
mod compile;
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
    let Some(directory) = cache else { return compile::compile(filter) };
    let key = cache::key(filter);
    if let Some(program) = cache::read(directory, &key) {
        return Ok(program);
    }
    let program = compile::compile(filter)?;
    // Without the cache the next start is slower, no more.
    let _ = cache::write(directory, &key, &program);
    Ok(program)
}

/// The flags for seccomp(2) that go with a filter. A filter that says nothing about them gets `SPEC_ALLOW`, as with runc: the
/// mitigation of speculative store bypass that a filter would else turn on costs more than it gives.
#[must_use]
pub fn flags(filter: &LinuxSeccomp) -> u32 {
    const LOG: u32 = 1 << 1;
    const SPECULATION_ALLOWED: u32 = 1 << 2;
    let Some(flags) = filter.flags() else { return SPECULATION_ALLOWED };
    let bits = flags.iter().map(|flag| match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => LOG,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => SPECULATION_ALLOWED,
        // The process that loads the filter has one thread, and there is no supervisor to wait for.
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync | LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
    });
    bits.fold(0, |all, bit| all | bit)
}
