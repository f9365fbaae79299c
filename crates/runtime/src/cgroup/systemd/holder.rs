//! A process that does nothing: it keeps a new scope alive until the container's own process is in it.
//!
//! systemd starts a scope around processes that exist, and ends it when the last one leaves. So that the container's process
//! can be born in the group (v2), or join it by itself (v1), as without systemd, somebody else has to be there first.

use std::os::fd::{AsFd, OwnedFd};

use failure::{Context, Result};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use sys::process::Clone;

/// The process; it ends with this value, and with us.
#[derive(Debug)]
pub(in super::super) struct Holder {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Holder {
    /// Makes it.
    pub(super) fn start() -> Result<Self> {
        match sys::process::clone(0, None).context("make a process to hold the scope")? {
            Clone::Parent { pid, pidfd } => Ok(Self { pid, pidfd }),
            Clone::Child => {
                let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
                crate::stdio::close_all_but(&[]);
                loop {
                    rustix::event::pause();
                }
            }
        }
    }

    /// Its number.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // One that is gone already, with its scope, is as good.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}
