//! Looks after the tables once rows are in them.
//!
//! ```text
//!             ┌─ remove    retention, deletions; holds keep      orders/, retention file
//!             ├─ compact   small files become large ones
//!   a pass ───┼─ log       checkpoint, old commits go            _delta_log/
//!   a minute  ├─ vacuum    unnamed objects go after a grace      tables/, staging/
//!             └─ scrub     checksums are compared                damaged/
//! ```
//!
//! Any number of ingesters may do this on one bucket at once: what two want to
//! change is decided by the table's own log, and who comes second looks again.
//! A step that fails is tried again by the next pass and keeps no other from
//! its turn. Pure parts are [`policy`], [`precedence`], [`merge`] and
//! [`retention`].

mod compact;
mod config;
mod files;
pub mod merge;
mod metrics;
pub mod orders;
pub mod policy;
pub mod precedence;
mod remove;
mod report;
pub mod retention;
mod scrub;
mod vacuum;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bailiwick_lake::Lake;
use bailiwick_proto::{IngesterId, Table};
use chrono::NaiveDate;
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use metrics::Metrics;
pub use report::{Merged, Report, Scrubbed, Vacuumed};

use crate::{IngestError, now_us};
use orders::{Count, OrderBook};
use retention::SharedRetention;

/// Looks after one bucket's tables; clones share what they have read.
#[derive(Debug, Clone)]
pub struct Upkeep {
    lake: Arc<Lake>,
    ingester: IngesterId,
    config: Config,
    checkpoint_every: u64,
    retention: SharedRetention,
    orders: Arc<OrderBook>,
    metrics: Metrics,
    checkpoints: Arc<Mutex<HashMap<Table, i64>>>,
    stop: CancellationToken,
    #[cfg(test)]
    pretended_today: Option<NaiveDate>,
}

/// What a pass that a person asks for does beyond an ordinary one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ByHand {
    /// Compare every file with its checksum now.
    pub scrub_all: bool,
    /// Look for objects to vacuum although the last look was not long ago.
    pub vacuum_now: bool,
}

/// Pauses between tries of a commit, each longer and none like another's.
#[derive(Debug)]
struct Backoff {
    next: Duration,
}

// === impl Upkeep ===

impl Upkeep {
    /// Upkeep in the name of an ingester; nothing is read yet.
    pub fn new(
        lake: Arc<Lake>,
        ingester: IngesterId,
        config: &crate::Config,
        retention: SharedRetention,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Self {
        Self {
            lake,
            ingester,
            config: config.upkeep.clone(),
            checkpoint_every: config.checkpoint_every.max(1),
            retention,
            orders: Arc::default(),
            metrics,
            checkpoints: Arc::default(),
            stop,
            #[cfg(test)]
            pretended_today: None,
        }
    }

    /// Makes passes until `stop`; none where it is not enabled.
    pub async fn run(self) {
        if !self.config.enabled {
            return;
        }
        let every_ms = self.config.every_ms;
        loop {
            // Ingesters that started together should not go on together.
            let pause_ms = every_ms - every_ms / 8 + rand::random_range(0..=every_ms / 4);
            let pause = tokio::time::sleep(Duration::from_millis(pause_ms));
            if self.stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
            self.pass(ByHand::default()).await;
        }
    }

    /// One pass over all tables. What failed is in the report.
    pub async fn pass(&self, by_hand: ByHand) -> Report {
        let began = Instant::now();
        let mut report = Report::default();
        self.retention.look(&self.metrics);
        if let Err(error) = self.remove(&mut report).await {
            self.failed("remove what is to go", &error, &mut report.failures);
        }
        self.compact_all(&mut report).await;
        for table in Table::ALL {
            if self.stop.is_cancelled() {
                return report;
            }
            if let Err(error) = self.tidy_log(table, &mut report).await {
                self.failed(&format!("clean up the log of {table}"), &error, &mut report.failures);
            }
            match self.vacuum(table, by_hand.vacuum_now).await {
                Ok(done) => report.vacuum += done,
                Err(error) => self.failed(&format!("vacuum {table}"), &error, &mut report.failures),
            }
        }
        self.metrics.waiting_files.set(report.vacuum.waiting as i64);
        if let Err(error) = self.scrub(by_hand.scrub_all, &mut report.scrub).await {
            self.failed("compare files with checksums", &error, &mut report.failures);
        }
        if let Err(error) = self.measure(&mut report).await {
            self.failed("measure the tables", &error, &mut report.failures);
        }
        self.metrics.passes.inc();
        self.metrics.last_pass.set(began.elapsed().as_secs_f64());
        report
    }

    async fn compact_all(&self, report: &mut Report) {
        let spared = match self.being_deleted().await {
            Ok(spared) => spared,
            Err(error) => return self.failed("read orders", &error, &mut report.failures),
        };
        let mut merges = self.config.merges_per_pass;
        for table in Table::ALL {
            if let Err(error) = self.compact(table, &mut merges, &spared, report).await {
                self.failed(&format!("merge files of {table}"), &error, &mut report.failures);
            }
        }
    }

    /// A checkpoint where enough versions came since the last, and what it
    /// makes needless goes.
    async fn tidy_log(&self, table: Table, report: &mut Report) -> Result<(), IngestError> {
        let log = self.lake.table(table);
        let snapshot = log.snapshot().await?;
        let summarised = |checkpoints: &Mutex<HashMap<Table, i64>>| {
            checkpoints.lock().unwrap_or_else(PoisonError::into_inner).get(&table).copied().unwrap_or(0)
        };
        if snapshot.version() - summarised(&self.checkpoints) >= self.checkpoint_every as i64 {
            log.checkpoint(&snapshot).await?;
            let mut checkpoints = self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner);
            checkpoints.insert(table, snapshot.version());
        }
        let kept_ms = i64::try_from(self.config.log_kept_ms).unwrap_or(i64::MAX);
        let cleaned = log.clean_log((now_us() / 1000).saturating_sub(kept_ms)).await?;
        self.metrics.log_files.inc_by(cleaned.commits + cleaned.checkpoints);
        report.log.commits += cleaned.commits;
        report.log.checkpoints += cleaned.checkpoints;
        Ok(())
    }

    async fn measure(&self, report: &mut Report) -> Result<(), IngestError> {
        for table in Table::ALL {
            let snapshot = self.lake.table(table).snapshot().await?;
            let mut count = Count::default();
            for file in snapshot.files() {
                count += Count { files: 1, rows: file.rows, bytes: file.size_bytes };
            }
            self.metrics.set_table(table, count.files, count.bytes, count.rows);
            report.tables.push((table, count));
        }
        Ok(())
    }

    fn failed(&self, step: &str, error: &IngestError, failures: &mut Vec<String>) {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::warn!(step, %error, cause, "a step of upkeep failed, the next pass tries it again");
        self.metrics.failures.inc();
        let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
        failures.push(format!("cannot {step}: {error}{cause}"));
    }

    fn today(&self) -> NaiveDate {
        #[cfg(test)]
        if let Some(today) = self.pretended_today {
            return today;
        }
        chrono::DateTime::from_timestamp_micros(now_us()).unwrap_or_default().date_naive()
    }
}

// === impl Backoff ===

impl Default for Backoff {
    fn default() -> Self {
        Self { next: Duration::from_millis(10) }
    }
}

impl Backoff {
    async fn pause(&mut self) {
        let most_ms = self.next.as_millis() as u64;
        tokio::time::sleep(Duration::from_millis(rand::random_range(most_ms / 2..=most_ms))).await;
        self.next = (self.next * 2).min(Duration::from_secs(2));
    }
}

#[cfg(test)]
mod tests;
