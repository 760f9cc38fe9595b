//! The log of one table: which data files make it up, version by version.
//!
//! [`TableLog`] is all that the rest of Bailiwick knows of a table format. Its
//! one implementation keeps a Delta log through `delta_kernel` (ADR 0002).

mod delta;
mod files;

use std::sync::Arc;

use async_trait::async_trait;
use bailiwick_proto::{Table, TenantId};
use chrono::NaiveDate;

use delta::Pinned;
pub(crate) use delta::{DeltaTable, kernel};

use crate::LakeError;

/// One committed Parquet file. It does not hold the partition columns `tenant`
/// and `date`: they are the same for all its rows and stand here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// The object's key below the bucket's root.
    pub path: String,
    /// The object's size.
    pub size_bytes: u64,
    /// How many rows it holds.
    pub rows: u64,
    /// The `tenant` of all its rows.
    pub tenant: TenantId,
    /// The `date` of all its rows.
    pub date: NaiveDate,
    /// No row's `time` is lower, microseconds; `None` when not known.
    pub min_time_us: Option<i64>,
    /// No row's `time` is higher, microseconds; `None` when not known.
    pub max_time_us: Option<i64>,
    /// When it was written, milliseconds since 1970.
    pub modified_ms: i64,
    /// How many rows have no `time`.
    pub null_times: u64,
}

/// A version of a table that stays as it is while it is held.
#[derive(Debug, Clone)]
pub struct TableSnapshot {
    pub(crate) pinned: Arc<Pinned>,
}

/// What one commit changes. All of it becomes visible at once or not at all.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Recorded with the commit, so that a writer can tell what it did.
    pub txn: Option<Txn>,
    /// Files that become part of the table.
    pub add: Vec<DataFile>,
    /// Keys of files that no longer are, for a rewrite that keeps the rows.
    pub remove: Vec<String>,
}

/// How far a writer's own log is part of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Txn {
    /// The writer, see [`crate::txn_app`].
    pub app: String,
    /// The last WAL object whose rows the commit holds.
    pub version: i64,
    /// The object that the rows it leaves out were carried to, see [`crate::Boundary`].
    pub carried: Option<i64>,
}

/// How a commit went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// It is the version named.
    At(i64),
    /// Somebody else's commit came first: take a new snapshot, look at `txn`
    /// again, and decide again.
    Conflict,
}

/// The log of one table.
#[async_trait]
pub trait TableLog: Send + Sync {
    /// Which table.
    fn table(&self) -> Table;

    /// The newest version. Cheap when nothing was committed since the last call.
    async fn snapshot(&self) -> Result<TableSnapshot, LakeError>;

    /// What `app` last recorded as of this snapshot.
    async fn txn(&self, snapshot: &TableSnapshot, app: &str) -> Result<Option<i64>, LakeError>;

    /// Commits a change made in the light of `base`. An error leaves open
    /// whether it was committed: ask `txn` of a new snapshot.
    async fn commit(&self, base: &TableSnapshot, change: Change) -> Result<Committed, LakeError>;

    /// Summarises the log up to this snapshot, so that opening stays quick.
    async fn checkpoint(&self, snapshot: &TableSnapshot) -> Result<(), LakeError>;
}

// === impl TableSnapshot ===

impl TableSnapshot {
    /// The version's number.
    pub fn version(&self) -> i64 {
        self.pinned.version
    }

    /// The files that make it up.
    pub fn files(&self) -> &[DataFile] {
        &self.pinned.files
    }
}
