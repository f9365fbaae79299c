//! Executing the program: the first candidate that can be, as execvp does it.

use rustix::io::Errno;

use crate::step::{Program, strings};

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
