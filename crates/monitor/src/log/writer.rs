//! The writing end of a log: chunks as they were read from the container in, whole records out.
//!
//! - **One write(2) for each chunk**, of whole records, to a file opened with O_APPEND. The file is made at the first
//!   output.
//! - **A sequence of UTF-8 that a chunk cuts** is held back (at most 3 bytes a stream) and joined to the next chunk.
//! - **A full disk never stops the container.** What could not be written is cut off again (the file always ends
//!   with a whole record), counted, and when there is space again the first record says how much is missing.
//! - **Rotation** is before the record that would outgrow `max-size`, so no file is larger, unless one record is.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{CWD, Mode, OFlags, fstat, ftruncate, mkdirat, openat};
use rustix::io::Errno;

use super::files;
use super::format::{Stream, Trailer, encode};
use super::settings::{Driver, Settings};

/// The longest piece in one record: longer lines are parted, as Docker does.
const LONGEST: usize = 16 * 1024;
/// Records are written when this much has come together.
const ENOUGH: usize = 64 * 1024;
/// Bytes of a UTF-8 sequence that may be missing their end.
const HELD: usize = 3;

/// Writes what a container says.
#[derive(Debug)]
pub struct Writer {
    directory: PathBuf,
    settings: Settings,
    file: Option<Current>,
    sides: [Side; 2],
    trailer: Trailer,
    /// Records that are not written yet.
    records: Vec<u8>,
    lost: Lost,
}

/// The file that is written to.
#[derive(Debug)]
struct Current {
    directory: OwnedFd,
    descriptor: OwnedFd,
    size: u64,
}

/// One stream between two chunks.
#[derive(Debug, Default)]
struct Side {
    /// The beginning of a UTF-8 sequence.
    held: [u8; HELD],
    held_length: usize,
    /// The last record did not end its line.
    in_line: bool,
}

/// What a full disk swallowed.
#[derive(Debug, Default)]
struct Lost {
    bytes: u64,
    reason: Option<Errno>,
}

impl Writer {
    /// A writer that appends to the log in `directory`. Nothing is made before there is something to write.
    pub fn new(directory: &Path, settings: &Settings) -> Self {
        Self {
            directory: directory.to_owned(),
            settings: settings.clone(),
            file: None,
            sides: Default::default(),
            trailer: Trailer::default(),
            records: Vec::new(),
            lost: Lost::default(),
        }
    }

    /// Writes a chunk. A failing disk loses it (counted), never stops the container.
    pub fn write(&mut self, stream: Stream, chunk: &[u8]) {
        if self.settings.driver == Driver::None || chunk.is_empty() {
            return;
        }
        self.trailer.set(stream, Timestamp::now());
        let mut rest = chunk;
        let side = &mut self.sides[stream.index()];
        if side.held_length > 0 {
            // The held bytes and the first piece of the chunk make one piece.
            let first = first_piece(rest, LONGEST - HELD);
            let mut joined = side.held[..std::mem::take(&mut side.held_length)].to_vec();
            joined.extend_from_slice(first);
            rest = &rest[first.len()..];
            if rest.is_empty() {
                let kept = self.hold(stream, &joined);
                joined.truncate(kept);
            }
            self.piece(stream, &joined);
        }
        let kept = self.hold(stream, rest);
        rest = &rest[..kept];
        while !rest.is_empty() {
            let piece = first_piece(rest, LONGEST);
            rest = &rest[piece.len()..];
            self.piece(stream, piece);
        }
        self.flush();
    }

