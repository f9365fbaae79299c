//! Reading a blob while another process still writes it.
//!
//! The writer sends a ticket for what is in the file: its length so far, with the top bit set when that is all. If
//! the tickets end without that bit, the writer is gone, and what is in the file is not the whole.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use failure::{Context, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};

const COMPLETE: u64 = 1 << 63;

/// A socket pair for tickets: a pipe's writer would get a signal when the reader is gone.
pub(super) fn channel() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).context("make a socket pair")
}

/// The same file with an offset of its own, only to read.
pub(super) fn reopen(file: &File) -> Result<File> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map(File::from)
        .context("open a staged blob")
}

/// Says that the file holds `length` bytes. False when nobody reads any more.
pub(super) fn send_ticket(socket: &OwnedFd, length: u64, complete: bool) -> bool {
    let ticket = if complete { length | COMPLETE } else { length };
    let mut rest = &ticket.to_le_bytes()[..];
    while !rest.is_empty() {
        match send(socket, rest, SendFlags::NOSIGNAL) {
            Ok(sent) => rest = &rest[sent..],
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}

/// Reads a file up to what the tickets say.
pub(super) struct Follow {
    file: File,
    offset: u64,
    available: u64,
    tickets: Option<OwnedFd>,
    /// Set when the writer is gone: whatever error comes of it is not this reader's own.
    abandoned: Rc<Cell<bool>>,
}

impl Follow {
    /// Begins at `offset`; `available` bytes are there already, and no more come when there are no tickets.
    pub(super) fn new(
        file: File,
        offset: u64,
        available: u64,
        tickets: Option<OwnedFd>,
        abandoned: Rc<Cell<bool>>,
    ) -> Self {
        Self { file, offset, available: offset + available, tickets, abandoned }
    }

    /// Waits for the next ticket. False when all is there.
    fn wait(&mut self) -> io::Result<bool> {
        let Some(tickets) = &self.tickets else { return Ok(false) };
        let mut ticket = [0; 8];
        let mut filled = 0;
        while filled < ticket.len() {
            match rustix::io::read(tickets.as_fd(), &mut ticket[filled..]) {
                Ok(0) => {
                    self.abandoned.set(true);
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let ticket = u64::from_le_bytes(ticket);
        self.available = ticket & !COMPLETE;
        if ticket & COMPLETE != 0 {
            self.tickets = None;
        }
        Ok(true)
    }
}

impl Read for Follow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.offset >= self.available {
            if !self.wait()? {
                return Ok(0);
            }
        }
        let rest = usize::try_from(self.available - self.offset).unwrap_or(usize::MAX);
        let length = rest.min(buffer.len());
        let count = self.file.read_at(&mut buffer[..length], self.offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += count as u64;
        Ok(count)
    }
}
