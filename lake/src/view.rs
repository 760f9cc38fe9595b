//! A table as it is now: one pinned version and exactly the WAL rows above it.
//!
//! The order of steps is what makes it exact. WAL objects are listed first and
//! the version is pinned second: whatever a flush moved from one to the other
//! in between is in the version, whose `txn` then leaves the listed object out.
//! An object that is gone when it should be read was committed meanwhile, so
//! the view begins again.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::Field;
use arrow::error::ArrowError;
use bailiwick_proto::{IngesterId, Table};

use crate::keys::WalKey;
use crate::table::DataFile;
use crate::wal::WalObject;
use crate::{Boundary, Lake, LakeError};

/// How often a view begins again when flushes delete what it wants to read.
const ATTEMPTS: u32 = 20;

/// A table as it was at one moment.
#[derive(Debug, Clone)]
pub struct View {
    /// Which table.
    pub table: Table,
    /// The pinned version of its log.
    pub version: i64,
    /// The committed files of that version.
    pub files: Vec<DataFile>,
    /// The rows that are durable but not yet committed: stamped schema, see
    /// [`to_public`], all tenants mixed, in the order of arrival.
    pub wal: Vec<RecordBatch>,
    /// Per ingester, the last WAL object that this view holds, committed or not.
    pub wal_through: Vec<WalKey>,
    /// WAL objects whose bytes are not what was written; their rows are missing.
    pub damaged: Vec<WalKey>,
}

/// A WAL object's rows, stamped schema.
#[derive(Debug)]
pub(crate) struct WalRows {
    pub(crate) tables: Vec<(Table, Vec<RecordBatch>)>,
    pub(crate) bytes: usize,
    pub(crate) is_carried: bool,
    pub(crate) damaged: bool,
}

// === impl WalRows ===

impl WalRows {
    /// What stands for an object that cannot be read.
    pub(crate) fn damaged() -> Self {
        Self { tables: vec![], bytes: 0, is_carried: false, damaged: true }
    }
}

pub(crate) async fn of(lake: &Lake, table: Table) -> Result<View, LakeError> {
    for _ in 0..ATTEMPTS {
        match attempt(lake, table).await {
            Err(error) if error.is_not_found() => tokio::task::yield_now().await,
            done => return done,
        }
    }
    Err(LakeError::Overtaken { table, attempts: ATTEMPTS })
}

async fn attempt(lake: &Lake, table: Table) -> Result<View, LakeError> {
    let listed = lake.wal_keys().await?;
    let log = lake.table(table);
    let snapshot = log.snapshot().await?;
    let mut boundaries: HashMap<&IngesterId, Boundary> = HashMap::new();
    let (mut wal, mut damaged) = (Vec::new(), Vec::new());
    for key in &listed {
        let boundary = match boundaries.get(&key.ingester) {
            Some(boundary) => *boundary,
            None => {
                let boundary = Boundary::of(log, &snapshot, &key.ingester).await?;
                boundaries.insert(&key.ingester, boundary);
                boundary
            }
        };
        if key.number > boundary.committed {
            let rows = lake.wal_rows(key).await?;
            if rows.damaged {
                damaged.push(key.clone());
            }
            if !boundary.counts(key.number, rows.is_carried) {
                continue;
            }
            let of_table = rows.tables.iter().filter(|(of, _)| *of == table);
            wal.extend(of_table.flat_map(|(_, batches)| batches.iter().cloned()));
        }
    }
    let wal_through = last_of_each(&listed);
    Ok(View {
        table,
        version: snapshot.version(),
        files: snapshot.files().to_vec(),
        wal,
        wal_through,
        damaged,
    })
}

/// The newest object of every log, of keys in their order.
pub(crate) fn last_of_each(listed: &[WalKey]) -> Vec<WalKey> {
    let mut last: Vec<WalKey> = Vec::new();
    for key in listed {
        match last.last_mut() {
            Some(newest) if newest.ingester == key.ingester => newest.number = key.number,
            _ => last.push(key.clone()),
        }
    }
    last
}

/// Decodes a WAL object.
pub(crate) fn wal_rows(object: &WalObject) -> Result<WalRows, LakeError> {
    let tables = object.rows()?;
    let batches = tables.iter().flat_map(|(_, batches)| batches);
    // Columns of nulls share one another's memory.
    let filled = |column: &&ArrayRef| column.null_count() < column.len();
    let size = |batch: &RecordBatch| -> usize {
        batch.columns().iter().filter(filled).map(|column| column.get_array_memory_size()).sum()
    };
    let bytes = batches.map(size).sum();
    Ok(WalRows { tables, bytes, is_carried: object.header().is_carried(), damaged: false })
}

/// A stamped batch in the table's public schema: dictionaries become text.
pub fn to_public(table: Table, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let all: Vec<usize> = (0..table.public_schema().fields().len()).collect();
    to_public_columns(table, batch, &all)
}

/// The same for some columns, given by their places in the public schema: text
/// is large, and most questions are about a few columns.
pub fn to_public_columns(
    table: Table,
    batch: &RecordBatch,
    wanted: &[usize],
) -> Result<RecordBatch, ArrowError> {
    let schema = Arc::new(table.public_schema().project(wanted)?);
    let column = |(index, field): (&usize, &Arc<Field>)| {
        let column = batch.column(*index);
        match column.null_count() == column.len() {
            true => Ok(new_null_array(field.data_type(), column.len())),
            false => cast(column, field.data_type()),
        }
    };
    let columns = wanted.iter().zip(schema.fields()).map(column).collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema, columns, &options)
}
