//! What `ps` shows for this process: its command line, which a process that does not exec inherits.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

static START: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static LENGTH: AtomicUsize = AtomicUsize::new(0);

/// Shows `title`, as far as it fits into the room that the command line has, and nothing of the old one. What reads the
/// arguments afterwards finds them gone: for a process that has done so, or never will.
pub fn set(title: &[u8]) {
    let (start, length) = (START.load(Ordering::Relaxed), LENGTH.load(Ordering::Relaxed));
    if start.is_null() || length == 0 {
        return;
    }
    let shown = title.len().min(length - 1);
    // SAFETY: the kernel laid the arguments out in this range, writable and for as long as the process lives; the last
    // byte stays zero, so that each argument still ends within it.
    unsafe {
        ptr::write_bytes(start, 0, length);
        ptr::copy_nonoverlapping(title.as_ptr(), start, shown);
    }
}

/// The C library calls this before main, with the arguments.
#[used]
#[unsafe(link_section = ".init_array")]
static REMEMBER: extern "C" fn(libc::c_int, *const *mut libc::c_char, *const *mut libc::c_char) = remember;

extern "C" fn remember(
    count: libc::c_int,
    arguments: *const *mut libc::c_char,
    _environment: *const *mut libc::c_char,
) {
    let count = usize::try_from(count).unwrap_or(0);
    if count == 0 || arguments.is_null() {
        return;
    }
    // SAFETY: there are `count` arguments, each a C string. Only if each begins behind the end of the one before, as
    // the kernel lays them out, is the range one piece.
    unsafe {
        let start = *arguments;
        let mut end = start;
        for index in 0..count {
            let argument = *arguments.add(index);
            if argument != end {
                return;
            }
            end = argument.add(libc::strlen(argument) + 1);
        }
        LENGTH.store(end.offset_from(start) as usize, Ordering::Relaxed);
        START.store(start.cast(), Ordering::Relaxed);
    }
}
