//! What ingest counts, `bailiwick_ingest_…`.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// One label: which table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TableLabel {
    /// The table's name.
    pub table: String,
}

/// One label: why.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// The reason, a fixed word.
    pub reason: String,
}

/// One label: which node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NodeLabel {
    /// The node's name.
    pub node: String,
}

/// Ingest's metrics; clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Batches that are durable and were acknowledged.
    pub acked_batches: Counter,
    /// Rows that are durable, by table.
    pub acked_rows: Family<TableLabel, Counter>,
    /// Batches that came again after they were durable.
    pub duplicate_batches: Counter,
    /// Batches or streams that were not taken, by reason.
    pub rejected: Family<ReasonLabel, Counter>,
    /// Rows whose time was missing or absurd and that got the day of their arrival.
    pub undated_rows: Counter,
    /// Bytes written to the WAL.
    pub wal_bytes: Counter,
    /// From the first batch of a group to its being durable, seconds.
    pub wal_write: Histogram,
    /// Times that a WAL object could not be written and was tried again.
    pub wal_retries: Counter,
    /// From sorting to the commit's end, one table, seconds.
    pub commit: Histogram,
    /// Commits that somebody else's came before.
    pub conflicts: Counter,
    /// Flushes that failed and are tried again.
    pub flush_failures: Counter,
    /// Data files written.
    pub files: Counter,
    /// Bytes of data files written.
    pub file_bytes: Counter,
    /// Rows in them.
    pub file_rows: Counter,
    /// Age of the oldest row that is durable but not committed, at the last look, seconds.
    pub flush_lag: Gauge,
    /// Bytes of batches that are durable but not committed.
    pub pending_bytes: Gauge,
    /// Times that a changed tenant mapping could not be used.
    pub mapping_failures: Counter,
    /// Entries of the tenant mapping in use.
    pub mapped_tenants: Gauge,
    /// Collectors that moved here, or came for the first time.
    pub claimed_collectors: Counter,
    /// Collectors that moved to another ingester.
    pub left_collectors: Counter,
    /// Rows written into the WAL once more because they were too few for a file.
    pub carried_rows: Counter,
    /// Logs of other ingesters that were taken over and committed.
    pub adopted_logs: Counter,
    /// Rows of events more than a day old.
    pub late_rows: Counter,
    /// How far each node's newest event was ahead of this clock, seconds; negative behind.
    pub clock_ahead: Family<NodeLabel, Gauge<f64, AtomicU64>>,
    /// Ship streams open now.
    pub streams: Gauge,
    /// Followers of Tail that were too slow and must go to the bucket.
    pub tails_cut_off: Counter,
    /// WAL objects that could not be read when they were replayed.
    pub damaged_wal: Counter,
    /// What is done for the tables in the background.
    pub upkeep: crate::upkeep::Metrics,
}

// === impl Metrics ===

