//! Locks of an open file description (`F_OFD_SETLK`) that can be looked at without being taken (`F_OFD_GETLK`).
//!
//! A process says "I live" by holding a shared lock on a directory; the kernel lets go of it with the last copy of
//! the descriptor. Others ask whether an exclusive lock would be refused, which disturbs nobody and costs one call.

use core::ffi::c_int;

use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Result;

use crate::call::check_int;

/// Holds a shared lock on the file or directory until the descriptor and its copies are closed. Never waits.
///
/// # Errors
/// Somebody holds an exclusive lock, or the filesystem has no locks.
pub fn hold(descriptor: BorrowedFd<'_>) -> Result<()> {
    lock_call(descriptor, libc::F_OFD_SETLK, libc::F_RDLCK).map(|_| ())
}

/// Whether anybody holds a lock on the file or directory, through another open file description.
///
/// # Errors
/// The filesystem has no locks.
pub fn is_held(descriptor: BorrowedFd<'_>) -> Result<bool> {
    lock_call(descriptor, libc::F_OFD_GETLK, libc::F_WRLCK).map(|found| c_int::from(found) != libc::F_UNLCK)
}

/// One fcntl call about a lock of the given type over the whole file; returns the type that the kernel left.
fn lock_call(descriptor: BorrowedFd<'_>, command: c_int, kind: c_int) -> Result<libc::c_short> {
    let mut lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open for the call, and the kernel reads and writes one `flock`, which outlives it.
    check_int(unsafe { libc::fcntl(descriptor.as_raw_fd(), command, &raw mut lock) })?;
    Ok(lock.l_type)
}
