//! Decoded WAL objects, the ones looked at last, up to a number of bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::keys::WalKey;
use crate::view::WalRows;

#[derive(Debug)]
pub(crate) struct WalCache {
    limit_bytes: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<WalKey, Entry>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    rows: Arc<WalRows>,
    used: u64,
}

// === impl WalCache ===

impl WalCache {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, inner: Mutex::default() }
    }

    pub(crate) fn get(&self, key: &WalKey) -> Option<Arc<WalRows>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clock += 1;
        let now = inner.clock;
        let entry = inner.entries.get_mut(key)?;
        entry.used = now;
        Some(Arc::clone(&entry.rows))
    }

    pub(crate) fn insert(&self, key: WalKey, rows: Arc<WalRows>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clock += 1;
        let used = inner.clock;
        inner.bytes += rows.bytes;
        if let Some(replaced) = inner.entries.insert(key, Entry { rows, used }) {
            inner.bytes -= replaced.rows.bytes;
        }
        while inner.bytes > self.limit_bytes && inner.evict_oldest() {}
    }

    /// Forgets an object that is no longer in the bucket.
    pub(crate) fn remove(&self, key: &WalKey) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gone) = inner.entries.remove(key) {
            inner.bytes -= gone.rows.bytes;
        }
    }
}

// === impl Inner ===

impl Inner {
    fn evict_oldest(&mut self) -> bool {
        let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
        let Some(gone) = oldest.and_then(|key| self.entries.remove(&key)) else { return false };
        self.bytes -= gone.rows.bytes;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> WalKey {
        WalKey { ingester: "i".parse().unwrap(), number }
    }

    #[test]
    fn the_one_not_used_longest_goes_first() {
        let cache = WalCache::new(20);
        let rows = || Arc::new(WalRows { bytes: 10, ..WalRows::damaged() });
        cache.insert(key(1), rows());
        cache.insert(key(2), rows());
        assert!(cache.get(&key(1)).is_some());
        cache.insert(key(3), rows());
        assert!(cache.get(&key(2)).is_none());
        assert!(cache.get(&key(1)).is_some() && cache.get(&key(3)).is_some());
    }
}
