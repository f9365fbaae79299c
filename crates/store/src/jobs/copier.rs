//! The process that stores a blob: it reads, hashes and writes, and looks at none of the bytes.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use failure::{Cause, Context, Error, Kind, Result};
use rustix::fs::fstatvfs;
use rustix::io::{Errno, pread, read, retry_on_intr, write};

use super::process::{Child, Stop, spawn};
use super::{Copied, Source, confine, follow, report};
use crate::{Digest, Hasher, Limits};

const BUFFER: usize = 256 << 10;
/// How often progress is told and the free space is looked at, in bytes.
const PROGRESS_INTERVAL: u64 = 4 << 20;

pub(super) struct Work {
    pub(super) source: Source,
    pub(super) target: File,
    pub(super) tickets: Option<OwnedFd>,
    pub(super) limits: Limits,
}

pub(super) fn start(work: Work, lease: BorrowedFd<'_>) -> Result<Child> {
    let source = match &work.source {
        Source::Segment { file, .. } | Source::Stream(file) => file.as_raw_fd(),
    };
    let mut keep = vec![lease.as_raw_fd(), source, work.target.as_raw_fd()];
    keep.extend(work.tickets.as_ref().map(AsRawFd::as_raw_fd));
    spawn(&keep, |parent| {
        confine::stream().context("confine the copying process")?;
        let copied = copy(&work, parent)?;
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

fn copy(work: &Work, parent: BorrowedFd<'_>) -> Result<Copied, Stop> {
    let mut buffer = vec![0; BUFFER];
    let mut hasher = Hasher::new();
    let (mut done, mut next_report) = (0, PROGRESS_INTERVAL);
    loop {
        let count = read_next(&work.source, done, &mut buffer)?;
        if count == 0 {
            break;
        }
        write_all(&work.target, &buffer[..count]).map_err(write_failed)?;
        done += count as u64;
        // The unpacker starts on it while this process still hashes.
        if work.tickets.as_ref().is_some_and(|tickets| !follow::send_ticket(tickets, done, false)) {
            return Err(Stop::Abandoned);
        }
        hasher.update(&buffer[..count]);
        if done >= next_report {
            next_report = done + PROGRESS_INTERVAL;
            report::send(parent, report::PROGRESS, &done.to_le_bytes()).map_err(|_| Stop::Abandoned)?;
            check_space(&work.target, &work.limits)?;
        }
    }
    if work.tickets.as_ref().is_some_and(|tickets| !follow::send_ticket(tickets, done, true)) {
        return Err(Stop::Abandoned);
    }
    Ok(Copied { digest: hasher.finish(), length: done })
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

fn write_all(file: &File, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let count = retry_on_intr(|| write(file, bytes))?;
        bytes = &bytes[count..];
    }
    Ok(())
}

fn write_failed(error: Errno) -> Error {
    Error::new(error.cause_kind(), "store a layer").with_source(error.into_source())
}

fn check_space(file: &File, limits: &Limits) -> Result<()> {
    let space = fstatvfs(file).context("look at the free space")?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if free < limits.keep_free {
        let free = free >> 20;
        return Err(Error::new(Kind::Unavailable, format!("only {free} MB of disk are left; free some and try again")));
    }
    Ok(())
}
