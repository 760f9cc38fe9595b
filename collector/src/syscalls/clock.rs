//! From the kernel's clock to the calendar.

#![allow(unsafe_code)]

/// How far the calendar's zero lies before the machine's start. Taken again
/// now and then, since the calendar can be set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    boot_at_ns: i64,
}

// === impl Clock ===

impl Clock {
    /// Reads both clocks.
    pub(super) fn now() -> Self {
        let realtime = read_ns(libc::CLOCK_REALTIME);
        Self { boot_at_ns: realtime - read_ns(libc::CLOCK_BOOTTIME) }
    }

    /// Microseconds since 1970 of a time since boot.
    pub(super) fn micros(self, boot_ns: u64) -> i64 {
        i64::try_from(boot_ns).unwrap_or(i64::MAX).saturating_add(self.boot_at_ns) / 1_000
    }
}

/// Nanoseconds since the machine's start, suspended time included.
pub(super) fn boot_ns() -> u64 {
    u64::try_from(read_ns(libc::CLOCK_BOOTTIME)).unwrap_or(0)
}

fn read_ns(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // Safety: the kernel fills a structure that lives here; both clocks exist
    // on every kernel that can run the programs.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
