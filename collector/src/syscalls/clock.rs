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

    /// As it would be if the machine had started at this time, nanoseconds since 1970.
    #[cfg(test)]
    pub(super) fn started_at(boot_at_ns: i64) -> Self {
        Self { boot_at_ns }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn now_is_between_two_looks_at_the_calendar() {
        let before = chrono::Utc::now().timestamp_micros();
        let told = Clock::now().micros(boot_ns());
        let after = chrono::Utc::now().timestamp_micros();
        assert!(before - 1 <= told && told <= after + 1, "{before} {told} {after}");
    }

    proptest! {
        /// Goal: whatever the calendar is set to, events keep their order and
        /// distances, and those of one setting differ from another's by just that.
        #[test]
        fn a_calendar_that_is_set_moves_all_times_alike(
            at in any::<i64>(), set_by in -(1_i64 << 61)..1 << 61, first in any::<u64>(), second in any::<u64>(),
        ) {
            let clock = Clock::started_at(at);
            let (earlier, later) = (clock.micros(first.min(second)), clock.micros(first.max(second)));
            prop_assert!(earlier <= later);
            let (boot_ns, at) = (first >> 3, at >> 2);
            let moved = Clock::started_at(at + set_by).micros(boot_ns) - Clock::started_at(at).micros(boot_ns);
            prop_assert!((moved - set_by / 1_000).abs() <= 1);
        }
    }
}
