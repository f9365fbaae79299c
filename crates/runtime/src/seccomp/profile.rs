//! Profiles: what a filter is made of, before the capabilities of a container are known.
use crate::capabilities::Set;
use failure::Result;
use oci_spec::runtime::LinuxSeccomp;

/// A profile.
#[derive(Clone, Debug)]
pub struct Profile(());

/// Docker's default profile.
#[must_use]
pub fn docker_default() -> Profile {
    unimplemented!()
}

/// A profile in Docker's JSON form.
///
/// # Errors
/// The text is no such profile.
pub fn parse_docker_json(_text: &[u8]) -> Result<Profile> {
    unimplemented!()
}

impl Profile {
    /// The filter of a container with these capabilities on this machine.
    ///
    /// # Errors
    /// The profile asks for what this machine lacks.
    pub fn for_capabilities(&self, _capabilities: Set) -> Result<LinuxSeccomp> {
        unimplemented!()
    }
}
