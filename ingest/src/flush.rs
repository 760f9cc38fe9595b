//! Rows from the WAL into the tables: sorted, written, committed once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use bailiwick_lake::keys::{DataKey, WalKey};
use bailiwick_lake::{Change, Committed, DataFile, Lake, LakeError, TableSnapshot, Txn, fresh_name, txn_app};
use bailiwick_proto::{IngesterId, Table, TenantId};
use bytes::Bytes;
use chrono::NaiveDate;
use object_store::ObjectStoreExt;

use crate::IngestError;
use crate::loss::Loss;
use crate::metrics::Metrics;
use crate::sort;
use crate::wal::Landed;

/// How long an epoch's opening object stays: no process sleeps that long and
/// then goes on writing.
const OPENINGS_KEPT_US: i64 = 24 * 3600 * 1_000_000;

/// WAL rows that wait for the tables: every one up to `through`.
#[derive(Debug, Default)]
pub struct Window {
    through: u64,
    numbers: Vec<u64>,
    rows: BTreeMap<Table, Vec<(u64, RecordBatch)>>,
    bytes: usize,
    oldest_us: Option<i64>,
}

/// Moves windows into the tables of one bucket.
#[derive(Debug, Clone)]
pub struct Flusher {
    lake: Arc<Lake>,
    ingester: IngesterId,
    metrics: Metrics,
    checkpoint_every: u64,
}

/// What is found under a number that a predecessor wrote.
enum Left {
    Rows {
        rows: Vec<(Table, Vec<RecordBatch>)>,
        bytes: usize,
        written_at_us: i64,
    },
    /// The object that opened an epoch: it holds no rows.
    Opening {
        written_at_us: i64,
    },
}

/// A file's content before it has a name.
struct Encoded {
    tenant: TenantId,
    date: NaiveDate,
    rows: u64,
    min_time_us: Option<i64>,
    max_time_us: Option<i64>,
    null_times: u64,
    bytes: Bytes,
}

// === impl Window ===

impl Window {
    /// Adds what has just become durable.
    pub fn push(&mut self, landed: &Landed) {
        self.add(landed.number, &landed.rows, landed.bytes, landed.written_at_us);
    }

    /// Adds the rows of one WAL object; numbers must rise.
    pub fn add(&mut self, number: u64, rows: &[(Table, Vec<RecordBatch>)], bytes: usize, written_at_us: i64) {
        self.through = number;
        self.numbers.push(number);
        self.bytes += bytes;
        for (table, batches) in rows {
            // A commit of no rows would be a version for nothing.
            let batches = batches.iter().filter(|batch| batch.num_rows() > 0);
            for batch in batches {
                self.rows.entry(*table).or_default().push((number, batch.clone()));
                self.oldest_us.get_or_insert(written_at_us);
            }
        }
    }

    /// The WAL objects in it, for [`Flusher::clean_up`] once it is committed.
    pub fn into_numbers(self) -> Vec<u64> {
        self.numbers
    }

    /// Whether there is nothing to flush.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes on the wire of what is in it.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The last WAL object in it.
    pub fn through(&self) -> u64 {
        self.through
    }

    /// When its oldest rows were written, microseconds since 1970.
    pub fn oldest_us(&self) -> Option<i64> {
        self.oldest_us
    }
}

// === impl Flusher ===

impl Flusher {
    /// A flusher for one ingester's rows.
    pub fn new(lake: Arc<Lake>, ingester: IngesterId, metrics: Metrics, checkpoint_every: u64) -> Self {
        Self { lake, ingester, metrics, checkpoint_every: checkpoint_every.max(1) }
    }

