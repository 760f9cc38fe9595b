//! What detection counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Counters of detection; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) events: Family<SourceLabel, Counter>,
    pub(crate) matches: Family<RuleLabel, Counter>,
    pub(crate) repeated: Counter,
    pub(crate) latency: Histogram,
    pub(crate) sink_failures: Family<SinkLabel, Counter>,
    pub(crate) lag_us: Gauge,
    pub(crate) tail_lost: Counter,
    pub(crate) reloads: Family<OutcomeLabel, Counter>,
    pub(crate) runs: Family<OutcomeLabel, Counter>,
    pub(crate) undecodable: Counter,
}

/// Which table's events.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SourceLabel {
    pub(crate) source: &'static str,
}

/// Which rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RuleLabel {
    pub(crate) rule: String,
}

/// Which sink, and how it failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SinkLabel {
    pub(crate) sink: &'static str,
    pub(crate) reason: &'static str,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabel {
    pub(crate) outcome: &'static str,
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            events: Family::default(),
            matches: Family::default(),
            repeated: Counter::default(),
            latency: Histogram::new(exponential_buckets(0.001, 2.0, 18)),
            sink_failures: Family::default(),
            lag_us: Gauge::default(),
            tail_lost: Counter::default(),
            reloads: Family::default(),
            runs: Family::default(),
            undecodable: Counter::default(),
        };
        let room = registry.sub_registry_with_prefix("bailiwick_detect");
        room.register("events", "Events that rules were evaluated on", metrics.events.clone());
        room.register("matches", "Alerts raised, by rule", metrics.matches.clone());
        room.register("repeated_alerts", "Findings that had been alerted before", metrics.repeated.clone());
        let latency = "From the event to its alert";
        room.register_with_unit("alert_latency", latency, Unit::Seconds, metrics.latency.clone());
        room.register("sink_failures", "Alerts that a sink did not take", metrics.sink_failures.clone());
        room.register("lag_microseconds", "Age of the newest event evaluated", metrics.lag_us.clone());
        room.register("tail_lost", "Times that the stream from ingest was lost", metrics.tail_lost.clone());
        room.register(
            "rule_reloads",
            "Times that rule or detection files were read again",
            metrics.reloads.clone(),
        );
        room.register("scheduled_runs", "Runs of scheduled detections", metrics.runs.clone());
        room.register("undecodable_batches", "Batches that could not be read", metrics.undecodable.clone());
        metrics
    }

    pub(crate) fn sink_failed(&self, sink: &'static str, reason: &'static str) {
        self.sink_failures.get_or_create(&SinkLabel { sink, reason }).inc();
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
        let metrics = Metrics::register(&mut registry);
        // A family without members has no line of its own.
        metrics.sink_failed("webhook", "busy");
        metrics.reloads.get_or_create(&OutcomeLabel { outcome: "refused" }).inc();
        metrics.runs.get_or_create(&OutcomeLabel { outcome: "failed" }).inc();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let types: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let exists = |name: &str| {
            let base = name.strip_suffix("_total").unwrap_or(name);
            types.iter().any(|found| found.split(' ').next() == Some(base))
        };
        let named = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named: Vec<&str> = named.filter(|word| word.starts_with("bailiwick_detect_")).collect();
        let missing: Vec<_> = named.iter().filter(|name| !exists(name)).collect();
        assert!(named.len() > 5 && missing.is_empty(), "not registered: {missing:?}");
    }
}
