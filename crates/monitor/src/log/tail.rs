//! Where the last N lines of a log begin, found from its end.
//!
//! A line is a line of its stream: `["a" ] ["err\n"] [" b\n" continues]` is the line `err` within the line `a b`. So
//! each stream has its own beginning, and the reader starts at the earlier one and leaves out what the other stream
//! has before its own.

use failure::{Context, Result};
use rustix::fs::fstat;

use super::files::File;
use super::format::{Stream, decode};
use super::lines::Backward;

/// A place in a log: the index of a file in a snapshot, and an offset in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) file: usize,
    pub(super) offset: u64,
}

/// Where each stream begins.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Start {
    pub(super) streams: [Position; 2],
}

impl Start {
    /// Where reading begins.
    pub(super) fn first(&self) -> Position {
        self.streams[0].min(self.streams[1])
    }

    /// Whether a stream's record at this position is to be given.
    pub(super) fn admits(&self, stream: Stream, position: Position) -> bool {
        self.streams[stream.index()] <= position
    }
}

/// What is known of a stream while going back.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    /// The earliest record that was taken goes on with a line whose beginning is not found yet.
    in_line: bool,
    /// Nothing earlier than this is taken.
    closed: Option<Position>,
}

/// Finds the beginning of the last `lines` lines in a snapshot.
pub(super) fn find(files: &[File], lines: u64) -> Result<Start> {
    let mut search = Search { wanted: lines, sides: [Side::default(); 2] };
    let mut end = Position { file: files.len().saturating_sub(1), offset: 0 };
    for (index, file) in files.iter().enumerate().rev() {
        let size = fstat(&file.descriptor).context("read the log")?.st_size;
        let mut backward = Backward::new(&file.descriptor, u64::try_from(size).unwrap_or(0))?;
        end = Position { file: index, offset: backward.position() };
        while !search.is_done() {
            let Some((offset, line)) = backward.next(&file.descriptor)? else { break };
            search.take(line, end);
            let taken = Position { file: index, offset };
            end = taken;
        }
        if search.is_done() {
            break;
        }
    }
    Ok(Start { streams: search.sides.map(|side| side.closed.unwrap_or(end)) })
}

struct Search {
    wanted: u64,
    sides: [Side; 2],
}

impl Search {
    /// Whether all lines, and the beginnings of all of them, are found.
    fn is_done(&self) -> bool {
        self.wanted == 0 && self.sides.iter().all(|side| !side.in_line || side.closed.is_some())
    }

    /// Looks at the next line of the file towards the beginning; `after` is where it ends.
    fn take(&mut self, line: &[u8], after: Position) {
        let Some(record) = decode(line) else { return };
        let side = &mut self.sides[record.stream.index()];
        if side.closed.is_some() {
            return;
        }
        let belongs = side.in_line && !record.ends_line();
        if !belongs {
            if self.wanted == 0 {
                side.closed = Some(after);
                side.in_line = false;
                return;
            }
            self.wanted -= 1;
        }
        side.in_line = record.continues;
    }
}
