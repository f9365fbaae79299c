//! bpf(2), as far as device rules of control groups v2 need it.

use core::ffi::{c_long, c_uint};
use core::mem::size_of_val;

use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::{Errno, Result};

use crate::call::check;

const BPF_PROG_LOAD: c_uint = 5;
const BPF_PROG_ATTACH: c_uint = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
/// Programs of parent and child groups all run, and all must agree.
const BPF_F_ALLOW_MULTI: u32 = 2;

/// The part of `union bpf_attr` that loading a program needs; what is left out is zero for the kernel.
#[repr(C)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Loads a program that decides on device accesses; an instruction is a `struct bpf_insn` as a word in the machine's byte
/// order.
///
/// # Errors
/// The verifier or the kernel refuses it.
pub fn load_device_program(instructions: &[u64]) -> Result<OwnedFd> {
    let attributes = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(instructions.len()).map_err(|_| Errno::INVAL)?,
        instructions: instructions.as_ptr().addr() as u64,
        // No helper that asks for a licence is called.
        license: c"Apache-2.0".as_ptr().addr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
        kernel_version: 0,
        flags: 0,
    };
    let number = bpf(BPF_PROG_LOAD, &attributes)?;
    let number = i32::try_from(number).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Attaches a device program to the control group whose directory this is; it lives as long as the group.
///
/// # Errors
/// The directory is no v2 group, or the kernel refuses.
pub fn attach_device_program(program: BorrowedFd<'_>, group: BorrowedFd<'_>) -> Result<()> {
    let attributes = Attach {
        target: group.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    bpf(BPF_PROG_ATTACH, &attributes).map(drop)
}

fn bpf<T>(command: c_uint, attributes: &T) -> Result<c_long> {
    // SAFETY: `attributes` is a prefix of `union bpf_attr` of the size given; the pointers in it are to memory that
    // outlives the call, of which the kernel only reads.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attributes, size_of_val(attributes)) })
}
