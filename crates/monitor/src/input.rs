//! A program's stdin, from the side that feeds it.
//!
//! Never blocks: what the program does not take now waits in `pending`. While anything waits ([`Input::is_blocked`])
//! the feeder reads nothing more from where its bytes come from, so `pending` holds at most one read.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

/// The writing end of stdin, if there is one.
#[derive(Debug)]
pub(crate) struct Input {
    descriptor: Option<OwnedFd>,
    is_terminal: bool,
    pending: Vec<u8>,
    /// It is to be closed once nothing is pending.
    ended: bool,
}

impl Input {
    /// `descriptor` is non-blocking.
    pub(crate) fn new(descriptor: Option<OwnedFd>, is_terminal: bool) -> Self {
        Self { descriptor, is_terminal, pending: Vec::new(), ended: false }
    }

    /// Writes, or keeps what cannot be written now. Without a reader, bytes go nowhere.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if self.ended || self.descriptor.is_none() {
            return;
        }
        let taken = if self.is_blocked() { 0 } else { self.write_now(bytes) };
        if self.descriptor.is_some() {
            self.pending.extend_from_slice(&bytes[taken..]);
        }
    }

    /// No more will come: closes a pipe as soon as all was written. A terminal has no half-close.
    pub(crate) fn end(&mut self) {
        self.ended = !self.is_terminal;
        if self.ended && !self.is_blocked() {
            self.descriptor = None;
        }
    }

    /// Writes what is pending, as far as it goes.
    pub(crate) fn flush(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        let taken = self.write_now(&pending);
        if taken < pending.len() && self.descriptor.is_some() {
            pending.drain(..taken);
            self.pending = pending;
        } else if self.ended {
            self.descriptor = None;
        }
    }

    /// Whether the program has still to take something.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The descriptor to wait for while blocked.
    pub(crate) fn waits_for(&self) -> Option<&OwnedFd> {
        self.descriptor.as_ref().filter(|_| self.is_blocked())
    }

    fn write_now(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let (Some(descriptor), true) = (&self.descriptor, taken < bytes.len()) {
            match rustix::io::write(descriptor, &bytes[taken..]) {
                Ok(count) => taken += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // Nobody reads: EPIPE of a pipe, EIO of a terminal.
                Err(_) => self.descriptor = None,
            }
        }
        taken
    }
}
