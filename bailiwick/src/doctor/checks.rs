//! What is found out by doing it: sources, bucket, listeners.

use std::net::SocketAddr;
use std::time::Duration;

use bailiwick_collector::features::State;
use bailiwick_collector::{Enabled, SourceState, SourceStatus};
use bailiwick_lake::Lake;
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio::net::TcpStream;

use crate::config::Config;
use crate::failure::Failure;
use crate::node::Node;

/// How long a listener on this machine may take to answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// What it is called.
    pub(super) name: String,
    /// Whether it works; unknown where it is off, or not there yet.
    pub(super) state: State,
    /// What was found.
    pub(super) found: String,
    /// The next step; empty where there is none.
    pub(super) how_to_get_it: String,
}

// === impl Check ===

impl Check {
    fn new(name: &str, state: State, found: impl Into<String>) -> Self {
        Self { name: name.to_owned(), state, found: found.into(), how_to_get_it: String::new() }
    }
}

impl From<SourceStatus> for Check {
    fn from(source: SourceStatus) -> Self {
        match source.state {
            SourceState::Running { detail } => Self::new(source.name, State::Yes, detail),
            SourceState::Off { detail } => Self::new(source.name, State::Unknown, detail),
            SourceState::Missing { what, how_to_get_it } => {
                Self { how_to_get_it, ..Self::new(source.name, State::No, what) }
            }
        }
    }
}

/// Writes a few objects, lists, reads and deletes them; beside what was found,
/// how a start would end. A folder that a start would make is not made here.
pub(super) async fn bucket(config: &Config) -> (Check, Option<Failure>) {
    let name = &config.bucket;
    if !name.contains("://") && !std::path::Path::new(name).exists() {
        let found = format!("{name} is not there yet; a start makes it");
        return (Check::new("bucket", State::Unknown, found), None);
    }
    match Lake::probe(&config.bucket()).await {
        Ok(found) => {
            let (put, get, list) = (found.put.as_millis(), found.get.as_millis(), found.list.as_millis());
            let found = format!(
                "{name}: put-if-absent holds, listings are in order; put {put} ms, get {get} ms, list {list} ms"
            );
            (Check::new("bucket", State::Yes, found), None)
        }
        Err(error) => {
            let failure = Failure::room(name, error.action(), &error);
            let how_to_get_it = "see \"The bucket\" in docs/configuration.md".to_owned();
            let check = Check { how_to_get_it, ..Check::new("bucket", State::No, failure.to_string()) };
            (check, Some(failure))
        }
    }
}

/// Starts the collector for a moment, in a folder of its own. Nothing is shipped.
pub(super) async fn sources(mut config: Config) -> Result<Vec<Check>, Failure> {
    let scratch =
        tempfile::tempdir().map_err(|error| Failure::failed(format!("temporary folder: {error}")))?;
    config.collector.spool_dir = scratch.path().join("spool");
    config.collector.drain_timeout_ms = 0;
    // Without an endpoint nothing is delivered, so a collector that runs here is not disturbed.
    config.collector.endpoint.clear();
    config.collector.webhook.listen = "127.0.0.1:0".to_owned();
    // A source that must run and cannot is to be told like the others.
    let collector = &mut config.collector;
    let kinds = [
        &mut collector.syscalls.enabled,
        &mut collector.webhook.enabled,
        &mut collector.usage.enabled,
        &mut collector.kube.enabled,
    ];
    for enabled in kinds.into_iter().filter(|enabled| **enabled == Enabled::On) {
        *enabled = Enabled::Auto;
    }
    let node = Node::start(&config, &mut Registry::default()).await?;
    let sources = node.sources();
    node.stop().await?;
    Ok(sources.into_iter().map(Check::from).collect())
}

/// Whether what clients connect to listens where the configuration says.
pub(super) async fn clients(config: &Config) -> Vec<Check> {
    let listeners = [
        ("ingest (gRPC)", config.ingest.listen, "collectors"),
        ("SQL over HTTP", config.query.http_listen, "`bailiwick sql`, Prometheus"),
        ("PostgreSQL", config.query.pgwire_listen, "Grafana, psql"),
    ];
    let mut checks = Vec::new();
    for (name, addr, who) in listeners {
        checks.push(listener(name, addr, who).await);
    }
    let token = config.operator_token_file();
    checks.push(match token.exists() {
        true => Check::new("operator's token", State::Yes, token.display().to_string()),
        false => {
            let found = format!("{} is not there yet; a start makes it", token.display());
            Check::new("operator's token", State::Unknown, found)
        }
    });
    checks
}

async fn listener(name: &str, addr: SocketAddr, who: &str) -> Check {
    match tokio::time::timeout(PATIENCE, TcpStream::connect(addr)).await {
        Ok(Ok(_)) => Check::new(name, State::Yes, format!("{addr} answers, for {who}")),
        _ => {
            let how_to_get_it = "bailiwick up, or serve".to_owned();
            Check {
                how_to_get_it,
                ..Check::new(name, State::Unknown, format!("nobody listens at {addr}, for {who}"))
            }
        }
    }
}
