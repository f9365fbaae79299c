//! `start` and `run`: the process that was called forks the monitor, which clones the container.

use failure::Result;
use runtime::ContainerId;

use crate::{Home, Request};

/// Which streams the caller wants to be connected to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attach {
    /// What the caller sends reaches the command's stdin.
    pub stdin: bool,
    /// The command's stdout reaches the caller.
    pub stdout: bool,
    /// The command's stderr reaches the caller.
    pub stderr: bool,
    /// Rows and columns of the caller's terminal, when the container has one.
    pub size: Option<(u16, u16)>,
}

impl Attach {
    /// No stream at all (`-d`).
    pub fn detached() -> Self {
        Self::default()
    }

    /// Whether any stream is wanted.
    pub fn any(&self) -> bool {
        self.stdin || self.stdout || self.stderr
    }
}

/// A container whose command runs.
#[derive(Debug)]
pub struct Started {
    /// Its id.
    pub id: ContainerId,
    /// What could not be granted, a line each.
    pub warnings: Vec<String>,
    /// The connection, if a stream was wanted.
    pub attachment: Option<monitor::client::Attachment>,
}

/// Makes a container and starts it: the short way of [`crate::create`] and [`start`]. `created` is called between
/// the two, to note the id (`--cidfile`); its error undoes the creation.
///
/// # Errors
/// As both; a container that could not start stays for a look, unless it was to be removed (`--rm`).
pub fn run(
    home: &Home,
    request: Request,
    attach: Attach,
    created: &mut dyn FnMut(&ContainerId) -> Result<()>,
) -> Result<Started> {
    let _ = (home, request, attach, created);
    unimplemented!()
}

/// Starts a container that was created or has ended. Does nothing to one that runs.
///
/// # Errors
/// `CommandNotFound`, `CommandNotExecutable`, or what the kernel refused.
pub fn start(home: &Home, id: &ContainerId, attach: Attach) -> Result<Started> {
    let _ = (home, id, attach);
    unimplemented!()
}
