//! The reading end of a log: over all its files, from a beginning, perhaps on while it grows.
//!
//! ```text
//!  snapshot of files --tail--> start --> lines of each file, oldest first --> since/until --> Assembler --> caller
//!                                              ^                  | end of the newest
//!                                              |                  v
//!                                              +-- follow: sleep on inotify(directory) and the container's end
//!                                                          (rotated: on with the files after this inode)
//! ```

use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use failure::{Context, Result};
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::io::Errno;

use super::assembler::Assembler;
use super::files::{self, File};
use super::format::{Stream, decode};
use super::lines::Forward;
use super::tail::{self, Position, Start};

/// How long records of the other stream wait for the end of a line.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often a directory is looked at that cannot be watched (there is none yet).
const UNWATCHED: Duration = Duration::from_millis(50);

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
    /// Nothing younger. With `follow`, reading ends at that time.
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
pub struct Reader {
    directory: Option<OwnedFd>,
    path: std::path::PathBuf,
}

/// Whether to read on.
type Flow = ControlFlow<()>;

impl Reader {
    /// Opens the log in `directory`. If there is none, the container has not said anything.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(directory: &Path) -> Result<Self> {
        Ok(Self { directory: open_directory(directory)?, path: directory.to_owned() })
    }

    /// Gives every record that the query wants, in order, until the end or until told to stop. Parts of long lines
    /// come one by one, as they were read, but not with the other stream's between them (see `assembler`).
    ///
    /// # Errors
    /// The system fails.
    pub fn read(mut self, query: Query, mut each: impl FnMut(Record<'_>) -> Flow) -> Result<()> {
        let query = &query;
        let mut watch = Watch::new(query);
        watch.add(&self.path);
        let mut passage = Passage { query, start: Start::default(), assembler: Assembler::default(), each: &mut each };
        let mut begun = false;
        let mut current: Option<(File, Forward)> = None;
        loop {
            // Asked before reading: what is written before the end is read after it was seen.
            let ended = watch.has_ended();
            if self.directory.is_none() {
                self.directory = open_directory(&self.path)?;
                watch.add(&self.path);
            }
            if let Some(directory) = &self.directory
                && passage.catch_up(directory, &mut current, &mut begun)?.is_break()
            {
                return Ok(());
            }
            if ended {
                let _ = passage.release();
                return Ok(());
            }
            if !watch.sleep(passage.assembler.holds())? && passage.release().is_break() {
                return Ok(());
            }
        }
    }
}

/// What a record passes through.
struct Passage<'a> {
    query: &'a Query,
    start: Start,
    assembler: Assembler,
    each: &'a mut dyn FnMut(Record<'_>) -> Flow,
}

