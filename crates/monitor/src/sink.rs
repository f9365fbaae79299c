//! Where output goes on our side: a descriptor that we share with others, written without ever blocking.
//!
//! Blocking in write(2) would leave signals (ctrl-C!) and the detach keys waiting behind a stopped `less`. But
//! O_NONBLOCK belongs to the open file, which the shell and its other children share, so it is not ours to set:
//!
//! ```text
//! pipe, pseudo-terminal   opened again through /proc/self/fd, an open file of our own, non-blocking
//!                         without /proc: asked with poll(2), then at most 4096 bytes, for which a ready pipe has room
//! socket                  send(2) with MSG_DONTWAIT
//! file, other device      written as it is; it does not wait for a reader
//! ```

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, major, openat};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

/// What a ready pipe takes at least (PIPE_BUF).
const SURE: usize = 4096;

/// A descriptor of ours that output goes to; or nowhere.
#[derive(Debug)]
pub(crate) struct Sink<'a> {
    target: Option<Target<'a>>,
    pending: Vec<u8>,
    /// Nobody reads it any more.
    broken: bool,
}

#[derive(Debug)]
enum Target<'a> {
    /// Not looked at yet.
    Unknown(BorrowedFd<'a>),
    Plain(BorrowedFd<'a>),
    Socket(BorrowedFd<'a>),
    Asked(BorrowedFd<'a>),
    Own(OwnedFd),
}

impl<'a> Sink<'a> {
    pub(crate) fn new(descriptor: Option<BorrowedFd<'a>>) -> Self {
        Self { target: descriptor.map(Target::Unknown), pending: Vec::new(), broken: false }
    }

    /// Writes, or keeps what cannot be written now.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if let Some(Target::Unknown(descriptor)) = self.target {
            self.target = Some(Target::of(descriptor));
        }
        let taken = if self.is_blocked() { 0 } else { self.write_now(bytes) };
        self.pending.extend_from_slice(&bytes[taken..]);
    }

    /// Writes what is pending, as far as it goes.
    pub(crate) fn flush(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        let taken = self.write_now(&pending);
        pending.drain(..taken);
        if !pending.is_empty() {
            self.pending = pending;
        }
    }

    /// Whether something is pending: then give it no more, and wait for [`Sink::waits_for`].
    pub(crate) fn is_blocked(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The descriptor to wait for while blocked.
    pub(crate) fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        self.target.as_ref().filter(|_| self.is_blocked()).map(|target| target.as_fd())
    }

    /// Whether writing failed: a broken pipe, or a full disk.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    fn write_now(&mut self, bytes: &[u8]) -> usize {
        let Some(target) = self.target.as_ref().filter(|_| !self.broken) else { return bytes.len() };
        let mut taken = 0;
        while taken < bytes.len() {
            match target.write(&bytes[taken..]) {
                Ok(count) => taken += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    self.broken = true;
                    return bytes.len();
                }
            }
        }
        taken
    }
}

impl<'a> Target<'a> {
    fn of(descriptor: BorrowedFd<'a>) -> Self {
        let Ok(stat) = fstat(descriptor) else { return Self::Plain(descriptor) };
        let waits = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Socket => return Self::Socket(descriptor),
            FileType::Fifo => true,
            // Opening a device may do things, and opening a terminal's master makes a new terminal: only the slaves
            // of Unix98 pseudo-terminals are opened again.
            FileType::CharacterDevice => (136..=143).contains(&major(stat.st_rdev)),
            _ => false,
        };
        if !waits {
            return Self::Plain(descriptor);
        }
        let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        openat(CWD, path, flags, Mode::empty()).map_or(Self::Asked(descriptor), Self::Own)
    }

    fn write(&self, bytes: &[u8]) -> rustix::io::Result<usize> {
        match self {
            Self::Unknown(descriptor) | Self::Plain(descriptor) => rustix::io::write(descriptor, bytes),
            Self::Own(descriptor) => rustix::io::write(descriptor, bytes),
            Self::Socket(descriptor) => send(descriptor, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Self::Asked(descriptor) => {
                let mut polled = [PollFd::from_borrowed_fd(*descriptor, PollFlags::OUT)];
                if poll(&mut polled, Some(&Timespec::default()))? == 0 {
                    return Err(Errno::AGAIN);
                }
                rustix::io::write(descriptor, &bytes[..bytes.len().min(SURE)])
            }
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unknown(descriptor)
            | Self::Plain(descriptor)
            | Self::Socket(descriptor)
            | Self::Asked(descriptor) => *descriptor,
            Self::Own(descriptor) => descriptor.as_fd(),
        }
    }
}
