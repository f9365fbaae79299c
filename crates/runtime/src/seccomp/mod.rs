//! System call filters.
mod profile;

use failure::Result;
use oci_spec::runtime::LinuxSeccomp;

use crate::capabilities::Set;
pub use profile::{Profile, docker_default, parse_docker_json};

/// One instruction of a classic BPF program: a `struct sock_filter` in the machine's byte order.
pub type Instruction = u64;

/// Compiles a filter, or takes it from the cache directory.
///
/// # Errors
/// The filter asks for what cannot be expressed.
pub fn compile(_seccomp: &LinuxSeccomp, _cache: Option<&std::path::Path>) -> Result<Vec<Instruction>> {
    unimplemented!()
}

/// As [`compile`] for a profile and a capability set, without building the OCI form when it is cached: the hot path.
///
/// # Errors
/// The profile asks for what cannot be expressed.
pub fn compile_profile(
    _profile: &Profile,
    _capabilities: Set,
    _cache: Option<&std::path::Path>,
) -> Result<Vec<Instruction>> {
    unimplemented!()
}

/// The flags for seccomp(2) that go with a filter.
pub fn flags(_seccomp: &LinuxSeccomp) -> u32 {
    unimplemented!()
}
