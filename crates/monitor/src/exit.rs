//! How a container's process ended, in Docker's numbers: the status of `exit`, or 128 + the signal's number.

use std::os::fd::BorrowedFd;

use failure::{Context, Error, Result};
use jiff::Timestamp;
use rustix::process::{WaitId, WaitIdOptions, waitid};

/// The end of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// 0 to 255: the status given to `exit`, or 128 + signal.
    pub code: i32,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// When it was reaped.
    pub finished_at: Timestamp,
}

impl Exit {
    /// Waits for a child of this process and reaps it.
    ///
    /// # Errors
    /// The process is not a child of the caller, or somebody reaped it before.
    pub fn reap(pidfd: BorrowedFd<'_>) -> Result<Self> {
        let status = loop {
            match waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other.context("wait for the container's process")?,
            }
        };
        let status = status.ok_or_else(|| Error::internal("wait for the container's process: it gave no status"))?;
        let signal = status.terminating_signal();
        let code = match signal {
            Some(number) => 128 + number,
            None => status.exit_status().unwrap_or(0),
        };
        Ok(Self { code, signal, finished_at: Timestamp::now() })
    }
}
