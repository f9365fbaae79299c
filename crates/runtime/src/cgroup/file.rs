//! Control files: open, one read or write, close. Nothing is buffered, and a write is one system call, because the
//! kernel takes each write as a whole command.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, Result};

/// No control file that is read here is larger; a list of processes is the longest.
const LARGEST: usize = 16 << 20;

/// Writes a value to a file that exists.
pub(super) fn write(path: &str, value: &str) -> Result<()> {
    write_to(&open(path)?, value)
}

/// Opens a file for more than one value.
pub(super) fn open(path: &str) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Writes one value.
pub(super) fn write_to(file: &OwnedFd, value: &str) -> Result<()> {
    loop {
        match rustix::io::write(file, value.as_bytes()) {
            Err(Errno::INTR) => {}
            result => return result.map(drop),
        }
    }
}

/// Reads a whole file as text.
pub(super) fn read(path: &str) -> Result<String> {
    let file = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = vec![0; 4096];
    let mut length = 0;
    loop {
        match rustix::io::read(&file, &mut text[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        if length == text.len() {
            if length >= LARGEST {
                return Err(Errno::FBIG);
            }
            text.resize(length * 2, 0);
        }
    }
    text.truncate(length);
    String::from_utf8(text).map_err(|_| Errno::ILSEQ)
}

/// Reads a file of one number; `max`, and v1's way to say so (the highest whole page), are `None`.
pub(super) fn read_limit(path: &str) -> Result<Option<u64>> {
    /// The highest page-aligned signed number: what v1 shows for "unlimited", with pages of up to 64 KiB.
    const UNLIMITED: u64 = 0x7fff_ffff_ffff_0000;
    Ok(read(path)?.trim().parse().ok().filter(|number| *number < UNLIMITED))
}

/// Reads a file of one number; anything else is 0.
pub(super) fn read_number(path: &str) -> Result<u64> {
    Ok(read(path)?.trim().parse().unwrap_or(0))
}

/// The number after a key at the start of a line, as in `memory.stat` and `memory.events`.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (found, number) = line.split_once(' ')?;
        (found == key).then(|| number.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::keyed;

    #[test]
    fn keys_are_whole_words() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(keyed(text, "oom_kill"), Some(3));
        assert_eq!(keyed(text, "oom"), None);
    }
}
