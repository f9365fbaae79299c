//! How a command ends: the one table from a failure's kind to an exit code.
//!
//! ```text
//!                                        run         every other command
//!   a flag that is wrong                 125               125
//!   too few or too many arguments        125                 1
//!   the command cannot be executed       126               126
//!   the command is not there             127               127
//!   anything else                        125                 1
//!   the reader of stdout went away         0                 0     (quietly)
//! ```
//! A container that ran gives its own code.

use failure::{Error, Kind};
use std::io;

/// A flag was wrong, or the engine refused a `run`.
pub(crate) const ENGINE: u8 = 125;
/// Everything else.
pub(crate) const PLAIN: u8 = 1;

/// The result of a command: its exit code, or why it stopped early.
pub(crate) type Outcome<T = u8> = Result<T, Stop>;

/// Why a command stopped early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It failed; the line is still to be said.
    Failed(Error),
    /// A flag or its value is wrong.
    Usage(String),
    /// The arguments, or what stdin and stdout are, do not fit.
    Arguments(String),
    /// All is said: only this code is left.
    Code(u8),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<io::Error> for Stop {
    /// What writing to stdout can meet. A reader that went away is no failure.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::Code(0);
        }
        use failure::Context as _;
        match Err::<(), _>(error).context("write to standard output") {
            Err(error) => Self::Failed(error),
            Ok(()) => Self::Code(0),
        }
    }
}

/// The exit code of a failure, where `other` is the command's code for what has none of its own.
pub(crate) fn code(kind: Kind, other: u8) -> u8 {
    match kind {
        Kind::CommandNotFound => 127,
        Kind::CommandNotExecutable => 126,
        _ => other,
    }
}

/// A container's exit code as this process's.
pub(crate) fn of_container(code: i32) -> u8 {
    u8::try_from(code & 0xff).unwrap_or(ENGINE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_one_code() {
        assert_eq!(code(Kind::CommandNotFound, ENGINE), 127);
        assert_eq!(code(Kind::CommandNotExecutable, PLAIN), 126);
        assert_eq!((code(Kind::NotFound, ENGINE), code(Kind::NotFound, PLAIN)), (125, 1));
        assert_eq!(of_container(137), 137);
    }

    #[test]
    fn a_broken_pipe_is_quiet() {
        let stop = Stop::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(matches!(stop, Stop::Code(0)));
    }
}
