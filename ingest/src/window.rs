//! Rows that are durable in the WAL and wait for the tables: pure bookkeeping.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, RecordBatch};
use bailiwick_lake::Boundary;
use bailiwick_proto::Table;

use crate::wal::{Landed, TableRows};

/// WAL rows that wait for the tables: every one up to `through`.
#[derive(Debug, Default)]
pub struct Window {
    through: u64,
    numbers: Vec<u64>,
    parts: BTreeMap<Table, Vec<Part>>,
    bytes: usize,
    oldest_us: Option<i64>,
}

/// One batch of one WAL object.
#[derive(Debug, Clone)]
pub struct Part {
    /// The object's number.
    pub number: u64,
    /// Whether its rows are copies of rows in objects before it.
    pub is_carried: bool,
    /// When its oldest row was first durable, microseconds since 1970.
    pub since_us: i64,
    /// The rows, stamped schema.
    pub rows: RecordBatch,
}

/// What is known of a WAL object besides its rows.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// Its number.
    pub number: u64,
    /// See [`Part::is_carried`].
    pub is_carried: bool,
    /// See [`Part::since_us`].
    pub since_us: i64,
    /// Bytes that its rows take in memory.
    pub bytes: usize,
}

/// Bytes that rows take in memory.
pub fn memory_bytes(rows: &TableRows) -> usize {
    rows.iter().flat_map(|(_, batches)| batches).map(batch_bytes).sum()
}

/// Bytes that a batch takes in memory. Only what its rows use is counted: arrays
/// that were read from one message share that message's memory.
pub fn batch_bytes(batch: &RecordBatch) -> usize {
    let column = |column: &ArrayRef| {
        // It fails for lengths that no array in memory has.
        column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
    };
    batch.columns().iter().map(column).sum()
}

// === impl Window ===

impl Window {
    /// Adds what has just become durable.
    pub fn push(&mut self, landed: &Landed) {
        let Landed { number, is_carried, since_us, bytes, .. } = *landed;
        self.add(Origin { number, is_carried, since_us, bytes }, &landed.rows);
    }

    /// Adds the rows of one WAL object; numbers must rise.
    pub fn add(&mut self, origin: Origin, rows: &TableRows) {
        let Origin { number, is_carried, since_us, bytes } = origin;
        self.through = number;
        self.numbers.push(number);
        self.bytes += bytes;
        for (table, batches) in rows {
            // A commit of no rows would be a version for nothing.
            for rows in batches.iter().filter(|batch| batch.num_rows() > 0) {
                let part = Part { number, is_carried, since_us, rows: rows.clone() };
                self.parts.entry(*table).or_default().push(part);
                self.oldest_us = Some(self.oldest_us.map_or(since_us, |oldest| oldest.min(since_us)));
            }
        }
    }

    /// Adds a window of later objects.
    pub fn append(&mut self, later: Self) {
        if later.numbers.is_empty() {
            return;
        }
        self.through = later.through;
        self.numbers.extend(later.numbers);
        self.bytes += later.bytes;
        for (table, parts) in later.parts {
            self.parts.entry(table).or_default().extend(parts);
        }
        self.oldest_us = self.oldest_us.into_iter().chain(later.oldest_us).min();
    }

    /// The tables that it has rows of.
    pub fn tables(&self) -> impl Iterator<Item = Table> {
        self.parts.keys().copied()
    }

    /// A table's parts that are not in its files yet, each row in one of them.
    pub fn waiting(&self, table: Table, boundary: Boundary) -> Vec<&Part> {
        let parts = self.parts.get(&table).into_iter().flatten();
        parts.filter(|part| boundary.counts(part.number, part.is_carried)).collect()
    }

    /// The WAL objects in it, which may go once it is committed.
    pub fn into_numbers(self) -> Vec<u64> {
        self.numbers
    }

    /// How many WAL objects are in it.
    pub fn objects(&self) -> usize {
        self.numbers.len()
    }

    /// Whether there is nothing to flush.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Bytes that its rows take in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The last WAL object in it.
    pub fn through(&self) -> u64 {
        self.through
    }

    /// When its oldest rows were first durable, microseconds since 1970.
    pub fn oldest_us(&self) -> Option<i64> {
        self.oldest_us
    }
}
