//! mount_setattr: the attributes of mounts that a path or a descriptor leads to.

use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Result;

use crate::call::check;

/// What to change on a mount. Empty changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0 to leave it.
    pub propagation: u64,
}

impl Attributes {
    /// Whether there is nothing to change.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.set == 0 && self.clear == 0 && self.propagation == 0
    }
}

/// No writes through this mount.
pub const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;
/// Set-uid bits have no effect.
pub const NO_SET_UID: u64 = libc::MOUNT_ATTR_NOSUID;
/// Device nodes cannot be opened.
pub const NO_DEVICES: u64 = libc::MOUNT_ATTR_NODEV;
/// Nothing can be executed.
pub const NO_EXECUTION: u64 = libc::MOUNT_ATTR_NOEXEC;
/// The field of access time modes: clear it before setting one.
pub const ACCESS_TIME: u64 = libc::MOUNT_ATTR__ATIME;
/// Access times are not kept.
pub const NO_ACCESS_TIME: u64 = libc::MOUNT_ATTR_NOATIME;
/// Access times are always kept.
pub const STRICT_ACCESS_TIME: u64 = libc::MOUNT_ATTR_STRICTATIME;
/// Access times of directories are not kept.
pub const NO_DIRECTORY_ACCESS_TIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
/// Symbolic links are not followed.
pub const NO_SYMLINK_FOLLOWING: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;

/// Changes the attributes of the mount that `mount` is the root of.
///
/// # Errors
/// It is no root of a mount, or the kernel refuses.
pub fn set_attributes(mount: BorrowedFd<'_>, attributes: Attributes) -> Result<()> {
    call(mount, libc::AT_EMPTY_PATH, attributes, 0)
}

/// As [`set_attributes`], for it and every mount below.
///
/// # Errors
/// As [`set_attributes`]; nothing was changed then.
pub fn set_attributes_recursive(mount: BorrowedFd<'_>, attributes: Attributes) -> Result<()> {
    call(mount, libc::AT_EMPTY_PATH | libc::AT_RECURSIVE, attributes, 0)
}

/// As [`crate::idmap::set_idmap`], for the mount and every mount below it.
///
/// # Errors
/// One of them is attached or mapped already, or its file system cannot; nothing was changed then.
pub fn set_idmap_recursive(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> Result<()> {
    let attributes = Attributes { set: libc::MOUNT_ATTR_IDMAP, ..Attributes::default() };
    call(mount, libc::AT_EMPTY_PATH | libc::AT_RECURSIVE, attributes, user_namespace.as_raw_fd() as u64)
}

fn call(mount: BorrowedFd<'_>, flags: libc::c_int, attributes: Attributes, user_namespace: u64) -> Result<()> {
    // SAFETY: mount_attr is plain numbers, for which zero is a value.
    let mut arguments: libc::mount_attr = unsafe { core::mem::zeroed() };
    arguments.attr_set = attributes.set;
    arguments.attr_clr = attributes.clear;
    arguments.propagation = attributes.propagation;
    arguments.userns_fd = user_namespace;
    let size = size_of::<libc::mount_attr>();
    // SAFETY: the path is a static C string and the structure outlives the call, with its size beside it.
    check(unsafe {
        libc::syscall(libc::SYS_mount_setattr, mount.as_raw_fd(), c"".as_ptr(), flags, &raw const arguments, size)
    })
    .map(drop)
}
