//! A container's writable layer, and how it goes away.
//!
//! ```text
//!   containers/<id>/layer/{upper,work}  --rename-->  trash/<random>  --later-->  gone
//! ```
//!
//! Removal is a rename: its price does not depend on what a container wrote, and a reader never sees half of it.
//! The deep delete comes after the answer. It trusts nothing in the tree: it works relative to descriptors, follows no
//! link, and holds a bounded number of descriptors whatever the depth (what lies deeper than [`DEEPEST`] is moved
//! up into the trash first, and is then a tree of its own).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use failure::{Context, Result};
use rustix::fs::{AtFlags, CWD, Dir, FileType, IFlags, Mode, OFlags, RawDir};
use rustix::io::Errno;

use crate::Store;
use crate::overlay::{UPPER, WORK};

/// How many directories one deletion holds open at once.
const DEEPEST: usize = 48;
/// Where discarded trees wait, below the store's root.
const TRASH: &str = "trash";
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Makes `layer` with its `upper` and `work` directories.
///
/// # Errors
/// It exists, or the disk is full.
pub fn create(layer: &Path) -> Result<()> {
    let failed = || format!("make the writable layer `{}`", layer.display());
    let private = Mode::from_raw_mode(0o700);
    rustix::fs::mkdirat(CWD, layer, private).with_context(failed)?;
    let directory = rustix::fs::openat(CWD, layer, DIRECTORY, Mode::empty()).with_context(failed)?;
    rustix::fs::mkdirat(&directory, WORK, private).with_context(failed)?;
    // The mode of the container's root directory, whatever the caller's umask.
    rustix::fs::mkdirat(&directory, UPPER, private).with_context(failed)?;
    rustix::fs::chmodat(&directory, UPPER, Mode::from_raw_mode(0o755), AtFlags::empty()).with_context(failed)
}

/// Moves a directory of the store (a container, a volume) into the trash, at once and whatever its size: by rename.
/// [`sweep_trash`] deletes it later. Gone already is fine.
///
/// # Errors
/// It cannot be renamed.
pub fn discard(store: &Store, directory: &Path) -> Result<()> {
    let failed = || format!("remove `{}`", directory.display());
    let trash = open_trash(store).with_context(failed)?;
    match move_to_trash(CWD, directory, trash.as_fd()) {
        Err(Errno::NOENT) => Ok(()),
        other => other.with_context(failed),
    }
}

/// Deletes what is in the trash. Several processes may do so at once.
///
/// # Errors
/// Something could not be deleted; the rest was.
pub fn sweep_trash(store: &Store) -> Result<()> {
    let failed = || format!("empty the trash of `{}`", store.root().display());
    let trash = match rustix::fs::openat(store.directory(), TRASH, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.with_context(failed)?,
    };
    // Deep trees are cut and come back as new entries, so look again until a round brings nothing new.
    loop {
        let mut sweep = Sweep { trash: trash.as_fd(), moved: false, failure: None };
        sweep.empty(rustix::fs::openat(&trash, ".", DIRECTORY, Mode::empty()).with_context(failed)?);
        match sweep {
            Sweep { moved: true, failure: None, .. } => {}
            Sweep { failure: Some(errno), .. } => return Err(errno).with_context(failed),
            Sweep { .. } => return Ok(()),
        }
    }
}

/// Deletes a tree of the store now. For small trees that nobody waits in front of.
///
/// # Errors
/// Something in it could not be deleted.
pub fn delete(store: &Store, directory: &Path) -> Result<()> {
    discard(store, directory)?;
    sweep_trash(store)
}

/// The bytes that a writable layer's files have (`docker ps --size`).
///
/// # Errors
/// It cannot be read.
pub fn size(layer: &Path) -> Result<u64> {
    size_of_tree(&layer.join(UPPER))
}

/// The bytes that all files below a directory have.
///
/// # Errors
/// It cannot be read.
pub fn size_of_tree(directory: &Path) -> Result<u64> {
    let failed = || format!("measure `{}`", directory.display());
    let upper = rustix::fs::openat(CWD, directory, DIRECTORY, Mode::empty()).with_context(failed)?;
    let mut total = 0_u64;
    let mut waiting = vec![upper];
    while let Some(directory) = waiting.pop() {
        for entry in Dir::read_from(&directory).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            if is_dot(entry.file_name()) {
                continue;
            }
            // A running container may remove things while we look.
            let Ok(status) = rustix::fs::statat(&directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            match FileType::from_raw_mode(status.st_mode) {
                FileType::RegularFile => total += u64::try_from(status.st_size).unwrap_or(0),
                FileType::Directory => {
                    waiting.extend(rustix::fs::openat(&directory, entry.file_name(), DIRECTORY, Mode::empty()));
                }
                _ => {}
            }
        }
    }
    Ok(total)
}

