//! A container that is paused for as long as a command reads its files, and goes on whatever becomes of the command.
//!
//! ```text
//! commit --fork--> guardian       waits on a pipe whose other end the command has
//! pause, read, unpause
//! one byte, or the pipe's end --> nothing more to do, or (the command was killed) unpause
//! ```

use std::os::fd::{AsFd as _, OwnedFd};

use failure::{Context as _, Result};
use monitor::process::{Fork, exit, fork, setup_process};
use runtime::ContainerId;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::{Home, lifecycle};

/// A paused container; dropped, it goes on.
pub(crate) struct Frozen<'a> {
    home: &'a Home,
    id: &'a ContainerId,
    guardian: OwnedFd,
}

impl<'a> Frozen<'a> {
    /// Pauses it. For a process of one thread.
    pub(crate) fn new(home: &'a Home, id: &'a ContainerId) -> Result<Self> {
        let (waiting, guardian) = pipe_with(PipeFlags::CLOEXEC).context("make a pipe")?;
        if let Fork::Child = fork().context("start a process to unpause the container")? {
            // The other end closes here with all else; it was never this process's.
            if setup_process(&[waiting.as_fd()]).is_ok() {
                let said = rustix::io::retry_on_intr(|| rustix::io::read(&waiting, &mut [0_u8; 1]));
                if said != Ok(1) {
                    let _ = lifecycle::unpause(&home.reopened(), id);
                }
            }
            exit(0);
        }
        let frozen = Self { home, id, guardian };
        lifecycle::pause(home, id)?;
        Ok(frozen)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = lifecycle::unpause(self.home, self.id);
        let _ = rustix::io::write(&self.guardian, b".");
    }
}
