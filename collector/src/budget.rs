//! What the collector may take of the node: processor time and memory.
//!
//! ```text
//!   the thread that empties the rings ─ after each turn ─▶ Pace ─▶ how long it rests
//!   the process's resident memory ─ every second ─▶ Weight ─▶ whether file events are kept
//! ```
//!
//! Both end in a counted loss, never in a stop: while the thread rests the rings
//! fill, and what does not fit is `ring_full`; file events above the weight are
//! `memory`. The pure parts are given what they compare.

use std::fs;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::outlet::Outlet;

/// The span over which a share of a processor is kept. Short, so that a rest fits
/// into what the rings hold; long against a turn.
const SPAN: Duration = Duration::from_millis(200);
/// How often memory is looked at.
const WEIGHED_EVERY: Duration = Duration::from_secs(1);
/// Percent of the limit below which file events are kept again, so that it does
/// not go to and fro.
const LIGHT_PERCENT: u64 = 90;

/// Keeps a thread to a share of one processor.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Percent of one processor; 0 for no limit.
    percent: u32,
    since: Instant,
    /// The thread's processor time then.
    used_before: Duration,
}

/// Whether memory is above its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weight {
    limit_bytes: u64,
    heavy: bool,
}

// === impl Pace ===

impl Pace {
    pub(crate) fn new(percent: u32) -> Self {
        Self { percent, since: Instant::now(), used_before: thread_time() }
    }

    /// How long this thread must rest now, by what it has used.
    pub(crate) fn rest(&mut self) -> Option<Duration> {
        if self.percent == 0 {
            return None;
        }
        let (now, used) = (Instant::now(), thread_time());
        let rest = rest(used.saturating_sub(self.used_before), now - self.since, self.percent);
        // What was not used in one span is not saved for the next.
        if rest.is_some() || now - self.since >= SPAN {
            (self.since, self.used_before) = (now + rest.unwrap_or_default(), used);
        }
        rest
    }
}

/// How long until `used` is this share of all the time that passed; none while it
/// is less, or not worth a rest.
fn rest(used: Duration, passed: Duration, percent: u32) -> Option<Duration> {
    let may_take = used.saturating_mul(100) / percent;
    let ahead = may_take.checked_sub(passed)?;
    (ahead >= SPAN / 20).then_some(ahead)
}

// === impl Weight ===

impl Weight {
    fn new(limit_bytes: u64) -> Self {
        Self { limit_bytes, heavy: false }
    }

    /// Takes a reading; answers whether file events are to be left out.
    fn weigh(&mut self, resident_bytes: u64) -> bool {
        let light = u128::from(self.limit_bytes) * u128::from(LIGHT_PERCENT) / 100;
        self.heavy = match self.heavy {
            true => u128::from(resident_bytes) > light,
            false => resident_bytes > self.limit_bytes,
        };
        self.heavy
    }
}

/// Looks at this process's memory until it is stopped, and lets the outlet leave
/// out file events while it is above the limit; 0 for no limit.
pub(crate) async fn watch_memory(
    limit_bytes: u64,
    outlet: Outlet,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let mut weight = Weight::new(limit_bytes);
    let mut ticks = tokio::time::interval(WEIGHED_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let Some(resident_bytes) = resident_bytes() else { continue };
        metrics.memory_bytes.set(i64::try_from(resident_bytes).unwrap_or(i64::MAX));
        if limit_bytes == 0 {
            continue;
        }
        let was = weight.heavy;
        let heavy = weight.weigh(resident_bytes);
        if heavy != was {
            tracing::warn!(resident_bytes, limit_bytes, leaves_out_file_events = heavy, "memory");
        }
        outlet.leave_out_files(heavy);
        if heavy {
            give_back();
        }
    }
}

/// Memory of this process that nothing else could have: without pages of files,
/// and without the rings, which are the kernel's.
fn resident_bytes() -> Option<u64> {
    of_status(&fs::read_to_string("/proc/self/status").ok()?)
}

fn of_status(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[allow(unsafe_code, reason = "the C library has no other way")]
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // Safety: it writes one time.
    if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0 {
        return Duration::ZERO;
    }
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Gives free memory back to the kernel, which the allocator may have kept.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "the C library has no other way")]
fn give_back() {
    // Safety: a number.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn give_back() {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_share_is_kept_by_resting() {
        assert_eq!(rest(50 * MS, 60 * MS, 50), Some(40 * MS));
        assert_eq!(rest(50 * MS, 100 * MS, 50), None);
        assert_eq!(rest(50 * MS, 95 * MS, 50), None, "so short a rest costs more than it gives");
        assert_eq!(rest(10 * MS, 10 * MS, 1), Some(990 * MS));
        assert_eq!(rest(50 * MS, 50 * MS, 200), None, "a thread cannot use more than one processor");
    }

    /// Goal: a thread that always has work uses its share and not more. Method: it
    /// turns until it has passed several spans, whatever the machine does besides.
    #[test]
    fn a_busy_thread_is_kept_to_its_share() {
        let mut pace = Pace::new(20);
        let (began, used_before) = (Instant::now(), thread_time());
        let mut rested = Duration::ZERO;
        while rested < 5 * SPAN {
            let turn = thread_time();
            while thread_time() - turn < 20 * MS {}
            if let Some(rest) = pace.rest() {
                std::thread::sleep(rest);
                rested += rest;
            }
        }
        let share = (thread_time() - used_before).as_secs_f64() / began.elapsed().as_secs_f64();
        assert!(share < 0.25, "it used {share} of a processor");
        assert_eq!(Pace::new(0).rest(), None);
    }

    #[test]
    fn memory_is_heavy_until_it_is_clearly_light() {
        let mut weight = Weight::new(100);
        assert_eq!(
            [90, 100, 101, 95, 91, 90, 95, 101].map(|bytes| weight.weigh(bytes)),
            [false, false, true, true, true, false, false, true]
        );
        assert_eq!(of_status("VmRSS:\t 9 kB\nRssAnon:\t    2 kB\n"), Some(2_048));
        assert_eq!(of_status("Name:\tx\n"), None);
    }

    proptest! {
        #[test]
        fn after_a_rest_the_share_is_right(used in 1_u64..10_000, passed in 0_u64..100_000, percent in 1_u32..100) {
            let (used, passed) = (Duration::from_micros(100 * used), Duration::from_micros(100 * passed));
            if let Some(rest) = rest(used, passed, percent) {
                let share = used.as_secs_f64() / (passed + rest).as_secs_f64() * 100.0;
                prop_assert!((share - f64::from(percent)).abs() < 0.01, "{share} of {percent}");
            }
        }
    }
}
