//! When a process gets the processor and the disk, and where its memory comes from.
//!
//! All of it but the memory policy can be set for another process, which is how a process of the host grants what the
//! container's own root may not take.

use rustix::io::Result;
use rustix::process::Pid;

use crate::call::check;

/// How a process is scheduled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Of `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// Of `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// Of `SCHED_DEADLINE`, in nanoseconds, as the next two.
    pub runtime: u64,
    /// When the runtime must have been given.
    pub deadline: u64,
    /// How often.
    pub period: u64,
}

/// The kernel's `sched_attr`, in its second version.
#[repr(C)]
struct Raw {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    times: [u64; 3],
    utilization: [u32; 2],
}

/// Gives a process these attributes.
///
/// # Errors
/// The values do not fit together, or the caller may not.
pub fn set_attributes(process: Pid, attributes: Attributes) -> Result<()> {
    let Attributes { policy, flags, nice, priority, runtime, deadline, period } = attributes;
    let (size, times, utilization) = (size_of::<Raw>() as u32, [runtime, deadline, period], [0; 2]);
    let arguments = Raw { size, policy, flags, nice, priority, times, utilization };
    let number = process.as_raw_nonzero().get();
    // SAFETY: the structure has the kernel's layout, says its own size, and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, number, &raw const arguments, 0) }).map(drop)
}

/// Gives a process a class and a level of input and output: `class << 13 | level`.
///
/// # Errors
/// The kernel does not know the class, or the caller may not.
pub fn set_io_priority(process: Pid, priority: u16) -> Result<()> {
    const OF_PROCESS: libc::c_int = 1;
    let number = process.as_raw_nonzero().get();
    // SAFETY: three numbers, no memory.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, OF_PROCESS, number, libc::c_int::from(priority)) }).map(drop)
}

/// Where this thread's memory comes from from now on: `MPOL_*` with its flags, and one bit for each node.
///
/// # Errors
/// The mode and the nodes do not fit together, or none of the nodes may be used here.
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result<()> {
    // The kernel looks at one bit less than it is told of.
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * u64::BITS as usize + 1 };
    let pointer = if nodes.is_empty() { core::ptr::null() } else { nodes.as_ptr() };
    // SAFETY: the kernel reads as many bits as the mask has, rounded up to whole words.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode as libc::c_int, pointer, bits) }).map(drop)
}

/// Sets this process's personality (`PER_*`), which its programs inherit.
///
/// # Errors
/// The kernel does not know it.
pub fn set_personality(personality: u32) -> Result<()> {
    // SAFETY: one number, no memory.
    check(unsafe { libc::syscall(libc::SYS_personality, libc::c_ulong::from(personality)) }).map(drop)
}

/// Lets this thread run on the processors of these bits only; those that its group does not have are left out.
///
/// # Errors
/// None of them is left.
pub fn set_affinity(processors: &[u64]) -> Result<()> {
    let (length, pointer) = (size_of_val(processors), processors.as_ptr());
    // SAFETY: the kernel reads at most the given length of the slice.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, length, pointer) }).map(drop)
}

/// The processors that this thread may run on, as [`set_affinity`] takes them.
///
/// # Errors
/// The machine has more processors than the mask has bits.
pub fn affinity(processors: &mut [u64]) -> Result<()> {
    let (length, pointer) = (size_of_val(processors), processors.as_mut_ptr());
    // SAFETY: the kernel writes at most the given length of the slice.
    check(unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, length, pointer) }).map(drop)
}
