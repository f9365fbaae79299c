//! The processes that prove what is stored: one hashes blobs, one compares a layer's tree with the archive in its blob.
//! Both are confined; the second, which parses a stranger's archive, sees the tree as its root and can only read.
//!
//! ```text
//! report of hashing   := { digest:[32] length:u64 }          one for each blob, in the order given
//! report of comparing := bytes:u64 length:u64 { length:u32 line }    what the record of its sizes should say; what
//!                                                                    differs, as lines for people; none: it is equal
//! ```

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use failure::{Context, Error, Result};

use super::process::{Child, Stop, spawn};
use super::{confine, report};
use crate::archive::Archive;
use crate::check::{Compared, Tree, compare};
use crate::input::decompress;
use crate::{Compression, Digest, Hasher, Limits};

const BUFFER: usize = 256 << 10;
/// How often progress is told, in bytes.
const PROGRESS_INTERVAL: u64 = 16 << 20;

/// What became of the hashing of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hashed {
    pub(crate) digest: Digest,
    pub(crate) length: u64,
}

/// Starts hashing these files, one after the other.
pub(crate) fn hash(files: Vec<File>) -> Result<Child> {
    let keep: Vec<_> = files.iter().map(AsRawFd::as_raw_fd).collect();
    spawn(&keep, move |parent| {
        confine::stream().context("confine the hashing process")?;
        let mut payload = Vec::with_capacity(files.len() * 40);
        let mut told = Told { parent, done: 0, next: PROGRESS_INTERVAL };
        for file in files {
            let hashed = hash_file(file, &mut told)?;
            payload.extend(hashed.digest.as_bytes());
            payload.extend(hashed.length.to_le_bytes());
        }
        Ok(payload)
    })
}

fn hash_file(mut file: File, told: &mut Told<'_>) -> Result<Hashed, Stop> {
    let mut buffer = vec![0; BUFFER];
    let (mut hasher, mut length) = (Hasher::new(), 0);
    loop {
        // A file that cannot be read (a bad sector) has the digest of what could be.
        let count = file.read(&mut buffer).unwrap_or(0);
        if count == 0 {
            return Ok(Hashed { digest: hasher.finish(), length });
        }
        hasher.update(&buffer[..count]);
        length += count as u64;
        told.advance(count as u64)?;
    }
}

/// What the parent reads from the report of hashing.
pub(crate) fn read_hashes(payload: &[u8]) -> Result<Vec<Hashed>> {
    let (records, []) = payload.as_chunks::<40>() else { return Err(report::garbled()) };
    let read = |record: &[u8; 40]| -> Option<Hashed> {
        let (digest, length) = record.split_at(32);
        let length = u64::from_le_bytes(length.try_into().ok()?);
        Some(Hashed { digest: Digest::from_bytes(digest.try_into().ok()?), length })
    };
    records.iter().map(|record| read(record).ok_or_else(report::garbled)).collect()
}

/// Starts comparing the tree with what the blob, whose uncompressed digest is to be `diff_id`, unpacks to.
pub(crate) fn compare_with_blob(tree: OwnedFd, blob: File, diff_id: Digest, limits: Limits) -> Result<Child> {
    let keep = [tree.as_raw_fd(), blob.as_raw_fd()];
    spawn(&keep, move |parent| {
        // Who may ask for the attributes of overlayfs may do much else: this comes before the blob is looked at.
        let tree = Tree::open(tree).context("read the tree")?;
        confine::look(tree.root()).context("confine the comparing process")?;
        let compared = compare_streams(tree, blob, diff_id, limits, parent)?;
        let mut payload = [compared.bytes.to_le_bytes(), compared.length.to_le_bytes()].concat();
        for line in compared.lines {
            payload.extend(u32::try_from(line.len()).unwrap_or(0).to_le_bytes());
            payload.extend(line.into_bytes());
        }
        Ok(payload)
    })
}

fn compare_streams(
    tree: Tree,
    blob: File,
    diff_id: Digest,
    limits: Limits,
    parent: BorrowedFd<'_>,
) -> Result<Compared, Stop> {
    let told = Told { parent: parent.as_fd(), done: 0, next: PROGRESS_INTERVAL };
    let mut blob = BufReader::with_capacity(BUFFER, Telling { inner: blob, told });
    let compression = Compression::of(&mut blob)?;
    let hasher = Rc::new(RefCell::new(Hasher::new()));
    let plain = Hashing { inner: decompress(blob, compression)?, hasher: hasher.clone() };
    let plain = BufReader::with_capacity(BUFFER, plain);
    let mut compared = compare(&mut Archive::new(plain), tree, &limits)?;
    if hasher.take().finish() != diff_id {
        compared.lines.push("its blob unpacks to other bytes than the configuration says".to_owned());
    }
    Ok(compared)
}

/// What the parent reads from the report of comparing.
pub(crate) fn read_comparison(payload: &[u8]) -> Result<Compared> {
    let number = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let (bytes, rest) = payload.split_first_chunk::<8>().ok_or_else(report::garbled)?;
    let (length, mut rest) = rest.split_first_chunk::<8>().ok_or_else(report::garbled)?;
    let mut compared = Compared { bytes: number(bytes), length: number(length), lines: Vec::new() };
    while let Some((length, line)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let (line, after) = line.split_at_checked(length).ok_or_else(report::garbled)?;
        let plain = String::from_utf8_lossy(line).chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        compared.lines.push(plain);
        rest = after;
    }
    if rest.is_empty() { Ok(compared) } else { Err(report::garbled()) }
}

/// Tells the parent now and then how many bytes were read.
struct Told<'a> {
    parent: BorrowedFd<'a>,
    done: u64,
    next: u64,
}

impl Told<'_> {
    fn advance(&mut self, bytes: u64) -> Result<(), Stop> {
        self.done += bytes;
        if self.done >= self.next {
            self.next = self.done + PROGRESS_INTERVAL;
            report::send(self.parent, report::PROGRESS, &self.done.to_le_bytes()).map_err(|_| Stop::Abandoned)?;
        }
        Ok(())
    }
}

struct Telling<'a> {
    inner: File,
    told: Told<'a>,
}

impl Read for Telling<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.told.advance(count as u64) {
            Ok(()) => Ok(count),
            Err(_) => Err(io::Error::other(Error::internal("nobody listens any more"))),
        }
    }
}

struct Hashing<R> {
    inner: R,
    hasher: Rc<RefCell<Hasher>>,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.borrow_mut().update(&buffer[..count]);
        Ok(count)
    }
}
