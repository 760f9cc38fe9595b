//! Everything but the collector: ingest, query and detect over one bucket.
//!
//! ```text
//!             ┌──────────────── MemoryOutbox ◀── alerts ── detect ◀── Tail ─┐
//!             ▼ Ship                                                         │
//!   Ship ▶ ingest ─▶ bucket ◀── engine ◀── query (HTTP, pgwire)              │
//!             ▲ Ship              └─ queries ─▶ MemoryOutbox                 │
//!             └────────────────────────────────────┘         ingest ─────────┘
//! ```

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bailiwick_detect::{Detect, OnAlert, Parts};
use bailiwick_ingest::Ingest;
use bailiwick_lake::Lake;
use bailiwick_proto::CollectorId;
use bailiwick_proto::ship::{Delivery, MemoryOutbox, MemorySender, deliver};
use bailiwick_query::{Engine, Query, QueryRecorder};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use crate::config::Config;
use crate::failure::Failure;
use crate::owners::TenantsFile;

/// Alerts or query records that may wait for ingest before new ones are refused and counted.
const OUTBOX_BYTES: usize = 32 << 20;
/// How long the last alerts and query records may take to become durable at the end.
const DRAIN: Duration = Duration::from_secs(5);

/// The registry, filled while the process starts and read by `/metrics` afterwards.
pub(crate) type SharedRegistry = Arc<OnceLock<Registry>>;

/// A running backend.
pub(crate) struct Backend {
    ingest: Ingest,
    query: Query,
    detect: Detect,
    outboxes: Vec<Outbox>,
    stop_readers: CancellationToken,
    stop_ingest: CancellationToken,
}

/// Rows of our own on their way to ingest.
struct Outbox {
    sender: MemorySender,
    delivery: JoinHandle<()>,
}

// === impl Backend ===

impl Backend {
    /// Opens the bucket and starts ingest, query and detect on it, in the order
    /// in which they need each other.
    pub(crate) async fn start(
        config: &Config,
        metrics: &mut Registry,
        metrics_text: Arc<dyn Fn() -> String + Send + Sync>,
        on_alert: OnAlert,
    ) -> Result<Self, Failure> {
        let stop_readers = CancellationToken::new();
        let stop_ingest = CancellationToken::new();
        let lake = Lake::open_with(&config.bucket(), &config.cluster)
            .await
            .map_err(|error| Failure::room("bucket", error.action(), &error))?;
        lake.metrics().register(metrics);
        let ingest = Ingest::start(config.ingest.clone(), Arc::clone(&lake), metrics, stop_ingest.clone())
            .await
            .map_err(|error| Failure::room("ingest", error.action(), &error))?;
        // Our own rows need neither TLS nor token to reach our own ingest.
        let endpoint = ingest.local_endpoint();

        let (query_rows, query_outbox) = outbox(config, "query", endpoint.clone())?;
        let (alert_rows, alert_outbox) = outbox(config, "detect", endpoint.clone())?;
        let recorder = QueryRecorder::new(query_rows, &config.node, &config.cluster);
        let engine = Engine::new(&config.query, Arc::clone(&lake), recorder, metrics)
            .map_err(|error| Failure::room("query", error.action(), &error))?;
        engine.set_owners(TenantsFile::new(ingest.tenants().clone()));
        let parts = Parts {
            lake,
            ask: Arc::clone(&engine) as _,
            ingest: endpoint,
            ingester: config.ingest.ingester_id.clone(),
            out: alert_rows,
            on_alert,
            rules_in_use: engine.rules().clone(),
            stop: stop_readers.clone(),
        };
        let detect = Detect::start_with(config.detect.clone(), parts, metrics)
            .await
            .map_err(|error| Failure::room("detect", error.action(), &error))?;
        let query = Query::start(config.query.clone(), engine, metrics_text, stop_readers.clone())
            .await
            .map_err(|error| Failure::room("query", error.action(), &error))?;
        let outboxes = vec![query_outbox, alert_outbox];
        Ok(Self { ingest, query, detect, outboxes, stop_readers, stop_ingest })
    }

    /// Where collectors ship to.
    pub(crate) fn ingest_addr(&self) -> SocketAddr {
        self.ingest.listen_addr()
    }

    /// Where a collector in this process ships to, which needs neither TLS nor token.
    pub(crate) fn local_url(&self) -> &str {
        self.ingest.local_url()
    }

    /// Where SQL is answered over HTTP.
    pub(crate) fn http_addr(&self) -> SocketAddr {
        self.query.http_addr()
    }

    /// Where SQL is answered in PostgreSQL's protocol.
    pub(crate) fn pgwire_addr(&self) -> SocketAddr {
        self.query.pgwire_addr()
    }

    /// How many rules and detections run.
    pub(crate) fn rules_loaded(&self) -> usize {
        self.detect.rules_loaded()
    }

    /// Waits until ingest ends by itself, e.g. because another one took its WAL over.
    pub(crate) async fn ended(&self) {
        self.ingest.ended().await;
    }

    /// Ends readers first, so that their last rows reach an ingest that still
    /// takes them; then ingest, which commits what it holds.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.stop_readers.cancel();
        let detect = self.detect.join().await;
        let query = self.query.join().await;
        for outbox in self.outboxes {
            drop(outbox.sender);
            if tokio::time::timeout(DRAIN, outbox.delivery).await.is_err() {
                tracing::warn!("the last alerts or query records were not acknowledged in time");
            }
        }
        self.stop_ingest.cancel();
        let ingest = self.ingest.join().await;
        detect.map_err(|error| Failure::room("detect", error.action(), &error))?;
        query.map_err(|error| Failure::room("query", error.action(), &error))?;
        ingest.map_err(|error| Failure::room("ingest", error.action(), &error))
    }
}

/// A queue of our own rows and the task that delivers them.
fn outbox(config: &Config, room: &str, endpoint: Endpoint) -> Result<(MemorySender, Outbox), Failure> {
    // Several servers share a bucket, and a node, but never an ingester's name.
    let name = format!("{room}-{}", config.ingest.ingester_id);
    let collector_id: CollectorId =
        name.parse().map_err(|error| Failure::config(format!("ingest.ingester_id: {error}")))?;
    // New numbers for every start: what was not acknowledged is made again.
    let (sender, receiver) = MemoryOutbox::new(rand::random(), OUTBOX_BYTES);
    let delivery = Delivery::new(collector_id, &config.node, &config.cluster);
    let task = tokio::spawn(async move {
        if let Err(error) = deliver(receiver, endpoint, delivery).await {
            tracing::error!(%error, "own rows are no longer delivered");
        }
    });
    Ok((sender.clone(), Outbox { sender, delivery: task }))
}

/// The text of `/metrics`, once the registry is complete.
pub(crate) fn metrics_text(registry: &SharedRegistry) -> Arc<dyn Fn() -> String + Send + Sync> {
    let registry = Arc::clone(registry);
    Arc::new(move || {
        let mut text = String::new();
        if let Some(registry) = registry.get()
            && let Err(error) = encode(&mut text, registry)
        {
            tracing::error!(%error, "metrics cannot be encoded");
        }
        text
    })
}

/// Completes the registry, after all rooms registered; once in a process.
pub(crate) fn publish(registry: &SharedRegistry, metrics: Registry) {
    if registry.set(metrics).is_err() {
        tracing::error!("metrics were published twice");
    }
}
