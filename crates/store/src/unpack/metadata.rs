//! Owners, modes, times and attributes of what was unpacked, in the order in which they survive each other:
//! a new owner clears setuid bits and file capabilities, a write does so too, and times come last.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::fs::{chownat, fchmod, fchown, fsetxattr, futimens, utimensat};
use rustix::io::{Errno, Result};

use crate::archive::{Entry, EntryKind, Time};

/// Which attributes of an archive are set. `trusted.*` would speak to overlayfs itself, `security.*` to this
/// host's policies; file capabilities are the one that belongs to the image.
pub(crate) fn is_taken(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name == b"security.capability" || name.starts_with(b"system.posix_acl_")
}

/// All metadata of a file that was just made by root with the permission bits of its entry, and written.
pub(super) fn set_on_file(file: BorrowedFd<'_>, entry: &Entry) -> Result<()> {
    let owned = (entry.uid, entry.gid) != (0, 0);
    if owned {
        fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    }
    if entry.mode & 0o7000 != 0 {
        fchmod(file, Mode::from_raw_mode(entry.mode))?;
    }
    set_attributes(file, &entry.attributes)?;
    futimens(file, &timestamps(Some(entry.modified)))
}

/// Owner, mode and time of a link, pipe or device that was just made by root: pipes with their mode, devices without.
pub(super) fn set_on_node(directory: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<()> {
    let owned = (entry.uid, entry.gid) != (0, 0);
    if owned {
        set_owner(directory, name, entry)?;
    }
    let needs_mode = match entry.kind {
        EntryKind::Symlink(_) => false,
        EntryKind::CharacterDevice(..) | EntryKind::BlockDevice(..) => true,
        _ => owned && entry.mode & 0o7000 != 0,
    };
    if needs_mode {
        rustix::fs::chmodat(directory, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
    }
    utimensat(directory, name, &timestamps(Some(entry.modified)), AtFlags::SYMLINK_NOFOLLOW)
}

/// The owner of what is called `name`, itself and not what it points to.
pub(super) fn set_owner(directory: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// What a directory gets when all its entries are there.
pub(super) fn set_on_directory(
    directory: BorrowedFd<'_>,
    mode: Option<u32>,
    attributes: &[(Vec<u8>, Vec<u8>)],
    modified: Option<Time>,
) -> Result<()> {
    if let Some(mode) = mode {
        fchmod(directory, Mode::from_raw_mode(mode))?;
    }
    set_attributes(directory, attributes)?;
    match modified {
        Some(_) => futimens(directory, &timestamps(modified)),
        None => Ok(()),
    }
}

fn set_attributes(file: BorrowedFd<'_>, attributes: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
    for (name, value) in attributes.iter().filter(|(name, _)| is_taken(name)) {
        match fsetxattr(file, name.as_slice(), value, XattrFlags::empty()) {
            // A file system without such attributes loses nothing that a program relies on for its rights.
            Err(Errno::OPNOTSUPP) if name.as_slice() != b"security.capability" => {}
            other => other?,
        }
    }
    Ok(())
}

/// The access time is not the archive's to say: it stays what it is.
fn timestamps(modified: Option<Time>) -> Timestamps {
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let modified = modified.map_or(omit, |time| Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() });
    Timestamps { last_access: omit, last_modification: modified }
}
