//! Which rows wait for more of their kind instead of making a tiny file: pure.
//!
//! A file holds one tenant's rows of one day. Where a flush finds a handful
//! only, they are written into a fresh WAL object, so that the ones they came
//! in may go, and wait there for a later flush.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Date32Type, Int32Type};
use arrow::error::ArrowError;
use bailiwick_proto::Table;

use crate::window::{Part, batch_bytes};

/// Which partitions wait.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Those with fewer rows than this,
    pub below_rows: u64,
    /// for as long as the oldest of these is not older, microseconds,
    pub at_most_us: i64,
    /// and all of them together take no more bytes of memory.
    pub at_most_bytes: usize,
}

/// A table's rows, taken apart.
#[derive(Debug, Default)]
pub struct Split {
    /// Rows that should become files now.
    pub large: Vec<RecordBatch>,
    /// Rows that wait for more.
    pub small: Vec<RecordBatch>,
    /// When the oldest row that waits was first durable, microseconds since 1970.
    pub small_since_us: Option<i64>,
}

/// One tenant's rows of one day.
#[derive(Debug)]
struct Partition {
    rows: u64,
    since_us: i64,
}

/// Every row's partition.
#[derive(Default)]
struct Partitions<'a> {
    found: Vec<Partition>,
    known: HashMap<(&'a str, i32), usize>,
}

/// Takes the rows of one table apart.
pub fn split(table: Table, parts: &[&Part], policy: &Policy, now_us: i64) -> Result<Split, ArrowError> {
    let mut partitions = Partitions::default();
    let of_rows = parts.iter().map(|part| partitions.assign(part)).collect::<Result<Vec<_>, _>>()?;
    let waits = |at: usize| {
        let partition = &partitions.found[at];
        partition.rows < policy.below_rows && now_us - partition.since_us < policy.at_most_us
    };
    let waits: Vec<bool> = (0..partitions.found.len()).map(waits).collect();
    let all_rows = || parts.iter().map(|part| part.rows.clone()).collect();
    if !waits.contains(&true) {
        return Ok(Split { large: all_rows(), ..Split::default() });
    }
    let (mut split, mut small) = (Split::default(), Vec::new());
    for (part, of_rows) in parts.iter().zip(&of_rows) {
        let mask: BooleanArray = of_rows.iter().map(|at| Some(waits[*at])).collect();
        match mask.true_count() {
            0 => split.large.push(part.rows.clone()),
            waiting => {
                if waiting < mask.len() {
                    split.large.push(filter_record_batch(&part.rows, &arrow::compute::not(&mask)?)?);
                }
                small.push(filter_record_batch(&part.rows, &mask)?);
                split.small_since_us = split.small_since_us.into_iter().chain([part.since_us]).min();
            }
        }
    }
    let small = compact(table, &small)?;
    if batch_bytes(&small) > policy.at_most_bytes {
        return Ok(Split { large: all_rows(), ..Split::default() });
    }
    split.small.push(small);
    Ok(split)
}

/// One batch whose dictionaries hold only what its rows need: a few rows of a
/// large batch would otherwise carry all of its texts along.
fn compact(table: Table, batches: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
    let schema = table.stamped_schema();
    let all = concat_batches(&schema, batches)?;
    let column = |column: &ArrayRef| match column.data_type() {
        DataType::Dictionary(_, value) => cast(&cast(column, value)?, column.data_type()),
        _ => Ok(column.clone()),
    };
    RecordBatch::try_new(schema, all.columns().iter().map(column).collect::<Result<_, _>>()?)
}

// === impl Partitions ===

impl<'a> Partitions<'a> {
    /// The partition of each row, as an index into `found`.
    fn assign(&mut self, part: &'a Part) -> Result<Vec<usize>, ArrowError> {
        let missing = |name| ArrowError::SchemaError(format!("column {name} is missing"));
        let column = |name: &'static str| part.rows.column_by_name(name).ok_or_else(|| missing(name));
        let tenants = column("tenant")?.as_dictionary_opt::<Int32Type>().ok_or_else(|| missing("tenant"))?;
        let names = tenants.values().as_string_opt::<i32>().ok_or_else(|| missing("tenant"))?;
        let days = column("date")?.as_primitive_opt::<Date32Type>().ok_or_else(|| missing("date"))?;
        // Neighbours are mostly of one partition.
        let mut last: Option<((i32, i32), usize)> = None;
        let mut of_rows = Vec::with_capacity(part.rows.num_rows());
        for row in 0..part.rows.num_rows() {
            let key = (tenants.keys().value(row), days.value(row));
            let at = match last.filter(|(known, _)| *known == key) {
                Some((_, at)) => at,
                None => self.at((names.value(key.0 as usize), key.1), part.since_us),
            };
            last = Some((key, at));
            let partition = &mut self.found[at];
            partition.rows += 1;
            partition.since_us = partition.since_us.min(part.since_us);
            of_rows.push(at);
        }
        Ok(of_rows)
    }

    fn at(&mut self, key: (&'a str, i32), since_us: i64) -> usize {
        *self.known.entry(key).or_insert_with(|| {
            self.found.push(Partition { rows: 0, since_us });
            self.found.len() - 1
        })
    }
}

#[cfg(test)]
mod tests;
