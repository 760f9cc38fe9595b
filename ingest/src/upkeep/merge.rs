//! Sorted runs into one: pure.
//!
//! Runs are fed a batch at a time and rows come out a batch at a time, so that
//! never more than one batch of every run and one of the output is held. Keys
//! are compared as bytes, which is how Arrow's row format encodes them: nulls
//! first, text by its bytes. Of equal rows those of an earlier run come first.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{cast, interleave_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{Row, RowConverter, Rows, SortField};
use bailiwick_proto::Table;

use crate::sort::order_of;

/// Merges runs of one table's rows, in the form that its files have.
#[derive(Debug)]
pub struct Merge {
    schema: SchemaRef,
    converter: RowConverter,
    order: Vec<usize>,
    runs: Vec<Run>,
    /// Batches that `picked` points into.
    parts: Vec<RecordBatch>,
    picked: Vec<(usize, usize)>,
    batch_rows: usize,
}

/// What a merge needs, or has.
#[derive(Debug)]
pub enum Step {
    /// The next batch of this run, by [`Merge::feed`].
    Feed(usize),
    /// The next rows of the result.
    Rows(RecordBatch),
    /// That was all.
    Done,
}

#[derive(Debug)]
enum Run {
    Waiting,
    Open { part: usize, keys: Rows, at: usize },
    Ended,
}

/// The schema of a table's files: the public one without what stands in the path.
pub fn file_schema(table: Table) -> SchemaRef {
    let public = table.public_schema();
    let fields = public.fields().iter().filter(|field| !matches!(field.name().as_str(), "tenant" | "date"));
    Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()))
}

/// Rows of a file in the schema of today's files: a column that it does not
/// have yet is null.
pub fn conform(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let column = |field: &Arc<arrow::datatypes::Field>| match batch.column_by_name(field.name()) {
        Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
        Some(column) => cast(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    };
    let columns: Vec<ArrayRef> = schema.fields().iter().map(column).collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

// === impl Merge ===

impl Merge {
    /// A merge of `runs` runs of [`file_schema`]'s rows, in batches of `batch_rows`.
    pub fn new(table: Table, runs: usize, batch_rows: usize) -> Result<Self, ArrowError> {
        let schema = file_schema(table);
        let order =
            order_of(table).iter().map(|name| schema.index_of(name)).collect::<Result<Vec<_>, _>>()?;
        let fields = order.iter().map(|index| SortField::new(schema.field(*index).data_type().clone()));
        let converter = RowConverter::new(fields.collect())?;
        let runs = (0..runs).map(|_| Run::Waiting).collect();
        let (parts, picked) = (Vec::new(), Vec::with_capacity(batch_rows));
        Ok(Self { schema, converter, order, runs, parts, picked, batch_rows: batch_rows.max(1) })
    }

    /// Gives a run its next batch, or tells that it has ended.
    pub fn feed(&mut self, run: usize, batch: Option<&RecordBatch>) -> Result<(), ArrowError> {
        self.runs[run] = match batch {
            None => Run::Ended,
            Some(batch) if batch.num_rows() == 0 => Run::Waiting,
            Some(batch) => {
                let batch = conform(&self.schema, batch)?;
                let columns: Vec<ArrayRef> =
                    self.order.iter().map(|index| Arc::clone(batch.column(*index))).collect();
                let keys = self.converter.convert_columns(&columns)?;
                self.parts.push(batch);
                Run::Open { part: self.parts.len() - 1, keys, at: 0 }
            }
        };
        Ok(())
    }

    /// Goes on as far as it can.
    pub fn step(&mut self) -> Result<Step, ArrowError> {
        loop {
            if self.picked.len() >= self.batch_rows {
                return self.emit().map(Step::Rows);
            }
            if let Some(waiting) = self.runs.iter().position(|run| matches!(run, Run::Waiting)) {
                return Ok(Step::Feed(waiting));
            }
            let Some((first, second)) = self.lowest() else {
                return if self.picked.is_empty() { Ok(Step::Done) } else { self.emit().map(Step::Rows) };
            };
            self.pick(first, second);
        }
    }

    /// The run with the lowest next row, and the one with the second lowest.
    fn lowest(&self) -> Option<(usize, Option<usize>)> {
        let (mut first, mut second) = (None, None);
        for (index, run) in self.runs.iter().enumerate() {
            let Some(key) = run.key() else { continue };
            let is_below = |other: Option<(usize, Row<'_>)>| other.is_none_or(|(_, other)| key < other);
            if is_below(first) {
                (first, second) = (Some((index, key)), first);
            } else if is_below(second) {
                second = Some((index, key));
            }
        }
        first.map(|(first, _)| (first, second.map(|(second, _)| second)))
    }

    /// Takes rows of `first` until one of `second` is due, or it is through.
    fn pick(&mut self, first: usize, second: Option<usize>) {
        let room = self.batch_rows - self.picked.len();
        let Run::Open { part, keys, at } = &self.runs[first] else { return };
        let limit = second.and_then(|second| self.runs[second].key().map(|key| (second, key)));
        let due = |row: usize| match &limit {
            None => true,
            Some((second, limit)) => (keys.row(row), first) < (*limit, *second),
        };
        let end = (*at + room).min(keys.num_rows());
        let until = (*at..end).find(|row| !due(*row)).unwrap_or(end);
        self.picked.extend((*at..until).map(|row| (*part, row)));
        let through = until == keys.num_rows();
        match &mut self.runs[first] {
            Run::Open { at, .. } if !through => *at = until,
            run => *run = Run::Waiting,
        }
    }

    fn emit(&mut self) -> Result<RecordBatch, ArrowError> {
        let parts: Vec<&RecordBatch> = self.parts.iter().collect();
        let rows = interleave_record_batch(&parts, &self.picked)?;
        self.picked.clear();
        let mut kept = Vec::new();
        for run in &mut self.runs {
            if let Run::Open { part, .. } = run {
                kept.push(self.parts[*part].clone());
                *part = kept.len() - 1;
            }
        }
        self.parts = kept;
        Ok(rows)
    }
}

// === impl Run ===

impl Run {
    fn key(&self) -> Option<Row<'_>> {
        match self {
            Self::Open { keys, at, .. } => Some(keys.row(*at)),
            Self::Waiting | Self::Ended => None,
        }
    }
}

#[cfg(test)]
mod tests;
