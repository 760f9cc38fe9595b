//! `bailiwick doctor`: what can be captured here, what is missing, how to get it;
//! and whether the bucket does what everything builds on.

use bailiwick_collector::SourceState;
use bailiwick_lake::Lake;
use prometheus_client::registry::Registry;

use crate::config::Config;
use crate::failure::Failure;
use crate::node::{Node, source_lines};
use crate::say::say;

/// Looks at the bucket and the sources, and prints what it found.
pub(crate) async fn run(config: Config) -> Result<(), Failure> {
    let bucket = bucket(&config).await;
    let sources = sources(config).await;
    bucket.and(sources)
}

/// Writes a few objects, lists, reads and deletes them. A folder that a start
/// would make is not made here.
async fn bucket(config: &Config) -> Result<(), Failure> {
    let name = &config.bucket;
    if !name.contains("://") && !std::path::Path::new(name).exists() {
        say!("– {:<13} {name} is not there yet; a start makes it", "bucket");
        return Ok(());
    }
    match Lake::probe(&config.bucket()).await {
        Ok(found) => {
            let (put, get, list) = (found.put.as_millis(), found.get.as_millis(), found.list.as_millis());
            say!("✓ {:<13} {name}", "bucket");
            say!(
                "  {:<13} put-if-absent holds, listings are in order; put {put} ms, get {get} ms, list {list} ms",
                ""
            );
            Ok(())
        }
        Err(error) => {
            let failure = Failure::room("bucket", error.action(), &error);
            say!("✗ {:<13} {failure}", "bucket");
            Err(failure)
        }
    }
}

/// Starts the collector for a moment, in a folder of its own, and prints what
/// each source said. Nothing is shipped.
async fn sources(mut config: Config) -> Result<(), Failure> {
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
