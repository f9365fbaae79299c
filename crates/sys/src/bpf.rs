//! bpf(2), as far as device rules of control groups v2 need it.

use core::ffi::{c_long, c_uint};
use core::mem::size_of_val;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::{Errno, Result};

use crate::call::check;

const BPF_PROG_LOAD: c_uint = 5;
const BPF_PROG_ATTACH: c_uint = 8;
const BPF_PROG_DETACH: c_uint = 9;
const BPF_PROG_GET_FD_BY_ID: c_uint = 13;
const BPF_PROG_QUERY: c_uint = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
/// Programs of parent and child groups all run, and all must agree.
const BPF_F_ALLOW_MULTI: u32 = 2;
/// The program given last makes way for the new one, in one step.
const BPF_F_REPLACE: u32 = 4;

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
    replaced: u32,
}

#[repr(C)]
struct Query {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    numbers: u64,
    count: u32,
    padding: u32,
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
    attach(program, group, BPF_F_ALLOW_MULTI, None)
}

/// Makes this program the one that decides on devices in the control group whose directory this is; it lives as long as
/// the group. Others that are attached to the same group go: a single one is exchanged in one step, several go after the new
/// one has come, so that no access is ever granted that neither grants.
///
/// # Errors
/// The directory is no v2 group, or the kernel refuses.
pub fn replace_device_programs(program: BorrowedFd<'_>, group: BorrowedFd<'_>) -> Result<()> {
    let mut numbers = [0_u32; 64];
    // A kernel that cannot list them (before 4.15) cannot attach any; one that may not be asked has none of ours.
    let count = attached(group, &mut numbers).unwrap_or(0);
    let mut old: [Option<OwnedFd>; 64] = [const { None }; 64];
    for (place, number) in old.iter_mut().zip(&numbers[..count]) {
        // One that has gone meanwhile needs no replacing.
        *place = program_of(*number).ok();
    }
    if let ([Some(only)], 1) = (&old[..1], count)
        && attach(program, group, BPF_F_ALLOW_MULTI | BPF_F_REPLACE, Some(only.as_fd())).is_ok()
    {
        return Ok(());
    }
    attach(program, group, BPF_F_ALLOW_MULTI, None)?;
    old.iter().flatten().try_for_each(|old| detach(old.as_fd(), group))
}

/// How many device programs are attached to a group itself.
///
/// # Errors
/// The directory is no v2 group, or the kernel refuses.
pub fn device_programs(group: BorrowedFd<'_>) -> Result<usize> {
    attached(group, &mut [0; 64])
}

fn attach(program: BorrowedFd<'_>, group: BorrowedFd<'_>, flags: u32, replaced: Option<BorrowedFd<'_>>) -> Result<()> {
    let attributes = Attach {
        target: group.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: BPF_CGROUP_DEVICE,
        flags,
        replaced: replaced.map_or(0, |replaced| replaced.as_raw_fd().cast_unsigned()),
    };
    bpf(BPF_PROG_ATTACH, &attributes).map(drop)
}

fn detach(program: BorrowedFd<'_>, group: BorrowedFd<'_>) -> Result<()> {
    let attributes = Attach {
        target: group.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: BPF_CGROUP_DEVICE,
        flags: 0,
        replaced: 0,
    };
    match bpf(BPF_PROG_DETACH, &attributes) {
        // It went by itself.
        Err(Errno::NOENT) => Ok(()),
        result => result.map(drop),
    }
}

/// The numbers of the programs that are attached to a group itself.
fn attached(group: BorrowedFd<'_>, numbers: &mut [u32; 64]) -> Result<usize> {
    let mut attributes = Query {
        target: group.as_raw_fd().cast_unsigned(),
        kind: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        numbers: numbers.as_mut_ptr().addr() as u64,
        count: 64,
        padding: 0,
    };
    // SAFETY: `attributes` is a prefix of `union bpf_attr` of the size given, which the kernel may write to; the numbers go
    // to an array of as many places as `count` says, which outlives the call.
    check(unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut attributes, size_of_val(&attributes)) })?;
    Ok((attributes.count as usize).min(numbers.len()))
}

fn program_of(number: u32) -> Result<OwnedFd> {
    let attributes = [number, 0, 0];
    let opened = bpf(BPF_PROG_GET_FD_BY_ID, &attributes)?;
    let opened = i32::try_from(opened).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(opened) })
}

fn bpf<T>(command: c_uint, attributes: &T) -> Result<c_long> {
    // SAFETY: `attributes` is a prefix of `union bpf_attr` of the size given; the pointers in it are to memory that
    // outlives the call, of which the kernel only reads.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attributes, size_of_val(attributes)) })
}
