//! Receives batches and lands each of them once: WAL first, tables later.
//!
//! ```text
//!  Ship streams          writer (one task)                flush loop (one task)
//!  decode, stamp ──────▶ dedupe, group ──▶ wal/N ──▶ ack  window ──▶ sort ──▶ Parquet
//!  (tenant, date,             │                             ▲          one commit a table,
//!   ingest_time)              ├─────── landed rows ─────────┘          txn = N; then wal ≤ N goes
//!                             └──▶ Tail followers
//! ```
//!
//! Entry point: [`Ingest::start`]. A batch is acknowledged only after the WAL
//! object that holds it is durable; that object also carries how far every
//! collector's numbers are durable, so a successor needs nothing else. Several
//! ingesters may share a bucket, each with a log of its own: collectors move
//! between them at will, and what one left in its log another finishes. Pure
//! parts are [`dedupe`], [`stamp`], [`window`], [`carry`], [`sort`], [`encode`]
//! and [`loss`].

mod adopt;
mod announce;
mod background;
pub mod carry;
pub mod config;
mod data_file;
pub mod dedupe;
pub mod encode;
mod error;
pub mod flush;
pub mod loss;
pub mod metrics;
mod server;
pub mod sort;
pub mod stamp;
mod tasks;
pub mod tenants;
pub mod upkeep;
pub mod wal;
pub mod window;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bailiwick_lake::Lake;
use bailiwick_proto::IngesterId;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

pub use config::Config;
pub use error::IngestError;

use adopt::Adopter;
use announce::Announcer;
use flush::Flusher;
use metrics::Metrics;
use server::{Guard, Listeners, LocalDoor, Services, Shared, TailService, Token};
use tasks::{FlushLoop, Pending, Writer};
use tenants::SharedMapping;
use upkeep::Upkeep;
use upkeep::retention::SharedRetention;
use wal::Wal;

/// A running ingester.
#[derive(Debug)]
pub struct Ingest {
    listen_addr: SocketAddr,
    door: Arc<LocalDoor>,
    stop: CancellationToken,
    drain_timeout: Duration,
    server: JoinHandle<Result<(), IngestError>>,
    writer: JoinHandle<Result<(), IngestError>>,
    flusher: JoinHandle<()>,
    adopter: JoinHandle<()>,
    upkeep: JoinHandle<()>,
    tenants: SharedMapping,
}

// === impl Ingest ===

