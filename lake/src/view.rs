//! A table as it is now: one pinned version and exactly the WAL rows above it.
//!
//! The order of steps is what makes it exact. WAL objects are listed first and
//! the version is pinned second: whatever a flush moved from one to the other
//! in between is in the version, whose `txn` then leaves the listed object out.
//! An object that is gone when it should be read was committed meanwhile, so
//! the view begins again.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
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
    /// The rows that are durable but not yet committed: public schema, all
    /// tenants mixed, in the order of arrival.
    pub wal: Vec<RecordBatch>,
    /// Per ingester, the last WAL object that this view holds, committed or not.
    pub wal_through: Vec<WalKey>,
    /// WAL objects whose bytes are not what was written; their rows are missing.
    pub damaged: Vec<WalKey>,
}

/// A WAL object's rows in the public schema.
#[derive(Debug)]
pub(crate) struct PublicRows {
    pub(crate) tables: Vec<(Table, Vec<RecordBatch>)>,
    pub(crate) bytes: usize,
    pub(crate) is_carried: bool,
    pub(crate) damaged: bool,
}

// === impl PublicRows ===

impl PublicRows {
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
            let rows = lake.public_rows(key).await?;
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

/// Decodes a WAL object and casts its rows to what SQL shows.
pub(crate) fn public_rows(object: &WalObject) -> Result<PublicRows, LakeError> {
    let (mut tables, mut bytes) = (Vec::new(), 0);
    let is_carried = object.header().is_carried();
    for (table, batches) in object.rows()? {
        let failed = |source| LakeError::Rows { key: object.key().path().to_string(), table, source };
        let batches = batches.iter().map(|batch| to_public(table, batch)).collect::<Result<Vec<_>, _>>();
        let batches = batches.map_err(|error| failed(error.into()))?;
        bytes += batches.iter().map(RecordBatch::get_array_memory_size).sum::<usize>();
        tables.push((table, batches));
    }
    Ok(PublicRows { tables, bytes, is_carried, damaged: false })
}

/// A stamped batch in the table's public schema: dictionaries become text.
pub fn to_public(table: Table, batch: &RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
    let schema = table.public_schema();
    let column =
        |(column, field): (&ArrayRef, &Arc<arrow::datatypes::Field>)| cast(column, field.data_type());
    let columns = batch.columns().iter().zip(schema.fields()).map(column).collect::<Result<_, _>>()?;
    RecordBatch::try_new(schema, columns)
}