impl Passage<'_> {
    /// Gives all there is now. `current` is the newest file and how far it was read.
    fn catch_up(
        &mut self,
        directory: &OwnedFd,
        current: &mut Option<(File, Forward)>,
        begun: &mut bool,
    ) -> Result<Flow> {
        if !std::mem::replace(begun, true) {
            let files = files::snapshot(directory)?;
            if let Some(lines) = self.query.tail {
                self.start = tail::find(&files, lines)?;
            }
            let flow = self.files(files, self.start.first(), current);
            // Its positions mean files of that snapshot; all that comes later is after the start.
            self.start = Start::default();
            return flow;
        }
        loop {
            let Some((file, lines)) = current else {
                return self.files(files::snapshot(directory)?, Position::default(), current);
            };
            // A file is complete once it was rotated away: so look first, then read it to its end.
            let rotated = files::is_rotated(directory, file.inode);
            if self.lines(file, lines, None)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if !rotated {
                return Ok(ControlFlow::Continue(()));
            }
            let newer = files::after(directory, file.inode)?;
            if newer.is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
            if self.files(newer, Position::default(), current)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    /// Reads files to their ends; the last becomes the current one.
    fn files(&mut self, files: Vec<File>, from: Position, current: &mut Option<(File, Forward)>) -> Result<Flow> {
        let last = files.len().saturating_sub(1);
        for (index, file) in files.into_iter().enumerate().skip(from.file) {
            let too_old = self.query.since.is_some_and(|since| file.modified < since.as_second());
            if too_old && index != last {
                continue;
            }
            let mut lines = Forward::new(if index == from.file { from.offset } else { 0 });
            if self.lines(&file, &mut lines, Some(index))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            *current = Some((file, lines));
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Reads a file to its end. `index` is its place in the snapshot that the start was found in.
    fn lines(&mut self, file: &File, lines: &mut Forward, index: Option<usize>) -> Result<Flow> {
        while let Some((offset, line)) = lines.next(&file.descriptor)? {
            let Some(record) = decode(line) else { continue };
            let before_start = index.is_some_and(|file| !self.start.admits(record.stream, Position { file, offset }));
            let left_out = match record.stream {
                Stream::Stdout => self.query.without_stdout,
                Stream::Stderr => self.query.without_stderr,
            };
            if left_out || before_start || self.query.since.is_some_and(|since| record.time < since) {
                continue;
            }
            if self.query.until.is_some_and(|until| record.time > until) {
                let _ = self.release();
                return Ok(ControlFlow::Break(()));
            }
            if self.assembler.push(record.stream, record.time, &record.bytes, self.each).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn release(&mut self) -> Flow {
        self.assembler.release(self.each)
    }
}

/// What wakes a reader that follows.
struct Watch<'a> {
    query: &'a Query,
    inotify: Option<OwnedFd>,
    watched: bool,
}

impl<'a> Watch<'a> {
    fn new(query: &'a Query) -> Self {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let inotify = query.follow.as_ref().and_then(|_| inotify::init(flags).ok());
        Self { query, inotify, watched: false }
    }

    /// Watches the directory, once it is there.
    fn add(&mut self, path: &Path) {
        use inotify::WatchFlags as Flags;
        if let Some(inotify) = &self.inotify
            && !self.watched
        {
            self.watched = inotify::add_watch(inotify, path, Flags::MODIFY | Flags::CREATE | Flags::MOVED_TO).is_ok();
        }
    }

    /// Whether no more will be written.
    fn has_ended(&self) -> bool {
        let Some(end) = &self.query.follow else { return true };
        if self.query.until.is_some_and(|until| until <= Timestamp::now()) {
            return true;
        }
        let mut polled = [PollFd::new(end, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec::default())).is_ok_and(|count| count > 0)
    }

    /// Sleeps until something may have changed; false if it was only the time.
    fn sleep(&self, impatient: bool) -> Result<bool> {
        let Some(end) = &self.query.follow else { return Ok(true) };
        let watch = self.inotify.as_ref().filter(|_| self.watched);
        let mut polled = vec![PollFd::new(end, PollFlags::IN)];
        polled.extend(watch.map(|inotify| PollFd::new(inotify, PollFlags::IN)));
        let mut limits = Vec::new();
        limits.extend(impatient.then_some(PATIENCE));
        limits.extend(watch.is_none().then_some(UNWATCHED));
        limits.extend(self.query.until.map(|until| Duration::try_from(until - Timestamp::now()).unwrap_or_default()));
        let limit = limits.into_iter().min().and_then(|limit| Timespec::try_from(limit).ok());
        let woken = match poll(&mut polled, limit.as_ref()) {
            Err(Errno::INTR) => true,
            other => other.context("wait for the log")? > 0,
        };
        if let Some(inotify) = watch {
            let mut events = [0_u8; 4096];
            while rustix::io::read(inotify.as_fd(), &mut events).is_ok_and(|count| count == events.len()) {}
        }
        Ok(woken)
    }
}

fn open_directory(path: &Path) -> Result<Option<OwnedFd>> {
    match files::open_directory(path) {
        Err(Errno::NOENT) => Ok(None),
        other => other.map(Some).with_context(|| format!("open the log in `{}`", path.display())),
    }
}
