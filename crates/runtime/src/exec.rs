//! One more process in a container that runs.

use failure::Result;
use oci_spec::runtime::{Linux, Process};
use std::path::Path;

use crate::{ProcessIdentity, Running, Stdio, cgroup};

/// A process to add to a container.
#[derive(Clone, Copy, Debug)]
pub struct Exec<'a> {
    /// The container's first process.
    pub target: &'a ProcessIdentity,
    /// The container's control group.
    pub cgroup: &'a cgroup::Path,
    /// What to execute, as whom.
    pub process: &'a Process,
    /// The container's specification: its namespaces, id mappings and filter.
    pub linux: &'a Linux,
    /// Where compiled filters are kept.
    pub seccomp_cache: Option<&'a Path>,
}

/// Starts the process. It is this process's child; this process itself stays where it is.
///
/// # Errors
/// The container has ended, the request is wrong, or the program cannot be executed.
pub fn exec(_exec: &Exec<'_>, _stdio: Stdio) -> Result<Running> {
    unimplemented!()
}
