//! Keeps the lines of two streams whole when they come out of one pipe.
//!
//! The parts of a long line on stdout may lie between lines of stderr. While a line is out without its end, records
//! of the other stream wait, and come after it:
//!
//! ```text
//!  in:   out "long li"   err "oops\n"   out "ne\n"   err "more\n"
//!  out:  out "long li"   out "ne\n"   err "oops\n"   err "more\n"
//! ```
//!
//! Nothing waits when nothing more is at hand (a prompt has no end of line, and the reader calls
//! [`Assembler::release`] before it sleeps), and no more than [`MOST`] bytes wait: then the order of arrival counts.

use jiff::Timestamp;
use std::ops::ControlFlow;

use super::format::Stream;
use super::reader::Record;

/// More than this is not kept back.
const MOST: usize = 1024 * 1024;

/// Between the records of a log and the caller.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// For each stream, whether its last record that came in left its line open.
    in_line: [bool; 2],
    /// The stream whose line is out without its end.
    open: Option<Stream>,
    waiting: Vec<Waiting>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Waiting {
    stream: Stream,
    time: Timestamp,
    length: usize,
    begins_line: bool,
}

impl Assembler {
    /// Takes a record and gives on what can be given on.
    pub(super) fn push(
        &mut self,
        stream: Stream,
        time: Timestamp,
        bytes: &[u8],
        each: &mut dyn FnMut(Record<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let begins_line = !std::mem::replace(&mut self.in_line[stream.index()], bytes.last() != Some(&b'\n'));
        if self.open.is_some_and(|open| open != stream) {
            self.bytes.extend_from_slice(bytes);
            self.waiting.push(Waiting { stream, time, length: bytes.len(), begins_line });
            return if self.bytes.len() > MOST { self.release(each) } else { ControlFlow::Continue(()) };
        }
        self.open = self.in_line[stream.index()].then_some(stream);
        each(Record { stream, time, bytes, begins_line })?;
        if self.open.is_none() { self.release(each) } else { ControlFlow::Continue(()) }
    }

    /// Gives on all that waits.
    pub(super) fn release(&mut self, each: &mut dyn FnMut(Record<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut start = 0;
        for waiting in self.waiting.drain(..) {
            let bytes = &self.bytes[start..start + waiting.length];
            start += waiting.length;
            self.open = (bytes.last() != Some(&b'\n')).then_some(waiting.stream);
            each(Record { stream: waiting.stream, time: waiting.time, bytes, begins_line: waiting.begins_line })?;
        }
        self.bytes.clear();
        ControlFlow::Continue(())
    }

    /// Whether anything waits.
    pub(super) fn holds(&self) -> bool {
        !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Stream::{Stderr, Stdout};

    fn check(input: &[(Stream, &str)], expect: &str) {
        let mut assembler = Assembler::default();
        let mut output = String::new();
        let mut each = |record: Record<'_>| {
            if record.begins_line {
                output.push('|');
            }
            output.push_str(str::from_utf8(record.bytes).unwrap());
            ControlFlow::Continue(())
        };
        for (stream, text) in input {
            assert!(assembler.push(*stream, Timestamp::UNIX_EPOCH, text.as_bytes(), &mut each).is_continue());
        }
        assert!(assembler.release(&mut each).is_continue());
        assert_eq!(output, expect);
    }

    #[test]
    fn lines_stay_whole() {
        check(
            &[(Stdout, "long li"), (Stderr, "oops\n"), (Stdout, "ne\n"), (Stderr, "more\n")],
            "|long line\n|oops\n|more\n",
        );
        check(&[(Stdout, "a\n"), (Stderr, "b\n"), (Stdout, "c\n")], "|a\n|b\n|c\n");
    }

    #[test]
    fn both_streams_may_be_within_a_line() {
        check(&[(Stdout, "a"), (Stderr, "x"), (Stdout, "b\n"), (Stderr, "y\n"), (Stdout, "c\n")], "|ab\n|xy\n|c\n");
    }

    #[test]
    fn an_end_without_newline_keeps_nothing_back() {
        check(&[(Stdout, "prompt> "), (Stderr, "late\n")], "|prompt> |late\n");
    }
}
