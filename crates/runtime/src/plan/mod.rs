//! The plan.

use std::fmt;
use std::path::Path;

use failure::Result;
use oci_spec::runtime::Spec;

use crate::{ContainerId, cgroup};

/// What a container is to be.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its id.
    pub id: &'a ContainerId,
    /// The OCI specification. Its `root.path` is not looked at: the root comes from a [`crate::RootFilesystem`].
    pub spec: &'a Spec,
    /// Its control group, which launching makes with the limits of the specification.
    pub cgroup: &'a cgroup::Path,
    /// Where compiled filters are kept.
    pub seccomp_cache: Option<&'a Path>,
    /// Put a tiny PID 1 in front of the program, which forwards signals and reaps.
    pub init: bool,
}

/// All that launching will do, decided. Bind sources and namespaces that the request names are open in it.
#[derive(Debug)]
pub struct Plan {}

impl Plan {
    /// Decides everything. Makes nothing; only opens what the request names.
    ///
    /// # Errors
    /// The request is wrong or impossible.
    pub fn new(_request: &Request<'_>) -> Result<Self> {
        unimplemented!()
    }

    /// What was asked for and cannot be granted on this machine, one line each: for the caller to show.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        unimplemented!()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, _formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        unimplemented!()
    }
}
