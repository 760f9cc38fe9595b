//! Where alerts go, each at its own pace.
//!
//! ```text
//!              ┌▶ callback   at once, in the engine's task
//!   alerts ────┼▶ file       bounded queue ─▶ lines, as text or JSON
//!              ├▶ webhook    bounded queue ─▶ posts with back-off
//!              └▶ table      waits for room: an alert is durable or its event is read again
//! ```
//!
//! The file and the webhook drop and count what their queues cannot hold; the
//! table never drops, since the place reached is saved only behind it.

mod file;
mod format;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use bailiwick_proto::Table;
use bailiwick_proto::ship::{MemorySender, PushError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::DetectError;
use crate::config::Config;
use crate::metrics::Metrics;
use bailiwick_rules::Alert;

pub use format::{AlertFormat, PrintedFormat};

/// Called with every alert the moment it is raised; must not block.
pub type OnAlert = Arc<dyn Fn(&Alert) + Send + Sync>;

/// Waits for room in the outbox between two tries.
const OUTBOX_FULL_WAIT: Duration = Duration::from_millis(50);

/// Every place that alerts go to; clones share them.
#[derive(Clone)]
pub(crate) struct Sinks {
    on_alert: OnAlert,
    queues: Vec<(&'static str, mpsc::Sender<Arc<Alert>>)>,
    table: MemorySender,
    metrics: Metrics,
}

/// The tasks behind the queues; they end when every [`Sinks`] is gone.
pub(crate) type SinkTasks = Vec<JoinHandle<()>>;

// === impl Sinks ===

impl Sinks {
    /// Opens what is configured.
    pub(crate) fn open(
        config: &Config,
        on_alert: OnAlert,
        table: MemorySender,
        metrics: &Metrics,
    ) -> Result<(Self, SinkTasks), DetectError> {
        let (mut queues, mut tasks) = (Vec::new(), Vec::new());
        if let Some(path) = config.alert_file.as_ref().filter(|path| !path.as_os_str().is_empty()) {
            let (sender, alerts) = mpsc::channel(config.sink_queue.max(1));
            let file = file::AlertFile::open(path, config.alert_file_format, metrics.clone())?;
            queues.push((file::NAME, sender));
            tasks.push(tokio::spawn(file.run(alerts)));
        }
        if let Some(url) = config.webhook_url.as_ref().filter(|url| !url.is_empty()) {
            let (sender, alerts) = mpsc::channel(config.sink_queue.max(1));
            let webhook = webhook::Webhook::new(url, config, metrics.clone())?;
            queues.push((webhook::NAME, sender));
            tasks.push(tokio::spawn(webhook.run(alerts)));
        }
        Ok((Self { on_alert, queues, table, metrics: metrics.clone() }, tasks))
    }

    /// Gives alerts to every sink. Waits only for the table, and no longer
    /// than until `stop`; `false` means that some did not reach the table.
    pub(crate) async fn raise(&self, alerts: &[Arc<Alert>], stop: &CancellationToken) -> bool {
        for alert in alerts {
            (self.on_alert)(alert);
            for (name, queue) in &self.queues {
                if queue.try_send(Arc::clone(alert)).is_err() {
                    self.metrics.sink_failed(name, "queue_full");
                }
            }
            let latency_us = chrono::Utc::now().signed_duration_since(alert.time).num_microseconds();
            self.metrics.latency.observe(latency_us.unwrap_or(0).max(0) as f64 / 1e6);
        }
        alerts.is_empty() || self.to_table(alerts, stop).await
    }

    async fn to_table(&self, alerts: &[Arc<Alert>], stop: &CancellationToken) -> bool {
        let batch = match Alert::batch(alerts) {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!(%error, "alerts cannot be made into rows");
                self.metrics.sink_failed("table", "encode");
                return true;
            }
        };
        loop {
            match self.table.push(Table::Alerts, &batch) {
                Ok(()) => return true,
                Err(PushError::Full { .. }) => {
                    self.metrics.sink_failed("table", "waiting");
                    tokio::select! {
                        () = tokio::time::sleep(OUTBOX_FULL_WAIT) => {}
                        () = stop.cancelled() => return false,
                    }
                }
                Err(error @ PushError::Encode(_)) => {
                    tracing::error!(%error, "alerts cannot be sent to ingest");
                    self.metrics.sink_failed("table", "encode");
                    return true;
                }
            }
        }
    }

    /// Waits until every alert raised before is durable.
    pub(crate) async fn durable(&self) {
        self.table.drained().await;
    }
}

#[cfg(test)]
mod tests;
