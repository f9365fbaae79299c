//! Namespaces: leaving one's own, and reaching those of another process.

use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Result;
use rustix::thread::UnshareFlags;

use crate::call::check_int;

/// Gives this thread a mount namespace of its own. Only for a thread (or process) that then lives for this alone.
///
/// # Errors
/// Without CAP_SYS_ADMIN.
pub fn unshare_mounts() -> Result<()> {
    unshare(UnshareFlags::NEWNS)
}

/// Gives this process new namespaces. A new pid namespace is for its next child, not for itself.
///
/// # Errors
/// Without CAP_SYS_ADMIN, or at the kernel's limit of namespaces.
pub fn unshare(flags: UnshareFlags) -> Result<()> {
    // SAFETY: unsafe only for sharing descriptors between threads, which no caller here asks for.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// The user namespace of a process, through its pidfd. Kernels before 6.9 answer ENOTTY: open `/proc/<pid>/ns/user` then.
///
/// # Errors
/// The kernel is older, or the process is gone.
pub fn user_namespace(pidfd: BorrowedFd<'_>) -> Result<OwnedFd> {
    const PIDFD_GET_USER_NAMESPACE: libc::Ioctl = 0xff09;
    // SAFETY: the request takes no argument and returns a new descriptor that nobody else owns.
    unsafe {
        let number = check_int(libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_USER_NAMESPACE, 0))?;
        Ok(OwnedFd::from_raw_fd(number))
    }
}

/// What kind of namespace a file is: `CLONE_NEW*`.
///
/// # Errors
/// It is no namespace.
pub fn kind(file: BorrowedFd<'_>) -> Result<u32> {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: the request takes no argument and returns a number.
    check_int(unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE, 0) }).map(|kind| kind as u32)
}

/// The user namespace that a namespace belongs to.
///
/// # Errors
/// It is outside the caller's own.
pub fn owner(file: BorrowedFd<'_>) -> Result<OwnedFd> {
    const NS_GET_USERNS: libc::Ioctl = 0xb701;
    // SAFETY: the request takes no argument and returns a new descriptor that nobody else owns.
    unsafe {
        let number = check_int(libc::ioctl(file.as_raw_fd(), NS_GET_USERNS, 0))?;
        Ok(OwnedFd::from_raw_fd(number))
    }
}
