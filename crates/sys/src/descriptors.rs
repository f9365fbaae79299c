//! File descriptors in bulk, and signals as a file descriptor.

use core::ffi::c_int;

use rustix::fd::{FromRawFd, OwnedFd};
use rustix::io::Result;

use crate::call::check;
use crate::signal::Set;

/// Closes all descriptors from `first` to `last`, whoever in this process owned them: for a process that has just
/// been forked and goes on with a few descriptors only. What owned the others must not be used nor dropped any more.
///
/// # Errors
/// The kernel is older than 5.9.
pub fn close_range(first: u32, last: u32) -> Result<()> {
    // SAFETY: no memory is touched; the caller gives up what it owned, as the documentation demands.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// A descriptor that gives the blocked signals of the set as data: 128 bytes each, the number first. Non-blocking.
///
/// # Errors
/// Limits on descriptors.
pub fn of_signals(set: Set) -> Result<OwnedFd> {
    let bits = set.bits();
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the set is eight bytes, which is the size given, and outlives the call.
    let number = check(unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const bits, size_of::<u64>(), flags) })?;
    // SAFETY: the kernel has just made this descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(number as c_int) })
}
