//! Launching.

use std::os::fd::OwnedFd;

use failure::Result;

use crate::{Plan, ProcessIdentity, RootFilesystem, Stdio};

/// A container that waits just before its program.
#[derive(Debug)]
pub struct Launched {
    identity: ProcessIdentity,
    pidfd: OwnedFd,
}

/// A process that runs its program.
#[derive(Debug)]
pub struct Running {
    /// Which process it is.
    pub identity: ProcessIdentity,
    /// Its handle; it is this process's child, to be waited for.
    pub pidfd: OwnedFd,
    /// The master of its terminal.
    pub terminal: Option<OwnedFd>,
}

/// Makes the container, up to its program. The cgroup stays when this fails: remove it with [`crate::cgroup::Cgroup::remove`].
///
/// # Errors
/// A step failed; nothing of the container is left but its cgroup.
pub fn launch(_plan: Plan, _root: &dyn RootFilesystem, _stdio: Stdio) -> Result<Launched> {
    unimplemented!()
}

impl Launched {
    /// The process that will be the container's first.
    #[must_use]
    pub fn identity(&self) -> ProcessIdentity {
        self.identity
    }

    /// Lets it execute its program. Dropped instead, it is killed.
    ///
    /// # Errors
    /// A step of the set-up failed, or the program cannot be executed ([`failure::Kind::CommandNotFound`],
    /// [`failure::Kind::CommandNotExecutable`]).
    pub fn start(self) -> Result<Running> {
        let _ = &self.pidfd;
        unimplemented!()
    }
}
