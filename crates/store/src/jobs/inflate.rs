//! Decompressing a whole archive (not a layer in it) in a confined process, into a pipe.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use failure::{Context, Result};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::confine;
use super::process::{Child, Heard, Stop, spawn};
use crate::Compression;
use crate::input::{Prefixed, decompress};

const BUFFER: usize = 256 << 10;

/// A decompressor at work.
pub(crate) struct Inflating {
    /// What comes out.
    pub(crate) output: File,
    child: Child,
}

impl Inflating {
    /// Waits for its end when the output has ended.
    ///
    /// # Errors
    /// The compressed bytes were damaged.
    pub(crate) fn finish(self) -> Result<()> {
        let Self { output, mut child } = self;
        drop(output);
        loop {
            match child.hear()? {
                Heard::Nothing | Heard::Progress(_) | Heard::Said(_) => {}
                Heard::Done(_) => return Ok(()),
                Heard::Failed(error) | Heard::Abandoned(error) => return Err(error),
            }
        }
    }
}

/// Starts decompressing `input`, whose first bytes were read already.
///
/// # Errors
/// No process can be started.
pub(crate) fn inflate(input: Prefixed, compression: Compression, lease: BorrowedFd<'_>) -> Result<Inflating> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).context("make a pipe")?;
    // A larger pipe means fewer switches between the two; the default does, too.
    let _ = fcntl_setpipe_size(&writer, 1 << 20);
    let keep = [lease.as_raw_fd(), input.as_raw_fd(), writer.as_raw_fd()];
    let child = spawn(&keep, move |_| {
        confine::stream().context("confine the decompressing process")?;
        pump(input, compression, &writer)
    })?;
    Ok(Inflating { output: File::from(reader), child })
}

fn pump(input: Prefixed, compression: Compression, writer: &OwnedFd) -> Result<Vec<u8>, Stop> {
    let mut plain = decompress(BufReader::with_capacity(BUFFER, input), compression)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = plain.read(&mut buffer).context("decompress the archive")?;
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            match rustix::io::write(writer, rest) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::INTR) => {}
                Err(_) => return Err(Stop::Abandoned),
            }
        }
    }
}
