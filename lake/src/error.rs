//! What can go wrong between this process and the bucket.

use bailiwick_proto::Action;
use bailiwick_proto::wire::WireError;

/// A failed operation on the bucket, with the key or table that it was about.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The bucket's address is not one that this build can open.
    #[error(
        "bucket {url:?} cannot be opened: {reason}; use a folder's path, file:///path or s3://name/prefix"
    )]
    Address {
        /// The address as configured.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The bucket's service refuses us, or a field that tells how to reach it is wrong.
    #[error("bucket {url:?}, field {field}: {reason}")]
    Refused {
        /// The address as configured.
        url: String,
        /// The field to look at.
        field: String,
        /// What is wrong with it, and the next step.
        reason: String,
    },
    /// The bucket's service did not answer.
    #[error("bucket {url:?}, field {field}: {next}")]
    Unreachable {
        /// The address as configured.
        url: String,
        /// The field to look at.
        field: &'static str,
        /// The next step.
        next: &'static str,
        /// The store's own error.
        #[source]
        source: Box<object_store::Error>,
    },
    /// The store does not do what everything here builds on.
    #[error("bucket {url:?}: {reason}; use another store")]
    Unfit {
        /// The store's name.
        url: String,
        /// Which promise it broke.
        reason: String,
    },
    /// The store refused or failed an operation.
    #[error("cannot {operation} {key}")]
    Store {
        /// The verb: `read`, `write`, `list`, `delete`.
        operation: &'static str,
        /// The object's key or the folder.
        key: String,
        /// The store's own error.
        #[source]
        source: object_store::Error,
    },
    /// A WAL object's bytes are not what was written.
    #[error("wal object {key} is damaged: {reason}")]
    DamagedWal {
        /// The object's key.
        key: String,
        /// Which check failed.
        reason: String,
    },
    /// Rows of a WAL object could not be read although their checksum holds.
    #[error("rows of {table} in wal object {key} cannot be read")]
    Rows {
        /// The object's key.
        key: String,
        /// The table that the rows belong to.
        table: bailiwick_proto::Table,
        /// The reader's error.
        #[source]
        source: WireError,
    },
    /// The Delta log of a table could not be read or extended.
    #[error("delta log of {table}: cannot {operation}")]
    Delta {
        /// The table.
        table: bailiwick_proto::Table,
        /// What was being done.
        operation: &'static str,
        /// The kernel's error.
        #[source]
        source: Box<delta_kernel::KernelError>,
    },
    /// The Delta log holds a file that this system did not write that way.
    #[error("delta log of {table} names {path:?}, which is not ours: {reason}")]
    ForeignFile {
        /// The table.
        table: bailiwick_proto::Table,
        /// The path in the log.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A commit would remove a file that the table does not hold.
    #[error("{path} is not a file of {table} any more, look again")]
    NotInTable {
        /// The table.
        table: bailiwick_proto::Table,
        /// The file's key.
        path: String,
    },
    /// A rewrite would change how many rows the table has.
    #[error("a rewrite of {table} puts {rows_in} rows in the place of {rows_out}, nothing was changed")]
    RowsDiffer {
        /// The table.
        table: bailiwick_proto::Table,
        /// Rows of the files that it adds.
        rows_in: u64,
        /// Rows of the files that it removes.
        rows_out: u64,
    },
    /// WAL objects kept vanishing while a view was being put together.
    #[error("no consistent view of {table} after {attempts} attempts: flushes overtake the reader")]
    Overtaken {
        /// The table.
        table: bailiwick_proto::Table,
        /// How often it was tried.
        attempts: u32,
    },
    /// A background task of this process ended before its answer.
    #[error("a task that should {operation} ended early")]
    Task {
        /// What it was doing.
        operation: &'static str,
        /// How it ended.
        #[source]
        source: tokio::task::JoinError,
    },
}

// === impl LakeError ===

impl LakeError {
    pub(crate) fn store(operation: &'static str, key: &impl ToString, source: object_store::Error) -> Self {
        Self::Store { operation, key: key.to_string(), source }
    }

    /// Whether the object asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Store { source: object_store::Error::NotFound { .. }, .. })
    }

    /// Whether a put-if-absent found its key taken.
    pub fn is_already_there(&self) -> bool {
        matches!(self, Self::Store { source: object_store::Error::AlreadyExists { .. }, .. })
    }

    /// Whether an object was found and is not what was written.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::DamagedWal { .. } | Self::Rows { .. })
    }

    /// What the caller should do.
    pub fn action(&self) -> Action {
        match self {
            Self::Address { .. }
            | Self::Refused { .. }
            | Self::Unfit { .. }
            | Self::DamagedWal { .. }
            | Self::Rows { .. }
            | Self::ForeignFile { .. }
            | Self::RowsDiffer { .. } => Action::Fix,
            Self::Unreachable { .. }
            | Self::Store { .. }
            | Self::Delta { .. }
            | Self::NotInTable { .. }
            | Self::Overtaken { .. }
            | Self::Task { .. } => Action::Retry,
        }
    }
}
