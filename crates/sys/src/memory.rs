//! Giving memory back.

/// Gives free memory of the C library's heap back to the kernel.
pub fn trim() {
    // SAFETY: malloc_trim only touches memory that the allocator holds as free.
    unsafe { libc::malloc_trim(0) };
}
