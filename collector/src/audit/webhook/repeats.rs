//! Recognises events that were taken before, byte for byte.
//!
//! Never by audit id: a client may choose that, and would hide a request behind
//! another one's.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// How many events are remembered: more than the API server has under way.
const REMEMBERED: usize = 65_536;

/// 128 bits of an event's bytes, keyed by this process.
pub(super) type Print = u128;

/// The events taken last.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    keys: (RandomState, RandomState),
    known: HashSet<Print>,
    order: VecDeque<Print>,
}

// === impl Repeats ===

impl Repeats {
    pub(super) fn print(&self, event: &[u8]) -> Print {
        let half = |key: &RandomState| u128::from(key.hash_one(event));
        half(&self.keys.0) << 64 | half(&self.keys.1)
    }

    pub(super) fn knows(&self, print: Print) -> bool {
        self.known.contains(&print)
    }

    pub(super) fn learn(&mut self, print: Print) {
        if !self.known.insert(print) {
            return;
        }
        self.order.push_back(print);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_are_known_until_many_others_came() {
        let mut repeats = Repeats::default();
        let first = repeats.print(b"first");
        assert!(!repeats.knows(first));
        repeats.learn(first);
        assert!(repeats.knows(repeats.print(b"first")));
        assert!(!repeats.knows(repeats.print(b"First")));
        for n in 0..REMEMBERED {
            let print = repeats.print(&n.to_le_bytes());
            repeats.learn(print);
        }
        assert!(!repeats.knows(first));
        assert_eq!(repeats.known.len(), REMEMBERED);
    }
}
