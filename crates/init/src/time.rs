//! Living in a new time namespace.
//!
//! It is made for the children of its maker, and its clocks can be set until somebody lives in it. Kernels before 6.2 do
//! not enter it at exec, so that this process joins it by its file. Both files are reached through the host's proc file
//! system by descriptor, and belong to this very process.

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Result;
use rustix::thread::LinkNameSpaceType;

/// Sets the clocks and joins.
pub(crate) fn enter(proc: BorrowedFd<'_>, offsets: &[u8]) -> Result<()> {
    if !offsets.is_empty() {
        let file = open_own(proc, c"self/timens_offsets", OFlags::WRONLY)?;
        rustix::io::write(file, offsets)?;
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = rustix::fs::openat(proc, c"self/ns/time_for_children", flags, Mode::empty())?;
    rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Time))
}

/// A file of this process in a proc file system, with nothing mounted over it.
pub(crate) fn open_own(proc: BorrowedFd<'_>, path: &CStr, access: OFlags) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(proc, path, access | OFlags::CLOEXEC, Mode::empty(), resolve)
}
