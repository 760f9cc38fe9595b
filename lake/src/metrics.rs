//! What is asked of the bucket, `bailiwick_lake_…`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// One label: which operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OperationLabel {
    /// `put`, `create` (put if absent), `get`, `head`, `list`, `delete`, `copy`, `part` …
    pub operation: &'static str,
}

/// Two labels: which operation, and how it failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ErrorLabels {
    /// As in [`OperationLabel`].
    pub operation: &'static str,
    /// `not_found` and `already_exists` are answers as good as any; `denied`,
    /// `precondition`, `unsupported` and `failed` are not.
    pub kind: &'static str,
}

/// One bucket's metrics; clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Operations begun, by kind.
    pub operations: Family<OperationLabel, Counter>,
    /// Operations that ended with an error, by kind of both.
    pub errors: Family<ErrorLabels, Counter>,
    /// Bytes of objects and parts that the bucket took.
    pub sent_bytes: Counter,
    /// Bytes of objects that were read; of a file, its range when it is opened.
    pub received_bytes: Counter,
    /// How long an operation took, seconds: a get until its answer begins, a
    /// listing or a deletion until its end was read.
    pub seconds: Family<OperationLabel, Histogram>,
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        Self {
            operations: Family::default(),
            errors: Family::default(),
            sent_bytes: Counter::default(),
            received_bytes: Counter::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_25, 2.0, 18))),
        }
    }
}

impl Metrics {
    /// Shows everything under `bailiwick_lake`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("bailiwick_lake");
        registry.register("operations", "Operations on the bucket, by kind", self.operations.clone());
        registry.register("errors", "Operations that ended with an error, by kind", self.errors.clone());
        registry.register_with_unit("sent", "Written to the bucket", Unit::Bytes, self.sent_bytes.clone());
        let received = self.received_bytes.clone();
        registry.register_with_unit("received", "Read from the bucket", Unit::Bytes, received);
        let help = "Time of an operation: a get until its answer begins, a listing until its end";
        registry.register_with_unit("operation", help, Unit::Seconds, self.seconds.clone());
    }
}
