//! What this process asks of the C library's allocator.
//!
//! Batches of rows are a few hundred kilobytes large, made in one thread and
//! freed in another. Left to itself glibc keeps such pieces in an arena for
//! every thread and hardly gives any back: under load the process grew to
//! more than twice what its rows take (`benches/README.md`).

/// The most arenas that threads share.
const ARENAS: libc::c_int = 2;
/// Larger pieces come from the kernel and go back to it, bytes.
const OWN_MAPPING_BYTES: libc::c_int = 1 << 20;
/// So much that is free at the end of an arena is kept, bytes.
const KEPT_BYTES: libc::c_int = 64 << 20;

/// Sets the allocator up; before there are threads. Where the environment sets one of
/// these (`MALLOC_ARENA_MAX=4`), that counts.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "the C library has no other way")]
pub(crate) fn set_up() {
    let options = [
        ("MALLOC_ARENA_MAX", libc::M_ARENA_MAX, ARENAS),
        ("MALLOC_MMAP_THRESHOLD_", libc::M_MMAP_THRESHOLD, OWN_MAPPING_BYTES),
        ("MALLOC_TRIM_THRESHOLD_", libc::M_TRIM_THRESHOLD, KEPT_BYTES),
    ];
    for (_, option, value) in options.into_iter().filter(|(name, ..)| std::env::var_os(name).is_none()) {
        // SAFETY: it takes two numbers, and this is the only thread.
        if unsafe { libc::mallopt(option, value) } == 0 {
            tracing::debug!(option, value, "the allocator does not know this option");
        }
    }
}

/// Other C libraries give memory back by themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn set_up() {}
