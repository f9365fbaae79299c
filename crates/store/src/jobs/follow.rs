//! Reading a blob while another process still writes it.
//!
//! The writer sends a ticket for what is in the file: its length so far, with the top bit set when that is all. If
//! the tickets end without that bit, the writer is gone, and what is in the file is not the whole.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
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
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map(File::from)
        .context("open a staged blob")
}

/// Says that the file holds `length` bytes. False when nobody reads any more. Who reads may be far behind, and what
/// there is no room for is not said then: only that all is there waits for room.
pub(super) fn send_ticket(socket: &OwnedFd, length: u64, complete: bool) -> bool {
    let ticket = if complete { length | COMPLETE } else { length };
    let wait = if complete { SendFlags::empty() } else { SendFlags::DONTWAIT };
    let bytes = ticket.to_le_bytes();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        match send(socket, rest, SendFlags::NOSIGNAL | wait) {
            Ok(sent) => rest = &rest[sent..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return true,
            Err(_) => return false,
        }
    }
    true
}

/// A blob to read, perhaps while it is written.
pub(super) struct Blob {
    pub(super) file: File,
    /// Where it begins in the file.
    pub(super) offset: u64,
    /// How much of it is there already.
    pub(super) known: u64,
    /// What comes after that; nothing without.
    pub(super) tickets: Option<OwnedFd>,
}

impl Blob {
    /// The same for another process, which looks after this one has: both read the same tickets.
    pub(super) fn try_clone(&self) -> Result<Self> {
        let copy = |fd: &OwnedFd| fd.try_clone().context("copy a descriptor");
        Ok(Self {
            file: self.file.try_clone().context("copy a descriptor")?,
            offset: self.offset,
            known: self.known,
            tickets: self.tickets.as_ref().map(copy).transpose()?,
        })
    }

    /// Its descriptors.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> + use<> {
        [Some(self.file.as_raw_fd()), self.tickets.as_ref().map(AsRawFd::as_raw_fd)].into_iter().flatten()
    }
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
    /// Begins at the blob's beginning.
    pub(super) fn new(blob: Blob, abandoned: Rc<Cell<bool>>) -> Self {
        let Blob { file, offset, known, tickets } = blob;
        Self { file, offset, available: offset + known, tickets, abandoned }
    }

    /// What is known after some was read, for who goes on with the same tickets: [`Follow::taking_over`].
    pub(super) fn known(&self) -> u64 {
        self.available | if self.tickets.is_none() { COMPLETE } else { 0 }
    }

    /// Begins at the blob's beginning, when another process has read some of its tickets.
    pub(super) fn taking_over(blob: Blob, known: u64, abandoned: Rc<Cell<bool>>) -> Self {
        let mut follow = Self::new(blob, abandoned);
        follow.available = known & !COMPLETE;
        if known & COMPLETE != 0 {
            follow.tickets = None;
        }
        follow
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