impl Metrics {
    /// Registers everything under `bailiwick_ingest`.
    pub fn register(registry: &mut Registry) -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.000_5, 2.0, 18));
        let metrics = Self {
            acked_batches: Counter::default(),
            acked_rows: Family::default(),
            duplicate_batches: Counter::default(),
            rejected: Family::default(),
            undated_rows: Counter::default(),
            wal_bytes: Counter::default(),
            wal_write: seconds(),
            wal_retries: Counter::default(),
            commit: seconds(),
            conflicts: Counter::default(),
            flush_failures: Counter::default(),
            files: Counter::default(),
            file_bytes: Counter::default(),
            file_rows: Counter::default(),
            flush_lag: Gauge::default(),
            pending_bytes: Gauge::default(),
            mapping_failures: Counter::default(),
            mapped_tenants: Gauge::default(),
            claimed_collectors: Counter::default(),
            left_collectors: Counter::default(),
            carried_rows: Counter::default(),
            adopted_logs: Counter::default(),
            late_rows: Counter::default(),
            clock_ahead: Family::default(),
            streams: Gauge::default(),
            tails_cut_off: Counter::default(),
            damaged_wal: Counter::default(),
            upkeep: crate::upkeep::Metrics::default(),
        };
        metrics.name_in(registry.sub_registry_with_prefix("bailiwick_ingest"));
        metrics
    }

    /// Counts a refusal.
    pub fn reject(&self, reason: &str) {
        self.rejected.get_or_create(&ReasonLabel { reason: reason.to_owned() }).inc();
    }

    fn name_in(&self, to: &mut Registry) {
        to.register("acked_batches", "batches durable and acknowledged", self.acked_batches.clone());
        to.register("acked_rows", "rows durable, by table", self.acked_rows.clone());
        to.register("duplicate_batches", "batches that came again", self.duplicate_batches.clone());
        to.register("rejected", "batches or streams not taken, by reason", self.rejected.clone());
        to.register("undated_rows", "rows with a missing or absurd time", self.undated_rows.clone());
        to.register_with_unit("wal", "written to the wal", Unit::Bytes, self.wal_bytes.clone());
        to.register_with_unit("wal_write", "one group until durable", Unit::Seconds, self.wal_write.clone());
        to.register("wal_retries", "wal writes tried again", self.wal_retries.clone());
        to.register_with_unit("commit", "one table's flush", Unit::Seconds, self.commit.clone());
        to.register("conflicts", "commits that another came before", self.conflicts.clone());
        to.register("flush_failures", "flushes tried again", self.flush_failures.clone());
        to.register("files", "data files written", self.files.clone());
        to.register_with_unit("files_size", "data files written", Unit::Bytes, self.file_bytes.clone());
        to.register("files_rows", "rows in data files written", self.file_rows.clone());
        to.register_with_unit(
            "flush_lag",
            "age of the oldest uncommitted row",
            Unit::Seconds,
            self.flush_lag.clone(),
        );
        to.register_with_unit("pending", "durable, not committed", Unit::Bytes, self.pending_bytes.clone());
        to.register("mapping_failures", "changed tenant mappings not usable", self.mapping_failures.clone());
        to.register("mapped_tenants", "entries of the tenant mapping in use", self.mapped_tenants.clone());
        to.register("claimed_collectors", "collectors that came here", self.claimed_collectors.clone());
        to.register("left_collectors", "collectors that left", self.left_collectors.clone());
        to.register("carried_rows", "rows kept in the wal for a larger file", self.carried_rows.clone());
        to.register("adopted_logs", "logs of other ingesters finished here", self.adopted_logs.clone());
        to.register("late_rows", "rows of events over a day old", self.late_rows.clone());
        let ahead = "a node's newest event ahead of this clock";
        to.register_with_unit("clock_ahead", ahead, Unit::Seconds, self.clock_ahead.clone());
        to.register("streams", "ship streams open", self.streams.clone());
        to.register("tails_cut_off", "followers too far behind", self.tails_cut_off.clone());
        to.register("damaged_wal_objects", "wal objects set aside", self.damaged_wal.clone());
        self.upkeep.name_in(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page for the person on call names only metrics that there are.
    #[test]
    fn the_operations_page_names_what_exists() {
        let page = include_str!("../../docs/operations.md");
        let (mut registry, mut text) = (Registry::default(), String::new());
        // A family without members has no line of its own.
        let metrics = Metrics::register(&mut registry);
        metrics.reject("gap");
        let _ = metrics.clock_ahead.get_or_create(&NodeLabel { node: "n".into() });
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let types: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let exists = |name: &str| {
            let base = name.strip_suffix("_total").unwrap_or(name);
            types.iter().any(|found| found.split(' ').next() == Some(base))
        };
        let named = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named: Vec<&str> = named.filter(|word| word.starts_with("bailiwick_ingest_")).collect();
        let missing: Vec<_> = named.iter().filter(|name| !exists(name)).collect();
        assert!(named.len() > 10 && missing.is_empty(), "not registered: {missing:?}");
    }
}