    /// Writes what was held back. Called once both streams have ended.
    pub fn finish(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let side = &mut self.sides[stream.index()];
            let (held, length) = (side.held, std::mem::take(&mut side.held_length));
            if length > 0 {
                self.trailer.set(stream, Timestamp::now());
                self.piece(stream, &held[..length]);
            }
        }
        self.flush();
    }

    /// Gives the buffer's memory back; it comes again with the next chunk.
    pub fn rest(&mut self) {
        self.records = Vec::new();
    }

    /// Keeps the beginning of a UTF-8 sequence at the end of `bytes` (only if `bytes` is not empty); returns how many
    /// bytes are to be written now.
    fn hold(&mut self, stream: Stream, bytes: &[u8]) -> usize {
        let cut = incomplete(bytes);
        if !bytes.is_empty() {
            let side = &mut self.sides[stream.index()];
            side.held[..cut].copy_from_slice(&bytes[bytes.len() - cut..]);
            side.held_length = cut;
        }
        bytes.len() - cut
    }

    /// Makes a record, and room for it.
    fn piece(&mut self, stream: Stream, piece: &[u8]) {
        if piece.is_empty() {
            return;
        }
        let before = self.records.len();
        let side = &mut self.sides[stream.index()];
        encode(piece, side.in_line, &self.trailer, &mut self.records);
        side.in_line = piece.last() != Some(&b'\n');
        let size = self.size();
        let most = self.settings.max_size.unwrap_or(u64::MAX);
        if size + self.records.len() as u64 > most && size + before as u64 > 0 {
            let record = self.records.split_off(before);
            self.flush();
            self.rotate();
            self.records.extend_from_slice(&record);
        }
        if self.records.len() >= ENOUGH {
            self.flush();
        }
    }

    /// The size of the current file.
    fn size(&mut self) -> u64 {
        self.open().map_or(0, |file| file.size)
    }

    /// Moves the files on; the next write makes a new one. On failure the old one simply grows.
    fn rotate(&mut self) {
        let Some(file) = &self.file else { return };
        if file.size > 0 && files::rotate(&file.directory, self.settings.max_files).is_ok() {
            self.file = None;
        }
    }

    /// Writes all records that were made, or counts them as lost.
    fn flush(&mut self) {
        if self.records.is_empty() {
            return;
        }
        let mut records = std::mem::take(&mut self.records);
        if self.lost.bytes > 0 {
            self.mark_loss(&mut records);
        }
        match self.append(&records) {
            Ok(()) => self.lost = Lost::default(),
            Err(errno) => {
                self.lost.bytes += records.len() as u64;
                self.lost.reason = Some(errno);
            }
        }
        records.clear();
        self.records = records;
    }

    /// Puts a record about what was lost before the others.
    fn mark_loss(&mut self, records: &mut Vec<u8>) {
        let reason = self.lost.reason.map_or_else(String::new, |errno| format!(": {errno}"));
        let line = format!("[skep: {} bytes of this log are lost{reason}]\n", self.lost.bytes);
        let mut trailer = Trailer::default();
        trailer.set(Stream::Stderr, Timestamp::now());
        let mut marked = Vec::with_capacity(records.len() + 256);
        encode(line.as_bytes(), false, &trailer, &mut marked);
        marked.extend_from_slice(records);
        *records = marked;
    }

    /// Writes whole records or nothing.
    fn append(&mut self, records: &[u8]) -> rustix::io::Result<()> {
        let file = self.open()?;
        let mut rest = records;
        while !rest.is_empty() {
            match rustix::io::write(&file.descriptor, rest) {
                Ok(0) => return file.take_back(Errno::IO),
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                Err(errno) => return file.take_back(errno),
            }
        }
        file.size += records.len() as u64;
        Ok(())
    }

    /// The current file; opened, and made if missing.
    fn open(&mut self) -> rustix::io::Result<&mut Current> {
        if self.file.is_none() {
            self.file = Some(Current::open(&self.directory)?);
        }
        self.file.as_mut().ok_or(Errno::BADF)
    }
}

impl Current {
    fn open(path: &Path) -> rustix::io::Result<Self> {
        let directory = match files::open_directory(path) {
            Err(Errno::NOENT) => {
                mkdirat(CWD, path, Mode::RWXU)?;
                files::open_directory(path)?
            }
            other => other?,
        };
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let descriptor = openat(&directory, files::CURRENT, flags, Mode::RUSR | Mode::WUSR | Mode::RGRP)?;
        let size = u64::try_from(fstat(&descriptor)?.st_size).unwrap_or(0);
        let mut file = Self { directory, descriptor, size };
        file.end_torn_record()?;
        Ok(file)
    }

    /// A crash of the last writer may have left a record without its end.
    fn end_torn_record(&mut self) -> rustix::io::Result<()> {
        let mut last = [b'\n'];
        if self.size > 0 {
            rustix::io::pread(&self.descriptor, &mut last, self.size - 1)?;
        }
        if last != [b'\n'] {
            rustix::io::write(&self.descriptor, b"\n")?;
            self.size += 1;
        }
        Ok(())
    }

    /// Cuts off what a failing write left of its records.
    fn take_back(&self, errno: Errno) -> rustix::io::Result<()> {
        let _ = ftruncate(&self.descriptor, self.size);
        Err(errno)
    }
}

/// The first line of `bytes`, or the first part of it that is not longer than `most` and does not end within a
/// UTF-8 sequence.
fn first_piece(bytes: &[u8], most: usize) -> &[u8] {
    let window = &bytes[..bytes.len().min(most)];
    if let Some(newline) = window.iter().position(|byte| *byte == b'\n') {
        return &window[..=newline];
    }
    if window.len() == bytes.len() {
        return window;
    }
    &window[..window.len() - incomplete(window)]
}

/// How many bytes at the end begin a UTF-8 sequence whose end is missing.
fn incomplete(bytes: &[u8]) -> usize {
    (1..=HELD.min(bytes.len()))
        .find(|count| {
            let error = str::from_utf8(&bytes[bytes.len() - count..]).err();
            error.is_some_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_sequences_are_seen() {
        let euro = "€".as_bytes();
        assert_eq!(incomplete(&euro[..1]), 1);
        assert_eq!(incomplete(&euro[..2]), 2);
        assert_eq!(incomplete(euro), 0);
        assert_eq!(incomplete(&"x𝄞".as_bytes()[..4]), 3);
        assert_eq!(incomplete(b"abc"), 0);
        assert_eq!(incomplete(b"\xff"), 0);
        assert_eq!(incomplete(b""), 0);
    }

    #[test]
    fn pieces_are_lines_or_parts() {
        assert_eq!(first_piece(b"one\ntwo", 100), b"one\n");
        assert_eq!(first_piece(b"two", 100), b"two");
        assert_eq!(first_piece("ab€cd".as_bytes(), 4), b"ab");
        assert_eq!(first_piece(b"abcdef", 4), b"abcd");
    }
}
