//! The tree being written: every path is walked from its root, one name at a time, never through a link.
//!
//! The directories from the root to where the last entry was stay open, so that entries in the usual order (a
//! directory, then what is in it) cost no walking: a directory of 100,000 files is opened once.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use failure::{Error, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::fs::{fstat, mkdirat, openat, openat2, statat, unlinkat};
use rustix::io::Errno;

use super::path::{failed, shown, split};

const OPEN_DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

pub(super) struct Tree {
    root: OwnedFd,
    /// Names and descriptors of the directories on the way to the last entry.
    open: Vec<(Vec<u8>, OwnedFd)>,
}

/// Whether directories on the way are made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Make,
    Refuse,
}

/// A walk's result: the directory, and those on the way that replaced a whiteout and so hide what is below them.
pub(super) struct Walked<'a> {
    pub(super) directory: BorrowedFd<'a>,
    pub(super) opaque: Vec<Vec<u8>>,
}

impl Tree {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root, open: Vec::new() }
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens a directory by its normalized path.
    pub(super) fn directory(&mut self, path: &[u8], missing: Missing) -> Result<Walked<'_>> {
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
        let common = self.open.iter().zip(&names).take_while(|((open, _), name)| open == *name).count();
        self.open.truncate(common);
        let mut opaque = Vec::new();
        for (depth, name) in names.iter().enumerate().skip(common) {
            let parent = self.open.last().map_or(self.root.as_fd(), |(_, directory)| directory.as_fd());
            let so_far = || names[..=depth].join(&b'/');
            let directory = match openat(parent, *name, OPEN_DIRECTORY, Mode::empty()) {
                Err(Errno::NOENT) if missing == Missing::Make => make_and_open(parent, name),
                Err(Errno::NOTDIR | Errno::LOOP) if missing == Missing::Make && is_whiteout_at(parent, name) => {
                    opaque.push(so_far());
                    unlinkat(parent, *name, AtFlags::empty()).and_then(|()| make_and_open(parent, name))
                }
                other => other,
            };
            let directory = directory.map_err(|error| walk_failed(error, path, &so_far()))?;
            self.open.push((name.to_vec(), directory));
        }
        let directory = self.open.last().map_or(self.root.as_fd(), |(_, directory)| directory.as_fd());
        Ok(Walked { directory, opaque })
    }

    /// Opens the directory of a hard link's target, in one call and beside the open ones.
    pub(super) fn elsewhere(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        loop {
            match openat2(&self.root, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), resolve)
            {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }
}

fn make_and_open(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
    openat(parent, name, OPEN_DIRECTORY, Mode::empty())
}

fn walk_failed(error: Errno, path: &[u8], so_far: &[u8]) -> Error {
    match error {
        Errno::NOTDIR | Errno::LOOP => Error::invalid(format!(
            "the path `{}` goes through `{}`, which is not a directory",
            shown(path),
            shown(so_far)
        )),
        error => failed(error, format!("open directory `{}`", shown(so_far))),
    }
}

/// Whether this is how overlayfs marks a deleted name.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

pub(super) fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn is_whiteout_at(parent: BorrowedFd<'_>, name: &[u8]) -> bool {
    statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| is_whiteout(&stat))
}

/// Removes whatever is there, with everything below it.
pub(super) fn remove(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        other => return other,
    }
    let directory = openat(parent, name, OPEN_DIRECTORY, Mode::empty())?;
    // Names are collected first: a directory that changes while it is listed may show a name twice or not at all.
    for name in names(&directory)? {
        remove(directory.as_fd(), &name)?;
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn names(directory: &OwnedFd) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut names = Vec::new();
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// Whether the two are the same file.
pub(super) fn same_file(one: &OwnedFd, one_name: &[u8], other: BorrowedFd<'_>, other_name: &[u8]) -> bool {
    one_name == other_name
        && matches!((fstat(one), fstat(other)), (Ok(a), Ok(b)) if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
}

/// The directory of a path and its name in it.
pub(super) fn locate<'a, 'p>(tree: &'a mut Tree, path: &'p [u8], missing: Missing) -> Result<(Walked<'a>, &'p [u8])> {
    let (directory, name) = split(path);
    Ok((tree.directory(directory, missing)?, name))
}
