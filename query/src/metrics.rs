//! What the query room counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::identity::{Refused, Way};

/// Counters of the query room; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) running: Gauge,
    pub(crate) waiting: Gauge,
    pub(crate) slowed: Counter,
    pub(crate) queries: Family<QueryLabels, Counter>,
    pub(crate) rows: Counter,
    pub(crate) bytes: Counter,
    pub(crate) duration: Histogram,
    pub(crate) unrecorded: Counter,
    turned_away: Family<TurnedAwayLabels, Counter>,
    logins: Family<LoginLabels, Counter>,
    connections: Family<ConnectionLabels, Counter>,
    tls_reloads: Family<ReloadLabels, Counter>,
}

/// By which way, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct QueryLabels {
    pub(crate) endpoint: &'static str,
    pub(crate) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TurnedAwayLabels {
    queue: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoginLabels {
    way: &'static str,
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLabels {
    listener: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    outcome: &'static str,
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            running: Gauge::default(),
            waiting: Gauge::default(),
            slowed: Counter::default(),
            queries: Family::default(),
            rows: Counter::default(),
            bytes: Counter::default(),
            duration: Histogram::new(exponential_buckets(0.001, 2.0, 18)),
            unrecorded: Counter::default(),
            turned_away: Family::default(),
            logins: Family::default(),
            connections: Family::default(),
            tls_reloads: Family::default(),
        };
        let room = registry.sub_registry_with_prefix("bailiwick_query");
        room.register("running", "Queries that hold a place", metrics.running.clone());
        room.register("waiting", "Queries that wait for a place", metrics.waiting.clone());
        let turned_away = "Queries that found a queue full: their tenant's, or that of all";
        room.register("turned_away", turned_away, metrics.turned_away.clone());
        let slowed = "Times that a tenant's queries had computed so much that others go first";
        room.register("slowed", slowed, metrics.slowed.clone());
        room.register("queries", "Queries that ended", metrics.queries.clone());
        room.register("rows", "Rows sent", metrics.rows.clone());
        room.register_with_unit("sent", "Arrow data sent", Unit::Bytes, metrics.bytes.clone());
        let duration = "From receipt to the last row";
        room.register_with_unit("duration", duration, Unit::Seconds, metrics.duration.clone());
        room.register("unrecorded", "Queries whose record could not be queued", metrics.unrecorded.clone());
        room.register("logins", "Tokens and certificates presented", metrics.logins.clone());
        room.register("connections", "Connections by fate", metrics.connections.clone());
        let reloads = "Changed certificates, taken up or refused";
        room.register("tls_reloads", reloads, metrics.tls_reloads.clone());
        metrics
    }

    /// `queue` is `tenant` or `all`.
    pub(crate) fn turned_away(&self, queue: &'static str) {
        self.turned_away.get_or_create(&TurnedAwayLabels { queue }).inc();
    }

    pub(crate) fn login(&self, way: Way, refused: Option<Refused>) {
        let (outcome, reason) = refused.map_or(("accepted", ""), |refused| ("refused", refused.as_str()));
        self.logins.get_or_create(&LoginLabels { way: way.as_str(), outcome, reason }).inc();
    }

    pub(crate) fn tls_reload(&self, outcome: &'static str) {
        self.tls_reloads.get_or_create(&ReloadLabels { outcome }).inc();
    }

    #[cfg(test)]
    pub(crate) fn tls_reloads(&self, outcome: &'static str) -> u64 {
        self.tls_reloads.get_or_create(&ReloadLabels { outcome }).get()
    }

    pub(crate) fn connection(&self, listener: &'static str, outcome: &'static str) {
        self.connections.get_or_create(&ConnectionLabels { listener, outcome }).inc();
    }
}
