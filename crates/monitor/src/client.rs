//! The command line's end of a monitor's socket: attach, relay, wait.

use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use runtime::ProcessIdentity;
use failure::Result;

pub use crate::protocol::{Exited, Wants};
use crate::stdio::Local;

/// A connection to a monitor.
#[derive(Debug)]
pub struct Attachment {
    stream: UnixStream,
}

/// How a relay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The container ended.
    Exited(Exited),
    /// The user typed the detach keys; the container runs on.
    Detached,
    /// The monitor is gone without a word: it was killed.
    Lost,
    /// Nobody reads our stdout or stderr any more; the container runs on.
    OutputClosed,
}

/// What [`wait`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The container ended.
    Exited(Exited),
    /// It has no monitor: read its state.
    NotRunning,
}

impl Attachment {
    /// Connects to the monitor whose run directory this is.
    ///
    /// # Errors
    /// No monitor is there.
    pub fn connect(run: &Path, wants: Wants) -> Result<Self> {
        let _ = (run, wants);
        unimplemented!()
    }

    /// The client's end of the socket pair that was made for the first client.
    pub fn from_stream(stream: UnixStream) -> Self {
        Self { stream }
    }

    /// Waits until the container runs.
    ///
    /// # Errors
    /// It could not be started: the failure as the monitor's process saw it.
    pub fn started(&mut self) -> Result<ProcessIdentity> {
        let _ = &self.stream;
        unimplemented!()
    }

    /// Pumps between this process's descriptors and the container until one of them ends. One thread.
    ///
    /// # Errors
    /// The system fails.
    pub fn relay(self, local: Local<'_>) -> Result<Outcome> {
        let _ = local;
        unimplemented!()
    }

    /// Waits for the end of the container, passing nothing.
    ///
    /// # Errors
    /// The system fails.
    pub fn wait(self) -> Result<Outcome> {
        unimplemented!()
    }
}

/// Waits for the end of the container whose run directory this is.
///
/// # Errors
/// The system fails.
pub fn wait(run: &Path) -> Result<Waited> {
    let _ = run;
    unimplemented!()
}

/// Used by `skep logs -f`: readable once the container has ended.
///
/// # Errors
/// No monitor is there.
pub fn end_of(run: &Path) -> Result<std::os::fd::OwnedFd> {
    let _: Option<BorrowedFd<'_>> = None;
    let _ = run;
    unimplemented!()
}
