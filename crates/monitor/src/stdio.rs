//! Pumping bytes between this process's stdin, stdout, stderr and a program: `exec`'s pipes or terminal.

use std::os::fd::{BorrowedFd, OwnedFd};

use failure::Result;

use crate::keys::DetachKeys;

/// This side of a relay: the descriptors of the command line and what it does with them.
pub struct Local<'a> {
    /// Read and passed on; `None`: no stdin is sent.
    pub stdin: Option<BorrowedFd<'a>>,
    /// Where stdout goes; `None`: nowhere.
    pub stdout: Option<BorrowedFd<'a>>,
    /// Where stderr goes; `None`: nowhere.
    pub stderr: Option<BorrowedFd<'a>>,
    /// The terminal whose size the container's terminal takes: now and at each SIGWINCH.
    pub terminal: Option<BorrowedFd<'a>>,
    /// Looked for in stdin; only for terminals.
    pub detach_keys: Option<DetachKeys>,
    /// Signals that were blocked before the start, and what is done with each that arrives.
    pub signals: Option<(&'a Signals, &'a mut dyn FnMut(i32))>,
}

/// Signals that arrive as data: blocked, and read from a descriptor. Made before the container starts, so that
/// none is lost. The mask is inherited by children; dropping this puts the old mask back.
#[derive(Debug)]
pub struct Signals {
    descriptor: OwnedFd,
}

impl Signals {
    /// Blocks what Docker's `--sig-proxy` passes on (all but CHLD, PIPE, URG, the job control of background
    /// terminals and faults) and, with `proxy` false, only WINCH.
    ///
    /// # Errors
    /// The system fails.
    pub fn block(proxy: bool) -> Result<Self> {
        let _ = proxy;
        unimplemented!()
    }
}

/// The program's side, when its descriptors are ours.
#[derive(Debug)]
pub enum Remote {
    /// The master of its terminal.
    Terminal(OwnedFd),
    /// Our ends of its pipes.
    Pipes {
        /// Its stdin, if it has one of ours.
        stdin: Option<OwnedFd>,
        /// Its stdout.
        stdout: Option<OwnedFd>,
        /// Its stderr.
        stderr: Option<OwnedFd>,
    },
}

/// How a pump ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pumped {
    /// The process has ended and all that it said was passed on. It is not reaped yet.
    Ended,
    /// The user typed the detach keys.
    Detached,
    /// Nobody reads our stdout or stderr any more.
    OutputClosed,
}

/// Pumps between a program and this process until the program (given by its pidfd) ends. One thread.
#[derive(Debug)]
pub struct Pump;

impl Pump {
    /// Pumps until the end.
    ///
    /// # Errors
    /// The system fails.
    pub fn run(process: BorrowedFd<'_>, remote: Remote, local: Local<'_>) -> Result<Pumped> {
        let _ = (&process, &remote, local.stdin);
        unimplemented!()
    }
}
