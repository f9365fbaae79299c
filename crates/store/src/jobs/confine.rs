//! What the processes of a job may still do.
//!
//! A copier may read and write what is open. An unpacker sees only the layer's tree as its root, has only the
//! capabilities that owners, modes, devices and file capabilities need, and only the calls that writing a tree needs:
//! no socket, no process, no mount, no exec. Both cannot gain rights, and leave no core dump.

use std::os::fd::AsFd;

use rustix::io::Result;
use rustix::process::{Resource, Rlimit, chroot, fchdir, setrlimit, umask};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

/// The memory that one process may map: buffers, a zstd window of 128 MB, the directories' names.
const LARGEST_MEMORY: u64 = 1 << 30;

/// For a process that only moves bytes between open files.
pub(super) fn stream() -> Result<()> {
    restrict(CapabilitySet::empty(), &[STREAM])
}

/// For a process that fetches: it needs sockets, and files of the system for names and certificates.
pub(super) fn network() -> Result<()> {
    limits()?;
    set_no_new_privs(true)?;
    set_capabilities(None, sets(CapabilitySet::empty()))
}

/// For a process that writes a tree: `root` becomes its root directory.
pub(super) fn tree(root: impl AsFd) -> Result<()> {
    fchdir(root)?;
    chroot(".")?;
    umask(rustix::fs::Mode::empty());
    let needed = CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::FSETID
        | CapabilitySet::MKNOD
        | CapabilitySet::SETFCAP;
    restrict(needed, &[STREAM, TREE])
}

/// For a process that compares a tree with an archive: `root` becomes its root directory, which it reads.
pub(super) fn look(root: impl AsFd) -> Result<()> {
    fchdir(root)?;
    chroot(".")?;
    restrict(CapabilitySet::DAC_READ_SEARCH, &[STREAM, LOOK])
}

fn restrict(capabilities: CapabilitySet, calls: &[&[i64]]) -> Result<()> {
    limits()?;
    set_no_new_privs(true)?;
    set_capabilities(None, sets(capabilities))?;
    sys::seccomp::load(&allow_only(calls), 0)
}

fn sets(capabilities: CapabilitySet) -> CapabilitySets {
    CapabilitySets { effective: capabilities, permitted: capabilities, inheritable: CapabilitySet::empty() }
}

fn limits() -> Result<()> {
    limit(Resource::Core, 0)?;
    limit(Resource::As, LARGEST_MEMORY)
}

fn limit(resource: Resource, most: u64) -> Result<()> {
    let hard = rustix::process::getrlimit(resource).maximum.map_or(most, |hard| hard.min(most));
    setrlimit(resource, Rlimit { current: Some(hard), maximum: Some(hard) })
}

/// Moving bytes, memory, and the end.
const STREAM: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_copy_file_range,
    libc::SYS_sendto,
    libc::SYS_close,
    // Rust checks descriptors that it closes in builds for debugging.
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_lseek,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Making files, and what is known of them.
const TREE: &[i64] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_getdents64,
    libc::SYS_ftruncate,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fsetxattr,
    libc::SYS_utimensat,
];

/// Reading files and what is known of them.
const LOOK: &[i64] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_flistxattr,
    libc::SYS_fgetxattr,
];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;

/// A filter that kills the process at any other call, or one by another architecture's numbers.
fn allow_only(calls: &[&[i64]]) -> Vec<sys::seccomp::Instruction> {
    let load = |offset| instruction(LOAD, 0, 0, offset);
    let mut filter =
        vec![load(4), instruction(JUMP_IF_EQUAL, 1, 0, ARCHITECTURE), instruction(RETURN, 0, 0, KILL_PROCESS), load(0)];
    for number in calls.iter().flat_map(|calls| *calls) {
        // Skips the next instruction, which allows, when the number is another.
        filter.push(instruction(JUMP_IF_EQUAL, 0, 1, u32::try_from(*number).unwrap_or(u32::MAX)));
        filter.push(instruction(RETURN, 0, 0, ALLOW));
    }
    filter.push(instruction(RETURN, 0, 0, KILL_PROCESS));
    filter
}

/// A `struct sock_filter` as one word.
fn instruction(code: u16, if_true: u8, if_false: u8, operand: u32) -> sys::seccomp::Instruction {
    let [low, high] = code.to_ne_bytes();
    let [a, b, c, d] = operand.to_ne_bytes();
    u64::from_ne_bytes([low, high, if_true, if_false, a, b, c, d])
}
