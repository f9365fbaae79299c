//! System call filters of the calling thread.

use rustix::io::{Errno, Result};

use crate::call::check;

pub mod notify;

/// One instruction of a classic BPF program: a `struct sock_filter` as a word in the machine's byte order.
pub type Instruction = u64;

/// Loads a filter for this thread and what it executes. Needs no_new_privs or CAP_SYS_ADMIN.
/// `flags` are `SECCOMP_FILTER_FLAG_*`.
///
/// # Errors
/// The kernel refuses the filter, or its length is not 1 to 4096.
pub fn load(filter: &[Instruction], flags: u32) -> Result<()> {
    set_mode_filter(filter, flags).map(drop)
}

fn set_mode_filter(filter: &[Instruction], flags: u32) -> Result<libc::c_long> {
    let length = u16::try_from(filter.len()).map_err(|_| Errno::INVAL)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut().cast() };
    // SAFETY: an instruction is eight bytes, as sock_filter is, and better aligned; the kernel copies `len` of them
    // and writes none.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) })
}
