//! Which batches are already durable, and whose are taken here: pure bookkeeping.

use bailiwick_lake::{CollectorState, HighWater, Hold, Incarnation};
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
    /// Its collector is another ingester's now.
    Left,
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

    /// Whether this log receives from the collector.
    pub fn holds(&self, collector: &CollectorId) -> bool {
        self.known.get(collector.as_str()).is_some_and(|state| state.hold == Hold::Held)
    }

    /// The number expected next; 0 for a numbering never heard of.
    pub fn expected_seq(&self, collector: &CollectorId, incarnation: u64) -> u64 {
        let known = self.known.get(collector.as_str()).into_iter().flat_map(|state| &state.incarnations);
        known.filter(|known| known.incarnation == incarnation).map(|known| known.next_seq).next().unwrap_or(0)
    }

    /// Judges a batch's number and, when it is the next, moves on.
    pub fn take(&mut self, collector: &CollectorId, incarnation: u64, seq: u64, now_us: i64) -> Verdict {
        let expected_seq = self.expected_seq(collector, incarnation);
        let Some(state) = self.known.get_mut(collector.as_str()).filter(|state| state.hold == Hold::Held)
        else {
            return Verdict::Left;
        };
        match seq.cmp(&expected_seq) {
            std::cmp::Ordering::Less => Verdict::Duplicate,
            std::cmp::Ordering::Greater => Verdict::Gap { expected_seq },
            std::cmp::Ordering::Equal => {
                state.incarnations.retain(|known| known.incarnation != incarnation);
                state.incarnations.insert(0, Incarnation { incarnation, next_seq: seq + 1 });
                state.incarnations.truncate(REMEMBERED);
                // A clock that was set back makes nobody forgotten sooner.
                state.heard_at_us = state.heard_at_us.max(now_us);
                Verdict::Next
            }
        }
    }

    /// Announces that a collector will be received from, which is for others to
    /// read; nothing is taken from it yet.
    pub fn claim(&mut self, collector: &CollectorId, now_us: i64) {
        let state = self.known.entry(collector.to_string());
        let fresh = CollectorState { hold: Hold::Claimed, heard_at_us: now_us, incarnations: vec![] };
        state.or_insert(fresh).hold = Hold::Claimed;
    }

    /// Adds what another log knows of a collector.
    pub fn learn(&mut self, collector: &CollectorId, other: &CollectorState) {
        if let Some(state) = self.known.get_mut(collector.as_str()) {
            state.incarnations = merged(state, other);
            state.heard_at_us = state.heard_at_us.max(other.heard_at_us);
        }
    }

    /// Takes the collector's batches from now on. Only who has told every other
    /// log, and learnt from it, may; a claim that was lost meanwhile stays lost.
    pub fn hold(&mut self, collector: &CollectorId) {
        if let Some(state) =
            self.known.get_mut(collector.as_str()).filter(|state| state.hold == Hold::Claimed)
        {
            state.hold = Hold::Held;
        }
    }

    /// Another log receives from these now.
    pub fn leave<'a>(&mut self, collectors: impl IntoIterator<Item = &'a str>) {
        for collector in collectors {
            if let Some(state) = self.known.get_mut(collector) {
                state.hold = Hold::Left;
            }
        }
    }

    /// Forgets who was not heard since, so that a fleet whose nodes change
    /// names does not grow without end.
    pub fn forget_before(&mut self, heard_at_us: i64) {
        self.known.retain(|_, state| state.heard_at_us >= heard_at_us);
    }
}

/// Both logs' numberings, each as far as either knows, the ones of the log that
/// heard the collector last first.
fn merged(one: &CollectorState, other: &CollectorState) -> Vec<Incarnation> {
    let (newer, older) = if one.heard_at_us >= other.heard_at_us { (one, other) } else { (other, one) };
    let mut all: Vec<Incarnation> = Vec::new();
    for known in newer.incarnations.iter().chain(&older.incarnations) {
        match all.iter_mut().find(|of| of.incarnation == known.incarnation) {
            Some(of) => of.next_seq = of.next_seq.max(known.next_seq),
            None => all.push(*known),
        }
    }
    all.truncate(REMEMBERED);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn collector() -> CollectorId {
        "node-1".parse().unwrap()
    }

    fn holding() -> Dedupe {
        let mut dedupe = Dedupe::default();
        dedupe.claim(&collector(), 0);
        dedupe.hold(&collector());
        dedupe
    }

    #[test]
    fn an_older_incarnation_is_still_known_when_it_comes_back() {
        let mut dedupe = holding();
        assert_eq!(dedupe.take(&collector(), 1, 0, 0), Verdict::Next);
        assert_eq!(dedupe.take(&collector(), 2, 0, 0), Verdict::Next);
        assert_eq!(dedupe.take(&collector(), 1, 0, 0), Verdict::Duplicate);
        assert_eq!(dedupe.take(&collector(), 1, 1, 0), Verdict::Next);
        assert_eq!(dedupe.take(&collector(), 2, 2, 0), Verdict::Gap { expected_seq: 1 });
    }

    #[test]
    fn nothing_is_taken_before_others_were_told_nor_after_it_left() {
        let mut dedupe = Dedupe::default();
        assert_eq!(dedupe.take(&collector(), 1, 0, 0), Verdict::Left);
        dedupe.claim(&collector(), 0);
        assert_eq!(dedupe.take(&collector(), 1, 0, 0), Verdict::Left);
        dedupe.hold(&collector());
        assert_eq!(dedupe.take(&collector(), 1, 0, 0), Verdict::Next);
        dedupe.leave(["node-1", "node-2"]);
        assert_eq!(dedupe.take(&collector(), 1, 1, 0), Verdict::Left);
        dedupe.hold(&collector());
        assert_eq!(dedupe.take(&collector(), 1, 1, 0), Verdict::Left, "a claim comes first");
        assert_eq!(dedupe.expected_seq(&collector(), 1), 1, "what it knew is for its successor");
    }

    #[test]
    fn who_moves_brings_the_higher_of_both_logs_numbers() {
        let (mut here, mut there) = (holding(), holding());
        for seq in 0..3 {
            here.take(&collector(), 1, seq, 10);
        }
        there.take(&collector(), 1, 0, 20);
        there.take(&collector(), 2, 0, 20);
        here.learn(&collector(), &there.high_water()["node-1"]);
        let known = &here.high_water()["node-1"];
        let expected = [(2, 1), (1, 3)].map(|(incarnation, next_seq)| Incarnation { incarnation, next_seq });
        assert_eq!((known.incarnations.as_slice(), known.heard_at_us), (expected.as_slice(), 20));
    }

    #[test]
    fn who_is_not_heard_for_long_is_forgotten() {
        let mut dedupe = holding();
        dedupe.take(&collector(), 1, 0, 50);
        dedupe.forget_before(50);
        assert!(dedupe.holds(&collector()));
        dedupe.forget_before(51);
        assert!(dedupe.high_water().is_empty());
    }

    proptest! {
        #[test]
        fn each_number_is_taken_once_and_in_order(batches in prop::collection::vec((0u64..4, 0u64..12), 0..200)) {
            let mut dedupe = holding();
            let mut taken = HashSet::new();
            for (incarnation, seq) in batches {
                if dedupe.take(&collector(), incarnation, seq, 0) == Verdict::Next {
                    prop_assert!(taken.insert((incarnation, seq)));
                    prop_assert!(seq == 0 || taken.contains(&(incarnation, seq - 1)));
                }
                dedupe = Dedupe::new(dedupe.high_water().clone());
            }
        }
    }
}