    /// Commits a window to every table that it has rows of. May be called
    /// again with the same window after an error, and with rows that are
    /// committed already: each table's own `txn` says what is still missing.
    pub async fn flush(&self, window: &Window) -> Result<(), IngestError> {
        for (table, rows) in &window.rows {
            let started = Instant::now();
            self.flush_table(*table, rows, window.through).await?;
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
                Ok(Left::Rows { rows, bytes, written_at_us }) => {
                    window.add(key.number, &rows, bytes, written_at_us)
                }
                Ok(Left::Opening { written_at_us }) if now_us - written_at_us > OPENINGS_KEPT_US => {
                    deletable.push(key.number);
                }
                Ok(Left::Opening { .. }) => {}
                // Only what is committed is ever deleted.
                Err(IngestError::Lake(error)) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
            if window.bytes >= window_bytes {
                self.flush(&window).await?;
                deletable.extend(std::mem::take(&mut window).into_numbers());
            }
        }
        self.flush(&window).await?;
        deletable.extend(window.into_numbers());
        Ok(deletable)
    }

    async fn read(&self, key: &WalKey, now_us: i64) -> Result<Left, IngestError> {
        let object = match self.lake.read_wal(key).await {
            Ok(object) => object,
            Err(error) if error.is_damage() => return self.set_aside(key, 1, &error, now_us).await,
            Err(error) => return Err(error.into()),
        };
        let (header, bytes) = (object.header(), object.body_bytes() as usize);
        if header.segments.is_empty() {
            return Ok(Left::Opening { written_at_us: header.written_at_us });
        }
        match object.rows() {
            Ok(rows) => Ok(Left::Rows { rows, bytes, written_at_us: header.written_at_us }),
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
        Ok(Left::Rows { rows: vec![(table, vec![row])], bytes: 0, written_at_us: now_us })
    }

    async fn flush_table(
        &self,
        table: Table,
        rows: &[(u64, RecordBatch)],
        through: u64,
    ) -> Result<(), IngestError> {
        let (log, app) = (self.lake.table(table), txn_app(&self.ingester));
        let mut written: Option<(u64, Vec<DataFile>)> = None;
        let mut pause = Duration::from_millis(5);
        loop {
            let base = log.snapshot().await?;
            let committed = log.txn(&base, &app).await?.unwrap_or(0).max(0) as u64;
            let missing: Vec<_> = rows
                .iter()
                .filter(|(number, _)| *number > committed)
                .map(|(_, batch)| batch.clone())
                .collect();
            if missing.is_empty() || committed >= through {
                return Ok(());
            }
            let add = match written.take() {
                Some((above, files)) if above == committed => files,
                _ => self.write(table, missing).await?,
            };
            written = Some((committed, add.clone()));
            let txn = Some(Txn { app: app.clone(), version: through as i64 });
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
        let encoded = tokio::task::spawn_blocking(move || encode(table, &batches)).await??;
        let mut files = Vec::with_capacity(encoded.len());
        for Encoded { tenant, date, rows, min_time_us, max_time_us, null_times, bytes } in encoded {
            let name = format!("{}-{}", self.ingester, fresh_name());
            let path = DataKey { table, tenant: tenant.clone(), date, name }.path();
            let size_bytes = bytes.len() as u64;
            let failed = |source| LakeError::Store { operation: "write", key: path.to_string(), source };
            self.lake.store().put(&path, bytes.into()).await.map_err(failed)?;
            self.metrics.files.inc();
            self.metrics.file_bytes.inc_by(size_bytes);
            self.metrics.file_rows.inc_by(rows);
            let (path, modified_ms) = (path.to_string(), chrono::Utc::now().timestamp_millis());
            files.push(DataFile {
                path,
                size_bytes,
                rows,
                tenant,
                date,
                min_time_us,
                max_time_us,
                modified_ms,
                null_times,
            });
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

fn encode(table: Table, batches: &[RecordBatch]) -> Result<Vec<Encoded>, IngestError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| IngestError::Rows { table, source };
    let partitions = sort::partitions(table, batches).map_err(|error| failed(error.into()))?;
    let encode = |partition: sort::Partition| {
        let bytes = crate::encode::parquet(table, &partition.rows).map_err(|error| failed(error.into()))?;
        let rows = partition.rows.num_rows() as u64;
        let sort::Partition { tenant, date, min_time_us, max_time_us, null_times, .. } = partition;
        Ok(Encoded { tenant, date, rows, min_time_us, max_time_us, null_times, bytes: bytes.into() })
    };
    partitions.into_iter().map(encode).collect()
}
