//! The confined process that decompresses a blob and unpacks it. Only here are a layer's bytes looked at.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use failure::{Context, Result};

use super::follow::Follow;
use super::process::{Child, Stop, spawn};
use super::{UnpackedLayer, confine, report};
use crate::archive::Archive;
use crate::input::decompress;
use crate::unpack::{Unpacked, unpack};
use crate::{Compression, Digest, Hasher, Limits};

const BUFFER: usize = 256 << 10;

pub(super) struct Work {
    pub(super) blob: File,
    pub(super) offset: u64,
    /// How much of the blob is there already.
    pub(super) known: u64,
    pub(super) tickets: Option<OwnedFd>,
    pub(super) tree: OwnedFd,
    pub(super) limits: Limits,
}

pub(super) fn start(work: Work, lease: BorrowedFd<'_>) -> Result<Child> {
    let mut keep = vec![lease.as_raw_fd(), work.blob.as_raw_fd(), work.tree.as_raw_fd()];
    keep.extend(work.tickets.as_ref().map(AsRawFd::as_raw_fd));
    spawn(&keep, move |_| {
        confine::tree(&work.tree).context("confine the unpacking process")?;
        job(work)
    })
}

fn job(work: Work) -> Result<Vec<u8>, Stop> {
    let abandoned = Rc::new(Cell::new(false));
    let follow = Follow::new(work.blob, work.offset, work.known, work.tickets, abandoned.clone());
    let result = unpack_blob(follow, work.tree, work.limits);
    match result {
        Err(_) if abandoned.get() => Err(Stop::Abandoned),
        Err(error) => Err(Stop::Failed(error)),
        Ok(unpacked) => Ok(write_report(&unpacked)),
    }
}

fn unpack_blob(follow: Follow, tree: OwnedFd, limits: Limits) -> Result<UnpackedLayer> {
    let mut blob = BufReader::with_capacity(BUFFER, follow);
    let compression = Compression::of(&mut blob)?;
    if compression == Compression::None {
        let mut archive = Archive::new(blob);
        let Unpacked { bytes, opaque } = unpack(&mut archive, tree, limits)?;
        return Ok(UnpackedLayer { diff_id: None, bytes, length: archive.position(), opaque, compression });
    }
    let hasher = Rc::new(RefCell::new(Hasher::new()));
    let plain = Hashed { inner: decompress(blob, compression)?, hasher: hasher.clone(), left: stream_limit(&limits) };
    let plain = BufReader::with_capacity(BUFFER, plain);
    let mut archive = Archive::new(plain);
    let Unpacked { bytes, opaque } = unpack(&mut archive, tree, limits)?;
    let diff_id = hasher.take().finish();
    Ok(UnpackedLayer { diff_id: Some(diff_id), bytes, length: archive.position(), opaque, compression })
}

/// The most bytes that may come out of a decompressor: the files' bytes, and room for headers and padding.
fn stream_limit(limits: &Limits) -> u64 {
    limits.layer_bytes.saturating_add(limits.layer_entries.saturating_mul(4096))
}

/// Hashes what comes out of a decompressor, and ends it when it is too much.
struct Hashed<R> {
    inner: R,
    hasher: Rc<RefCell<Hasher>>,
    left: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.borrow_mut().update(&buffer[..count]);
        self.left =
            self.left.checked_sub(count as u64).ok_or_else(|| io::Error::other("it decompresses to too much"))?;
        Ok(count)
    }
}

/// ```text
/// report := compression:u8 bytes:u64 length:u64 (0 | 1 diff id:[32]) { length:u32 path }
/// ```
fn write_report(unpacked: &UnpackedLayer) -> Vec<u8> {
    let mut payload = vec![unpacked.compression as u8];
    payload.extend(unpacked.bytes.to_le_bytes());
    payload.extend(unpacked.length.to_le_bytes());
    match &unpacked.diff_id {
        None => payload.push(0),
        Some(diff_id) => {
            payload.push(1);
            payload.extend(diff_id.as_bytes());
        }
    }
    for path in &unpacked.opaque {
        payload.extend(u32::try_from(path.len()).unwrap_or(0).to_le_bytes());
        payload.extend(path);
    }
    payload
}

/// What the parent reads from the report.
pub(super) fn read_report(payload: &[u8]) -> Result<UnpackedLayer> {
    parse_report(payload).ok_or_else(report::garbled)
}

fn parse_report(mut payload: &[u8]) -> Option<UnpackedLayer> {
    fn take<'a>(payload: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
        let (front, rest) = payload.split_at_checked(length)?;
        *payload = rest;
        Some(front)
    }
    let compression = match take(&mut payload, 1)?[0] {
        0 => Compression::None,
        1 => Compression::Gzip,
        2 => Compression::Zstd,
        _ => return None,
    };
    let bytes = u64::from_le_bytes(take(&mut payload, 8)?.try_into().ok()?);
    let length = u64::from_le_bytes(take(&mut payload, 8)?.try_into().ok()?);
    let diff_id = match take(&mut payload, 1)?[0] {
        0 => None,
        1 => Some(Digest::from_bytes(take(&mut payload, 32)?.try_into().ok()?)),
        _ => return None,
    };
    let mut opaque = Vec::new();
    while !payload.is_empty() {
        let length = u32::from_le_bytes(take(&mut payload, 4)?.try_into().ok()?);
        opaque.push(take(&mut payload, length as usize)?.to_vec());
    }
    Some(UnpackedLayer { diff_id, bytes, length, opaque, compression })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_comes_back() {
        for diff_id in [None, Some(Digest::of(b"x"))] {
            let opaque = vec![b"a/b".to_vec(), b"c".to_vec()];
            let unpacked = UnpackedLayer { diff_id, bytes: 7, length: 9, opaque, compression: Compression::Zstd };
            let payload = write_report(&unpacked);
            assert_eq!(read_report(&payload).unwrap(), unpacked);
            assert!(read_report(&payload[..payload.len() - 1]).is_err());
        }
    }
}
