//! Giving memory back.

use core::ffi::{c_int, c_void};
use core::ptr;

use rustix::param::page_size;

/// Gives the kernel back what this process can do without while it rests: the free part of the heap, and the pages of
/// program code that are mapped here. Code comes back from the page cache when it runs again.
pub fn trim() {
    // SAFETY: malloc_trim only touches memory that the allocator holds as free.
    unsafe { libc::malloc_trim(0) };
    // SAFETY: the callback has the type that is asked for, and does not unwind.
    unsafe { libc::dl_iterate_phdr(Some(release_code), ptr::null_mut()) };
}

/// Lets go of an object's read-only segments. Writable ones are left alone: their changes exist nowhere else.
unsafe extern "C" fn release_code(object: *mut libc::dl_phdr_info, _size: usize, _data: *mut c_void) -> c_int {
    // SAFETY: the C library calls with an object that lives until this returns.
    let object = unsafe { &*object };
    // A program without headers (as the kernel's own shared object may be) has nothing to give back.
    if object.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: the object has that many headers at that place.
    let headers = unsafe { core::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) };
    let page = page_size();
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0) {
        // Only whole pages: the edges may be shared with a writable neighbour.
        let first = ((object.dlpi_addr + header.p_vaddr) as usize).next_multiple_of(page);
        let end = (object.dlpi_addr + header.p_vaddr + header.p_filesz) as usize / page * page;
        if first < end {
            // SAFETY: the range is a mapping of a file, without write access, so nothing but the file's content is in
            // it; the kernel maps it again at the next touch, even of this very code. Relocations are in writable
            // segments.
            unsafe { libc::madvise(first as *mut c_void, end - first, libc::MADV_DONTNEED) };
        }
    }
    0
}
