//! Terminals: whose input they are.

use rustix::io::Result;

use crate::call::check_int;

/// Brings this process's group to the foreground of the terminal that is its descriptor 0. SIGTTOU must be blocked.
///
/// # Errors
/// ENOTTY when descriptor 0 is no terminal of this session.
pub fn take_foreground() -> Result<()> {
    // SAFETY: plain numbers to the kernel; no memory is touched, and no descriptor is kept.
    check_int(unsafe { libc::tcsetpgrp(0, libc::getpgrp()) }).map(drop)
}
