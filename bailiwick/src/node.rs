//! The node's side: the collector, and what it can and cannot see.

use std::net::SocketAddr;

use bailiwick_collector::{Collector, SourceState, SourceStatus};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::failure::Failure;

/// A running collector.
pub(crate) struct Node {
    collector: Collector,
    stop: CancellationToken,
}

// === impl Node ===

impl Node {
    /// Starts every source that is possible here.
    pub(crate) async fn start(config: &Config, metrics: &mut Registry) -> Result<Self, Failure> {
        let stop = CancellationToken::new();
        let mut section = config.collector.clone();
        section.node.clone_from(&config.node);
        section.cluster.clone_from(&config.cluster);
        if section.spool_dir.as_os_str().is_empty() {
            section.spool_dir = config.data_dir.join("spool");
        }
        let collector = Collector::start(section, metrics, stop.clone())
            .await
            .map_err(|error| Failure::room("collector", error.action(), &error))?;
        Ok(Self { collector, stop })
    }

    /// What is captured, and what is missing and how to get it.
    pub(crate) fn sources(&self) -> Vec<SourceStatus> {
        self.collector.sources()
    }

    /// Where the API server may post its audit events.
    pub(crate) fn webhook_addr(&self) -> Option<SocketAddr> {
        self.collector.webhook_addr()
    }

    /// Stops the sources and waits for what they captured to be acknowledged.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.stop.cancel();
        self.collector.join().await.map_err(|error| Failure::room("collector", error.action(), &error))
    }
}

/// The sources as lines for a person.
pub(crate) fn source_lines(sources: &[SourceStatus]) -> Vec<String> {
    let line = |source: &SourceStatus| match &source.state {
        SourceState::Running { detail } => vec![format!("✓ {:<13} {detail}", source.name)],
        SourceState::Missing { what, how_to_get_it } => {
            vec![format!("✗ {:<13} {what}", source.name), format!("  {:<13} → {how_to_get_it}", "")]
        }
        SourceState::Off { detail } => vec![format!("– {:<13} {detail}", source.name)],
    };
    sources.iter().flat_map(line).collect()
}
