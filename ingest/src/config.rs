//! What an operator may set, with defaults for one node.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::IngestError;
use crate::carry::Policy;

/// Below this nothing could be received at all.
const SMALLEST_MEMORY_BYTES: usize = 64 << 10;

/// The `ingest` section of the configuration file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Names this ingester's WAL; stable across restarts, unique in the bucket.
    pub ingester_id: String,
    /// Where Ship and Tail listen. Port 0 takes any free one. Beyond loopback
    /// it takes the two TLS files and a token file or `client_ca_file`.
    pub listen: SocketAddr,
    /// The certificate chain that callers see, PEM.
    pub tls_cert_file: Option<PathBuf>,
    /// The certificate's private key, PEM.
    pub tls_key_file: Option<PathBuf>,
    /// The authority whose certificates callers must present, PEM. A sender's
    /// certificate must have its collector id among its DNS names.
    pub client_ca_file: Option<PathBuf>,
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
    /// What rows may take of this process's memory, bytes. A sixteenth is for
    /// batches that are received and not yet durable, three for durable ones that
    /// wait for the tables, three for sorting half of these at a time, the rest for
    /// what the allocator, the WAL and Parquet need beside; senders wait while a
    /// part is full.
    pub memory_bytes: usize,
    /// Rows go from the WAL to the tables at least this often, milliseconds.
    pub flush_after_ms: u64,
    /// A tenant's rows of a day make no file while they are fewer than this,
    pub carry_below_rows: u64,
    /// and the oldest of them is younger than this, milliseconds; they wait in
    /// the WAL, where queries see them. 0: they never wait.
    pub carry_at_most_ms: u64,
    /// A log whose ingester has left rows uncommitted for so long is finished
    /// by another one, milliseconds. 0: never.
    pub adopt_after_ms: u64,
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

impl Config {
    /// Bytes of batches received but not yet durable.
    pub fn inflight_bytes(&self) -> usize {
        self.memory_bytes / 16
    }

    /// Rows go to the tables earlier when so many bytes of them wait, and no more
    /// than these at a time.
    pub fn flush_at_bytes(&self) -> usize {
        self.memory_bytes / 32 * 3
    }

    /// Acks stop while so many bytes wait for the tables.
    pub fn pending_bytes(&self) -> usize {
        self.flush_at_bytes() * 2
    }

    /// Which rows wait for more of their kind.
    pub fn carry_policy(&self) -> Policy {
        Policy {
            below_rows: if self.carry_at_most_ms == 0 { 0 } else { self.carry_below_rows },
            at_most_us: i64::try_from(self.carry_at_most_ms.saturating_mul(1000)).unwrap_or(i64::MAX),
            at_most_bytes: self.flush_at_bytes() / 4,
        }
    }

    /// Whether the values go together.
    pub fn check(&self) -> Result<(), IngestError> {
        let settings = |field, reason: String| Err(IngestError::Settings { field, reason });
        if self.memory_bytes < SMALLEST_MEMORY_BYTES {
            return settings("memory_bytes", format!("must be at least {SMALLEST_MEMORY_BYTES}"));
        }
        // Who waits on purpose must not be taken for dead.
        let patience_ms = self.carry_at_most_ms.saturating_add(self.flush_after_ms.saturating_mul(4));
        if self.adopt_after_ms != 0 && self.adopt_after_ms < patience_ms {
            let reason = format!(
                "must be 0 or at least {patience_ms}: carry_at_most_ms and four times flush_after_ms"
            );
            return settings("adopt_after_ms", reason);
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ingester_id: "ingest-0".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 4150)),
            tls_cert_file: None,
            tls_key_file: None,
            client_ca_file: None,
            token_file: None,
            local_socket: None,
            tenants_file: None,
            retention_file: None,
            group_wait_ms: 5,
            group_at_bytes: 8 << 20,
            memory_bytes: 2 << 30,
            flush_after_ms: 30_000,
            carry_below_rows: 10_000,
            carry_at_most_ms: 600_000,
            adopt_after_ms: 900_000,
            checkpoint_every: 100,
            retry_at_most_ms: 2_000,
            drain_timeout_ms: 10_000,
            upkeep: crate::upkeep::Config::default(),
        }
    }
}
