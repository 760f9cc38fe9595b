//! What the collector counts about itself.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Rows by the table and lane that they went to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RowsLabels {
    pub(crate) table: &'static str,
    pub(crate) lane: &'static str,
}

/// Why something was not captured or not kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LossLabels {
    pub(crate) lane: &'static str,
    pub(crate) class: &'static str,
    pub(crate) reason: &'static str,
}

/// Cheap to clone; all clones count into the same cells.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    /// Rows given to the spool.
    pub(crate) rows: Family<RowsLabels, Counter>,
    /// Events lost, the same numbers as in the table `losses`.
    pub(crate) lost: Family<LossLabels, Counter>,
    /// Bytes that the spool holds.
    pub(crate) spool_bytes: Gauge,
    /// Batches that the spool holds.
    pub(crate) spool_batches: Gauge,
    /// Writes to the spool that failed.
    pub(crate) spool_write_failures: Counter,
    /// Of how many opens that read one is kept.
    pub(crate) sampling_one_of: Gauge,
    /// Processes in the process table.
    pub(crate) processes: Gauge,
    /// Cgroups known by id.
    pub(crate) cgroups: Gauge,
    /// Pods known.
    pub(crate) pods: Gauge,
    /// Anonymous memory of the process.
    pub(crate) memory_bytes: Gauge,
}

// === impl Metrics ===

impl Metrics {
    /// Registers everything under `bailiwick_collector_`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("bailiwick_collector");
        registry.register("rows", "Rows given to the spool", metrics.rows.clone());
        registry.register("lost", "Events not captured or not kept", metrics.lost.clone());
        registry.register("spool_bytes", "Bytes held by the spool", metrics.spool_bytes.clone());
        registry.register("spool_batches", "Batches held by the spool", metrics.spool_batches.clone());
        registry.register(
            "spool_write_failures",
            "Writes to the spool that failed",
            metrics.spool_write_failures.clone(),
        );
        let sampling = "Of how many opens that read one is kept; 1 when none is left out";
        registry.register("sampling_one_of", sampling, metrics.sampling_one_of.clone());
        registry.register("processes", "Processes remembered", metrics.processes.clone());
        registry.register("cgroups", "Cgroups known by id", metrics.cgroups.clone());
        registry.register("pods", "Pods known", metrics.pods.clone());
        let memory = "Anonymous memory of the process, which collector.memory_bytes limits";
        registry.register("memory_bytes", memory, metrics.memory_bytes.clone());
        metrics
    }
}
