//! Where a file has data and where it has only holes.
//!
//! An exported tree is told as the file system has it. A layer must not depend on that: whether zeros are stored or
//! left out differs between file systems, and on one of them from one minute to the next. So a layer's holes are
//! what reads as zeros: every run of at least [`LARGE`] bytes, begun and ended at multiples of [`GRAIN`]. To find
//! them, one grain in each [`LARGE`] is enough to look at, and what the file system knows to be a hole is not read.
//!
//! [`LARGE`] is large because Docker and podman unpack such a member well, but cannot write its layer again (their
//! record of the archive's bytes takes no holes): that is worth it only where the zeros would fill disks.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{SeekFrom, Stat};
use rustix::io::{Errno, Result};

/// Holes smaller than this are written as zeros where the file system tells of them.
const SMALL: u64 = 32 << 10;
/// The smallest run of zeros that is a hole of a layer.
const LARGE: u64 = 64 << 20;
/// What runs of zeros are measured in.
const GRAIN: u64 = 4 << 10;
/// A file with more pieces than this is written whole.
const MOST: usize = 4096;

/// A range of data: offset and length.
pub(super) type Piece = (u64, u64);

/// Where a file has data, if it has holes that are worth it: as the file system says.
pub(super) fn allocated(file: &OwnedFd, status: &Stat) -> Result<Option<Vec<Piece>>> {
    let size = u64::try_from(status.st_size).unwrap_or(0);
    let stored = u64::try_from(status.st_blocks).unwrap_or(0) * 512;
    if stored + SMALL > size {
        return Ok(None);
    }
    let mut pieces = Vec::new();
    let mut position = 0;
    while position < size {
        let start = match rustix::fs::seek(file, SeekFrom::Data(position)) {
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(None),
            start => start?.min(size),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))?.min(size);
        if end > start {
            pieces.push((start, end - start));
        }
        position = end.max(start + 1);
        if pieces.len() > MOST {
            return Ok(None);
        }
    }
    Ok(Some(pieces))
}

/// Where a file has more than long runs of zeros, if it has such runs: whatever the file system says.
pub(super) fn by_content(file: &OwnedFd, status: &Stat) -> Result<Option<Vec<Piece>>> {
    runs(file, status, LARGE)
}

fn runs(file: &OwnedFd, status: &Stat, large: u64) -> Result<Option<Vec<Piece>>> {
    let size = u64::try_from(status.st_size).unwrap_or(0);
    let mut scan = Scan { file, size, buffer: vec![0; GRAIN as usize] };
    let (mut pieces, mut data, mut position) = (Vec::new(), 0, 0);
    while position < size {
        let Some((start, end)) = scan.run_around(position, data)? else {
            position += large;
            continue;
        };
        if end - start >= large {
            if start > data {
                pieces.push((data, start - data));
            }
            data = end;
        }
        position = end.max(position + 1).next_multiple_of(large);
    }
    if data == 0 || pieces.len() >= MOST {
        return Ok(None);
    }
    if size > data {
        pieces.push((data, size - data));
    }
    Ok(Some(pieces))
}

struct Scan<'a> {
    file: &'a OwnedFd,
    size: u64,
    buffer: Vec<u8>,
}

impl Scan<'_> {
    /// The run of zeros that the grain at `position` belongs to, not before `least`; none when it is not zero.
    fn run_around(&mut self, position: u64, least: u64) -> Result<Option<(u64, u64)>> {
        let mut end = self.zeros_from(position)?;
        if end == position {
            return Ok(None);
        }
        let mut start = position;
        while start >= least + GRAIN && self.zeros_from(start - GRAIN)? >= start {
            start -= GRAIN;
        }
        while end < self.size {
            match self.zeros_from(end)? {
                same if same == end => break,
                further => end = further,
            }
        }
        Ok(Some((start, end)))
    }

    /// The end of the zeros that surely begin at `position`: `position` itself when there are none.
    fn zeros_from(&mut self, position: u64) -> Result<u64> {
        let known = match rustix::fs::seek(self.file, SeekFrom::Data(position)) {
            Ok(data) => data.min(self.size),
            Err(Errno::NXIO) => self.size,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => position,
            Err(errno) => return Err(errno),
        };
        let whole = known - known % GRAIN;
        if known == self.size || whole > position {
            return Ok(if known == self.size { known } else { whole });
        }
        let length = GRAIN.min(self.size - position) as usize;
        let zero = self.read_at(position, length)? && self.buffer[..length].iter().all(|byte| *byte == 0);
        Ok(if zero { position + length as u64 } else { position })
    }

    /// Fills the buffer's front; false when the file has become shorter.
    fn read_at(&mut self, position: u64, length: usize) -> Result<bool> {
        let mut filled = 0;
        while filled < length {
            match rustix::io::pread(self.file.as_fd(), &mut self.buffer[filled..length], position + filled as u64) {
                Ok(0) => return Ok(false),
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// Runs of bytes: how many, and whether they are data.
    type Parts<'a> = &'a [(u64, bool)];

    /// The pieces of a file with these stored runs of bytes, its holes left out or written as zeros.
    fn pieces(parts: Parts<'_>, dense: bool) -> Option<Vec<Piece>> {
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::TMPFILE;
        let file =
            rustix::fs::openat(rustix::fs::CWD, std::env::temp_dir(), flags, rustix::fs::Mode::from_raw_mode(0o600));
        let mut file = std::fs::File::from(file.unwrap());
        for (length, data) in parts {
            if *data || dense {
                let byte = u8::from(*data);
                file.write_all(&vec![byte; usize::try_from(*length).unwrap()]).unwrap();
            } else {
                std::io::Seek::seek(&mut file, std::io::SeekFrom::Current(i64::try_from(*length).unwrap())).unwrap();
            }
        }
        let length = parts.iter().map(|(length, _)| length).sum();
        file.set_len(length).unwrap();
        let file = OwnedFd::from(file);
        let status = rustix::fs::fstat(&file).unwrap();
        runs(&file, &status, 1 << 20).unwrap()
    }

    #[test]
    fn holes_of_a_layer_do_not_depend_on_what_is_stored() {
        const K: u64 = 1 << 10;
        let cases: &[(Parts<'_>, Option<Vec<Piece>>)] = &[
            (&[(0, true)], None),
            (&[(3000 * K, true)], None),
            (&[(1023 * K, false)], None),
            (&[(1024 * K, false)], Some(vec![])),
            (&[(5000 * K + 7, false)], Some(vec![])),
            (&[(8 * K, true), (900 * K, false), (8 * K, true), (2000 * K, true)], None),
            (&[(8 * K, true), (3000 * K, false)], Some(vec![(0, 8 * K)])),
            (&[(3000 * K, false), (1, true)], Some(vec![(3000 * K, 1)])),
            (&[(8 * K, true), (1400 * K, false)], Some(vec![(0, 8 * K)])),
            (
                &[(5 * K, true), (2048 * K, false), (4 * K, true), (1500 * K, false), (9, true)],
                Some(vec![(0, 8 * K), (2052 * K, 8 * K), (3556 * K, K + 9)]),
            ),
        ];
        for (parts, expected) in cases {
            for dense in [false, true] {
                assert_eq!(&pieces(parts, dense), expected, "{parts:?} {dense}");
            }
        }
    }
}
