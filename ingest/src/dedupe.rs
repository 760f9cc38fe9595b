//! Which batches are already durable: pure bookkeeping over numbers.

use bailiwick_lake::{HighWater, Incarnation};
use bailiwick_proto::CollectorId;

/// Incarnations remembered per collector. A collector that comes back under an
/// older one than these would be taken for a new one.
const REMEMBERED: usize = 5;

/// How far each numbering of each collector is durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dedupe {
    known: HighWater,
}

/// What to do with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the one expected.
    Next,
    /// It is durable already: acknowledge it again.
    Duplicate,
    /// Batches before it are missing.
    Gap {
        /// The number that is expected.
        expected_seq: u64,
    },
}

// === impl Dedupe ===

impl Dedupe {
    /// Continues from what a WAL object says.
    pub fn new(known: HighWater) -> Self {
        Self { known }
    }

    /// What the next WAL object should say.
    pub fn high_water(&self) -> &HighWater {
        &self.known
    }

    /// The number expected next; 0 for a numbering never heard of.
    pub fn expected_seq(&self, collector: &CollectorId, incarnation: u64) -> u64 {
        let known = self.known.get(collector.as_str()).into_iter().flatten();
        known.filter(|known| known.incarnation == incarnation).map(|known| known.next_seq).next().unwrap_or(0)
    }

    /// Judges a batch's number and, when it is the next, moves on.
    pub fn take(&mut self, collector: &CollectorId, incarnation: u64, seq: u64) -> Verdict {
        let expected_seq = self.expected_seq(collector, incarnation);
        match seq.cmp(&expected_seq) {
            std::cmp::Ordering::Less => Verdict::Duplicate,
            std::cmp::Ordering::Greater => Verdict::Gap { expected_seq },
            std::cmp::Ordering::Equal => {
                let known = self.known.entry(collector.to_string()).or_default();
                known.retain(|known| known.incarnation != incarnation);
                known.insert(0, Incarnation { incarnation, next_seq: seq + 1 });
                known.truncate(REMEMBERED);
                Verdict::Next
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn collector() -> CollectorId {
        "node-1".parse().unwrap()
    }

    #[test]
    fn an_older_incarnation_is_still_known_when_it_comes_back() {
        let mut dedupe = Dedupe::default();
        assert_eq!(dedupe.take(&collector(), 1, 0), Verdict::Next);
        assert_eq!(dedupe.take(&collector(), 2, 0), Verdict::Next);
        assert_eq!(dedupe.take(&collector(), 1, 0), Verdict::Duplicate);
        assert_eq!(dedupe.take(&collector(), 1, 1), Verdict::Next);
        assert_eq!(dedupe.take(&collector(), 2, 2), Verdict::Gap { expected_seq: 1 });
    }

    proptest! {
        #[test]
        fn each_number_is_taken_once_and_in_order(batches in prop::collection::vec((0u64..4, 0u64..12), 0..200)) {
            let mut dedupe = Dedupe::default();
            let mut taken = HashSet::new();
            for (incarnation, seq) in batches {
                if dedupe.take(&collector(), incarnation, seq) == Verdict::Next {
                    prop_assert!(taken.insert((incarnation, seq)));
                    prop_assert!(seq == 0 || taken.contains(&(incarnation, seq - 1)));
                }
                dedupe = Dedupe::new(dedupe.high_water().clone());
            }
        }
    }
}
