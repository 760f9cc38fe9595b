//! The same event again and again: the first is a row, one more row stands for
//! the others. Pure.
//!
//! ```text
//!   record ─▶ seen within the interval? ── no ──▶ a row now, and remembered
//!                      │ yes
//!                      ▼
//!                   counted ── interval over, process ended, no room ──▶ a row, repeats = n - 1
//! ```
//!
//! Records are the same when their bytes are, but for the time (and for registers
//! that tell nothing, which are zeros here: see `registers`). So rows, each with
//! its `repeats`, are exactly as many as records.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;

use ahash::RandomState;

use super::processes::Spread;

/// Records remembered.
const MAX_ENTRIES: usize = 8_192;
/// Bytes of them.
const MAX_BYTES: usize = 4 << 20;
/// A longer record is not remembered.
const MAX_RECORD: usize = 2_048;
/// Where a record's time is; what stands before it is its size and kind.
const TIME: std::ops::Range<usize> = 8..16;
/// Buffers kept for records to come.
const MAX_SPARE: usize = 64;

/// A record that stands for several.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Repeated {
    /// With the time of the last.
    pub(super) record: Vec<u8>,
    /// How many others were the same.
    pub(super) repeats: u64,
}

/// Records of the last interval.
pub(super) struct Repeats {
    interval_ns: u64,
    entries: HashMap<u64, Entry, BuildHasherDefault<Spread>>,
    /// In the order in which they were first seen: when, hash.
    order: VecDeque<(u64, u64)>,
    /// Hashes by process, while it has any that were counted.
    counted: HashMap<u32, VecDeque<u64>, BuildHasherDefault<Spread>>,
    bytes: usize,
    done: VecDeque<Repeated>,
    spare: Vec<Vec<u8>>,
    hasher: RandomState,
    max_entries: usize,
}

struct Entry {
    record: Vec<u8>,
    pid: u32,
    first_ns: u64,
    last_ns: u64,
    /// Beside the first.
    count: u64,
}

// === impl Repeats ===

impl Repeats {
    /// Counts what repeats within this time; never, if it is zero.
    pub(super) fn new(interval_ns: u64) -> Self {
        Self::of_size(interval_ns, MAX_ENTRIES)
    }

    fn of_size(interval_ns: u64, max_entries: usize) -> Self {
        Self {
            interval_ns,
            entries: HashMap::default(),
            order: VecDeque::new(),
            counted: HashMap::default(),
            bytes: 0,
            done: VecDeque::new(),
            spare: Vec::new(),
            hasher: RandomState::new(),
            max_entries: max_entries.max(1),
        }
    }

    /// Takes a record of this process and time. Answers whether it is to be a
    /// row now; else it is counted.
    pub(super) fn is_first(&mut self, record: &[u8], pid: u32, boot_ns: u64) -> bool {
        let (Some(before), Some(after)) = (record.get(..TIME.start), record.get(TIME.end..)) else {
            return true;
        };
        if self.interval_ns == 0 || record.len() > MAX_RECORD {
            return true;
        }
        let hash = self.hasher.hash_one(after) ^ u64::from(before.last().copied().unwrap_or(0));
        if let Some(entry) = self.entries.get_mut(&hash) {
            if !entry.is(before, after) {
                // Two records with one hash: the second is a row every time.
                return true;
            }
            if boot_ns < entry.first_ns.saturating_add(self.interval_ns) {
                entry.count += 1;
                entry.last_ns = entry.last_ns.max(boot_ns);
                if entry.count == 1 {
                    self.counted.entry(pid).or_default().push_back(hash);
                }
                return false;
            }
            self.end_until(boot_ns);
            self.end(hash);
        }
        self.remember(record, hash, pid, boot_ns);
        true
    }

    /// Ends what has been counted for the whole interval.
    pub(super) fn end_until(&mut self, now_boot_ns: u64) {
        while let Some((first_ns, hash)) = self.order.front().copied()
            && first_ns.saturating_add(self.interval_ns) <= now_boot_ns
        {
            self.order.pop_front();
            if self.entries.get(&hash).is_some_and(|entry| entry.first_ns == first_ns) {
                self.end(hash);
            }
        }
    }

    /// Ends what a process did, since it ended.
    pub(super) fn end_process(&mut self, pid: u32) {
        for hash in self.counted.remove(&pid).unwrap_or_default() {
            self.end(hash);
        }
    }

    /// Ends all.
    pub(super) fn end_all(&mut self) {
        self.end_until(u64::MAX);
    }

    /// The next record that stands for several, in no order.
    pub(super) fn next_done(&mut self) -> Option<Repeated> {
        self.done.pop_front()
    }

