//! Acting with the ids of a user namespace from outside it.

use core::ffi::c_int;
use core::mem::size_of;
use core::ptr::from_ref;

use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::{Errno, Result};

/// Lets a detached mount show the ids of its file system as the namespace maps them. `attributes` are further
/// `MOUNT_ATTR_*` bits to set in the same call.
///
/// # Errors
/// The file system cannot be idmapped, or the mount is attached or idmapped already.
pub fn set_idmap(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>, attributes: u64) -> Result<()> {
    let change = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP | attributes,
        attr_clr: 0,
        propagation: 0,
        userns_fd: user_namespace.as_raw_fd() as u64,
    };
    // SAFETY: the path is an empty C string and the structure outlives the call, with its true size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            from_ref(&change),
            size_of::<libc::mount_attr>(),
        )
    };
    match result {
        0 => Ok(()),
        // SAFETY: glibc's errno is valid in every thread.
        _ => Err(Errno::from_raw_os_error(unsafe { *libc::__errno_location() })),
    }
}

/// Sets this thread's user id for file access, and returns the one before. Always check by a second call if it matters.
pub fn set_file_user(id: u32) -> u32 {
    // SAFETY: no pointers. The raw call is per thread, as is glibc's wrapper.
    let before = unsafe { libc::syscall(libc::SYS_setfsuid, id) };
    before as c_int as u32
}

/// Sets this thread's group id for file access, and returns the one before.
pub fn set_file_group(id: u32) -> u32 {
    // SAFETY: no pointers. The raw call is per thread, as is glibc's wrapper.
    let before = unsafe { libc::syscall(libc::SYS_setfsgid, id) };
    before as c_int as u32
}
