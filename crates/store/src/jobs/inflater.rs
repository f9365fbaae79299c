//! The confined process that decompresses a blob into a pipe, for the one that unpacks it.
//!
//! ```text
//! pipe := compression:u8 known:u64 bytes      compressed: what comes out of it
//! pipe := 0 known:u64                         not compressed: who unpacks reads the blob itself, whose tickets up
//!                                             to `known` were taken here
//! ```

use std::cell::Cell;
use std::io::{BufReader, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use failure::{Context, Result};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::confine;
use super::follow::{Blob, Follow};
use super::process::{Child, Stop, spawn};
use crate::Compression;
use crate::input::decompress;

/// The bytes of the head.
pub(super) const HEAD: usize = 9;
const BUFFER: usize = 128 << 10;
/// As large as one without rights may have it: fewer switches between the two.
const PIPE: usize = 1 << 20;

/// Starts it, and gives what it writes to.
pub(super) fn start(blob: Blob, lease: BorrowedFd<'_>) -> Result<(OwnedFd, Child)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).context("make a pipe")?;
    // The default size does, too.
    let _ = fcntl_setpipe_size(&writer, PIPE);
    let keep: Vec<_> = [lease.as_raw_fd(), writer.as_raw_fd()].into_iter().chain(blob.descriptors()).collect();
    let child = spawn(&keep, move |_| {
        confine::stream().context("confine the decompressing process")?;
        job(blob, &writer)
    })?;
    Ok((reader, child))
}

fn job(blob: Blob, writer: &OwnedFd) -> Result<Vec<u8>, Stop> {
    let abandoned = Rc::new(Cell::new(false));
    let follow = Follow::new(blob, abandoned.clone());
    match pump(follow, writer) {
        Err(_) if abandoned.get() => Err(Stop::Abandoned),
        other => other.map(|()| Vec::new()),
    }
}

fn pump(follow: Follow, writer: &OwnedFd) -> Result<(), Stop> {
    let mut blob = BufReader::with_capacity(BUFFER, follow);
    let compression = Compression::of(&mut blob)?;
    let mut head = vec![compression as u8];
    head.extend(blob.get_ref().known().to_le_bytes());
    write_all(writer, &head)?;
    if compression == Compression::None {
        return Ok(());
    }
    let mut plain = decompress(blob, compression)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match plain.read(&mut buffer).context("decompress the layer")? {
            0 => return Ok(()),
            count => write_all(writer, &buffer[..count])?,
        }
    }
}

fn write_all(writer: &OwnedFd, mut bytes: &[u8]) -> Result<(), Stop> {
    while !bytes.is_empty() {
        match rustix::io::write(writer, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            // Who reads is gone, and knows why.
            Err(_) => return Err(Stop::Abandoned),
        }
    }
    Ok(())
}
