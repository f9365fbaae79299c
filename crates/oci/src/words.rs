//! Failures in the words that callers look for.
//!
//! dockerd turns messages into exit codes 127 and 126, podman into its own errors, by their text:
//!
//! ```text
//!   "executable file not found", "no such file or directory"   127   with the program's name in it
//!   "permission denied"                                        126
//!   "container not running", "process already finished"        a kill that came too late
//!   "does not exist"                                           a container that is gone
//! ```

use std::error::Error as _;

use failure::{Error, Kind};
use runtime::Running;
use rustix::process::Signal;

/// A start that failed: for a program that cannot be executed, Go's words.
pub(crate) fn not_started(command: &str, program: &str, failed: Error) -> Error {
    let cause = failed.source().map(ToString::to_string);
    let line = match (failed.kind(), program.contains('/')) {
        (Kind::CommandNotFound, true) => format!("exec: \"{program}\": stat {program}: no such file or directory"),
        (Kind::CommandNotFound, false) => format!("exec: \"{program}\": executable file not found in $PATH"),
        (Kind::CommandNotExecutable, _) => {
            format!("exec: \"{program}\": {}", cause.unwrap_or_else(|| "permission denied".to_owned()))
        }
        _ => return failed,
    };
    Error::new(failed.kind(), format!("{command} failed: unable to start container process: {line}"))
}

/// Ends a process that was started but cannot be handed over.
pub(crate) fn end(running: &Running) {
    // What failed first is what is told.
    let _ = rustix::process::pidfd_send_signal(&running.pidfd, Signal::KILL);
}

/// The container's process has ended, or was never there.
pub(crate) fn not_running() -> Error {
    Error::conflict("container not running")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_said_as_go_says_it() {
        let missing = |program| not_started("run", program, Error::new(Kind::CommandNotFound, "x")).to_string();
        assert!(missing("nosuch").ends_with("exec: \"nosuch\": executable file not found in $PATH"));
        assert!(missing("/nosuch").ends_with("exec: \"/nosuch\": stat /nosuch: no such file or directory"));
        let denied = Error::new(Kind::CommandNotExecutable, "x").with_source(Error::invalid("permission denied"));
        assert!(not_started("exec", "/etc", denied).to_string().ends_with("exec: \"/etc\": permission denied"));
        assert_eq!(not_started("run", "a", Error::invalid("other")).to_string(), "other");
    }
}
