//! Signals of this process: blocking, waiting, passing on.

use core::mem::MaybeUninit;
use core::ptr;

use rustix::fd::{AsFd, AsRawFd as _};
use rustix::io::Result;

use crate::call::{check, check_int};

/// The highest signal number.
pub const LAST: i32 = 64;

/// A set of signals: bit n - 1 is signal n, as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set(u64);

impl Set {
    /// No signal.
    pub const EMPTY: Self = Self(0);
    /// Every signal.
    pub const ALL: Self = Self(u64::MAX);

    /// The set with one more.
    #[must_use]
    pub const fn with(self, signal: i32) -> Self {
        Self(self.0 | 1 << (signal - 1))
    }

    /// The set with one less.
    #[must_use]
    pub const fn without(self, signal: i32) -> Self {
        Self(self.0 & !(1 << (signal - 1)))
    }

    /// The kernel's form.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }
}

/// Makes `set` the blocked signals of this thread, and returns those before.
///
/// # Errors
/// None that is known.
pub fn set_mask(set: Set) -> Result<Set> {
    change_mask(libc::SIG_SETMASK, set)
}

/// Blocks the signals of `set` beside those that are blocked, which are returned.
///
/// # Errors
/// None that is known.
pub fn add_to_mask(set: Set) -> Result<Set> {
    change_mask(libc::SIG_BLOCK, set)
}

fn change_mask(how: libc::c_int, set: Set) -> Result<Set> {
    let mut before = 0_u64;
    // SAFETY: both sets are eight bytes, which is the size given, and outlive the call.
    check(unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const set.0, &raw mut before, size_of::<u64>())
    })?;
    Ok(Set(before))
}

/// Waits for one of the signals, which must be blocked, takes it, and returns its number.
///
/// # Errors
/// EINTR when another signal was handled.
pub fn wait(set: Set) -> Result<i32> {
    // SAFETY: the set is eight bytes, which is the size given; null asks for no details and no time limit.
    let signal = check(unsafe {
        let (information, time_limit) = (ptr::null_mut::<libc::siginfo_t>(), ptr::null::<libc::timespec>());
        libc::syscall(libc::SYS_rt_sigtimedwait, &raw const set.0, information, time_limit, size_of::<u64>())
    })?;
    Ok(signal as i32)
}

/// Gives every signal its default action: what is ignored stays so over exec otherwise, and Rust ignores SIGPIPE.
pub fn reset_actions() {
    for signal in 1..=LAST {
        // SAFETY: zero is the default action with no flags; no handler of ours is installed. SIGKILL, SIGSTOP and the
        // two signals that the C library keeps are refused, which is as well.
        unsafe {
            let action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            libc::sigaction(signal, &raw const action, ptr::null_mut());
        }
    }
}

/// Sends any signal number to the process of a handle.
///
/// # Errors
/// It has ended, or it is not allowed.
pub fn send(process: impl AsFd, signal: i32) -> Result<()> {
    let (process, none) = (process.as_fd().as_raw_fd(), ptr::null::<libc::siginfo_t>());
    // SAFETY: plain numbers to the kernel, and a null pointer that it takes for no details.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process, signal, none, 0) }).map(drop)
}

/// Sends any signal number to a process, a group (negative) or, with -1, to all that may be reached.
///
/// # Errors
/// Nobody is there, or it is not allowed.
pub fn kill(process: i32, signal: i32) -> Result<()> {
    // SAFETY: plain numbers to the kernel; no memory is touched.
    check_int(unsafe { libc::kill(process, signal) }).map(drop)
}
