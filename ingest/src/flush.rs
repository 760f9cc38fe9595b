//! Rows from the WAL into the tables: sorted, written, committed once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use bailiwick_lake::keys::WalKey;
use bailiwick_lake::{Boundary, Change, Committed, DataFile, Lake, LakeError, TableSnapshot, Txn, txn_app};
use bailiwick_proto::{IngesterId, Table};

use crate::IngestError;
use crate::background;
use crate::carry::{self, Policy, Split};
use crate::data_file;
use crate::loss::Loss;
use crate::metrics::Metrics;
use crate::wal::TableRows;
use crate::window::{Origin, Window, memory_bytes};

/// How long an object without rows stays: no process sleeps that long and then
/// goes on writing.
const SIGNS_KEPT_US: i64 = 24 * 3600 * 1_000_000;
/// Files that no commit names yet are written anew after this time: less than
/// half of the shortest grace after which vacuum may delete them.
const FILES_WAIT_AT_MOST: Duration = Duration::from_secs(25);

/// Moves windows into the tables of one bucket.
#[derive(Debug, Clone)]
pub struct Flusher {
    lake: Arc<Lake>,
    ingester: IngesterId,
    metrics: Metrics,
    checkpoint_every: u64,
}

/// What one flush is about to do.
#[derive(Debug, Default)]
pub struct Round {
    through: u64,
    tables: Vec<Due>,
    small: TableRows,
    small_since_us: Option<i64>,
}

/// A table's rows on their way into files; there may be none, when all wait.
#[derive(Debug)]
struct Due {
    table: Table,
    /// What was committed when the rows were chosen.
    above: Boundary,
    rows: Vec<RecordBatch>,
}

/// What is found under a number that a predecessor wrote.
enum Left {
    Rows {
        rows: TableRows,
        is_carried: bool,
        since_us: i64,
    },
    /// An object without rows: it opened an epoch, or is about collectors.
    Sign {
        written_at_us: i64,
    },
}

// === impl Round ===

impl Round {
    /// Whether any row would become part of a file.
    pub fn makes_files(&self) -> bool {
        self.tables.iter().any(|due| !due.rows.is_empty())
    }

    /// The rows that must be carried over before the commit, and since when
    /// the oldest of them waits.
    pub fn small(&self) -> Option<(TableRows, i64)> {
        Some((self.small.clone(), self.small_since_us?))
    }
}

// === impl Flusher ===

impl Flusher {
    /// A flusher for one ingester's rows.
    pub fn new(lake: Arc<Lake>, ingester: IngesterId, metrics: Metrics, checkpoint_every: u64) -> Self {
        Self { lake, ingester, metrics, checkpoint_every: checkpoint_every.max(1) }
    }

    /// Commits a whole window to every table that it has rows of. May be called
    /// again with the same window after an error, and with rows that are
    /// committed already: each table's own `txn` says what is still missing.
    pub async fn flush(&self, window: &Window) -> Result<(), IngestError> {
        loop {
            match self.commit(&self.plan(window, None, 0).await?, None).await {
                Err(IngestError::Overtaken { .. }) => {}
                done => return done,
            }
        }
    }

    /// Says what a flush of the window would do: what would become files, and
    /// what the policy lets wait. Without a policy nothing waits.
    pub async fn plan(
        &self,
        window: &Window,
        policy: Option<&Policy>,
        now_us: i64,
    ) -> Result<Round, IngestError> {
        let mut round = Round { through: window.through(), ..Round::default() };
        for table in window.tables() {
            let log = self.lake.table(table);
            let above = Boundary::of(log, &log.snapshot().await?, &self.ingester).await?;
            let parts = window.waiting(table, above);
            if parts.is_empty() {
                continue;
            }
            let split = match policy {
                Some(policy) => carry::split(table, &parts, policy, now_us)
                    .map_err(|error| IngestError::Rows { table, source: error.into() })?,
                None => {
                    Split { large: parts.iter().map(|part| part.rows.clone()).collect(), ..Split::default() }
                }
            };
            round.tables.push(Due { table, above, rows: split.large });
            if !split.small.is_empty() {
                round.small.push((table, split.small));
                round.small_since_us = round.small_since_us.into_iter().chain(split.small_since_us).min();
            }
        }
        Ok(round)
    }

