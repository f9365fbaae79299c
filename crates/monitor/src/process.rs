//! What a process does to become a monitor, right after it was forked off the command line.
//!
//! ```text
//! skep run (P) --fork--> M:  setup_process   own session, directory /, umask 022, no signals, 0 1 2 = /dev/null, no
//!                                            other descriptors than those it needs, named skep-monitor
//!                            ... clone the container, Monitor::new, Monitor::run ...
//!                            trim_memory     gives back the heap it inherited (run does so at its first rest)
//! ```
//!
//! A monitor has all signals blocked: no terminal, no `kill` and no shutdown script ends it before its container,
//! which gets such signals itself. Stopping a container is `skep stop`'s work; only SIGKILL ends a monitor alone,
//! and then the state file, the lock and the process identity tell what is left (see [`crate::state`]).
//! The mask is inherited: whoever clones the container resets it in the child.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use failure::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
pub use sys::process::{Fork, exit, fork};

/// Makes this process a monitor. All descriptors but `keep` (none of them 0, 1 or 2) are closed, so the caller must
/// not use nor drop what it owned before, and ends with [`sys::process::exit`].
///
/// # Errors
/// There is no /dev/null.
pub fn setup_process(keep: &[BorrowedFd<'_>]) -> Result<()> {
    // Fails only in a process that leads its group, which a forked one does not.
    let _ = rustix::process::setsid();
    sys::signal::set_mask(sys::signal::Set::ALL).context("block signals")?;
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    rustix::process::chdir("/").context("change to directory `/`")?;
    close_all_but(keep)?;
    // Cosmetic: it is what `ps` and `top` show.
    let _ = rustix::thread::set_name(c"skep-monitor");
    Ok(())
}

/// Gives free memory back to the kernel.
pub fn trim_memory() {
    sys::memory::trim();
}

/// Points 0, 1 and 2 at /dev/null and closes all above but `keep`.
fn close_all_but(keep: &[BorrowedFd<'_>]) -> Result<()> {
    let mut kept: Vec<u32> = keep.iter().filter_map(|descriptor| u32::try_from(descriptor.as_raw_fd()).ok()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for number in kept {
        close_range(first, number.checked_sub(1))?;
        first = first.max(number + 1);
    }
    close_range(first, Some(u32::MAX))?;
    let null = rustix::fs::openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let null = null.context("open `/dev/null`")?;
    dup2_stdin(&null).and_then(|()| dup2_stdout(&null)).and_then(|()| dup2_stderr(&null)).context("use `/dev/null`")
}

fn close_range(first: u32, last: Option<u32>) -> Result<()> {
    match last {
        Some(last) if first <= last => match sys::descriptors::close_range(first, last) {
            Err(Errno::NOSYS) => Err(Errno::NOSYS).context("close descriptors (Linux 5.9 or newer is needed)"),
            other => other.context("close descriptors"),
        },
        _ => Ok(()),
    }
}
