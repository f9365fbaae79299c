//! A second thread for a process that has no allocator and no thread library.
//!
//! ```text
//!   lowest                                                        highest
//!   | never mapped | the thread's stack, growing down | what both share |
//! ```
//! The memory is never given back: such a process ends soon, by exec or by exit, and with it all of its threads.

use core::ffi::{c_int, c_void};
use core::mem::align_of;
use core::ptr;

use rustix::io::{Errno, Result};

use crate::call::{check, check_int};

/// Of the whole of it. The threads here do little.
const SIZE: usize = 64 << 10;
const GUARD: usize = 4 << 10;
/// Below it is no stack.
const LEAST_STACK: usize = 32 << 10;

struct Start<T: 'static> {
    shared: T,
    body: fn(&'static T),
}

/// Starts a thread that runs `body` and ends when that returns. It shares all with the caller, the C library's thread-local
/// storage too: while it makes calls that set errno, the caller must not.
///
/// # Errors
/// Limits on processes or memory.
pub fn start<T: Send + Sync + 'static>(shared: T, body: fn(&'static T)) -> Result<&'static T> {
    const { assert!(size_of::<Start<T>>() + LEAST_STACK + GUARD < SIZE && align_of::<Start<T>>() <= 16) };
    let memory = map()?;
    let place = memory.wrapping_add((SIZE - size_of::<Start<T>>()) & !15).cast::<Start<T>>();
    // SAFETY: the place is inside the mapping, aligned to 16 bytes, and nobody else knows it.
    unsafe { place.write(Start { shared, body }) };
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM;
    // SAFETY: the stack lies below `place`, is 16-byte aligned and belongs to the new thread alone; what it is given is
    // never freed once the thread exists, and may be used by two threads (`Sync`), also if the first never looks (`Send`).
    match check_int(unsafe { libc::clone(enter::<T>, place.cast(), flags, place.cast()) }) {
        // SAFETY: as above; from here on there are only shared references.
        Ok(_) => Ok(unsafe { &(*place).shared }),
        Err(errno) => {
            // SAFETY: no thread came to be; the value is taken back once, and dropped.
            drop(unsafe { place.read() });
            // SAFETY: nothing points into the mapping any more.
            unsafe { libc::munmap(memory.cast(), SIZE) };
            Err(errno)
        }
    }
}

extern "C" fn enter<T: 'static>(place: *mut c_void) -> c_int {
    // SAFETY: `start` has put the value there, for ever.
    let start: &'static Start<T> = unsafe { &*place.cast::<Start<T>>() };
    (start.body)(&start.shared);
    0
}

/// Memory with a guard below, so that a stack that grows too far ends the process instead of overwriting anything.
fn map() -> Result<*mut u8> {
    let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at a place that the kernel chooses.
    let memory = unsafe { libc::mmap(ptr::null_mut(), SIZE, access, flags, -1, 0) };
    if memory == libc::MAP_FAILED {
        return Err(Errno::NOMEM);
    }
    // SAFETY: the lowest page of the mapping that was just made.
    check(unsafe { libc::mprotect(memory, GUARD, libc::PROT_NONE) }.into())?;
    Ok(memory.cast())
}
