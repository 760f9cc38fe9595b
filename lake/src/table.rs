//! The log of one table: which data files make it up, version by version.
//!
//! [`TableLog`] is all that the rest of Bailiwick knows of a table format. Its
//! one implementation keeps a Delta log through `delta_kernel` (ADR 0002).

mod delta;
mod files;
mod log;

use std::sync::Arc;

use async_trait::async_trait;
use bailiwick_proto::{Table, TenantId};
use chrono::NaiveDate;

pub use delta::LOG_KEPT_AT_LEAST_MS;
use delta::Pinned;
pub(crate) use delta::{DeltaTable, kernel};
pub use log::Cleaned;

use crate::LakeError;
use crate::keys::DataKey;

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
    /// Keys of files that no longer are. They must be part of the base.
    pub remove: Vec<String>,
}

/// What a change does to a table's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// New rows, or a mark alone.
    Append,
    /// The same rows in other files; their number must be the same.
    Rewrite,
    /// Rows go.
    Deletion,
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
    /// Somebody else's commit came first, or it is not sure that none did: take
    /// a new snapshot, look there for `txn` or the files, and decide again. One's
    /// own commit may be the one that came first, after a reply was lost.
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

    /// Commits a change made in the light of `base`. A file to remove that is
    /// not part of `base`, and a rewrite of another number of rows, are refused
    /// and change nothing; any other error leaves open whether it was
    /// committed: ask a new snapshot for the `txn` or the files.
    async fn commit(&self, base: &TableSnapshot, change: Change) -> Result<Committed, LakeError>;

    /// Summarises the log up to this snapshot, so that opening stays quick.
    async fn checkpoint(&self, snapshot: &TableSnapshot) -> Result<(), LakeError>;

    /// Deletes what the newest two checkpoints make needless and was last
    /// written before `before_ms`, milliseconds since 1970. Versions from
    /// before then can no longer be opened; who holds one that is older finds
    /// the newest again. `before_ms` must lie at least
    /// [`crate::LOG_KEPT_AT_LEAST_MS`] back.
    async fn clean_log(&self, before_ms: i64) -> Result<Cleaned, LakeError>;
}

// === impl DataFile ===

impl DataFile {
    /// The CRC-32C of the file's bytes, if its name has it.
    pub fn crc32c(&self) -> Option<u32> {
        DataKey::parse(&object_store::path::Path::from(self.path.as_str()))?.crc32c()
    }
}

// === impl Change ===

impl Change {
    /// What it does to the rows, which follows from what it adds and removes.
    pub fn kind(&self) -> ChangeKind {
        match (self.add.is_empty(), self.remove.is_empty()) {
            (_, true) => ChangeKind::Append,
            (false, false) => ChangeKind::Rewrite,
            (true, false) => ChangeKind::Deletion,
        }
    }
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
