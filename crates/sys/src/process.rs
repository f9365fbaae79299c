//! Processes: fork, clone3, exec, exit.

use core::ffi::{CStr, c_char};
use core::marker::PhantomData;
use core::ptr;

use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::{Errno, Result};
use rustix::process::Pid;

use crate::call::{check, check_int};

/// Which side of [`fork`] this is.
#[derive(Debug)]
pub enum Fork {
    /// The caller; the number is the child's.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Splits this process, with the C library's own preparations: the child may allocate. For a process of one thread;
/// locks that other threads hold stay locked in the child for ever.
///
/// # Errors
/// Limits on processes or memory.
pub fn fork() -> Result<Fork> {
    // SAFETY: fork has no memory contract of its own; the child has a copy of everything.
    let number = check_int(unsafe { libc::fork() })?;
    Ok(Pid::from_raw(number).map_or(Fork::Child, Fork::Parent))
}

/// The libc crate's constant overflows its type.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// Which side of [`clone`] this is.
#[derive(Debug)]
pub enum Clone {
    /// The caller.
    Parent {
        /// The child's number, as the caller's pid namespace has it.
        pid: Pid,
        /// A handle that cannot come to mean another process.
        pidfd: OwnedFd,
    },
    /// The new process. It must not allocate, and must end with [`execute`] or [`exit`].
    Child,
}

/// Splits this process by clone3 with `CLONE_NEW*` flags. The child's parent gets SIGCHLD at its end. `cgroup` is the directory
/// of a v2 group that the child is born in.
///
/// # Errors
/// The kernel refuses a flag, a namespace or the group.
pub fn clone(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Clone> {
    let mut descriptor: libc::c_int = -1;
    // SAFETY: clone_args is plain numbers, for which zero is a value.
    let mut arguments: libc::clone_args = unsafe { core::mem::zeroed() };
    arguments.flags = flags | libc::CLONE_PIDFD as u64;
    arguments.pidfd = &raw mut descriptor as u64;
    // A sibling inherits what its parent has.
    let sibling = flags & libc::CLONE_PARENT as u64 != 0;
    arguments.exit_signal = if sibling { 0 } else { libc::SIGCHLD as u64 };
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    debug_assert!(flags & libc::CLONE_VM as u64 == 0, "the child needs memory of its own");
    let size = size_of::<libc::clone_args>();
    // SAFETY: without CLONE_VM the child runs on a copy of this stack, so returning twice is sound; the structure and
    // the place for the descriptor outlive the call.
    let number = match check(unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size) }) {
        Err(Errno::NOSYS) if cgroup.is_none() => clone_as_before(&arguments, &raw mut descriptor)?,
        other => other?,
    };
    match Pid::from_raw(number as i32) {
        None => Ok(Clone::Child),
        // SAFETY: the kernel has just put a new descriptor there, which nobody else owns.
        Some(pid) => Ok(Clone::Parent { pid, pidfd: unsafe { OwnedFd::from_raw_fd(descriptor) } }),
    }
}

/// The same by clone(2), for a process whose filter answers that there is no clone3 (as Docker's default one does).
fn clone_as_before(arguments: &libc::clone_args, descriptor: *mut libc::c_int) -> Result<libc::c_long> {
    let flags = arguments.flags | arguments.exit_signal;
    let none = ptr::null_mut::<libc::c_void>();
    // SAFETY: as for clone3; the number of the new descriptor is written where the parent's thread number would be. No
    // stack and no thread-local storage are given, so that the order of the last two, which differs between
    // architectures, does not matter.
    check(unsafe { libc::syscall(libc::SYS_clone, flags, none, descriptor, none, none) })
}

/// A string in a [`StringList`], or its end.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct StringPointer<'a>(*const c_char, PhantomData<&'a CStr>);

impl<'a> StringPointer<'a> {
    /// What ends a list.
    pub const END: Self = Self(ptr::null(), PhantomData);

    /// A string.
    #[must_use]
    pub fn new(text: &'a CStr) -> Self {
        Self(text.as_ptr(), PhantomData)
    }
}

/// Arguments or an environment, in the form that exec takes.
#[derive(Clone, Copy, Debug)]
pub struct StringList<'a>(&'a [StringPointer<'a>]);

impl<'a> StringList<'a> {
    /// A list from its pointers; none if the last of them is not [`StringPointer::END`].
    #[must_use]
    pub fn new(pointers: &'a [StringPointer<'a>]) -> Option<Self> {
        pointers.last().filter(|last| last.0.is_null()).map(|_| Self(pointers))
    }
}

/// Replaces this program. Returns only to say why not.
#[must_use]
pub fn execute(path: &CStr, arguments: StringList<'_>, environment: StringList<'_>) -> Errno {
    // SAFETY: the path and both lists end with a zero, and live until the call is over.
    let result = unsafe { libc::execve(path.as_ptr(), arguments.0.as_ptr().cast(), environment.0.as_ptr().cast()) };
    check_int(result).err().unwrap_or(Errno::INVAL)
}

/// As [`execute`], for the program that is open as `file`.
#[must_use]
pub fn execute_file(file: BorrowedFd<'_>, arguments: StringList<'_>, environment: StringList<'_>) -> Errno {
    let (arguments, environment) = (arguments.0.as_ptr(), environment.0.as_ptr());
    // SAFETY: the path is empty and static; both lists end with a zero, and live until the call is over.
    let result = unsafe {
        let (number, flags) = (file.as_raw_fd(), libc::AT_EMPTY_PATH);
        libc::syscall(libc::SYS_execveat, number, c"".as_ptr(), arguments, environment, flags)
    };
    check(result).err().unwrap_or(Errno::INVAL)
}

/// Ends this process at once: no exit handlers, no flushing.
pub fn exit(code: i32) -> ! {
    // SAFETY: the process is over; nothing can be unsound after it.
    unsafe { libc::_exit(code) }
}

/// Marks every descriptor from `first` on to be closed by exec.
///
/// # Errors
/// The kernel is older than 5.11.
pub fn close_on_exec_from(first: u32) -> Result<()> {
    // SAFETY: only flags of descriptors change; none is closed here.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) }).map(drop)
}

/// Closes every descriptor from `first` on, whoever owns it: only for a process that uses none of them any more.
///
/// # Errors
/// The kernel is older than 5.9.
pub fn close_from(first: u32) -> Result<()> {
    // SAFETY: closing is memory safe; what still owns a closed number gets EBADF, or a file opened later, which the
    // contract above excludes.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) }).map(drop)
}

/// Where this process stands, as the kernel writes it: not with a `/` in front if it is outside the root directory.
///
/// # Errors
/// The buffer is too short, or the directory was removed.
pub fn current_directory(buffer: &mut [u8]) -> Result<&[u8]> {
    // SAFETY: the kernel writes at most the given length into the buffer.
    let length = check(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) })?;
    buffer.get(..(length as usize).saturating_sub(1)).ok_or(Errno::RANGE)
}
