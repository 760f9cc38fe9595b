//! Scheduled detections: SQL over what arrived in a window, at fixed times.
//!
//! Windows end at whole multiples of `every_s`, on `ingest_time`: what arrived
//! late is in the window in which it arrived. The end of the last window looked
//! at is kept in the bucket, so that a restart looks at those missed meanwhile.
//! A finding's id is made of its key and the time divided by `window_s`, so
//! windows that overlap, or are looked at twice, alert once.

mod detection;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use bailiwick_lake::Lake;
use bailiwick_proto::ids::UNASSIGNED_TENANT;
use bailiwick_rules::{Alert, alert_id, row};
use chrono::{DateTime, Utc};
use futures::StreamExt;
use serde_json::{Map, Value};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use detection::{Detection, Detections};

use crate::ask::{Ask, AskError, time_literal};
use crate::config::Config;
use crate::metrics::{Metrics, OutcomeLabel, RuleLabel};
use crate::place::{Schedule, load_schedule, save_schedule};
use crate::seen::Seen;
use crate::sinks::Sinks;

/// The most findings that one run may raise; more means the statement is no detection.
const MAX_FINDINGS: usize = 1_000;
/// The most windows that are made up for after a pause; earlier ones are skipped and said.
const MAX_MISSED: i64 = 500;
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What the scheduled jobs work with.
pub(crate) struct Scheduler {
    pub(crate) config: Config,
    pub(crate) detections: Detections,
    pub(crate) lake: Arc<Lake>,
    pub(crate) ask: Arc<dyn Ask>,
    pub(crate) sinks: Sinks,
    pub(crate) metrics: Metrics,
    pub(crate) stop: CancellationToken,
    pub(crate) seen: Seen,
    pub(crate) schedule: Schedule,
}

// === impl Scheduler ===

