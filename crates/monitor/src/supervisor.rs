//! The loop beside a container.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use runtime::ProcessIdentity;
use failure::Result;

use crate::Exit;
use crate::log;
use crate::protocol::Wants;

/// The monitor's ends of the container's stdio.
#[derive(Debug)]
pub enum Streams {
    /// The master of its terminal.
    Terminal(OwnedFd),
    /// Its pipes.
    Pipes {
        /// The writing end of its stdin; `None`: it reads /dev/null.
        stdin: Option<OwnedFd>,
        /// The reading end of its stdout.
        stdout: OwnedFd,
        /// The reading end of its stderr.
        stderr: OwnedFd,
    },
}

/// The client that started the container and stays with it (or only hears that it started).
#[derive(Debug)]
pub struct FirstClient {
    /// The monitor's end of a socket pair.
    pub stream: UnixStream,
    /// What the client wants; known without a Hello.
    pub wants: Wants,
}

/// All that a monitor needs.
#[derive(Debug)]
pub struct Setup {
    /// `<run>/<id>`: the socket is made there, and the lock of [`crate::state`] held.
    pub run: PathBuf,
    /// Where output goes.
    pub log: log::Settings,
    /// Directory of the log files; made if missing.
    pub log_directory: PathBuf,
    /// The container's first process: a child of this process.
    pub identity: ProcessIdentity,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// Its stdio.
    pub streams: Streams,
    /// `-i`: clients may send stdin.
    pub keep_stdin: bool,
    /// Stdin ends when the first client that sends it ends it or goes (`-i` without `-d`).
    pub stdin_once: bool,
    /// Whoever started the container.
    pub first_client: Option<FirstClient>,
}

/// The process beside a container.
#[derive(Debug)]
pub struct Monitor {}

impl Monitor {
    /// Makes the socket, opens the log and takes the lock. Write "running" into the state after this, then
    /// call [`Monitor::run`].
    ///
    /// # Errors
    /// The socket or the log cannot be made.
    pub fn new(setup: Setup) -> Result<Self> {
        let _ = setup;
        unimplemented!()
    }

    /// Tells the first client that the container runs, serves until the process has ended and all that it said is
    /// in the log, and reaps it.
    ///
    /// # Errors
    /// The system fails; the container then runs on without a monitor.
    pub fn run(&mut self) -> Result<Exit> {
        unimplemented!()
    }

    /// Tells every client of the end, waits until they have taken what they were sent, and removes the socket.
    pub fn finish(self, exit: &Exit, out_of_memory: bool, message: &str) {
        let _ = (exit, out_of_memory, message);
        unimplemented!()
    }
}
