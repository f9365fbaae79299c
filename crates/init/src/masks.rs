//! What covers a masked path: an inode that nobody in the container can replace.
//!
//! Runtimes that cover with the container's own `/dev/null` can be made to cover with something else (CVE-2025-31133). Here
//! one tiny read-only tmpfs, never attached as such, holds an empty file and an empty directory; each masked path
//! gets a mount of one of the two.

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode};
use rustix::io::{Errno, Result};
use rustix::mount::{MountAttrFlags, UnmountFlags};
use sys::mount::Attributes;

use crate::step::{FileSystem, Target};
use crate::{inside, mounts};

const FILE: &CStr = c"file";
const DIRECTORY: &CStr = c"directory";

/// The tmpfs with both.
pub(crate) fn make() -> Result<OwnedFd> {
    let closed = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NOATIME;
    let options = b"mode\x000755\0nr_inodes\x008\0size\x004096\0";
    let mask =
        mounts::make(FileSystem { kind: c"tmpfs", options, attributes: closed.bits(), propagation: 0, instead: None })?;
    rustix::fs::mknodat(&mask, FILE, FileType::RegularFile, Mode::from_raw_mode(0o444), 0)?;
    rustix::fs::mkdirat(&mask, DIRECTORY, Mode::from_raw_mode(0o555))?;
    sys::mount::set_attributes(mask.as_fd(), Attributes { set: sys::mount::READ_ONLY, ..Attributes::default() })?;
    Ok(mask)
}

/// Covers a path. One that is not there needs no cover.
pub(crate) fn cover(root: BorrowedFd<'_>, mask: &OwnedFd, path: &CStr) -> Result<()> {
    let point = match inside::look_up(root, path, false) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        found => found?,
    };
    let directory = FileType::from_raw_mode(rustix::fs::fstat(&point)?.st_mode) == FileType::Directory;
    let name = if directory { DIRECTORY } else { FILE };
    mounts::attach_at(copy_entry(root, mask, name)?, point)
}

/// Attaches one entry of a mount that is attached nowhere itself.
pub(crate) fn attach_entry(root: BorrowedFd<'_>, mount: &OwnedFd, name: &CStr, target: Target<'_>) -> Result<()> {
    mounts::attach(root, &copy_entry(root, mount, name)?, target)
}

fn copy_entry(root: BorrowedFd<'_>, mount: &OwnedFd, name: &CStr) -> Result<OwnedFd> {
    match mounts::copy_entry(mount, name) {
        Err(Errno::INVAL) => {
            mounts::attach_at(mount, root)?;
            mounts::copy_entry(mount, name)
        }
        copied => copied,
    }
}

/// Takes away what [`copy_entry`] had to attach: kernels before 6.15 copy only what is attached, so there the tmpfs lies over
/// the root for a moment, where nothing runs yet and every look-up starts below it.
pub(crate) fn put_away(mask: &OwnedFd) -> Result<()> {
    rustix::process::fchdir(mask)?;
    match rustix::mount::unmount(c".", UnmountFlags::DETACH) {
        // It was never attached.
        Ok(()) | Err(Errno::INVAL) => rustix::process::chdir(c"/"),
        Err(errno) => Err(errno),
    }
}
