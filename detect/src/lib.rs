//! Detection: rules on events as they arrive, SQL on a schedule, alerts out.
//!
//! ```text
//!   ingest ══ Tail ══▶ follow ──▶ evaluate ──▶ new alerts ──▶ sinks ─┬▶ callback (printed)
//!   bucket ── SQL ───▶   │          ▲ rulebook (hot reload)          ├▶ file, webhook
//!                        ▼                                           └▶ table `alerts`
//!                      place, saved behind its alerts                        ▲
//!   bucket ── SQL ───▶ schedule ─────────────────────────────────────────────┘
//! ```
//!
//! An event's alert has an id made of the rule and the event, so whatever is
//! read twice, after a restart or where stream and bucket overlap, alerts once.
//! Entry points: [`Detect::start`]; [`Ask`] is all it wants of the query room.

mod ask;
mod config;
mod error;
mod evaluate;
mod files;
mod follow;
mod metrics;
mod names;
mod place;
mod rulebook;
mod schedule;
mod seen;
mod sinks;

use std::sync::Arc;
use std::time::Duration;

use bailiwick_lake::Lake;
use bailiwick_proto::ship::MemorySender;
use bailiwick_query::RulesInUse;
use bailiwick_rules::Diagnostic;
use chrono::Utc;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

pub use ask::{Ask, AskError};
pub use bailiwick_rules::Alert;
pub use config::Config;
pub use error::DetectError;
pub use rulebook::{BUILT_IN_NAME, BUILT_IN_RULES};
pub use sinks::{AlertFormat, OnAlert, PrintedFormat};

use files::Files;
use follow::{Follower, save_places};
use metrics::Metrics;
use place::{Place, load_place};
use rulebook::{Current, Rulebook};
use schedule::{Detections, Scheduler};
use seen::Seen;
use sinks::{SinkTasks, Sinks};

/// How far back the very first start looks, for what arrived while it started.
const FIRST_LOOK_BACK_US: i64 = 60_000_000;
/// How long file and webhook may take to write what is queued at the end.
const SINKS_DRAIN: Duration = Duration::from_secs(3);

/// Running detection.
pub struct Detect {
    rules: Current,
    detections: usize,
    tasks: Vec<(&'static str, JoinHandle<()>)>,
    sink_tasks: SinkTasks,
}

/// What detection is started with, beside its configuration.
pub struct Parts {
    /// The bucket, for the place reached.
    pub lake: Arc<Lake>,
    /// SQL over everything durable.
    pub ask: Arc<dyn Ask>,
    /// Where ingest serves Tail.
    pub ingest: Endpoint,
    /// That ingester's name.
    pub ingester: String,
    /// Alerts on their way to the table.
    pub out: MemorySender,
    /// Called with every alert at once.
    pub on_alert: OnAlert,
    /// Told which rules run, for questions about history.
    pub rules_in_use: RulesInUse,
    /// Ends detection when cancelled.
    pub stop: CancellationToken,
}

// === impl Detect ===

impl Detect {
    /// Reads rules and detections and starts to follow ingest. A rule that does
    /// not load is left out and logged; that no rule loads is an error.
    pub async fn start_with(
        config: Config,
        parts: Parts,
        registry: &mut Registry,
    ) -> Result<Self, DetectError> {
        let Parts { lake, ask, ingest, ingester, out, on_alert, rules_in_use, stop } = parts;
        let metrics = Metrics::register(registry);
        let texts = rulebook::texts(&config)?;
        let book = Rulebook::of(&texts, &config)?;
        let files = Files::new("rule", &config.rules_files, texts);
        log_diagnostics(&book.diagnostics);
        let rules = Current::new(book, rules_in_use);
        let detections = Detections::read(&config)?;
        let count = detections.now.len();
        let name = place::place_name(&ingester);
        let place = load_place(&lake, &name).await?.unwrap_or_else(|| Place {
            ingest_time_us: Utc::now().timestamp_micros() - FIRST_LOOK_BACK_US,
            ..Place::default()
        });
        let mut scheduled_seen = Seen::new(config.remembered_alerts);
        let schedule = schedule::resume(&lake, ask.as_ref(), &detections.now, &mut scheduled_seen).await?;
        let (sinks, sink_tasks) = Sinks::open(&config, on_alert, out, &metrics)?;
        let (reached, places) = watch::channel(place.clone());
        let every = Duration::from_millis(config.checkpoint_every_ms.max(10));
        let saving = save_places(Arc::clone(&lake), name, sinks.clone(), places, every, stop.clone());
        let scheduler = Scheduler {
            config: config.clone(),
            detections,
            lake,
            ask: Arc::clone(&ask),
            sinks: sinks.clone(),
            metrics: metrics.clone(),
            stop: stop.clone(),
            seen: scheduled_seen,
            schedule,
        };
        let seen = Seen::new(config.remembered_alerts);
        let looking = names::keep_looking(rules.clone(), stop.clone());
        let reloading = reload(config.clone(), files, rules.clone(), metrics.clone(), stop.clone());
        let follower = Follower {
            config,
            ingest,
            ask,
            rules: rules.clone(),
            sinks,
            metrics,
            stop,
            seen,
            place,
            reached,
        };
        let tasks = vec![
            ("follow", tokio::spawn(follower.run())),
            ("schedule", tokio::spawn(scheduler.run())),
            ("reload", tokio::spawn(reloading)),
            ("names", tokio::spawn(looking)),
            ("save", tokio::spawn(saving)),
        ];
        Ok(Self { rules, detections: count, tasks, sink_tasks })
    }

    /// How many rules and scheduled detections run.
    pub fn rules_loaded(&self) -> usize {
        self.rules.get().rules() + self.detections
    }

    /// What the rule files said when they were last read.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        self.rules.get().diagnostics.clone()
    }

    /// Waits for the end after `stop`: the place saved, queued alerts written.
    pub async fn join(self) -> Result<(), DetectError> {
        for (task, handle) in self.tasks {
            handle.await.map_err(|source| DetectError::Task { task, source })?;
        }
        for sink in self.sink_tasks {
            let abort = sink.abort_handle();
            if tokio::time::timeout(SINKS_DRAIN, sink).await.is_err() {
                tracing::warn!("a sink did not finish in time, what it still held is not delivered");
                abort.abort();
            }
        }
        Ok(())
    }
}

fn log_diagnostics(diagnostics: &[Diagnostic]) {
    for found in diagnostics {
        let (file, line, column, code) = (&found.file, found.line, found.column, found.code.as_str());
        if found.is_error() {
            tracing::warn!(file, line, column, code, item = found.item, "rule left out: {}", found.message);
        } else {
            tracing::debug!(file, line, column, code, item = found.item, "{}", found.message);
        }
    }
}

/// Looks at the rule files now and then; a bad one changes nothing.
async fn reload(config: Config, mut files: Files, rules: Current, metrics: Metrics, stop: CancellationToken) {
    if config.rules_files.is_empty() {
        return;
    }
    loop {
        tokio::select! {
            () = tokio::time::sleep(config.reload_every()) => {}
            () = stop.cancelled() => return,
        }
        if let Some(book) = files.take_up(&metrics, |texts| rulebook::changed(texts, &config)) {
            rules.set(book);
        }
    }
}

#[cfg(test)]
mod tests;
