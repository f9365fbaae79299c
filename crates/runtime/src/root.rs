//! The seam to whoever stores file systems: a root is asked for once the container's user namespace exists.

use std::os::fd::{BorrowedFd, OwnedFd};

use failure::Result;

/// How the container's ids relate to the host's.
#[derive(Clone, Copy, Debug)]
pub struct Mapping<'a> {
    /// The container's user namespace, with its maps written.
    pub user_namespace: BorrowedFd<'a>,
    /// What the container's user 0 is on the host.
    pub root_uid: u32,
    /// What the container's group 0 is on the host.
    pub root_gid: u32,
}

/// What can be the root of a container.
pub trait RootFilesystem {
    /// A detached mount, in which files of user 0 belong to the container's user 0. Called in the process that
    /// launches, as the host's root. No mapping: the container has the host's ids.
    ///
    /// # Errors
    /// Whatever keeps it from being mounted.
    fn mount(&self, mapping: Option<&Mapping<'_>>) -> Result<OwnedFd>;
}
