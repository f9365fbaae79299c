//! A client as its monitor sees it: what it wants, what it has still to take.
//!
//! A frame goes to the client's socket at once. What the socket does not take waits in `queue`, and while anything
//! waits the monitor reads no more output (see [`super`]), so a queue holds the rest of one frame, or at the very end
//! of the container what was left in its pipes.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::protocol::{Decoder, Side, Wants};

/// A client that takes nothing for this long is dropped, unless it is the first.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connected client.
#[derive(Debug)]
pub(super) struct Peer {
    stream: UnixStream,
    pub(super) decoder: Decoder,
    /// What it wants; nothing is known before its Hello.
    pub(super) wants: Option<Wants>,
    /// It started the container and stays: it may take its time.
    is_first: bool,
    queue: Vec<u8>,
    /// How much of the queue was sent.
    sent: usize,
    progress: Instant,
    /// It hung up, or broke the protocol.
    pub(super) gone: bool,
}

impl Peer {
    pub(super) fn new(stream: UnixStream, first_wants: Option<Wants>) -> Self {
        Self {
            stream,
            decoder: Decoder::new(Side::Client),
            wants: first_wants,
            is_first: first_wants.is_some(),
            queue: Vec::new(),
            sent: 0,
            progress: Instant::now(),
            gone: false,
        }
    }

    /// Whether it said that it wants this.
    pub(super) fn has(&self, wants: Wants) -> bool {
        self.wants.is_some_and(|own| own.has(wants))
    }

    /// Sends bytes, or queues what cannot be sent now.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        if self.gone {
            return;
        }
        if !self.is_waiting() {
            self.progress = Instant::now();
            let taken = self.send_now(bytes);
            self.queue.extend_from_slice(&bytes[taken..]);
        } else {
            self.queue.extend_from_slice(bytes);
        }
    }

    /// Sends what waits, as far as it goes.
    pub(super) fn flush(&mut self) {
        let queue = std::mem::take(&mut self.queue);
        let taken = self.send_now(&queue[self.sent..]);
        self.sent += taken;
        if taken > 0 {
            self.progress = Instant::now();
        }
        if self.sent < queue.len() && !self.gone {
            self.queue = queue;
        } else {
            self.sent = 0;
        }
    }

    /// Whether it has still to take something.
    pub(super) fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// How long it may still take nothing; `None`: for ever, or nothing waits.
    pub(super) fn patience(&self) -> Option<Duration> {
        (self.is_waiting() && !self.is_first).then(|| PATIENCE.saturating_sub(self.progress.elapsed()))
    }

    /// Reads what it sent; `None` if nothing is there now. An end or a failure makes it `gone`.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Option<usize> {
        loop {
            match recv(&self.stream, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((count, _)) if count > 0 => return Some(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return None,
                _ => {
                    self.gone = true;
                    return None;
                }
            }
        }
    }

    /// Sends as much as goes at once.
    fn send_now(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() {
            match send(&self.stream, &bytes[taken..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => taken += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    self.gone = true;
                    return bytes.len();
                }
            }
        }
        taken
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
