//! The reading end of a log.

use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::Path;

use failure::Result;
use jiff::Timestamp;

/// Where output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line, or a piece of one.
#[derive(Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it came from.
    pub stream: Stream,
    /// When it was written.
    pub time: Timestamp,
    /// The bytes, exactly as the container wrote them, with the newline if there is one.
    pub bytes: &'a [u8],
    /// Whether these bytes begin a line of their stream: the place for a timestamp.
    pub begins_line: bool,
}

/// What is to be read.
#[derive(Debug, Default)]
pub struct Query {
    /// Nothing older.
    pub since: Option<Timestamp>,
    /// Nothing younger.
    pub until: Option<Timestamp>,
    /// Only that many lines from the end.
    pub tail: Option<u64>,
    /// Wait for more, until this descriptor is readable or hung up ([`crate::client::end_of`]).
    pub follow: Option<OwnedFd>,
    /// Leave out stdout.
    pub without_stdout: bool,
    /// Leave out stderr.
    pub without_stderr: bool,
}

/// Reads a log.
#[derive(Debug)]
pub struct Reader {}

impl Reader {
    /// Opens the log in `directory`.
    ///
    /// # Errors
    /// There is none.
    pub fn open(directory: &Path) -> Result<Self> {
        let _ = directory;
        unimplemented!()
    }

    /// Gives every record that the query wants, in order, until the end or until told to stop.
    ///
    /// # Errors
    /// The system fails.
    pub fn read(self, query: Query, each: impl FnMut(Record<'_>) -> ControlFlow<()>) -> Result<()> {
        let _ = (query, each);
        unimplemented!()
    }
}
