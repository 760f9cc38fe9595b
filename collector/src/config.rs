//! What an operator may set, with defaults for one node.

use std::path::PathBuf;

use serde::Deserialize;

/// The `collector` section of the configuration file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The node's name, in every row. The binary fills it with the host's name.
    pub node: String,
    /// The cluster's name, in every row.
    pub cluster: String,
    /// Where ingest listens, e.g. `http://127.0.0.1:4150` or `https://ingest.example:4150`.
    /// Plain `http` is only taken to loopback; `unix:///path` to a socket. Empty: nothing is delivered, the
    /// spool only fills.
    pub endpoint: String,
    /// The certificates that an `https` endpoint is checked against, PEM.
    pub ca_file: Option<PathBuf>,
    /// This collector's own certificate, PEM, for an `https` endpoint that asks
    /// for one. Its DNS names must include the collector id, which is the node's name.
    pub cert_file: Option<PathBuf>,
    /// The certificate's private key, PEM.
    pub key_file: Option<PathBuf>,
    /// A file whose content is presented to ingest as `authorization: Bearer`.
    /// Read again for every connection.
    pub token_file: Option<PathBuf>,
    /// Where batches wait until ingest has them; one collector a folder. The
    /// binary fills it with `spool` below its data directory.
    pub spool_dir: PathBuf,
    /// The most bytes that the spool may hold. File events are no longer
    /// spooled at 70 % of it, network events at 80 %, process events at 90 %.
    pub spool_bytes: u64,
    /// How long a stop waits for ingest to acknowledge what is spooled,
    /// milliseconds. What is left stays in the spool for the next start.
    pub drain_timeout_ms: u64,
    /// A batch is closed at this many rows.
    pub batch_rows: usize,
    /// A batch is closed this long after its first row, milliseconds.
    pub batch_after_ms: u64,
    /// The most of one processor that emptying the rings may take, percent; 0 for
    /// no limit. What the rings cannot hold meanwhile is lost, and counted.
    pub cpu_percent: u32,
    /// Above this many bytes of anonymous memory of the process file events are no
    /// longer kept but counted as lost; 0 for no limit. Under `up` everything else
    /// is in the same process.
    pub memory_bytes: u64,
    /// System calls of this node.
    pub syscalls: Syscalls,
    /// The API server's audit log as a file.
    pub audit_file: AuditFile,
    /// The API server's audit webhook.
    pub webhook: Webhook,
    /// Resource use of cgroups.
    pub usage: Usage,
    /// Pods and namespaces from the cluster's API.
    pub kube: Kube,
    /// A recording played as if it happened now.
    pub replay: Replay,
}

/// Whether a source runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enabled {
    /// If it can; else the start says what is missing and goes on.
    #[default]
    Auto,
    /// It must; the collector does not start without it.
    On,
    /// No.
    Off,
}

/// The `collector.syscalls` section.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Syscalls {
    /// Whether kernel programs are loaded.
    pub enabled: Enabled,
    /// Bytes of the ring of process events; a power of two, at least a page.
    pub process_ring_bytes: u32,
    /// Bytes of the ring of network events; as above.
    pub network_ring_bytes: u32,
    /// Bytes of the ring of file events; as above.
    pub file_ring_bytes: u32,
    /// How often the rings are looked at, milliseconds. They are also looked at
    /// when one of them is a quarter full, or holds a mebibyte.
    pub poll_every_ms: u64,
    /// The most processes that are remembered, ended ones included.
    pub max_processes: usize,
    /// Whether a started program's environment is kept, in `proc_env`. It often
    /// holds secrets, so it is off.
    pub environment: bool,
    /// Events of files and networks, and failed program starts, that are equal
    /// but for their time within this many milliseconds are one row more, with
    /// the number of the others in `repeats`. 0: each is a row.
    pub repeats_after_ms: u64,
    /// Opens that only read are left out when the file ring fills faster than it
    /// is emptied: one of at most so many is kept, with that number as its
    /// `weight`. 1: none is left out; what finds the ring full is lost.
    pub sample_at_most: u32,
    /// Only events of this cgroup, for tests that count every one; 0 for all.
    #[serde(skip)]
    pub(crate) only_cgroup: u64,
    /// No call and no packet is looked at, only starts, forks and ends of processes:
    /// for a bench, of what these cost who does neither.
    #[doc(hidden)]
    #[serde(skip)]
    pub only_processes: bool,
}

/// The `collector.audit_file` section.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditFile {
    /// The file that the API server appends JSON lines to; empty: off.
    pub path: PathBuf,
    /// How often it is looked at, milliseconds.
    pub poll_every_ms: u64,
    /// A longer line is skipped and counted, bytes.
    pub max_line_bytes: usize,
}

/// The `collector.webhook` section.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhook {
    /// Whether it listens.
    pub enabled: Enabled,
    /// Where it listens, address and port; port 0 takes any free one. Outside
    /// of loopback it needs `token_file`, `cert_file` and `key_file`.
    pub listen: String,
    /// A file whose content the API server must present as `authorization: Bearer`.
    pub token_file: Option<PathBuf>,
    /// A larger request is refused, bytes.
    pub max_body_bytes: usize,
    /// Its certificate chain, PEM; with `key_file` it speaks TLS.
    pub cert_file: Option<PathBuf>,
    /// The certificate's private key, PEM.
    pub key_file: Option<PathBuf>,
}

/// The `collector.usage` section.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Usage {
    /// Whether cgroups are read.
    pub enabled: Enabled,
    /// How often, milliseconds.
    pub every_ms: u64,
    /// The most cgroups that are followed.
    pub max_cgroups: usize,
}

/// The `collector.kube` section.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kube {
    /// Whether pods are watched; `auto` does so inside of a cluster.
    pub enabled: Enabled,
}

/// The `collector.replay` section.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Replay {
    /// The recording; empty: off.
    pub path: PathBuf,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            node: String::new(),
            cluster: String::new(),
            endpoint: "http://127.0.0.1:4150".into(),
            ca_file: None,
            cert_file: None,
            key_file: None,
            token_file: None,
            spool_dir: PathBuf::new(),
            spool_bytes: 1 << 30,
            drain_timeout_ms: 5_000,
            batch_rows: 8_192,
            batch_after_ms: 50,
            cpu_percent: 0,
            memory_bytes: 0,
            syscalls: Syscalls::default(),
            audit_file: AuditFile::default(),
            webhook: Webhook::default(),
            usage: Usage::default(),
            kube: Kube::default(),
            replay: Replay::default(),
        }
    }
}

impl Default for Syscalls {
    fn default() -> Self {
        Self {
            enabled: Enabled::Auto,
            // The kernel counts a ring twice as memory of the process.
            process_ring_bytes: 1 << 20,
            network_ring_bytes: 1 << 20,
            file_ring_bytes: 8 << 20,
            poll_every_ms: 40,
            max_processes: 32_768,
            environment: false,
            repeats_after_ms: 1_000,
            sample_at_most: 64,
            only_cgroup: 0,
            only_processes: false,
        }
    }
}

impl Default for AuditFile {
    fn default() -> Self {
        Self { path: PathBuf::new(), poll_every_ms: 200, max_line_bytes: 2 << 20 }
    }
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            enabled: Enabled::Auto,
            listen: "127.0.0.1:4181".into(),
            token_file: None,
            max_body_bytes: 16 << 20,
            cert_file: None,
            key_file: None,
        }
    }
}

impl Default for Usage {
    fn default() -> Self {
        Self { enabled: Enabled::Auto, every_ms: 10_000, max_cgroups: 16_384 }
    }
}
