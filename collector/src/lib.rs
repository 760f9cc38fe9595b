//! What happens on one node, as rows: captured, named, spooled, delivered.
//!
//! ```text
//!   kernel rings ──▶ syscalls ─┐ process table, cgroups, users
//!   audit log ─────▶ audit ────┤ flattened
//!   webhook ───────▶ audit ────┤                       ┌ spool ┐
//!   cgroup files ──▶ usage ────┼──▶ Outlet ── rows ──▶ │ disk  │ ══ Ship ══▶ ingest
//!   recording ─────▶ replay ───┤       └─ what is lost │       │
//!   API ───────────▶ kube ─▶ Pods ─▶ (names for all)   └───────┘
//!   what is learnt late ─▶ containers ─▶ Outlet
//! ```
//!
//! [`Collector::start`] starts every source that is possible here and says of
//! the others what is missing; [`Collector::join`] ends them after the token
//! was cancelled. This room knows nothing of the bucket, of tenants or of SQL.

mod attribution;
mod audit;
mod budget;
pub mod capabilities;
mod columns;
pub mod config;
mod containers;
mod delivery;
mod error;
mod falco;
pub mod features;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod kube;
mod metrics;
mod outlet;
mod pods;
pub mod protect;
pub mod recording;
mod replay;
mod spool;
mod syscalls;
mod usage;
mod users;

use std::net::SocketAddr;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use config::{Config, Enabled};
pub use error::CollectorError;

use containers::Sightings;
use delivery::Courier;
use metrics::Metrics;
use outlet::Outlet;
use pods::Pods;
use spool::Spool;

/// How often losses become rows.
const LOSSES_EVERY: Duration = Duration::from_secs(1);

/// A source and what it does here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStatus {
    /// What it captures, e.g. "system calls".
    pub name: &'static str,
    /// Whether it does.
    pub state: SourceState,
}

/// Whether a source captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceState {
    /// It does.
    Running {
        /// What and from where, for a person.
        detail: String,
    },
    /// It cannot here.
    Missing {
        /// What it lacks.
        what: String,
        /// The next step for whoever wants it.
        how_to_get_it: String,
    },
    /// It was not asked for.
    Off {
        /// How to turn it on.
        detail: String,
    },
}

/// A source that was started, or could not be.
pub(crate) struct Started {
    /// What to tell about it.
    pub(crate) status: SourceStatus,
    /// Ends by itself when the token is cancelled and its last batch was sent.
    pub(crate) task: Option<JoinHandle<()>>,
    /// Where it listens, if it does.
    pub(crate) addr: Option<SocketAddr>,
}

/// A running collector.
pub struct Collector {
    sources: Vec<SourceStatus>,
    webhook_addr: Option<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
    outlet: Outlet,
    containers: JoinHandle<()>,
    losses: JoinHandle<()>,
    memory: JoinHandle<()>,
    spool: Spool,
    courier: Courier,
    drain_timeout: Duration,
}

// === impl Collector ===

impl Collector {
    /// Opens the spool, begins to deliver what it holds, and starts every source.
    /// Fails if a source that is `on` cannot run; one that is `auto` is told by
    /// [`Collector::sources`]. Cancel `stop`, then [`Collector::join`].
    pub async fn start(
        config: Config,
        registry: &mut Registry,
        stop: CancellationToken,
    ) -> Result<Self, CollectorError> {
        let metrics = Metrics::register(registry);
        let spool = Spool::open(&config, metrics.clone(), stop.clone())?;
        let courier = Courier::start(&config, &spool)?;
        let outlet =
            Outlet::new(config.node.clone(), config.cluster.clone(), spool.sender(), metrics.clone());
        // What opening the spool found missing is told like any other loss.
        if let Some(damage) = spool.damage() {
            outlet.lost("ship", "batch", "spool_damaged", damage.batches, &damage.detail);
        }
        let losses = tokio::spawn(losses(outlet.clone(), stop.clone()));
        let watch = budget::watch_memory(config.memory_bytes, outlet.clone(), metrics.clone(), stop.clone());
        let memory = tokio::spawn(watch);
        let (pods, sightings) = (Pods::default(), Sightings::default());
        let started = start_sources(&config, &outlet, &pods, &sightings, &metrics, &stop).await;
        protect::dismiss_loader();
        let started = match started {
            Ok(started) => started,
            Err(error) => {
                stop.cancel();
                return Err(error);
            }
        };
        let containers = tokio::spawn(containers::tell(sightings, pods, outlet.clone(), stop));
        Ok(Self {
            sources: started.iter().map(|source| source.status.clone()).collect(),
            webhook_addr: started.iter().find_map(|source| source.addr),
            tasks: started.into_iter().filter_map(|source| source.task).collect(),
            outlet,
            containers,
            losses,
            memory,
            spool,
            courier,
            drain_timeout: Duration::from_millis(config.drain_timeout_ms),
        })
    }

    /// Every source, in the order in which a person would ask.
    pub fn sources(&self) -> Vec<SourceStatus> {
        self.sources.clone()
    }

    /// Where the API server may post its audit events.
    pub fn webhook_addr(&self) -> Option<SocketAddr> {
        self.webhook_addr
    }

    /// Waits until every source has ended and sent its last batch, then at most
    /// `drain_timeout_ms` until ingest has acknowledged all. What is left stays
    /// in the spool for the next start.
    pub async fn join(self) -> Result<(), CollectorError> {
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a source ended by a panic");
            }
        }
        for (task, what) in
            [(self.containers, "containers"), (self.losses, "losses"), (self.memory, "memory")]
        {
            if let Err(error) = task.await {
                tracing::error!(%error, what, "a task ended by a panic");
            }
        }
        self.outlet.flush_losses().await;
        drop(self.outlet);
        self.spool.close().await;
        self.courier.finish(self.drain_timeout).await;
        Ok(())
    }
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").field("sources", &self.sources).finish_non_exhaustive()
    }
}

async fn start_sources(
    config: &Config,
    outlet: &Outlet,
    pods: &Pods,
    sightings: &Sightings,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<Vec<Started>, CollectorError> {
    let given = || (outlet.clone(), metrics.clone(), stop.clone());
    let mut started = Vec::new();
    // Pods first, so that the first events can be named.
    let (to, count, until) = given();
    let kube = kube::start(config, to, pods.clone(), count, until).await?;
    let (to, count, until) = given();
    started.push(syscalls::start(config, to, pods.clone(), sightings.clone(), count, until).await?);
    let (to, count, until) = given();
    started.push(audit::file::start(config, to, count, until).await?);
    let (to, count, until) = given();
    started.push(audit::webhook::start(config, to, count, until).await?);
    let (to, count, until) = given();
    started.push(usage::start(config, to, pods.clone(), count, until).await?);
    started.push(kube);
    let (to, count, until) = given();
    started.push(replay::start(config, to, count, until).await?);
    Ok(started)
}

async fn losses(outlet: Outlet, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LOSSES_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => outlet.flush_losses().await,
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests;
