//! What a container changed: `skep diff`.
//!
//! The upper directory of the overlay is the difference already: what is in it was added or changed, a whiteout is a
//! deletion. Which of them is told by the base, seen as one tree:
//!
//! | upper | base | |
//! |---|---|---|
//! | anything | nothing there | `A` |
//! | whiteout | something | `D` |
//! | file, link, device | something | `C` |
//! | directory | directory | `C` if its owner, mode or time differ or anything below it changed |
//! | opaque directory | directory | as above, and a `D` for each name that only the base has |

use std::ffi::{CStr, CString, OsStr};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use failure::{Context, Result};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::Store;
use crate::overlay::{Base, Overlay, UPPER};

/// How a path differs from the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It was not there.
    Added,
    /// It is another file, or has other contents, or (a directory) something in it changed.
    Modified,
    /// It is gone.
    Deleted,
}

/// One changed path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// How it changed.
    pub kind: ChangeKind,
    /// Absolute in the container.
    pub path: PathBuf,
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Added => "A",
            Self::Modified => "C",
            Self::Deleted => "D",
        })
    }
}

/// All changes of a writable layer against its base, sorted by path.
///
/// # Errors
/// A layer is missing or cannot be read.
pub fn changes(store: &Store, base: &Base, writable: &Path) -> Result<Vec<Change>> {
    let below = Overlay::new(store, base, writable)?.open_base()?;
    let failed = || format!("compare `{}` with its base", writable.display());
    let upper = rustix::fs::openat(CWD, writable.join(UPPER), DIRECTORY, Mode::empty()).with_context(failed)?;
    let below = open_directory(below.as_fd(), c".").with_context(failed)?;
    let mut comparison = Comparison { changes: Vec::new() };
    comparison.run(upper, below).with_context(failed)?;
    comparison.changes.sort_unstable_by(|left, right| left.path.as_os_str().cmp(right.path.as_os_str()));
    Ok(comparison.changes)
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

struct Comparison {
    changes: Vec<Change>,
}

/// A directory being compared.
struct Level {
    upper: OwnedFd,
    /// The same directory of the base, where there is one.
    below: Option<OwnedFd>,
    path: PathBuf,
    names: std::vec::IntoIter<CString>,
    /// Whether the base has it too and nothing about it was seen to differ, so far.
    same: bool,
}

impl Comparison {
    fn run(&mut self, upper: OwnedFd, below: Option<OwnedFd>) -> rustix::io::Result<()> {
        let names = names(&upper)?.into_iter();
        let mut levels = vec![Level { upper, below, path: "/".into(), names, same: true }];
        while let Some(level) = levels.last_mut() {
            if let Some(name) = level.names.next() {
                let before = self.changes.len();
                let next = self.compare(level, &name)?;
                level.same &= self.changes.len() == before;
                levels.extend(next);
                continue;
            }
            let done = levels.pop();
            let (Some(done), Some(parent)) = (done, levels.last_mut()) else { return Ok(()) };
            if done.below.is_some() && !done.same {
                parent.same = false;
                self.changes.push(Change { kind: ChangeKind::Modified, path: done.path });
            }
        }
        Ok(())
    }

    /// Compares one name. A directory is given back, to be looked into.
    fn compare(&mut self, level: &Level, name: &CStr) -> rustix::io::Result<Option<Level>> {
        // A running container may have removed it meanwhile.
        let Some(status) = status(level.upper.as_fd(), name)? else { return Ok(None) };
        let original = match &level.below {
            Some(below) => self::status(below.as_fd(), name)?,
            None => None,
        };
        let path = level.path.join(OsStr::from_bytes(name.to_bytes()));
        let kind = match (&original, is_whiteout(&status)) {
            (None, true) => return Ok(None),
            (Some(_), true) => ChangeKind::Deleted,
            (None, false) => ChangeKind::Added,
            (Some(original), false) if is_directory(&status) && is_directory(original) => {
                let (upper, below) = (open_directory(level.upper.as_fd(), name)?, level.below.as_ref());
                let Some(upper) = upper else { return Ok(None) };
                let below = below.map(|below| open_directory(below.as_fd(), name)).transpose()?.flatten();
                let hidden = self.hidden(&upper, below.as_ref(), &path)?;
                let same = !hidden && looks_same(&status, original);
                let names = names(&upper)?.into_iter();
                return Ok(Some(Level { upper, below, path, names, same }));
            }
            (Some(_), false) => ChangeKind::Modified,
        };
        self.changes.push(Change { kind, path: path.clone() });
        if !is_directory(&status) {
            return Ok(None);
        }
        let Some(upper) = open_directory(level.upper.as_fd(), name)? else { return Ok(None) };
        let names = names(&upper)?.into_iter();
        Ok(Some(Level { upper, below: None, path, names, same: false }))
    }

    /// Notes what an opaque directory hides. Says whether it is one.
    fn hidden(&mut self, upper: &OwnedFd, below: Option<&OwnedFd>, path: &Path) -> rustix::io::Result<bool> {
        let Some(below) = below else { return Ok(false) };
        if !crate::tarball::is_opaque(upper.as_fd())? {
            return Ok(false);
        }
        for name in names(below)? {
            if status(upper.as_fd(), &name)?.is_none() {
                let path = path.join(OsStr::from_bytes(name.to_bytes()));
                self.changes.push(Change { kind: ChangeKind::Deleted, path });
            }
        }
        Ok(true)
    }
}

fn status(directory: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Option<Stat>> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(status) => Ok(Some(status)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn open_directory(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Option<OwnedFd>> {
    match rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn names(directory: &OwnedFd) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

fn is_directory(status: &Stat) -> bool {
    FileType::from_raw_mode(status.st_mode) == FileType::Directory
}

fn is_whiteout(status: &Stat) -> bool {
    FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice && status.st_rdev == 0
}

fn looks_same(upper: &Stat, below: &Stat) -> bool {
    let seen = |status: &Stat| (status.st_mode, status.st_uid, status.st_gid, status.st_mtime, status.st_mtime_nsec);
    seen(upper) == seen(below)
}