impl Scheduler {
    /// Runs what is due until stopped.
    pub(crate) async fn run(mut self) {
        let stop = self.stop.clone();
        let work = async {
            let mut looked = Instant::now();
            loop {
                if looked.elapsed() >= self.config.reload_every() {
                    self.reload();
                    looked = Instant::now();
                }
                let now_us = Utc::now().timestamp_micros();
                for detection in self.detections.now.clone() {
                    self.due(&detection, now_us).await;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }

    /// Takes up files that changed. A detection that is new begins with the window
    /// before now; one that is gone is forgotten, so that it would begin so again.
    fn reload(&mut self) {
        if self.detections.reload(&self.config, &self.metrics) {
            retain(&mut self.schedule, &self.detections.now);
        }
    }

    /// Looks at every window of a detection that has ended and settled.
    async fn due(&mut self, detection: &Detection, now_us: i64) {
        let settled_us = now_us.saturating_sub_unsigned(self.config.settle_ms * 1000);
        for to_us in due_windows(detection, self.schedule.get(&detection.name).copied(), settled_us) {
            let outcome = match self.window(detection, to_us).await {
                Ok(()) => "ok",
                Err(error) => {
                    tracing::warn!(%error, detection = detection.name, "scheduled detection failed");
                    if error.retry { "retry" } else { "failed" }
                }
            };
            self.metrics.runs.get_or_create(&OutcomeLabel { outcome }).inc();
            if outcome == "retry" {
                return;
            }
            self.schedule.insert(detection.name.clone(), to_us);
            self.sinks.durable().await;
            if let Err(error) = save_schedule(&self.lake, &self.schedule).await {
                tracing::warn!(%error, "schedule not saved, the window may be looked at again");
            }
        }
    }

    async fn window(&mut self, detection: &Detection, to_us: i64) -> Result<(), AskError> {
        let sql = detection.sql(to_us);
        let mut batches = self.ask.ask(&sql).await?;
        let mut findings = Vec::new();
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            findings.extend(
                (0..batch.num_rows()).map(|at| finding(detection, &batch, at, to_us, self.lake.cluster())),
            );
            if findings.len() > MAX_FINDINGS {
                tracing::warn!(
                    detection = detection.name,
                    MAX_FINDINGS,
                    "more findings than one run may raise"
                );
                self.metrics.sink_failed("schedule", "too_many_findings");
                findings.truncate(MAX_FINDINGS);
                break;
            }
        }
        // Known only now: had the statement failed half-way, the next try must
        // raise all of them.
        findings.retain(|alert| self.seen.insert(&alert.alert_id));
        let label = RuleLabel { rule: detection.name.clone() };
        self.metrics.matches.get_or_create(&label).inc_by(findings.len() as u64);
        let alerts: Vec<_> = findings.into_iter().map(Arc::new).collect();
        self.sinks.raise(&alerts, &self.stop).await;
        Ok(())
    }
}

/// Leaves the detections that there are.
fn retain(schedule: &mut Schedule, detections: &[Detection]) {
    schedule.retain(|name, _| detections.iter().any(|detection| detection.name == *name));
}

/// The ends of the windows between the last one looked at and now.
fn due_windows(detection: &Detection, last_us: Option<i64>, settled_us: i64) -> Vec<i64> {
    let every_us = detection.every_us();
    let newest = settled_us.div_euclid(every_us) * every_us;
    let oldest = newest - (MAX_MISSED - 1) * every_us;
    let mut next = match last_us {
        Some(last) => (last.div_euclid(every_us) + 1) * every_us,
        None => newest,
    };
    if next < oldest {
        let skipped = (oldest - next) / every_us;
        tracing::warn!(detection = detection.name, skipped, "windows long past are not looked at");
        next = oldest;
    }
    (0..MAX_MISSED).map(|step| next + step * every_us).take_while(|end| *end <= newest).collect()
}

/// The alerts of the time that running again would look at.
async fn remember(ask: &dyn Ask, from_us: i64, seen: &mut Seen) -> Result<(), AskError> {
    let from = time_literal(from_us);
    let sql = format!("SELECT alert_id FROM alerts WHERE ingest_time >= {from} AND mode = 'scheduled'");
    let mut batches = ask.ask(&sql).await?;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        let ids = (0..batch.num_rows()).filter_map(|at| row::text(&batch, "alert_id", at));
        seen.remember(ids);
    }
    Ok(())
}

/// What was looked at before, and the ids of what was found.
pub(crate) async fn resume(
    lake: &Lake,
    ask: &dyn Ask,
    detections: &[Detection],
    seen: &mut Seen,
) -> Result<Schedule, bailiwick_lake::LakeError> {
    let mut schedule = load_schedule(lake).await?;
    retain(&mut schedule, detections);
    let longest_us = detections.iter().map(Detection::window_us).max().unwrap_or(0);
    let Some(earliest) = schedule.values().min() else { return Ok(schedule) };
    if let Err(error) = remember(ask, earliest - 2 * longest_us, seen).await {
        tracing::warn!(%error, "earlier alerts are not known, some may be raised again");
    }
    Ok(schedule)
}

fn finding(detection: &Detection, batch: &RecordBatch, at: usize, to_us: i64, cluster: &str) -> Alert {
    let mut fields = Map::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let value = row::any(column, at);
        let number =
            value.as_ref().filter(|_| column.data_type().is_numeric()).and_then(|text| text.parse().ok());
        let value = number.map(Value::Number).or(value.map(Value::String)).unwrap_or(Value::Null);
        fields.insert(field.name().clone(), value);
    }
    let text = |column: &str| fields.get(column).filter(|value| !value.is_null()).map(plain);
    let owner = text("tenant").unwrap_or_else(|| UNASSIGNED_TENANT.to_owned());
    let mut key = vec![owner.clone()];
    key.extend(detection.key.iter().map(|column| text(column).unwrap_or_default()));
    key.push((to_us.div_euclid(detection.window_us())).to_string());
    let time = row::time_us(batch, "time", at).unwrap_or(to_us);
    // A row of `falco_matches` is an alert already: it stays the same one.
    let alert_id = text("alert_id").unwrap_or_else(|| alert_id(&detection.name, &key));
    Alert {
        time: DateTime::from_timestamp_micros(time).unwrap_or_default(),
        alert_id,
        owner,
        rule: detection.name.clone(),
        priority: detection.priority,
        source: "sql",
        tags: detection.tags.clone(),
        output: detection.print(&fields),
        node: text("node"),
        cluster: text("cluster").unwrap_or_else(|| cluster.to_owned()),
        rule_source: detection.file.clone(),
        mode: "scheduled",
        exec_id: text("exec_id"),
        container_id: text("container_id"),
        audit_id: text("audit_id"),
        output_fields: fields,
    }
}

/// A JSON value without quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<NA>".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
