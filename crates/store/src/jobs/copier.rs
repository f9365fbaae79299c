//! The process that stores a blob: it reads, hashes and writes, and looks at none of the bytes.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use failure::{Cause, Context, Error, Kind, Result};
use rustix::fs::fstatvfs;
use rustix::io::{Errno, pread, read, retry_on_intr, write};

use super::process::{Child, Stop, spawn};
use super::{Copied, Origin, Source, confine, fetcher, follow, report};
use crate::{Digest, Hasher, Limits};

pub(super) const BUFFER: usize = 256 << 10;
/// How often who follows is told how far the file is, in bytes.
const TICKET_INTERVAL: u64 = 64 << 10;
/// How often progress is told.
const PROGRESS_INTERVAL: u64 = 512 << 10;
/// How often the free space is looked at.
pub(super) const SPACE_INTERVAL: u64 = 4 << 20;

pub(super) struct Work<'a> {
    pub(super) origin: Origin<'a>,
    pub(super) target: File,
    pub(super) tickets: Option<OwnedFd>,
    pub(super) limits: Limits,
}

pub(super) fn start(work: Work<'_>, lease: BorrowedFd<'_>) -> Result<Child> {
    let mut keep = vec![lease.as_raw_fd(), work.target.as_raw_fd()];
    keep.extend(work.tickets.as_ref().map(AsRawFd::as_raw_fd));
    if let Origin::Archive(Source::Segment { file, .. } | Source::Stream(file)) = &work.origin {
        keep.push(file.as_raw_fd());
    }
    spawn(&keep, |parent| {
        let Work { origin, target, tickets, limits } = work;
        let sink = Sink::new(target, tickets, limits, parent);
        let copied = match origin {
            Origin::Registry { remote, blob, present } => fetcher::fetch(remote, &blob, present, sink),
            Origin::Archive(source) => copy(&source, sink),
        }?;
        let mut payload = copied.digest.as_bytes().to_vec();
        payload.extend(copied.length.to_le_bytes());
        Ok(payload)
    })
}

/// What the parent reads from the report.
pub(super) fn read_report(payload: &[u8]) -> Result<Copied> {
    let (digest, length) = payload.split_at_checked(32).ok_or_else(report::garbled)?;
    Ok(Copied {
        digest: Digest::from_bytes(digest.try_into().map_err(|_| report::garbled())?),
        length: u64::from_le_bytes(length.try_into().map_err(|_| report::garbled())?),
    })
}

fn copy(source: &Source, mut sink: Sink<'_>) -> Result<Copied, Stop> {
    confine::stream().context("confine the copying process")?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = read_next(source, sink.done, &mut buffer)?;
        if count == 0 {
            break;
        }
        sink.write(&buffer[..count])?;
        if sink.lost_reader {
            return Err(Stop::Abandoned);
        }
    }
    sink.finish()
}

/// The next bytes of the source; none at its end.
fn read_next(source: &Source, done: u64, buffer: &mut [u8]) -> Result<usize> {
    match source {
        Source::Stream(file) => retry_on_intr(|| read(file, &mut *buffer)).context("read the archive"),
        Source::Segment { file, offset, length } => {
            let rest = usize::try_from(length - done).unwrap_or(usize::MAX).min(buffer.len());
            if rest == 0 {
                return Ok(0);
            }
            match retry_on_intr(|| pread(file, &mut buffer[..rest], offset + done)).context("read the archive")? {
                0 => Err(Error::invalid("the archive is truncated")),
                count => Ok(count),
            }
        }
    }
}

/// Where the bytes go: into the file, to whoever follows it, into the digest.
pub(super) struct Sink<'a> {
    target: File,
    tickets: Option<OwnedFd>,
    /// Whoever followed is gone.
    pub(super) lost_reader: bool,
    limits: Limits,
    parent: BorrowedFd<'a>,
    hasher: Hasher,
    /// How much is in the file.
    pub(super) done: u64,
    /// How much was told: to who follows, to the parent; and when the free space was looked at.
    followed: u64,
    told: u64,
    checked: u64,
}

impl<'a> Sink<'a> {
    fn new(target: File, tickets: Option<OwnedFd>, limits: Limits, parent: BorrowedFd<'a>) -> Self {
        let (lost_reader, hasher) = (false, Hasher::new());
        Self { target, tickets, lost_reader, limits, parent, hasher, done: 0, followed: 0, told: 0, checked: 0 }
    }

    /// Takes bytes that are in the file already; none at its end or at `length`.
    pub(super) fn read_back(&mut self, buffer: &mut [u8], length: u64) -> Result<usize> {
        let rest = usize::try_from(length - self.done).unwrap_or(usize::MAX).min(buffer.len());
        let count = retry_on_intr(|| pread(&self.target, &mut buffer[..rest], self.done)).context("read a blob")?;
        self.note(&buffer[..count])?;
        Ok(count)
    }

    /// Takes the next bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.done >= self.checked + SPACE_INTERVAL {
            self.checked = self.done;
            check_space(&self.target, &self.limits)?;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = retry_on_intr(|| write(&self.target, rest)).map_err(write_failed)?;
            rest = &rest[count..];
        }
        self.note(bytes)
    }

    fn note(&mut self, bytes: &[u8]) -> Result<()> {
        self.done += bytes.len() as u64;
        // Who follows starts on it while this process still hashes.
        if self.done >= self.followed + TICKET_INTERVAL {
            self.followed = self.done;
            self.send_ticket(false);
        }
        self.hasher.update(bytes);
        if self.done >= self.told + PROGRESS_INTERVAL {
            self.told = self.done;
            report::send(self.parent, report::PROGRESS, &self.done.to_le_bytes()).context("report how far it is")?;
        }
        Ok(())
    }

    fn send_ticket(&mut self, complete: bool) {
        if self.tickets.as_ref().is_some_and(|tickets| !follow::send_ticket(tickets, self.done, complete)) {
            self.tickets = None;
            self.lost_reader = true;
        }
    }

    /// All is there.
    pub(super) fn finish(mut self) -> Result<Copied, Stop> {
        self.send_ticket(true);
        Ok(Copied { digest: self.hasher.finish(), length: self.done })
    }
}

fn write_failed(error: Errno) -> Error {
    Error::new(error.cause_kind(), "store a layer").with_source(error.into_source())
}

pub(super) fn check_space(file: &File, limits: &Limits) -> Result<()> {
    let space = fstatvfs(file).context("look at the free space")?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if free < limits.keep_free {
        let free = free >> 20;
        return Err(Error::new(Kind::Unavailable, format!("only {free} MB of disk are left; free some and try again")));
    }
    Ok(())
}
