//! Executing the program: the first candidate that can be, as execvp does it.

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::{Errno, Result};

use crate::step::{Program, strings};

/// Whether there is a candidate that this process may execute.
///
/// # Errors
/// As [`execute`] would say it.
pub(crate) fn find(program: &Program<'_>) -> Result<()> {
    let mut reason = Errno::NOENT;
    for candidate in strings(program.candidates) {
        match accessat(CWD, candidate, Access::EXEC_OK, AtFlags::EACCESS) {
            Ok(()) => return Ok(()),
            Err(Errno::ACCESS) => reason = Errno::ACCESS,
            Err(_) => {}
        }
    }
    Err(reason)
}

/// Returns only to say why no candidate could be executed. "Permission denied" outlives "not found", so that a file
/// without the x bit is named for what it is.
pub(crate) fn execute(program: &Program<'_>) -> Errno {
    let mut reason = Errno::NOENT;
    for candidate in strings(program.candidates) {
        match sys::process::execute(candidate, program.arguments, program.environment) {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => reason = Errno::ACCESS,
            errno => return errno,
        }
    }
    reason
}
