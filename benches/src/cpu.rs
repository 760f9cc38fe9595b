//! How much processor time this process has used.

use std::time::Duration;

/// What the kernel counts in, on every Linux that this runs on.
const TICKS_PER_S: u64 = 100;

/// User and system time of all threads so far; `None` where there is no procfs.
pub fn used() -> Option<Duration> {
    ticks([11, 12])
}

/// How long the calling thread has had a processor; `None` where the kernel does not count.
pub fn used_by_thread() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// User and system time of all children that have ended.
pub fn used_by_children() -> Option<Duration> {
    ticks([13, 14])
}

/// The sum of two counts of `/proc/self/stat`, numbered from what follows the name.
fn ticks(at: [usize; 2]) -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold anything, even spaces.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let count = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Duration::from_millis((count(at[0])? + count(at[1])?) * 1_000 / TICKS_PER_S))
}

/// The most memory that this process ever had resident, bytes.
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_uses_time() {
        let before = used().unwrap();
        let began = std::time::Instant::now();
        let mut sum = 0u64;
        while used().unwrap() == before && began.elapsed() < Duration::from_secs(60) {
            sum = (0..100_000u64).fold(sum, |sum, number| sum ^ number.wrapping_mul(sum | 1));
        }
        assert!(used().unwrap() > before, "{sum}");
        assert!(peak_memory_bytes().unwrap() > 1 << 20);
    }
}
