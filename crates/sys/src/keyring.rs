//! Keys that the kernel keeps for a session.

use rustix::io::{Errno, Result};

use crate::call::check;

/// Leaves the session keyring that came from the parent for a new, empty one. Where the kernel has no keys, or a filter
/// keeps this process from them, there is nothing to leave: no program that it executes reaches them either.
///
/// # Errors
/// No memory, or too many keys.
pub fn leave_session_keyring() -> Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    const ANONYMOUS: libc::c_long = 0;
    // SAFETY: the request takes the address of a name, and none here; it touches no memory of this process.
    match check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, ANONYMOUS) }) {
        Ok(_) | Err(Errno::NOSYS | Errno::PERM) => Ok(()),
        Err(errno) => Err(errno),
    }
}
