//! Reading a growing file line by line, forwards and from its end backwards.

use std::os::fd::AsFd;

use failure::{Context, Result};
use rustix::io::Errno;

/// Read at once.
const BLOCK: usize = 64 * 1024;
/// No record is longer; a longer line is damage and is left out.
const LONGEST: usize = 1024 * 1024;

/// Whole lines from an offset on. What has no newline yet is kept until it has.
#[derive(Debug)]
pub(super) struct Forward {
    /// Of the next read.
    offset: u64,
    buffer: Vec<u8>,
    /// Where the first line that was not given starts in the buffer.
    start: usize,
    /// How far the buffer was searched for a newline.
    searched: usize,
    /// The line under way is too long and is left out.
    skipping: bool,
}

impl Forward {
    /// Starts at an offset, the beginning of a line.
    pub(super) fn new(offset: u64) -> Self {
        Self { offset, buffer: Vec::new(), start: 0, searched: 0, skipping: false }
    }

    /// The next whole line without its newline, and the offset where it begins; `None` at the end of the file.
    pub(super) fn next(&mut self, file: impl AsFd) -> Result<Option<(u64, &[u8])>> {
        loop {
            let found = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
            let Some(found) = found else {
                self.searched = self.buffer.len();
                if !self.fill(file.as_fd())? {
                    return Ok(None);
                }
                continue;
            };
            let (start, end) = (self.start, self.searched + found);
            (self.start, self.searched) = (end + 1, end + 1);
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            let offset = self.offset - (self.buffer.len() - start) as u64;
            return Ok(Some((offset, &self.buffer[start..end])));
        }
    }

    /// Reads on; false at the end of the file.
    fn fill(&mut self, file: impl AsFd) -> Result<bool> {
        self.buffer.drain(..self.start);
        (self.start, self.searched) = (0, self.searched - self.start);
        if self.buffer.len() > LONGEST {
            self.skipping = true;
            self.buffer.clear();
            self.searched = 0;
        }
        let filled = self.buffer.len();
        self.buffer.resize(filled + BLOCK, 0);
        let count = read_at(file, &mut self.buffer[filled..], self.offset);
        self.buffer.truncate(filled + count.as_ref().map_or(0, |count| *count));
        self.offset += count? as u64;
        Ok(self.buffer.len() > filled)
    }
}

/// Whole lines from the end of a file to its beginning.
#[derive(Debug)]
pub(super) struct Backward {
    /// Where the buffer begins in the file.
    offset: u64,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were not given yet.
    left: usize,
}

impl Backward {
    /// Starts before what follows the last newline of the first `size` bytes.
    pub(super) fn new(file: impl AsFd, size: u64) -> Result<Self> {
        let mut lines = Self { offset: size, buffer: Vec::new(), left: 0 };
        // What is behind the last newline is no line yet.
        loop {
            if let Some(newline) = lines.buffer[..lines.left].iter().rposition(|byte| *byte == b'\n') {
                lines.left = newline + 1;
                return Ok(lines);
            }
            lines.left = 0;
            if !lines.fill(file.as_fd())? {
                return Ok(lines);
            }
        }
    }

    /// Where the last line that was given begins: what is not given yet ends here.
    pub(super) fn position(&self) -> u64 {
        self.offset + self.left as u64
    }

    /// The next line towards the beginning, without its newline, and the offset where it begins.
    pub(super) fn next(&mut self, file: impl AsFd) -> Result<Option<(u64, &[u8])>> {
        loop {
            // The last byte that is left is the newline of the line that is looked for.
            let body = self.left.saturating_sub(1);
            let start = match self.buffer[..body].iter().rposition(|byte| *byte == b'\n') {
                Some(newline) => newline + 1,
                None if self.offset == 0 && self.left == 0 => return Ok(None),
                None if self.offset == 0 => 0,
                None if self.left > LONGEST => {
                    self.left = 0;
                    continue;
                }
                None => {
                    self.fill(file.as_fd())?;
                    continue;
                }
            };
            self.left = start;
            return Ok(Some((self.offset + start as u64, &self.buffer[start..body])));
        }
    }

    /// Puts the block before the buffer in front of what is left of it; false at the beginning of the file.
    fn fill(&mut self, file: impl AsFd) -> Result<bool> {
        let size = self.offset.min(BLOCK as u64) as usize;
        self.buffer.truncate(self.left);
        let mut block = vec![0; size];
        let mut filled = 0;
        while filled < size {
            let count = read_at(file.as_fd(), &mut block[filled..], self.offset - (size - filled) as u64)?;
            if count == 0 {
                // The file became shorter (a writer took back what it could not write whole): nothing is there.
                break;
            }
            filled += count;
        }
        block.truncate(filled);
        block.append(&mut self.buffer);
        self.buffer = block;
        self.left += filled;
        self.offset -= size as u64;
        Ok(size > 0)
    }
}

fn read_at(file: impl AsFd, buffer: &mut [u8], offset: u64) -> Result<usize> {
    loop {
        match rustix::io::pread(&file, &mut *buffer, offset) {
            Err(Errno::INTR) => {}
            other => return other.context("read the log"),
        }
    }
}
