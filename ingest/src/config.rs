//! What an operator may set, with defaults for one node.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// The `ingest` section of the configuration file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Names this ingester's WAL; stable across restarts, unique in the bucket.
    pub ingester_id: String,
    /// Where Ship and Tail listen. Port 0 takes any free one. Beyond loopback
    /// it takes the two TLS files and a token file.
    pub listen: SocketAddr,
    /// The certificate chain that callers see, PEM.
    pub tls_cert_file: Option<PathBuf>,
    /// The certificate's private key, PEM.
    pub tls_key_file: Option<PathBuf>,
    /// A file whose content callers must present as `authorization: Bearer`.
    pub token_file: Option<PathBuf>,
    /// The socket by which this process's own rows come in where callers must
    /// present a token. Without it, one in a folder of its own below the
    /// system's temporary one.
    pub local_socket: Option<PathBuf>,
    /// Which namespaces, cgroups and users belong to which tenant, YAML. Read
    /// again when it changes. Without it nobody claims anything.
    pub tenants_file: Option<PathBuf>,
    /// How long rows are kept, by table and tenant, YAML. Read again when it
    /// changes. Without it nothing expires.
    pub retention_file: Option<PathBuf>,
    /// How long a batch may wait for others to share its WAL object, milliseconds.
    pub group_wait_ms: u64,
    /// A WAL object is closed at this many bytes of batches.
    pub group_at_bytes: usize,
    /// Bytes of batches received but not yet durable; senders wait beyond it.
    pub inflight_bytes: usize,
    /// Rows go from the WAL to the tables at least this often, milliseconds.
    pub flush_after_ms: u64,
    /// They go earlier when this many bytes of batches wait. Acks stop while
    /// four times as many wait.
    pub flush_at_bytes: usize,
    /// A table's log is summarised each so many commits.
    pub checkpoint_every: u64,
    /// The longest pause between two tries of a failing store, milliseconds.
    pub retry_at_most_ms: u64,
    /// How long a stop waits for the last writes and flush, milliseconds. What
    /// is not done by then stays in the WAL, or with its sender.
    pub drain_timeout_ms: u64,
    /// What is done for the tables in the background.
    pub upkeep: crate::upkeep::Config,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            ingester_id: "ingest-0".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 4150)),
            tls_cert_file: None,
            tls_key_file: None,
            token_file: None,
            local_socket: None,
            tenants_file: None,
            retention_file: None,
            group_wait_ms: 5,
            group_at_bytes: 8 << 20,
            inflight_bytes: 128 << 20,
            flush_after_ms: 30_000,
            flush_at_bytes: 128 << 20,
            checkpoint_every: 100,
            retry_at_most_ms: 2_000,
            drain_timeout_ms: 10_000,
            upkeep: crate::upkeep::Config::default(),
        }
    }
}
