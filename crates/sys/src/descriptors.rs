//! File descriptors in bulk, from one thread to another, and signals as a file descriptor.

use core::ffi::c_int;
use core::sync::atomic::{AtomicI32, Ordering};

use rustix::fd::{FromRawFd, IntoRawFd, OwnedFd};
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

const EMPTY: i32 = -1;

/// Where one thread puts a descriptor for another, without a call to the kernel.
#[derive(Debug)]
pub struct Slot(AtomicI32);

impl Slot {
    /// With nothing in it.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicI32::new(EMPTY))
    }

    /// Gives it a descriptor; one that was there is closed.
    pub fn put(&self, descriptor: OwnedFd) {
        drop(Self::owned(self.0.swap(descriptor.into_raw_fd(), Ordering::AcqRel)));
    }

    /// Takes the descriptor, if there is one.
    pub fn take(&self) -> Option<OwnedFd> {
        Self::owned(self.0.swap(EMPTY, Ordering::AcqRel))
    }

    fn owned(number: i32) -> Option<OwnedFd> {
        // SAFETY: the number was given up by its owner in `put`, and swapping takes it out for this caller alone.
        (number != EMPTY).then(|| unsafe { OwnedFd::from_raw_fd(number) })
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        drop(self.take());
    }
}
