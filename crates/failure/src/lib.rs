//! What went wrong: one line for a person, one [`Kind`] for a program.
//!
//! The line names the object, the reason and the way out: "no such image `foo:1`; load it with `skep load`".
//! The kind is what the edges map (see `cli::exit_code`): to an exit code now, to an HTTP status and a gRPC code
//! when those edges come. A cause is kept as the source, and shown after the line, once: wrap an error or log
//! it, never both. Every library of the workspace returns this one type, so that no layer translates another's.

use std::error::Error as StdError;
use std::fmt::{self, Write as _};
use std::io;

/// The result of nearly every function of the workspace that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an edge needs to know about a failure. Few on purpose: a new kind needs a new exit code or HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The object that was named does not exist.
    NotFound,
    /// The object exists already, or is in a state that forbids this.
    Conflict,
    /// The request or its data is wrong; it can never succeed.
    Invalid,
    /// This kernel, machine or version cannot do it.
    Unsupported,
    /// The caller may not do it.
    Denied,
    /// Somebody else holds what this needs; it may succeed later.
    Busy,
    /// A resource is exhausted or a peer is away: disk, memory, network.
    Unavailable,
    /// The program inside the container was not found (Docker's 127).
    CommandNotFound,
    /// The program inside the container could not be executed (Docker's 126).
    CommandNotExecutable,
    /// A fault of skep itself, or of the system under it.
    Internal,
}

/// A failure: a kind, a line, and perhaps the failure that caused it.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure without a cause. The message is lower case, has no full stop, and quotes the object in back-quotes.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The named object does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// The object exists already or is in the wrong state.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// The request or its data is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// This machine or version cannot do it.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Kind::Unsupported, message)
    }

    /// A fault of skep or the system.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// Adds the failure that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What an edge maps to its own code.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The line without its causes.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    /// The line and its causes, on one line: what a stranger's name or document brought along cannot break it, nor
    /// command the terminal that shows it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = OneLine(formatter);
        line.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(line, ": {source}"),
            None => Ok(()),
        }
    }
}

/// Writes control characters as Rust would in a string: `\n`, `\u{1b}`.
struct OneLine<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(char::is_control) {
            let plain = part.trim_end_matches(char::is_control);
            self.0.write_str(plain)?;
            write!(self.0, "{}", part[plain.len()..].escape_debug())?;
        }
        Ok(())
    }
}

impl StdError for Error {}

/// Turns a failure of the system, or of a layer below, into one that names what was being done.
pub trait Context<T> {
    /// Adds a line about what failed. The kind of the cause is kept, or derived from its errno.
    ///
    /// # Errors
    /// The same failure, with the line in front.
    fn context(self, message: impl Into<String>) -> Result<T>;

    /// As [`Context::context`], for a line that costs something to make.
    ///
    /// # Errors
    /// The same failure, with the line in front.
    fn with_context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T, E: Cause> Context<T> for std::result::Result<T, E> {
    fn context(self, message: impl Into<String>) -> Result<T> {
        self.map_err(|cause| Error::new(cause.cause_kind(), message).with_source(cause.into_source()))
    }

    fn with_context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|cause| Error::new(cause.cause_kind(), message()).with_source(cause.into_source()))
    }
}

/// A failure that [`Context`] can wrap, because its kind is known.
pub trait Cause {
    /// The kind that the wrapped failure gets.
    fn cause_kind(&self) -> Kind;
    /// The failure as a source.
    fn into_source(self) -> Box<dyn StdError + Send + Sync>;
}

impl Cause for Error {
    fn cause_kind(&self) -> Kind {
        self.kind
    }

    fn into_source(self) -> Box<dyn StdError + Send + Sync> {
        Box::new(self)
    }
}

impl Cause for io::Error {
    fn cause_kind(&self) -> Kind {
        match self.raw_os_error() {
            Some(number) => errno_kind(rustix::io::Errno::from_raw_os_error(number)),
            None if self.kind() == io::ErrorKind::InvalidData => Kind::Invalid,
            None if self.kind() == io::ErrorKind::UnexpectedEof => Kind::Invalid,
            None => Kind::Internal,
        }
    }

    fn into_source(self) -> Box<dyn StdError + Send + Sync> {
        Box::new(PlainIo(self))
    }
}

impl Cause for rustix::io::Errno {
    fn cause_kind(&self) -> Kind {
        errno_kind(*self)
    }

    fn into_source(self) -> Box<dyn StdError + Send + Sync> {
        io::Error::from(self).into_source()
    }
}

/// The kind of a system error that no caller gave a better one.
fn errno_kind(errno: rustix::io::Errno) -> Kind {
    use rustix::io::Errno;
    match errno {
        Errno::NOENT => Kind::NotFound,
        Errno::EXIST => Kind::Conflict,
        Errno::PERM | Errno::ACCESS => Kind::Denied,
        Errno::BUSY | Errno::AGAIN => Kind::Busy,
        Errno::NOSPC | Errno::NOMEM | Errno::DQUOT | Errno::MFILE | Errno::NFILE => Kind::Unavailable,
        Errno::NOSYS | Errno::OPNOTSUPP => Kind::Unsupported,
        _ => Kind::Internal,
    }
}

/// An I/O error in the words of `strerror`, lower case and without Rust's " (os error 2)".
#[derive(Debug)]
struct PlainIo(io::Error);

impl fmt::Display for PlainIo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let text = text.split(" (os error").next().unwrap_or(&text);
        let mut characters = text.chars();
        match characters.next() {
            Some(first) => write!(formatter, "{}{}", first.to_lowercase(), characters.as_str()),
            None => Ok(()),
        }
    }
}

impl StdError for PlainIo {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_with_its_cause() {
        let failure: Result<()> = Err(rustix::io::Errno::NOENT).context("open `/x`");
        let failure = failure.err();
        assert_eq!(failure.as_ref().map(Error::kind), Some(Kind::NotFound));
        assert_eq!(failure.map(|f| f.to_string()).as_deref(), Some("open `/x`: no such file or directory"));
    }

    #[test]
    fn a_failure_stays_one_line_whatever_it_names() {
        let failure = Error::invalid("no image `a\nb\x1b[2Jc\u{9b}`").with_source("`x\ty\r`: é \\n");
        assert_eq!(failure.to_string(), r"no image `a\nb\u{1b}[2Jc\u{9b}`: `x\ty\r`: é \n");
    }
}