    /// Does what a plan says, after its small rows were carried over, into the
    /// object `carried`. When something else was committed to one of the tables
    /// for this log meanwhile, [`IngestError::Overtaken`] asks for a new plan, of
    /// a window that holds the carried object too.
    pub async fn commit(&self, round: &Round, carried: Option<u64>) -> Result<(), IngestError> {
        for due in &round.tables {
            let started = Instant::now();
            self.commit_table(due, round.through, carried).await?;
            self.metrics.commit.observe(started.elapsed().as_secs_f64());
        }
        Ok(())
    }

    /// Deletes WAL objects whose rows are committed. They must not be the
    /// newest, which alone knows what is durable, nor one that opened an epoch.
    /// Those that could not be deleted stay in `numbers`.
    pub async fn clean_up(&self, numbers: &mut Vec<u64>) -> Result<(), LakeError> {
        while let Some(number) = numbers.last() {
            self.lake.delete_wal(&WalKey { ingester: self.ingester.clone(), number: *number }).await?;
            numbers.pop();
        }
        Ok(())
    }

    /// Commits what a predecessor left in the WAL, a window at a time. Returns
    /// the numbers that may be deleted then. An object that cannot be read is
    /// set aside, and a row of `losses` takes the place of its rows.
    pub async fn replay(
        &self,
        left: &[WalKey],
        window_bytes: usize,
        now_us: i64,
    ) -> Result<Vec<u64>, IngestError> {
        let (mut window, mut deletable) = (Window::default(), Vec::new());
        for key in left {
            match self.read(key, now_us).await {
                Ok(Left::Rows { rows, is_carried, since_us }) => {
                    let bytes = memory_bytes(&rows);
                    window.add(Origin { number: key.number, is_carried, since_us, bytes }, &rows);
                }
                Ok(Left::Sign { written_at_us }) if now_us - written_at_us > SIGNS_KEPT_US => {
                    deletable.push(key.number);
                }
                Ok(Left::Sign { .. }) => {}
                // Only what is committed is ever deleted.
                Err(IngestError::Lake(error)) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
            if window.bytes() >= window_bytes {
                self.flush(&window).await?;
                deletable.extend(std::mem::take(&mut window).into_numbers());
            }
        }
        self.flush(&window).await?;
        deletable.extend(window.into_numbers());
        Ok(deletable)
    }

    /// Deletes objects without rows below `below` that are old enough.
    pub async fn sweep_signs(&self, below: u64, now_us: i64) -> Result<usize, LakeError> {
        let mut swept = 0;
        for key in self.lake.wal_keys_of(&self.ingester).await? {
            if key.number >= below {
                break;
            }
            let header = match self.lake.read_wal(&key).await {
                Ok(object) => object.header().clone(),
                Err(error) if error.is_not_found() || error.is_damage() => continue,
                Err(error) => return Err(error),
            };
            if header.segments.is_empty() && now_us - header.written_at_us > SIGNS_KEPT_US {
                self.lake.delete_wal(&key).await?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    async fn read(&self, key: &WalKey, now_us: i64) -> Result<Left, IngestError> {
        let object = match self.lake.read_wal(key).await {
            Ok(object) => object,
            Err(error) if error.is_damage() => return self.set_aside(key, 1, &error, now_us).await,
            Err(error) => return Err(error.into()),
        };
        let header = object.header();
        if header.segments.is_empty() {
            return Ok(Left::Sign { written_at_us: header.written_at_us });
        }
        let (is_carried, since_us) = (header.is_carried(), header.since_us());
        match object.rows() {
            Ok(rows) => Ok(Left::Rows { rows, is_carried, since_us }),
            Err(error) => {
                let count = header.segments.iter().map(|segment| segment.rows).sum();
                self.set_aside(key, count, &error, now_us).await
            }
        }
    }

    async fn set_aside(
        &self,
        key: &WalKey,
        count: u64,
        error: &LakeError,
        now_us: i64,
    ) -> Result<Left, IngestError> {
        let aside = self.lake.set_wal_aside(key).await?;
        self.metrics.damaged_wal.inc();
        tracing::error!(%error, %aside, count, "damaged wal object set aside, its rows are lost");
        let detail = &format!("{aside}: {error}");
        let (lane, class, reason) = ("ship", "row", "damaged");
        let loss =
            Loss { node: "", cluster: self.lake.cluster(), lane, class, reason, count: count as i64, detail };
        let table = Table::Losses;
        let row = loss.row(now_us).map_err(|error| IngestError::Rows { table, source: error.into() })?;
        Ok(Left::Rows { rows: vec![(table, vec![row])], is_carried: false, since_us: now_us })
    }

    async fn commit_table(&self, due: &Due, through: u64, carried: Option<u64>) -> Result<(), IngestError> {
        let table = due.table;
        let log = self.lake.table(table);
        let mut written: Option<(Instant, Vec<DataFile>)> = None;
        let mut pause = Duration::from_millis(5);
        loop {
            let base = log.snapshot().await?;
            let boundary = Boundary::of(log, &base, &self.ingester).await?;
            if boundary.committed >= through {
                return Ok(());
            }
            if boundary != due.above {
                return Err(IngestError::Overtaken { table, committed: boundary.committed });
            }
            let (since, add) = match written.take() {
                // Older ones may have been taken for forgotten and deleted.
                Some((since, files)) if since.elapsed() < FILES_WAIT_AT_MOST => (since, files),
                _ => (Instant::now(), self.write(table, due.rows.clone()).await?),
            };
            written = Some((since, add.clone()));
            let carried = carried.map(|number| number as i64);
            let txn = Some(Txn { app: txn_app(&self.ingester), version: through as i64, carried });
            match log.commit(&base, Change { txn, add, remove: vec![] }).await? {
                Committed::At(version) => {
                    self.checkpoint_sometimes(table, version).await;
                    return Ok(());
                }
                Committed::Conflict => self.metrics.conflicts.inc(),
            };
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    async fn write(&self, table: Table, batches: Vec<RecordBatch>) -> Result<Vec<DataFile>, IngestError> {
        if batches.is_empty() {
            return Ok(vec![]);
        }
        let encoded = background::run(move || data_file::encode(table, &batches)).await??;
        let mut files = Vec::with_capacity(encoded.len());
        for encoded in encoded {
            let file = encoded.put(&self.lake, &self.ingester).await?;
            self.metrics.files.inc();
            self.metrics.file_bytes.inc_by(file.size_bytes);
            self.metrics.file_rows.inc_by(file.rows);
            files.push(file);
        }
        Ok(files)
    }

    /// A checkpoint only makes opening quicker, so its failure is no flush's.
    async fn checkpoint_sometimes(&self, table: Table, version: i64) {
        if !version.unsigned_abs().is_multiple_of(self.checkpoint_every) {
            return;
        }
        let lake = Arc::clone(&self.lake);
        tokio::spawn(async move {
            let log = lake.table(table);
            let done = match log.snapshot().await {
                Ok(newest) => checkpoint(log, &newest).await,
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                tracing::warn!(%table, %error, "delta log not summarised, the next one will be");
            }
        });
    }
}

async fn checkpoint(log: &dyn bailiwick_lake::TableLog, newest: &TableSnapshot) -> Result<(), LakeError> {
    log.checkpoint(newest).await
}
