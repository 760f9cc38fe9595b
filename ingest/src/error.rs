//! Why ingest cannot start, or must stop.

use std::net::SocketAddr;
use std::path::PathBuf;

use bailiwick_lake::LakeError;
use bailiwick_proto::wire::WireError;
use bailiwick_proto::{Action, InvalidId, Table};

/// What went wrong in ingest as a whole; a batch's trouble goes to its sender.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// `ingester_id` is not a valid name.
    #[error("ingest.ingester_id cannot be used")]
    IngesterId(#[from] InvalidId),
    /// The address is taken or not this host's.
    #[error("ingest.listen {addr} cannot be listened on")]
    Listen {
        /// The address as configured.
        addr: SocketAddr,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// Listening beyond loopback takes TLS and a token.
    #[error("ingest.listen {addr} is not loopback: set {missing}")]
    Exposed {
        /// The address as configured.
        addr: SocketAddr,
        /// The fields to set.
        missing: &'static str,
    },
    /// Certificate or key cannot be used.
    #[error("ingest.{field} {path} cannot be used: {reason}")]
    Tls {
        /// The field.
        field: &'static str,
        /// The file as configured.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The socket for this process's own rows cannot be made.
    #[error("socket {path} cannot be made, set ingest.local_socket to a place that can be written")]
    LocalSocket {
        /// Where.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The token file cannot be used.
    #[error("ingest.token_file {path} cannot be used: {reason}")]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The tenant mapping cannot be used.
    #[error(transparent)]
    Tenants(#[from] crate::tenants::MappingError),
    /// The retention cannot be used.
    #[error(transparent)]
    Retention(#[from] crate::upkeep::retention::RetentionError),
    /// Orders about tenants cannot be read or given.
    #[error(transparent)]
    Order(#[from] crate::upkeep::orders::OrderError),
    /// The bucket failed.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// Rows could not be brought into the form of a table's files.
    #[error("rows of {table} cannot be written")]
    Rows {
        /// The table.
        table: Table,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Rows could not be encoded for the WAL.
    #[error("rows cannot be encoded for the wal")]
    Encode(#[from] WireError),
    /// Another process writes this WAL now.
    #[error("wal object {number} of {ingester} was written by another process: this one is fenced off")]
    Fenced {
        /// Whose WAL.
        ingester: String,
        /// The number that both wanted.
        number: u64,
    },
    /// Another process committed rows of this log meanwhile.
    #[error("{table} holds this wal up to {committed} already: what is left must be looked at again")]
    Overtaken {
        /// The table.
        table: Table,
        /// Its `txn` for this log.
        committed: u64,
    },
    /// Settings that do not go together.
    #[error("ingest.{field} {reason}")]
    Settings {
        /// The field.
        field: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The thread that sorts and writes rows could not be started, or panicked.
    #[error("the thread that writes rows did not do so")]
    Thread {
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// It was told to stop before it had started.
    #[error("ingest was stopped before it had taken its wal over")]
    Stopped,
    /// The server failed.
    #[error("the gRPC server ended")]
    Server(#[from] tonic::transport::Error),
    /// A task of this process ended before its answer.
    #[error("a task of ingest ended early")]
    Task(#[from] tokio::task::JoinError),
}

// === impl IngestError ===

impl IngestError {
    /// What the caller should do.
    pub fn action(&self) -> Action {
        match self {
            Self::Fenced { .. } => Action::Stop,
            Self::Lake(error) => error.action(),
            Self::Order(error) => error.action(),
            Self::Server(_)
            | Self::Task(_)
            | Self::Stopped
            | Self::Overtaken { .. }
            | Self::Thread { .. } => Action::Retry,
            _ => Action::Fix,
        }
    }
}
