//! A layer whose bytes pass through this process: stored and hashed here, unpacked by a confined process that follows.
//!
//! ```text
//!   a container's changes  \\          blob's file          unpacker (confined) ---> layer's tree
//!   a member of a stream   /-> Feed -------------------->        |
//!                                \\___ "up to here" tickets _____/
//! ```
//!
//! Where the bytes come from a file or pipe of their own, a copier does this instead (see the module above).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, OwnedFd};

use failure::{Error, Result};

use super::process::{Child, Heard};
use super::{Copied, UnpackedLayer, copier, follow, unpacker};
use crate::{Hasher, Limits};

/// How many bytes the unpacker is told of at once.
const TICKET: u64 = 1 << 20;

/// A layer being fed.
pub(crate) struct Feed {
    target: File,
    hasher: Hasher,
    length: u64,
    told: u64,
    tickets: OwnedFd,
    unpacker: Child,
    abandoned: bool,
    limits: Limits,
    /// Where the free space is looked at next.
    look: u64,
}

/// A layer that was fed whole, and is perhaps still being unpacked.
pub(crate) struct Fed {
    copied: Copied,
    unpacker: Child,
}

impl Feed {
    /// Starts unpacking to `tree` what will be written here, and stored in `target`.
    ///
    /// # Errors
    /// No process can be started.
    pub(crate) fn start(limits: &Limits, lease: BorrowedFd<'_>, target: File, tree: OwnedFd) -> Result<Self> {
        let (tickets, receiver) = follow::channel()?;
        let blob = follow::Blob { file: follow::reopen(&target)?, offset: 0, known: 0, tickets: Some(receiver) };
        let work = unpacker::Work { blob, inflated: None, tree, limits: *limits };
        let unpacker = unpacker::start(work, lease)?;
        Ok(Self {
            target,
            hasher: Hasher::new(),
            length: 0,
            told: 0,
            tickets,
            unpacker,
            abandoned: false,
            limits: *limits,
            look: 0,
        })
    }

    /// Says that all was written.
    ///
    /// # Errors
    /// The unpacker has failed: its reason.
    pub(crate) fn end(self) -> Result<Fed> {
        if !follow::send_ticket(&self.tickets, self.length, true) {
            return Err(reason(self.unpacker));
        }
        let copied = Copied { digest: self.hasher.finish(), length: self.length };
        Ok(Fed { copied, unpacker: self.unpacker })
    }

    /// Why writing failed with `error`: if the unpacker is gone, it knows better.
    pub(crate) fn reason(self, error: Error) -> Error {
        if self.abandoned { reason(self.unpacker) } else { error }
    }
}

impl Fed {
    /// What was stored.
    pub(crate) fn copied(&self) -> Copied {
        self.copied
    }

    /// Waits until it is unpacked.
    ///
    /// # Errors
    /// It cannot be unpacked.
    pub(crate) fn wait(mut self) -> Result<UnpackedLayer> {
        loop {
            match self.unpacker.hear()? {
                Heard::Nothing | Heard::Progress(_) | Heard::Said(_) => {}
                Heard::Done(payload) => return unpacker::read_report(&payload),
                Heard::Failed(error) | Heard::Abandoned(error) => return Err(error),
            }
        }
    }
}

impl Write for Feed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.length >= self.look {
            self.look = self.length + copier::SPACE_INTERVAL;
            copier::check_space(&self.target, &self.limits).map_err(io::Error::other)?;
        }
        let count = self.target.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.length += count as u64;
        if self.length - self.told >= TICKET {
            self.told = self.length;
            if !follow::send_ticket(&self.tickets, self.length, false) {
                self.abandoned = true;
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn reason(mut unpacker: Child) -> Error {
    loop {
        match unpacker.hear() {
            Ok(Heard::Nothing | Heard::Progress(_) | Heard::Said(_)) => {}
            Ok(Heard::Failed(error) | Heard::Abandoned(error)) | Err(error) => return error,
            Ok(Heard::Done(_)) => return Error::internal("a layer ended before its end"),
        }
    }
}
