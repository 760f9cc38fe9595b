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

#[cfg(test)]
mod tests {
    use super::*;

    /// The page for the person on call names only metrics that there are.
    #[test]
    fn the_operations_page_names_what_exists() {
        let page = include_str!("../../docs/operations.md");
        let (metrics, mut registry, mut text) = (Metrics::default(), Registry::default(), String::new());
        // A family without members has no line of its own.
        let operation = "get";
        metrics.operations.get_or_create(&OperationLabel { operation }).inc();
        metrics.seconds.get_or_create(&OperationLabel { operation }).observe(0.1);
        metrics.errors.get_or_create(&ErrorLabels { operation, kind: "failed" }).inc();
        metrics.register(&mut registry);
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let types: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let exists = |name: &str| {
            let base = name.strip_suffix("_total").unwrap_or(name);
            types.iter().any(|found| found.split(' ').next() == Some(base))
        };
        let named = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named: Vec<&str> = named.filter(|word| word.starts_with("bailiwick_lake_")).collect();
        let missing: Vec<_> = named.iter().filter(|name| !exists(name)).collect();
        assert!(named.len() >= 5 && missing.is_empty(), "not registered: {missing:?}");
    }
}
