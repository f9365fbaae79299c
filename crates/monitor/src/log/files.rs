//! The files of a log, and their order while a writer rotates them.
//!
//! A rotation always gives `container.log.1` (or, with one file only, `container.log`) another inode, so a reader
//! that opened all files and then finds the same inode behind the same names has a whole and ordered picture.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use failure::{Context, Result};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, fstat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

/// The name of the current file.
pub(super) const CURRENT: &str = "container.log";
/// A picture that changes this often is taken as it is.
const TRIES: usize = 100;

/// A file of a log, open for reading.
#[derive(Debug)]
pub(super) struct File {
    pub(super) descriptor: OwnedFd,
    pub(super) inode: u64,
    /// Seconds since 1970 of the last write when it was opened.
    pub(super) modified: i64,
}

/// All files, oldest first. None if the container has not said anything.
pub(super) fn snapshot(directory: &OwnedFd) -> Result<Vec<File>> {
    let mut files: Vec<Option<File>> = Vec::new();
    for _ in 0..TRIES {
        files.clear();
        for number in 0.. {
            match open(directory, &name(number))? {
                None if number > 0 => break,
                file => files.push(file),
            }
        }
        let seen = |number: usize| files.get(number).and_then(Option::as_ref).map(|file| file.inode);
        let now = |number: usize| statat(directory, name(number), AtFlags::empty()).ok().map(|stat| stat.st_ino);
        if seen(0) == now(0) && seen(1) == now(1) {
            break;
        }
    }
    Ok(files.into_iter().rev().flatten().collect())
}

/// The files that came after the one with this inode, oldest first.
pub(super) fn after(directory: &OwnedFd, inode: u64) -> Result<Vec<File>> {
    let mut files = snapshot(directory)?;
    let known = files.iter().position(|file| file.inode == inode);
    files.drain(..known.map_or(0, |position| position + 1));
    Ok(files)
}

/// Whether `container.log` is no longer the file with this inode. A missing one does not count: the next is on its way.
pub(super) fn is_rotated(directory: &OwnedFd, inode: u64) -> bool {
    statat(directory, CURRENT, AtFlags::empty()).is_ok_and(|stat: Stat| stat.st_ino != inode)
}

/// Opens a log directory.
pub(super) fn open_directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Moves each file one name on; the oldest of `most` goes.
pub(super) fn rotate(directory: &OwnedFd, most: u32) -> rustix::io::Result<()> {
    if most <= 1 {
        return unlinkat(directory, CURRENT, AtFlags::empty());
    }
    for number in (1..most as usize - 1).rev() {
        match renameat(directory, name(number), directory, name(number + 1)) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    renameat(directory, CURRENT, directory, name(1))
}

fn name(number: usize) -> String {
    if number == 0 { CURRENT.to_owned() } else { format!("{CURRENT}.{number}") }
}

fn open(directory: &OwnedFd, name: &str) -> Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let descriptor = match openat(directory, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        other => other.with_context(|| format!("open log file `{name}`"))?,
    };
    let stat = fstat(descriptor.as_fd()).with_context(|| format!("read log file `{name}`"))?;
    Ok(Some(File { descriptor, inode: stat.st_ino, modified: stat.st_mtime as i64 }))
}
