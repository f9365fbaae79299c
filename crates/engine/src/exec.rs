//! `exec`: one more process in a running container, a child of the caller. No monitor is involved: the caller holds
//! its streams and waits for it.

use std::os::fd::{BorrowedFd, OwnedFd};

use failure::Result;
use runtime::ContainerId;

use crate::Home;

/// What to execute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// `NAME=value`, after the container's own.
    pub environment: Vec<String>,
    /// `user[:group]`; none: the container's.
    pub user: Option<String>,
    /// None: the container's.
    pub working_directory: Option<String>,
    /// All capabilities that its user namespace can have.
    pub privileged: bool,
}

/// What the new process reads and writes.
#[derive(Debug)]
pub enum ExecStreams {
    /// Nothing (`-d`).
    Null,
    /// These files.
    Files {
        /// Its stdin.
        stdin: OwnedFd,
        /// Its stdout.
        stdout: OwnedFd,
        /// Its stderr.
        stderr: OwnedFd,
    },
    /// A new terminal of this size (`-t`).
    Terminal {
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
}

/// A process that was executed in a container.
#[derive(Debug)]
pub struct Execution {
    pid: i32,
    pidfd: OwnedFd,
    terminal: Option<OwnedFd>,
}

impl Execution {
    /// Its pid as the host sees it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd as _;
        self.pidfd.as_fd()
    }

    /// The master side of its terminal.
    pub fn terminal(&self) -> Option<BorrowedFd<'_>> {
        use std::os::fd::AsFd as _;
        self.terminal.as_ref().map(OwnedFd::as_fd)
    }

    /// Waits for its end: the exit code, or 128 + the signal.
    ///
    /// # Errors
    /// Only a fault of the system.
    pub fn wait(&self) -> Result<i32> {
        unimplemented!()
    }
}

/// Executes a command in a running container.
///
/// # Errors
/// A container that does not run or is paused; a command, user or directory that is not in it.
pub fn exec(home: &Home, id: &ContainerId, request: &ExecRequest, streams: ExecStreams) -> Result<Execution> {
    let _ = (home, id, request, streams);
    unimplemented!()
}
