//! Questions in SQL, answered from the bucket, each principal its own rows.
//!
//! ```text
//!   HTTP ────┐ token                        ┌──────────── session of one principal ───────────┐
//!   Flight ──┤                              │ syscalls … queries: its Delta files ∪ its WAL   │
//!   pgwire ──┼────────▶ gate ─▶ admission ─▶│ rows, as of one moment; nothing else is there   │─▶ rows
//!   detect ──┘          allowlist           └──────────────────────────────────────────────────┘
//!                          every one, refused ones too ─▶ table `queries`
//! ```
//!
//! A tenant's session is built from its partitions alone: no filter keeps
//! other tenants out, because a filter's error or timing tells of what it
//! filtered. Entry points: [`Engine`] answers, [`Query`] listens,
//! [`tokens`] and [`grants`] say who may log in and see what, [`chargeback`] is the arithmetic of invoices.

mod catalog;
pub mod chargeback;
mod columns;
mod config;
mod engine;
mod error;
mod flight;
mod functions;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
pub mod grants;
mod history;
#[cfg(test)]
mod hostile;
mod http;
mod identity;
mod metrics;
#[cfg(test)]
mod needs;
mod pg_catalog;
mod pgwire;
mod places;
mod principal;
mod record;
mod report;
mod text;
mod tls;
pub mod tokens;
mod views;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use places::{Counted, Places};

pub use catalog::LATE_COLUMNS;
pub use chargeback::{Chargeback, ChargebackRow, Decimal, PriceError, Prices};
pub use config::Config;
pub use engine::{Ask, Endpoint, Engine, Params, Running, Session, UnderWay};
pub use error::{Code, QueryError};
pub use history::{Change, Example, Progress, RuleReport, RulesInUse, Trial, TrialReport, look_up_names};
pub use identity::mapping::MappingRule;
pub use identity::{KubernetesConfig, OidcConfig, Owners};
pub use principal::{InvalidNamespace, Namespace, Namespaces, Principal, Role, Scope};
pub use record::QueryRecorder;
pub use views::{TableFunction, View};

/// How long connections may take to end once the server stops.
const DRAIN: Duration = Duration::from_secs(2);

/// What `/metrics` answers.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// The listeners, running.
#[derive(Debug)]
pub struct Query {
    http_addr: SocketAddr,
    pgwire_addr: SocketAddr,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

// === impl Query ===

impl Query {
    /// Binds both listeners and answers until `stop` is cancelled. Refuses to
    /// leave loopback without TLS and tokens.
    pub async fn start(
        config: Config,
        engine: Arc<Engine>,
        metrics_text: MetricsText,
        stop: CancellationToken,
    ) -> Result<Self, QueryError> {
        config.check()?;
        let tls = tls::Tls::open(&config)?;
        let (http_listener, http_addr) = bind("query.http_listen", config.http_listen).await?;
        let (pg_listener, pgwire_addr) = bind("query.pgwire_listen", config.pgwire_listen).await?;
        let prices = report::ServerPrices::open(config.prices_file.clone())?;
        let metrics = engine.metrics().clone();
        let app = http::router(Arc::clone(&engine), prices, metrics_text, stop.clone())?;
        let (max, share) = (config.max_connections, config.address_share());
        let http = http::Server {
            tls: tls.clone(),
            app,
            places: Places::new(max, share, Counted::All),
            patience: http::Patience::default(),
            metrics: metrics.clone(),
            stop: stop.clone(),
        };
        let follow = tls.clone().follow(metrics, stop.clone());
        let http = http::serve(http_listener, http);
        // Who has logged in is known, whatever lies between; a pool may have many.
        let places = Places::new(max, share, Counted::Strangers);
        let pgwire = pgwire::serve(pg_listener, tls, engine, places, stop.clone());
        let tasks = vec![tokio::spawn(http), tokio::spawn(pgwire), tokio::spawn(follow)];
        Ok(Self { http_addr, pgwire_addr, stop, tasks })
    }

    /// Where SQL is answered over HTTP.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Where SQL is answered in PostgreSQL's protocol.
    pub fn pgwire_addr(&self) -> SocketAddr {
        self.pgwire_addr
    }

    /// Waits until `stop` is cancelled and the listeners have ended; running
    /// queries are cancelled.
    pub async fn join(self) -> Result<(), QueryError> {
        self.stop.cancelled().await;
        for task in self.tasks {
            let abort = task.abort_handle();
            match tokio::time::timeout(DRAIN, task).await {
                Ok(ended) => ended.map_err(QueryError::internal)?,
                Err(_) => {
                    tracing::warn!("connections did not end in time and are cut off");
                    abort.abort();
                }
            }
        }
        Ok(())
    }
}

async fn bind(field: &str, addr: SocketAddr) -> Result<(TcpListener, SocketAddr), QueryError> {
    let failed = |error| QueryError::config(format!("{field} {addr} cannot be listened on: {error}"));
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((listener, addr))
}