fn open_trash(store: &Store) -> rustix::io::Result<OwnedFd> {
    match rustix::fs::openat(store.directory(), TRASH, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    match rustix::fs::mkdirat(store.directory(), TRASH, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    rustix::fs::openat(store.directory(), TRASH, DIRECTORY, Mode::empty())
}

/// Renames something to a new random name in the trash.
fn move_to_trash(
    parent: BorrowedFd<'_>,
    name: impl rustix::path::Arg + Copy,
    trash: BorrowedFd<'_>,
) -> rustix::io::Result<()> {
    loop {
        let mut random = [0_u8; 16];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let new_name = format!("{:032x}", u128::from_ne_bytes(random));
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(parent, name, trash, new_name, flags) {
            Err(Errno::EXIST) => {}
            other => return other,
        }
    }
}

/// One pass over the trash.
struct Sweep<'a> {
    trash: BorrowedFd<'a>,
    /// Whether a deep directory was moved up, to be found by the next pass.
    moved: bool,
    /// The first thing that could not be deleted.
    failure: Option<Errno>,
}

/// A directory being emptied: itself, its name in its parent, and what is still to be done in it.
struct Level {
    directory: OwnedFd,
    name: CString,
    directories: Vec<CString>,
}

impl Sweep<'_> {
    /// Deletes everything in a directory, depth first, without recursion.
    fn empty(&mut self, directory: OwnedFd) {
        let mut levels: Vec<Level> = Vec::new();
        levels.push(self.enter(directory, c"".into()));
        loop {
            let depth = levels.len();
            let Some(level) = levels.last_mut() else { return };
            if let Some(name) = level.directories.pop() {
                let parent = level.directory.as_fd();
                if depth >= DEEPEST {
                    self.move_up(parent, &name);
                } else if let Some(child) = self.open(parent, &name) {
                    let child = self.enter(child, name);
                    levels.push(child);
                }
                continue;
            }
            let Some(done) = levels.pop() else { return };
            if let Some(parent) = levels.last() {
                let removed = rustix::fs::unlinkat(&parent.directory, &done.name, AtFlags::REMOVEDIR);
                self.note(removed);
            }
        }
    }

    /// Deletes the files of a directory and lists its directories.
    fn enter(&mut self, directory: OwnedFd, name: CString) -> Level {
        let mut directories = Vec::new();
        let mut buffer = Vec::<u8>::with_capacity(32 << 10);
        let mut entries = RawDir::new(&directory, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) => {
                    self.note(Err(errno));
                    break;
                }
            };
            let entry_name = entry.file_name();
            if is_dot(entry_name) {
                continue;
            }
            match remove_file(directory.as_fd(), entry_name, entry.file_type()) {
                Err(Errno::ISDIR) => directories.push(entry_name.to_owned()),
                other => self.note(other),
            }
        }
        Level { directory, name, directories }
    }

    fn open(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> Option<OwnedFd> {
        // Most directories of a work tree are empty.
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return None,
            Err(_) => {}
        }
        match rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()) {
            Ok(directory) => {
                make_changeable(directory.as_fd());
                Some(directory)
            }
            Err(errno) => {
                self.note(Err(errno));
                None
            }
        }
    }

    fn move_up(&mut self, parent: BorrowedFd<'_>, name: &CStr) {
        match move_to_trash(parent, name, self.trash) {
            Ok(()) => self.moved = true,
            Err(errno) => self.note(Err(errno)),
        }
    }

    /// Remembers the first failure. Gone, or filled again by nobody but another sweeper's work, is none.
    fn note(&mut self, result: rustix::io::Result<()>) {
        match result {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => self.failure = self.failure.or(Some(errno)),
        }
    }
}

fn remove_file(directory: BorrowedFd<'_>, name: &CStr, kind: FileType) -> rustix::io::Result<()> {
    if kind == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::PERM) => {
            // An immutable file, or its directory is: a privileged container may have made it so.
            make_changeable(directory);
            if kind == FileType::RegularFile {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                if let Ok(file) = rustix::fs::openat(directory, name, flags, Mode::empty()) {
                    make_changeable(file.as_fd());
                }
            }
            rustix::fs::unlinkat(directory, name, AtFlags::empty())
        }
        other => other,
    }
}

/// Takes the immutable and append-only flags away, where there are any.
fn make_changeable(file: BorrowedFd<'_>) {
    if let Ok(flags) = rustix::fs::ioctl_getflags(file)
        && flags.intersects(IFlags::IMMUTABLE | IFlags::APPEND)
    {
        let _ = rustix::fs::ioctl_setflags(file, flags - (IFlags::IMMUTABLE | IFlags::APPEND));
    }
}

fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}
