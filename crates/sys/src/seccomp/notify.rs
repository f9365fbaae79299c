//! System calls that somebody else decides on: the kernel's `SECCOMP_RET_USER_NOTIF`.
//!
//! ```text
//! watched thread                          supervisor, who holds the listener
//! a call that the filter notifies of ---> receive(): who, which call, which arguments
//!   (stopped)                             may look at the caller's memory; is_waiting() afterwards, as ids of
//!                                         processes are used again
//! goes on, or gets an errno or value <--- answer()
//! ```
//! Only values are safe to judge by: memory that a pointer names may change between the look and the call.

use core::mem::zeroed;
use core::num::NonZeroI32;

use rustix::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use rustix::io::{Errno, Result};

use super::{Instruction, set_mode_filter};
use crate::call::check_int;

/// A call that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Names this stop in [`answer`] and [`is_waiting`].
    pub id: u64,
    /// The thread that calls, as seen from the supervisor's pid namespace; 0 if it cannot be seen.
    pub thread: i32,
    /// `AUDIT_ARCH_*` of the call.
    pub architecture: u32,
    /// The call's number.
    pub number: i32,
    /// Its arguments, as they were in the registers.
    pub arguments: [u64; 6],
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It goes on as if there were no supervisor.
    Continue,
    /// It is not made and fails so.
    Fail(Errno),
    /// It is not made and returns this.
    Return(i64),
}

/// Loads a filter for this thread and what it executes, and gives the descriptor that its notifications come from.
/// `flags` are `SECCOMP_FILTER_FLAG_*`; `NEW_LISTENER` is added.
///
/// # Errors
/// As [`super::load`]; `BUSY` if a filter of the thread has a listener already.
pub fn load(filter: &[Instruction], flags: u32) -> Result<OwnedFd> {
    let descriptor = set_mode_filter(filter, flags | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32)?;
    let descriptor = i32::try_from(descriptor).map_err(|_| Errno::BADF)?;
    // SAFETY: with NEW_LISTENER the kernel returns a new descriptor, which nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Waits for the next call.
///
/// # Errors
/// `NOENT` when the caller was killed meanwhile: ask again. When nobody is left whom the filter watches, the listener
/// polls as hung up; this call would wait for ever before Linux 6.11.
pub fn receive(listener: impl AsFd) -> Result<Notification> {
    // SAFETY: all zeros is a value of this plain structure, and what the kernel wants to find in it.
    let mut raw: libc::seccomp_notif = unsafe { zeroed() };
    // SAFETY: the request is paired with the structure it writes.
    check_int(unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), NOTIF_RECV, &raw mut raw) })?;
    Ok(Notification {
        id: raw.id,
        thread: raw.pid.cast_signed(),
        architecture: raw.data.arch,
        number: raw.data.nr,
        arguments: raw.data.args,
    })
}

/// Lets a call go on, or ends it.
///
/// # Errors
/// `NOENT` when the caller no longer waits: it was killed.
pub fn answer(listener: impl AsFd, id: u64, answer: Answer) -> Result<()> {
    let (value, error, flags) = match answer {
        Answer::Continue => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
        Answer::Fail(errno) => (0, NonZeroI32::new(errno.raw_os_error()).map_or(-libc::EIO, |errno| -errno.get()), 0),
        Answer::Return(value) => (value, 0, 0),
    };
    let mut raw = libc::seccomp_notif_resp { id, val: value, error, flags };
    // SAFETY: the request is paired with the structure it reads.
    check_int(unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), NOTIF_SEND, &raw mut raw) }).map(drop)
}

/// Whether the caller still waits, so that what was read of its process was its own.
pub fn is_waiting(listener: impl AsFd, id: u64) -> bool {
    // SAFETY: the request is paired with the number it reads.
    check_int(unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), NOTIF_ID_VALID, &raw const id) }).is_ok()
}

/// `_IOWR('!', nr, size)` and `_IOW('!', nr, size)` of `linux/seccomp.h`, the same on every architecture we run on.
const NOTIF_RECV: libc::Ioctl = request(3, 0, size_of::<libc::seccomp_notif>());
const NOTIF_SEND: libc::Ioctl = request(3, 1, size_of::<libc::seccomp_notif_resp>());
const NOTIF_ID_VALID: libc::Ioctl = request(1, 2, size_of::<u64>());

const fn request(direction: libc::Ioctl, number: libc::Ioctl, size: usize) -> libc::Ioctl {
    direction << 30 | (size as libc::Ioctl) << 16 | (b'!' as libc::Ioctl) << 8 | number
}

const _: () = assert!(NOTIF_RECV == 0xc050_2100 && NOTIF_SEND == 0xc018_2101 && NOTIF_ID_VALID == 0x4008_2102);