impl Ingest {
    /// Takes the WAL over, commits what the last run left in it, and serves
    /// Ship and Tail until `stop`.
    pub async fn start(
        config: Config,
        lake: Arc<Lake>,
        metrics: &mut Registry,
        stop: CancellationToken,
    ) -> Result<Self, IngestError> {
        config.check()?;
        let metrics = Metrics::register(metrics);
        let ingester: IngesterId = config.ingester_id.parse()?;
        let token = Token::read(config.token_file.as_deref())?;
        let mapping = SharedMapping::open(config.tenants_file.as_deref(), &metrics)?;
        let retention = SharedRetention::open(config.retention_file.as_deref())?;
        let listeners = Listeners::bind(&config, &token).await?;
        // Wrong certificates should end the start, not the first connection.
        listeners.server()?;
        // A task's own failure stops the others but not the caller's token.
        let stop = stop.child_token();
        let retry_at_most = Duration::from_millis(config.retry_at_most_ms);
        let taking =
            Wal::take_over(Arc::clone(&lake), ingester.clone(), now_us(), metrics.clone(), retry_at_most);
        let (wal, left) = stop.run_until_cancelled(taking).await.ok_or(IngestError::Stopped)??;
        if let Some(file) = config.tenants_file.clone() {
            tokio::spawn(mapping.clone().follow(file, metrics.clone(), stop.clone()));
        }
        let (own, counts) = (Arc::clone(&lake), metrics.upkeep.clone());
        let upkeep =
            Upkeep::new(Arc::clone(&own), ingester.clone(), &config, retention, counts, stop.clone());
        let announcer = Arc::new(Announcer::new(wal.last_number()));
        let pending = Arc::new(Pending::default());
        let (requests, received) = mpsc::channel(256);
        let (landed, to_flush) = mpsc::unbounded_channel();
        let (carries, to_carry) = mpsc::channel(1);
        let adopter = Adopter::new(Arc::clone(&own), ingester.clone(), metrics.clone(), &config);
        let flush_loop = FlushLoop {
            flusher: Flusher::new(own, ingester.clone(), metrics.clone(), config.checkpoint_every),
            left,
            landed: to_flush,
            carries,
            pending: Arc::clone(&pending),
            config: config.clone(),
            metrics: metrics.clone(),
            stop: stop.clone(),
        };
        let writer = Writer {
            wal,
            requests: received,
            carries: to_carry,
            landed,
            announcer: Arc::clone(&announcer),
            pending,
            config: config.clone(),
            metrics: metrics.clone(),
        };
        let shared = Shared::new(lake, requests, mapping.clone(), metrics.clone(), &config, stop.clone());
        let tail = TailService { ingester, announcer, guard: Guard::default(), metrics, stop: stop.clone() };
        let (listen_addr, door) = (listeners.addr, Arc::clone(&listeners.door));
        Ok(Self {
            listen_addr,
            door,
            drain_timeout: Duration::from_millis(config.drain_timeout_ms),
            server: tokio::spawn(Services { shared, tail }.serve(listeners, token, stop.clone())),
            writer: tokio::spawn(stop_when_done(writer, stop.clone())),
            flusher: tokio::spawn(flush_loop.run()),
            adopter: tokio::spawn(adopter.run(stop.clone())),
            upkeep: tokio::spawn(upkeep.run()),
            tenants: mapping,
            stop,
        })
    }

    /// The mapping by which rows are stamped, as it is at each moment.
    pub fn tenants(&self) -> &SharedMapping {
        &self.tenants
    }

    /// Where it listens, with the port that was taken.
    pub fn listen_addr(&self) -> SocketAddr {
        self.listen_addr
    }

    /// How this process's own senders and readers reach it: without TLS and
    /// token, whatever callers from outside need.
    pub fn local_endpoint(&self) -> Endpoint {
        self.door.endpoint()
    }

    /// The same as a URL: `http://` to loopback, or `unix://` to a socket.
    pub fn local_url(&self) -> &str {
        self.door.url()
    }

    /// Waits until ingest was told to stop, or cannot go on; [`Ingest::join`] tells which.
    pub async fn ended(&self) {
        self.stop.cancelled().await;
    }

    /// Waits for the stop, then for the last acks and a last flush, as long as
    /// the configuration allows.
    pub async fn join(self) -> Result<(), IngestError> {
        self.stop.cancelled().await;
        let tasks = [
            self.server.abort_handle(),
            self.writer.abort_handle(),
            self.flusher.abort_handle(),
            self.adopter.abort_handle(),
            self.upkeep.abort_handle(),
        ];
        let ending = async {
            self.server.await??;
            self.writer.await??;
            self.flusher.await?;
            self.adopter.await?;
            self.upkeep.await?;
            Ok(())
        };
        match tokio::time::timeout(self.drain_timeout, ending).await {
            Ok(ended) => ended,
            Err(_) => {
                tracing::warn!(
                    "ingest was not drained in time, what is left stays in the wal or with its sender"
                );
                tasks.iter().for_each(tokio::task::AbortHandle::abort);
                Ok(())
            }
        }
    }
}

async fn stop_when_done(writer: Writer, stop: CancellationToken) -> Result<(), IngestError> {
    let done = writer.run().await;
    if let Err(error) = &done {
        tracing::error!(%error, "ingest stops");
    }
    stop.cancel();
    done
}

pub(crate) fn now_us() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

#[cfg(test)]
mod tests;
