//! A column of texts: a dictionary, and a key a row.

use std::sync::Arc;

use ahash::RandomState;
use arrow::array::{ArrayRef, DictionaryArray, Int32Array, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;

use super::places::Places;

/// The key of a null.
const NULL: i32 = -1;
/// An empty slot of the table.
const EMPTY: u32 = u32::MAX;
const FIRST_SLOTS: usize = 64;

/// A dictionary column as it grows.
pub(super) struct Texts {
    keys: Vec<i32>,
    nulls: usize,
    /// The distinct texts one after the other, and where each begins; last, where
    /// they end.
    bytes: Vec<u8>,
    bounds: Vec<i32>,
    /// Hash of each distinct text.
    hashes: Vec<u64>,
    /// Open addressing: a key, or [`EMPTY`]. A power of two, at most half full.
    slots: Vec<u32>,
    hasher: RandomState,
}

// === impl Texts ===

impl Texts {
    pub(super) fn new() -> Self {
        Self {
            keys: Vec::new(),
            nulls: 0,
            bytes: Vec::new(),
            bounds: vec![0],
            hashes: Vec::new(),
            slots: Vec::new(),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Appends a text; the bytes that it takes, none if it was there before.
    pub(super) fn push(&mut self, text: &str) -> usize {
        // Texts of one row often follow those of another like it.
        if let Some(last) = self.keys.last().copied()
            && self.text(last) == Some(text.as_bytes())
        {
            self.keys.push(last);
            return 0;
        }
        let before = self.bytes.len();
        let key = self.key(text);
        self.nulls += usize::from(key == NULL);
        self.keys.push(key);
        self.bytes.len() - before
    }

    pub(super) fn nulls(&mut self, count: usize) {
        self.keys.resize(self.keys.len() + count, NULL);
        self.nulls += count;
    }

    /// Puts the texts at these places instead of what there is.
    pub(super) fn spread(&mut self, places: &Places) {
        let may_be_null = self.nulls > 0 || !places.are_all_there();
        self.keys = places.spread(&self.keys, NULL);
        self.nulls = if may_be_null { self.keys.iter().filter(|key| **key == NULL).count() } else { 0 };
    }

    pub(super) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let mut keys = std::mem::take(&mut self.keys);
        self.keys.reserve(keys.len());
        let nulls = match std::mem::take(&mut self.nulls) {
            0 => None,
            all if all == keys.len() => Some(NullBuffer::new_null(all)),
            _ => Some(keys.iter().map(|key| *key != NULL).collect::<NullBuffer>()),
        };
        if nulls.is_some() {
            // Below a null any key will do, but it must be one.
            keys.iter_mut().for_each(|key| *key = (*key).max(0));
        }
        // The next batch is mostly like this one.
        let mut next = Vec::with_capacity(self.bounds.len());
        next.push(0);
        let bounds = std::mem::replace(&mut self.bounds, next);
        let next = Vec::with_capacity(self.bytes.len());
        let values = std::mem::replace(&mut self.bytes, next);
        self.forget();
        let values = StringArray::try_new(OffsetBuffer::new(bounds.into()), values.into(), None)?;
        let keys = Int32Array::try_new(keys.into(), nulls)?;
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(values))?))
    }

    /// Empties the table, which stays as large as it was unless that is far more
    /// than was needed.
    fn forget(&mut self) {
        if self.slots.len() > FIRST_SLOTS && self.hashes.len() * 8 < self.slots.len() {
            self.slots.truncate(self.slots.len() / 2);
            self.slots.shrink_to_fit();
        }
        self.slots.fill(EMPTY);
        self.hashes.clear();
    }

    /// The key of a text, a new one if need be.
    fn key(&mut self, text: &str) -> i32 {
        if self.slots.len() <= self.hashes.len() * 2 {
            self.grow();
        }
        let hash = self.hasher.hash_one(text);
        let mask = self.slots.len() - 1;
        let mut slot = place(hash) & mask;
        while let Some(key) = self.slots.get(slot).copied().filter(|key| *key != EMPTY) {
            let same = self.hashes.get(key as usize) == Some(&hash);
            if same && self.text(key.cast_signed()) == Some(text.as_bytes()) {
                return key.cast_signed();
            }
            slot = (slot + 1) & mask;
        }
        self.add(text, hash, slot)
    }

    fn add(&mut self, text: &str, hash: u64, slot: usize) -> i32 {
        let end = i32::try_from(self.bytes.len() + text.len());
        let (Ok(key), Ok(end), Some(slot)) =
            (i32::try_from(self.hashes.len()), end, self.slots.get_mut(slot))
        else {
            // Two gigabytes of distinct texts: batches are closed long before.
            return NULL;
        };
        *slot = key.cast_unsigned();
        self.bytes.extend_from_slice(text.as_bytes());
        self.bounds.push(end);
        self.hashes.push(hash);
        key
    }

    fn grow(&mut self) {
        let slots = (self.slots.len() * 2).max(FIRST_SLOTS);
        self.slots.clear();
        self.slots.resize(slots, EMPTY);
        for (key, hash) in (0_u32..).zip(&self.hashes) {
            let mut slot = place(*hash) & (slots - 1);
            while self.slots.get(slot).is_some_and(|taken| *taken != EMPTY) {
                slot = (slot + 1) & (slots - 1);
            }
            if let Some(free) = self.slots.get_mut(slot) {
                *free = key;
            }
        }
    }

    fn text(&self, key: i32) -> Option<&[u8]> {
        let key = usize::try_from(key).ok()?;
        let [start, end, ..] = self.bounds.get(key..)? else { return None };
        self.bytes.get(usize::try_from(*start).ok()?..usize::try_from(*end).ok()?)
    }
}

/// Where a hash would like to be, before the mask.
fn place(hash: u64) -> usize {
    usize::try_from(hash & u64::from(u32::MAX)).unwrap_or(0)
}
