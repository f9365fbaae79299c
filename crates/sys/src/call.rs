//! From what a C call returns to a result.

use rustix::io::{Errno, Result};

/// A C result, with errno behind -1.
pub(crate) fn check(result: libc::c_long) -> Result<libc::c_long> {
    if result == -1 { Err(last_error()) } else { Ok(result) }
}

/// As [`check`], for functions that return an int.
pub(crate) fn check_int(result: libc::c_int) -> Result<libc::c_int> {
    if result == -1 { Err(last_error()) } else { Ok(result) }
}

fn last_error() -> Errno {
    // SAFETY: the location is this thread's own and always valid.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}
