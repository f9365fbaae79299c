//! Executing the program: the first candidate that can be, as execvp does it.

use core::ffi::CStr;

use rustix::fs::{Access, AtFlags, CWD, FileType, accessat};
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
            // Of a directory it means that one may go into it.
            Ok(()) if is_directory(candidate) => reason = Errno::ACCESS,
            Ok(()) => return Ok(()),
            Err(Errno::ACCESS) => reason = Errno::ACCESS,
            Err(_) => {}
        }
    }
    Err(reason)
}

fn is_directory(path: &CStr) -> bool {
    let looked_at = rustix::fs::stat(path);
    looked_at.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory)
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
