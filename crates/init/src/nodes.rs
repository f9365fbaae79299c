//! Device nodes and links in an image's own `/dev`, or anywhere else in the root.
//!
//! Where `/dev` is a tmpfs of the runtime's, it comes with all of this (see the parent). Here nothing is trusted: each directory is
//! resolved in the root, the last name is never followed, and what is there already is kept only if it is what was asked for.

use core::ffi::CStr;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::{Errno, Result};

use crate::inside;
use crate::step::{Device, Entry, Missing, Target};

/// Makes a device node, or finds it.
pub(crate) fn make_device(root: BorrowedFd<'_>, device: Device<'_>) -> Result<()> {
    let directory = open_directory(root, device.entry)?;
    let name = device.entry.name;
    // The mode is exact from the first moment: what is made under a name is not changed by it afterwards.
    let mask = rustix::process::umask(Mode::empty());
    let made = rustix::fs::mknodat(&directory, name, device.kind, Mode::from_raw_mode(device.mode), device.number);
    rustix::process::umask(mask);
    let node = open_entry(&directory, name);
    match made {
        Ok(()) => {
            let (uid, gid) = (Some(Uid::from_raw(device.uid)), Some(Gid::from_raw(device.gid)));
            rustix::fs::chownat(node?, c"", uid, gid, AtFlags::EMPTY_PATH)
        }
        Err(Errno::EXIST) if is_device(&node?, device.kind, device.number)? => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Makes a symbolic link. What is there already stays, unless it is to be replaced.
pub(crate) fn make_link(root: BorrowedFd<'_>, entry: Entry<'_>, points_to: &CStr, replace: bool) -> Result<()> {
    let directory = open_directory(root, entry)?;
    match rustix::fs::symlinkat(points_to, &directory, entry.name) {
        Err(Errno::EXIST) if replace => {
            let mut found = [0; 64];
            match rustix::fs::readlinkat_raw(&directory, entry.name, &mut found) {
                Ok(length) if found.get(..length) == Some(points_to.to_bytes()) => Ok(()),
                _ => {
                    rustix::fs::unlinkat(&directory, entry.name, AtFlags::empty())?;
                    rustix::fs::symlinkat(points_to, &directory, entry.name)
                }
            }
        }
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}

/// Whether a mount of this node may cover what is open: the same node, or an empty file that was made to be covered.
pub(crate) fn check_cover(point: &OwnedFd, kind: FileType, number: u64) -> Result<()> {
    let found = rustix::fs::fstat(point)?;
    let empty = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile && found.st_size == 0;
    if empty || is_device(point, kind, number)? { Ok(()) } else { Err(Errno::EXIST) }
}

fn is_device(node: &OwnedFd, kind: FileType, number: u64) -> Result<bool> {
    let found = rustix::fs::fstat(node)?;
    Ok(FileType::from_raw_mode(found.st_mode) == kind && (kind == FileType::Fifo || found.st_rdev == number))
}

fn open_directory(root: BorrowedFd<'_>, entry: Entry<'_>) -> Result<OwnedFd> {
    inside::look_up_or_make(root, Target { path: entry.directory, missing: Missing::Directory, strict: entry.strict })
}

fn open_entry(directory: &OwnedFd, name: &CStr) -> Result<OwnedFd> {
    rustix::fs::openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}
