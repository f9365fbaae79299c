//! What a process does to become a monitor, right after it was forked off the command line.
//!
//! ```text
//! skep run (P) --fork--> M:  setup_process   own session, directory /, umask 022, no signals, 0 1 2 = /dev/null, no
//!                                            other descriptors than those it needs, named skep-monitor
//!                            ... clone the container, Monitor::new ...
//!                            trim_memory     gives back the heap it inherited
//! ```
//!
//! A monitor has all signals blocked: no terminal, no `kill` and no shutdown script ends it before its container,
//! which gets such signals itself. Stopping a container is `skep stop`'s work; only SIGKILL ends a monitor alone,
//! and then the state file, the lock and the process identity tell what is left (see [`crate::state`]).
//! The mask is inherited: whoever clones the container resets it in the child.

use std::os::fd::BorrowedFd;

use failure::Result;

/// Makes this process a monitor. All descriptors but `keep` are closed, so the caller must not use (nor drop) what
/// it owned before, and ends with [`std::process::exit`].
///
/// # Errors
/// There is no /dev/null, or the process leads a process group already.
pub fn setup_process(keep: &[BorrowedFd<'_>]) -> Result<()> {
    let _ = keep;
    unimplemented!()
}

/// Gives free memory back to the kernel.
pub fn trim_memory() {
    unimplemented!()
}
