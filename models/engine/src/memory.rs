//! What becomes of memory between two runs.
//!
//! A training step takes and frees the same tens of megabytes each time it runs. The C library's allocator
//! gives large pieces back to the system at once and takes new ones, whose every page the system clears
//! anew; over the feature maps of a convolution net this costs as much as the arithmetic.

/// Asks the allocator to keep freed memory for its next use. Settings of the whole process, so a program
/// makes them, first thing, and no library. The process then stays at the most memory that it ever used.
///
/// Does nothing where the C library is not GNU's.
pub fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    gnu::keep_memory();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "the allocator has no other way to be told")]
mod gnu {
    /// Largest that the setting takes: free memory at the end of the heap that is kept.
    const KEPT: libc::c_int = libc::c_int::MAX;

    pub(super) fn keep_memory() {
        // SAFETY: takes two integers and locks what it changes. A refusal leaves the defaults, which are
        // slower and as right.
        unsafe {
            // No piece, however large, is a mapping of its own, which would end with it.
            libc::mallopt(libc::M_MMAP_MAX, 0);
            libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        }
    }
}
