//! `bailiwick doctor`: what can be captured here, what is missing, how to get it.

use bailiwick_collector::SourceState;
use prometheus_client::registry::Registry;

use crate::config::Config;
use crate::failure::Failure;
use crate::node::{Node, source_lines};
use crate::say::say;

/// Starts the collector for a moment, in a folder of its own, and prints what
/// each source said. Nothing is shipped.
pub(crate) async fn run(mut config: Config) -> Result<(), Failure> {
    let scratch =
        tempfile::tempdir().map_err(|error| Failure::failed(format!("temporary folder: {error}")))?;
    config.collector.spool_dir = scratch.path().join("spool");
    config.collector.drain_timeout_ms = 0;
    // Without an endpoint nothing is delivered, so a collector that runs here is not disturbed.
    config.collector.endpoint.clear();
    config.collector.webhook.listen = "127.0.0.1:0".to_owned();
    let node = Node::start(&config, &mut Registry::default()).await?;
    let sources = node.sources();
    for line in source_lines(&sources) {
        say!("{line}");
    }
    node.stop().await?;
    let missing = sources.iter().filter(|source| matches!(source.state, SourceState::Missing { .. })).count();
    match missing {
        0 => Ok(()),
        count => Err(Failure::failed(format!("{count} sources cannot run here, see above"))),
    }
}
