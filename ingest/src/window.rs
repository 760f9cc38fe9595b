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
    /// Each object's number, and the bytes that its rows take.
    objects: Vec<(u64, usize)>,
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
/// that were read from one message share that message's memory, and columns of
/// nulls share one another's.
pub fn batch_bytes(batch: &RecordBatch) -> usize {
    let column = |column: &ArrayRef| {
        if column.null_count() == column.len() {
            return 0;
        }
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
        self.objects.push((number, bytes));
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
        if later.objects.is_empty() {
            return;
        }
        self.through = later.through;
        self.objects.extend(later.objects);
        self.bytes += later.bytes;
        for (table, parts) in later.parts {
            self.parts.entry(table).or_default().extend(parts);
        }
        self.oldest_us = self.oldest_us.into_iter().chain(later.oldest_us).min();
    }

    /// Takes the first objects out that have about so many bytes, one at least.
    pub fn take_first(&mut self, bytes: usize) -> Self {
        if self.bytes <= bytes {
            return std::mem::take(self);
        }
        let (mut taken, mut count) = (0, 0);
        for (_, size) in &self.objects {
            if count > 0 && taken + size > bytes {
                break;
            }
            taken += size;
            count += 1;
        }
        let later = self.objects.split_off(count);
        let through = self.objects.last().map_or(0, |(number, _)| *number);
        let mut first =
            Self { through, objects: std::mem::replace(&mut self.objects, later), ..Self::default() };
        for (table, parts) in &mut self.parts {
            let of_first = parts.partition_point(|part| part.number <= through);
            let rest = parts.split_off(of_first);
            first.parts.insert(*table, std::mem::replace(parts, rest));
        }
        for window in [&mut first, self] {
            window.parts.retain(|_, parts| !parts.is_empty());
            window.oldest_us = window.parts.values().flatten().map(|part| part.since_us).min();
        }
        first.bytes = taken;
        self.bytes -= taken;
        first
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
        self.objects.into_iter().map(|(number, _)| number).collect()
    }

    /// How many WAL objects are in it.
    pub fn objects(&self) -> usize {
        self.objects.len()
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::tests::takeover::ready;

    proptest! {
        /// Goal: a window that is taken in pieces is the window. Method: objects
        /// of one row each, which numbers them, in one table or another.
        #[test]
        fn pieces_are_the_whole(
            objects in prop::collection::vec((0usize..100, any::<bool>()), 1..20), piece in 1usize..300,
        ) {
            let mut window = Window::default();
            for (number, (bytes, of_losses)) in (1u64..).zip(&objects) {
                let table = if *of_losses { Table::Losses } else { Table::Queries };
                let rows = vec![(table, vec![ready("n", 0, table, &[number as i64]).rows])];
                let origin = Origin { number, is_carried: false, since_us: number as i64, bytes: *bytes };
                window.add(origin, &rows);
            }
            let (all, mut through, mut seen) = (window.bytes(), 0, Vec::new());
            let mut taken = 0;
            while !window.is_empty() {
                let first = window.take_first(piece);
                prop_assert!(first.bytes() <= piece || first.objects() == 1);
                prop_assert_eq!(first.oldest_us(), Some(through as i64 + 1));
                for table in [Table::Losses, Table::Queries] {
                    seen.extend(first.waiting(table, Boundary::default()).iter().map(|part| part.number));
                }
                taken += first.bytes();
                through = first.through();
                let numbers = first.into_numbers();
                prop_assert_eq!(numbers.last(), Some(&through));
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (1..=objects.len() as u64).collect::<Vec<_>>());
            prop_assert_eq!((taken, through), (all, objects.len() as u64));
        }
    }
}
