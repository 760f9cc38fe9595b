//! The alert ids that need no second alert, as many as are remembered.

use std::collections::{HashSet, VecDeque};

/// A bounded set that forgets the oldest.
#[derive(Debug)]
pub(crate) struct Seen {
    ids: HashSet<String>,
    order: VecDeque<String>,
    limit: usize,
}

// === impl Seen ===

impl Seen {
    pub(crate) fn new(limit: usize) -> Self {
        Self { ids: HashSet::new(), order: VecDeque::new(), limit: limit.max(1) }
    }

    /// Remembers ids that were alerted before.
    pub(crate) fn remember<'a>(&mut self, ids: impl Iterator<Item = &'a str>) {
        for id in ids {
            self.insert(id);
        }
    }

    /// Remembers an id; whether it is new.
    pub(crate) fn insert(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_ids_are_known() {
        let mut seen = Seen::new(2);
        assert!(seen.insert("a") && seen.insert("b") && !seen.insert("a") && seen.insert("c"));
        assert!(!seen.insert("b") && !seen.insert("c") && seen.insert("a"));
    }
}
