//! The confined process that unpacks a layer. Only here, and where it is decompressed, are its bytes looked at.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use failure::{Context, Result};

use super::devices::{Asking, Making};
use super::follow::{self, Blob, Follow};
use super::inflater::HEAD;
use super::process::{Child, Stop, spawn};
use super::{UnpackedLayer, confine, report};
use crate::archive::{Archive, Tape};
use crate::input::decompress;
use crate::unpack::{Unpacked, unpack};
use crate::{Compression, Digest, Hasher, Limits};

const BUFFER: usize = 256 << 10;

pub(super) struct Work {
    /// The blob.
    pub(super) blob: Blob,
    /// What an inflater makes of it; without, it is decompressed here.
    pub(super) inflated: Option<OwnedFd>,
    pub(super) tree: OwnedFd,
    pub(super) limits: Limits,
}

pub(super) fn start(work: Work, lease: BorrowedFd<'_>) -> Result<Child> {
    let tree = work.tree.try_clone().context("copy a descriptor")?;
    let (ours, answers) = follow::channel()?;
    let mut keep = vec![lease.as_raw_fd(), work.tree.as_raw_fd(), answers.as_raw_fd()];
    keep.extend(work.inflated.as_ref().map(AsRawFd::as_raw_fd));
    keep.extend(work.blob.descriptors());
    let child = spawn(&keep, move |report| {
        let tree = confine::tree(work.tree).context("confine the unpacking process")?;
        job(Work { tree, ..work }, &Asking { report, answers })
    })?;
    Ok(child.with_devices(Making::new(tree, ours)))
}

fn job(work: Work, devices: &Asking<'_>) -> Result<Vec<u8>, Stop> {
    let abandoned = Rc::new(Cell::new(false));
    match unpack_blob(work, devices, &abandoned) {
        Err(_) if abandoned.get() => Err(Stop::Abandoned),
        Err(error) => Err(Stop::Failed(error)),
        Ok(unpacked) => Ok(write_report(&unpacked)),
    }
}

fn unpack_blob(work: Work, devices: &Asking<'_>, abandoned: &Rc<Cell<bool>>) -> Result<UnpackedLayer> {
    let Work { blob, inflated, tree, limits } = work;
    let Some(inflated) = inflated else {
        let mut blob = BufReader::with_capacity(BUFFER, Follow::new(blob, abandoned.clone()));
        return match Compression::of(&mut blob)? {
            Compression::None => as_it_is(blob, tree, limits, devices),
            compression => decompressed(decompress(blob, compression)?, compression, tree, limits, devices),
        };
    };
    let mut inflated = File::from(inflated);
    let mut head = [0; HEAD];
    if inflated.read_exact(&mut head).is_err() {
        abandoned.set(true);
        return Err(report::garbled());
    }
    match compression(head[0]).ok_or_else(report::garbled)? {
        Compression::None => {
            let known = u64::from_le_bytes(*head.last_chunk().unwrap_or(&[0; 8]));
            let follow = Follow::taking_over(blob, known, abandoned.clone());
            as_it_is(BufReader::with_capacity(BUFFER, follow), tree, limits, devices)
        }
        compression => decompressed(inflated, compression, tree, limits, devices),
    }
}

fn as_it_is(blob: impl Tape, tree: OwnedFd, limits: Limits, devices: &Asking<'_>) -> Result<UnpackedLayer> {
    let mut archive = Archive::new(blob);
    let Unpacked { bytes, opaque } = unpack(&mut archive, tree, limits, devices)?;
    Ok(UnpackedLayer { diff_id: None, bytes, length: archive.position(), opaque, compression: Compression::None })
}

fn decompressed(
    plain: impl Read,
    compression: Compression,
    tree: OwnedFd,
    limits: Limits,
    devices: &Asking<'_>,
) -> Result<UnpackedLayer> {
    let hasher = Rc::new(RefCell::new(Hasher::new()));
    let plain = Hashed { inner: plain, hasher: hasher.clone(), left: stream_limit(&limits) };
    let mut archive = Archive::new(BufReader::with_capacity(BUFFER, plain));
    let Unpacked { bytes, opaque } = unpack(&mut archive, tree, limits, devices)?;
    let diff_id = hasher.take().finish();
    Ok(UnpackedLayer { diff_id: Some(diff_id), bytes, length: archive.position(), opaque, compression })
}

fn compression(byte: u8) -> Option<Compression> {
    match byte {
        0 => Some(Compression::None),
        1 => Some(Compression::Gzip),
        2 => Some(Compression::Zstd),
        _ => None,
    }
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
    let compression = compression(take(&mut payload, 1)?[0])?;
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