    fn remember(&mut self, record: &[u8], hash: u64, pid: u32, boot_ns: u64) {
        while self.order.len() >= self.max_entries || self.bytes + record.len() > MAX_BYTES {
            let Some((first_ns, oldest)) = self.order.pop_front() else { break };
            if self.entries.get(&oldest).is_some_and(|entry| entry.first_ns == first_ns) {
                self.end(oldest);
            }
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.extend_from_slice(record);
        self.bytes += record.len();
        self.order.push_back((boot_ns, hash));
        self.entries
            .insert(hash, Entry { record: bytes, pid, first_ns: boot_ns, last_ns: boot_ns, count: 0 });
    }

    fn end(&mut self, hash: u64) {
        let Some(Entry { mut record, pid, last_ns, count, .. }) = self.entries.remove(&hash) else { return };
        self.bytes -= record.len();
        let Some(repeats) = count.checked_sub(1) else {
            if self.spare.len() < MAX_SPARE {
                record.clear();
                self.spare.push(record);
            }
            return;
        };
        if let Some(time) = record.get_mut(TIME) {
            time.copy_from_slice(&last_ns.to_ne_bytes());
        }
        self.done.push_back(Repeated { record, repeats });
        if let Some(hashes) = self.counted.get_mut(&pid) {
            // They end in their order, so it is among the first.
            if let Some(at) = hashes.iter().position(|other| *other == hash) {
                hashes.remove(at);
            }
            if hashes.is_empty() {
                self.counted.remove(&pid);
            }
        }
    }
}

// === impl Entry ===

impl Entry {
    fn is(&self, before: &[u8], after: &[u8]) -> bool {
        self.record.get(TIME.end..) == Some(after) && self.record.get(..TIME.start) == Some(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A record of this process with this content.
    fn record(pid: u32, boot_ns: u64, content: &[u8]) -> Vec<u8> {
        let mut record = vec![0; 8];
        record.extend_from_slice(&boot_ns.to_ne_bytes());
        record.extend_from_slice(&pid.to_ne_bytes());
        record.extend_from_slice(content);
        record
    }

    fn all_done(repeats: &mut Repeats) -> Vec<(Vec<u8>, u64)> {
        std::iter::from_fn(|| repeats.next_done()).map(|done| (done.record, done.repeats)).collect()
    }

    #[test]
    fn the_first_is_a_row_and_one_stands_for_the_others() {
        let mut repeats = Repeats::new(1_000);
        assert!(repeats.is_first(&record(7, 10, b"a"), 7, 10));
        for boot_ns in [20, 500, 1_009] {
            assert!(!repeats.is_first(&record(7, boot_ns, b"a"), 7, boot_ns));
        }
        assert!(repeats.is_first(&record(7, 30, b"b"), 7, 30), "another");
        repeats.end_until(1_009);
        assert_eq!(all_done(&mut repeats), []);
        assert!(repeats.is_first(&record(7, 1_010, b"a"), 7, 1_010), "the interval is over");
        assert_eq!(all_done(&mut repeats), [(record(7, 1_009, b"a"), 2)]);
        repeats.end_all();
        assert_eq!(all_done(&mut repeats), [], "those that came once have their row");
    }

    #[test]
    fn a_process_that_ends_takes_its_counts_along() {
        let mut repeats = Repeats::new(1_000);
        for (pid, boot_ns) in [(7, 1), (7, 2), (8, 3), (8, 4)] {
            repeats.is_first(&record(pid, boot_ns, b"a"), pid, boot_ns);
        }
        repeats.end_process(7);
        assert_eq!(all_done(&mut repeats), [(record(7, 2, b"a"), 0)]);
        repeats.end_process(7);
        repeats.end_all();
        assert_eq!(all_done(&mut repeats), [(record(8, 4, b"a"), 0)]);
        assert!(repeats.counted.is_empty() && repeats.bytes == 0);
    }

    #[test]
    fn it_can_be_off_and_leaves_long_records_alone() {
        let mut off = Repeats::new(0);
        let long = record(7, 1, &[0; MAX_RECORD]);
        let mut on = Repeats::new(1_000);
        for _ in 0..2 {
            assert!(off.is_first(&record(7, 1, b"a"), 7, 1));
            assert!(on.is_first(&long, 7, 1));
        }
    }

    proptest! {
        /// Goal: no record is lost or counted twice, and nothing grows.
        #[test]
        fn rows_and_repeats_are_as_many_as_records(
            events in proptest::collection::vec((0_u8..8, 0_u32..6, 0_u8..6, 0_u64..400), 0..400),
        ) {
            let mut repeats = Repeats::of_size(1_000, 8);
            let (mut records, mut rows, mut now) = (0_u64, 0_u64, 0_u64);
            for (kind, pid, content, later) in events {
                now += later;
                match kind {
                    0 => repeats.end_until(now),
                    1 => repeats.end_process(pid),
                    _ => {
                        records += 1;
                        // A record of another ring may be a little older.
                        let boot_ns = now.saturating_sub(u64::from(content) * 50);
                        rows += u64::from(repeats.is_first(&record(pid, boot_ns, &[content]), pid, boot_ns));
                    }
                }
                prop_assert!(repeats.entries.len() <= 8 && repeats.order.len() <= 8);
                let counted: usize = repeats.counted.values().map(VecDeque::len).sum();
                prop_assert!(counted <= repeats.entries.len());
                while let Some(done) = repeats.next_done() {
                    rows += 1 + done.repeats;
                }
            }
            repeats.end_all();
            while let Some(done) = repeats.next_done() {
                rows += 1 + done.repeats;
            }
            prop_assert_eq!(rows, records);
            prop_assert_eq!((repeats.entries.len(), repeats.bytes), (0, 0));
        }
    }
}
