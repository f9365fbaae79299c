//! Landlock: what a process may still reach by name, taken from it for ever.
//!
//! A domain names the kinds of access that it *handles*: these are refused, but for those that a rule allows beneath a directory.
//! Rules hold a directory itself, not its name. Kernels know more kinds with each version; [`version`] says which.

use core::ptr;

use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Result;

use crate::call::check;

/// Executing a file.
pub const EXECUTE: u64 = 1 << 0;
/// Opening a file for writing.
pub const WRITE_FILE: u64 = 1 << 1;
/// Opening a file for reading.
pub const READ_FILE: u64 = 1 << 2;
/// Opening a directory for listing.
pub const READ_DIRECTORY: u64 = 1 << 3;
/// Removing a directory.
pub const REMOVE_DIRECTORY: u64 = 1 << 4;
/// Removing anything else.
pub const REMOVE_FILE: u64 = 1 << 5;
/// Making a character device; overlayfs's whiteouts are such.
pub const MAKE_CHARACTER_DEVICE: u64 = 1 << 6;
/// Making a directory.
pub const MAKE_DIRECTORY: u64 = 1 << 7;
/// Making a regular file.
pub const MAKE_REGULAR: u64 = 1 << 8;
/// Making a FIFO.
pub const MAKE_FIFO: u64 = 1 << 10;
/// Making a symbolic link.
pub const MAKE_SYMLINK: u64 = 1 << 12;
/// Linking and renaming between directories (version 2).
pub const REFER: u64 = 1 << 13;
/// Truncating a file (version 3).
pub const TRUNCATE: u64 = 1 << 14;

/// The kinds of access to files that a version knows.
const fn files_of(version: u32) -> u64 {
    match version {
        0 => 0,
        1 => (1 << 13) - 1,
        2 => (1 << 14) - 1,
        3 | 4 => (1 << 15) - 1,
        _ => (1 << 16) - 1,
    }
}

/// Everything that a domain handles: `struct landlock_ruleset_attr`.
#[repr(C)]
struct Handled {
    files: u64,
    network: u64,
    scopes: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    directory: i32,
}

/// What the domain leaves to its process besides the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// TCP stays as it is.
    Kept,
    /// No TCP port can be bound or connected to (version 4).
    Refused,
}

/// The version of Landlock that this kernel has.
///
/// # Errors
/// It has none, or it was not started with it.
pub fn version() -> Result<u32> {
    const CREATE_RULESET_VERSION: u32 = 1;
    let none = ptr::null::<Handled>();
    // SAFETY: with this flag the kernel takes no structure, and returns a number.
    check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, CREATE_RULESET_VERSION) })
        .map(|version| version as u32)
}

/// Refuses this process every access to files that the kernel can refuse, but for `allowed` beneath directories; signals
/// to, and abstract sockets of, processes outside of the domain (version 6); and perhaps TCP. Needs no_new_privs or CAP_SYS_ADMIN.
///
/// # Errors
/// The kernel has no Landlock, or sixteen domains are stacked already.
pub fn restrict(allowed: &[(BorrowedFd<'_>, u64)], network: Network) -> Result<()> {
    const SCOPES: u64 = 0b11;
    const TCP: u64 = 0b11;
    let version = version()?;
    let files = files_of(version);
    let handled = Handled {
        files,
        network: if version >= 4 && network == Network::Refused { TCP } else { 0 },
        scopes: if version >= 6 { SCOPES } else { 0 },
    };
    let domain = create(&handled)?;
    for (directory, kinds) in allowed {
        beneath(&domain, *directory, kinds & files)?;
    }
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, domain.as_raw_fd(), 0_u32) }).map(drop)
}

fn create(handled: &Handled) -> Result<OwnedFd> {
    // A kernel that does not know the later fields takes them as long as they are zero.
    let size = size_of::<Handled>();
    // SAFETY: the structure outlives the call, with its true size; what is returned is a new descriptor.
    unsafe {
        let number = check(libc::syscall(libc::SYS_landlock_create_ruleset, ptr::from_ref(handled), size, 0_u32))?;
        Ok(OwnedFd::from_raw_fd(number as i32))
    }
}

fn beneath(domain: &OwnedFd, directory: BorrowedFd<'_>, allowed: u64) -> Result<()> {
    const PATH_BENEATH: u32 = 1;
    let rule = Beneath { allowed, directory: directory.as_raw_fd() };
    let number = domain.as_raw_fd();
    // SAFETY: the structure has the kernel's layout and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_landlock_add_rule, number, PATH_BENEATH, ptr::from_ref(&rule), 0_u32) })
        .map(drop)
}
