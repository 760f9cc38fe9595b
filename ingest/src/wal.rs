//! This ingester's own log: taking it over, and adding to it, once each number.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use bailiwick_lake::keys::WalKey;
use bailiwick_lake::{EncodedRows, Lake, LakeError, WalHeader, fresh_name, txn_app};
use bailiwick_proto::{CollectorId, IngesterId, Table};
use bytes::Bytes;

use crate::IngestError;
use crate::dedupe::{Dedupe, Verdict};
use crate::metrics::{Metrics, TableLabel};

const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// A batch that is ready to become durable.
#[derive(Debug, Clone)]
pub struct Ready {
    /// Who sent it.
    pub collector: CollectorId,
    /// Under which numbering.
    pub incarnation: u64,
    /// Under which number.
    pub seq: u64,
    /// Where its rows belong.
    pub table: Table,
    /// The rows, stamped schema.
    pub rows: RecordBatch,
    /// Bytes on the wire, to account for memory.
    pub bytes: usize,
}

/// A WAL object that is durable.
#[derive(Debug)]
pub struct Landed {
    /// Its number.
    pub number: u64,
    /// Its rows as they were encoded, by table.
    pub encoded: Vec<EncodedRows>,
    /// The same rows, to be flushed.
    pub rows: Vec<(Table, Vec<RecordBatch>)>,
    /// Bytes on the wire of the batches in it.
    pub bytes: usize,
    /// When it was written, microseconds since 1970.
    pub written_at_us: i64,
}

/// One process's hold on one log.
#[derive(Debug)]
pub struct Wal {
    lake: Arc<Lake>,
    ingester: IngesterId,
    epoch: u64,
    nonce: String,
    next_number: u64,
    dedupe: Dedupe,
    metrics: Metrics,
    retry_at_most: Duration,
}

// === impl Wal ===

impl Wal {
    /// Takes a log over: reads its newest object and writes an opening one
    /// behind it, which fences whoever wrote it before. Returns the objects
    /// that were there, for their rows may not be in the tables yet.
    ///
    /// The opening object has the very number that the one before, if it only
    /// slept, will try next. Therefore [`crate::flush`] deletes objects with
    /// rows only: were an opening one deleted, the sleeper's write would
    /// succeed under a number that is committed already, and be lost.
    pub async fn take_over(
        lake: Arc<Lake>,
        ingester: IngesterId,
        now_us: i64,
        metrics: Metrics,
        retry_at_most: Duration,
    ) -> Result<(Self, Vec<WalKey>), IngestError> {
        let nonce = fresh_name();
        loop {
            let found = lake.wal_keys_of(&ingester).await?;
            let (mut epoch, mut next_number, mut known) = (1, 1, BTreeMap::new());
            if let Some(newest) = found.last() {
                let header = lake.read_wal(newest).await?.header().clone();
                (epoch, next_number, known) = (header.epoch + 1, newest.number + 1, header.high_water);
            }
            // A bucket that was restored without its WAL: numbers up to what the
            // tables hold are spent, rows under them would be taken for committed.
            next_number = next_number.max(committed(&lake, &ingester).await? + 1);
            let (lake, ingester, nonce) = (Arc::clone(&lake), ingester.clone(), nonce.clone());
            let (dedupe, metrics) = (Dedupe::new(known), metrics.clone());
            let mut wal = Self { lake, ingester, epoch, nonce, next_number, dedupe, metrics, retry_at_most };
            let opening = wal.object(&wal.dedupe, &[], now_us);
            match wal.put(opening).await {
                Ok(_) => return Ok((wal, found)),
                // The one before is alive and was quicker: look again.
                Err(IngestError::Fenced { number, .. }) => {
                    tracing::warn!(number, "taking the wal over again")
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The last number written.
    pub fn last_number(&self) -> u64 {
        self.next_number - 1
    }

    /// What is expected next of a collector's numbering.
    pub fn expected_seq(&self, collector: &CollectorId, incarnation: u64) -> u64 {
        self.dedupe.expected_seq(collector, incarnation)
    }

    /// Makes a group of batches durable as one object, trying for as long as
    /// the store fails. Verdicts are in the group's order; there is no object
    /// when nothing in the group was new.
    pub async fn commit(
        &mut self,
        group: &[Ready],
        now_us: i64,
    ) -> Result<(Vec<Verdict>, Option<Landed>), IngestError> {
        let mut dedupe = self.dedupe.clone();
        let judge = |ready: &Ready| dedupe.take(&ready.collector, ready.incarnation, ready.seq);
        let verdicts: Vec<Verdict> = group.iter().map(judge).collect();
        let taken = || group.iter().zip(&verdicts).filter(|(_, verdict)| **verdict == Verdict::Next);
        let mut by_table: BTreeMap<Table, Vec<RecordBatch>> = BTreeMap::new();
        for (ready, _) in taken() {
            by_table.entry(ready.table).or_default().push(ready.rows.clone());
        }
        if by_table.is_empty() {
            return Ok((verdicts, None));
        }
        let bytes = taken().map(|(ready, _)| ready.bytes).sum();
        let rows: Vec<_> = by_table.into_iter().collect();
        let (rows, encoded) = encode(rows).await?;
        let object = self.object(&dedupe, &encoded, now_us);
        let number = self.put(object).await?;
        self.dedupe = dedupe;
        for encoded in &encoded {
            let label = TableLabel { table: encoded.table.name().to_owned() };
            self.metrics.acked_rows.get_or_create(&label).inc_by(encoded.rows);
        }
        Ok((verdicts, Some(Landed { number, encoded, rows, bytes, written_at_us: now_us })))
    }

    fn object(&self, dedupe: &Dedupe, rows: &[EncodedRows], now_us: i64) -> Bytes {
        let header = WalHeader {
            ingester: self.ingester.to_string(),
            epoch: self.epoch,
            nonce: self.nonce.clone(),
            number: self.next_number,
            written_at_us: now_us,
            segments: vec![],
            high_water: dedupe.high_water().clone(),
        };
        header.encode(rows)
    }

    /// Writes the next object. Whatever a failed try may have done, the bytes
    /// of the next try are the same, so either of them is the one.
    async fn put(&mut self, object: Bytes) -> Result<u64, IngestError> {
        let key = WalKey { ingester: self.ingester.clone(), number: self.next_number };
        let mut pause = FIRST_PAUSE;
        loop {
            let failed = match self.lake.put_wal(&key, object.clone()).await {
                Ok(()) => break,
                Err(error) if error.is_already_there() => match self.is_ours(&key).await {
                    Ok(true) => break,
                    Ok(false) => return Err(self.fenced(key.number)),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if pause == FIRST_PAUSE {
                let cause = std::error::Error::source(&failed).map(ToString::to_string);
                tracing::error!(error = %failed, cause, "wal cannot be written, nothing is acknowledged until it can");
            }
            self.metrics.wal_retries.inc();
            tokio::time::sleep(pause.min(self.retry_at_most)).await;
            pause = (pause * 2).min(self.retry_at_most.max(FIRST_PAUSE * 2));
        }
        self.next_number += 1;
        self.metrics.wal_bytes.inc_by(object.len() as u64);
        Ok(key.number)
    }

    /// Whether the object under `key` is what this process tried to write: its
    /// nonce is in one object of each number only.
    async fn is_ours(&self, key: &WalKey) -> Result<bool, LakeError> {
        Ok(self.lake.read_wal(key).await?.header().nonce == self.nonce)
    }

    fn fenced(&self, number: u64) -> IngestError {
        IngestError::Fenced { ingester: self.ingester.to_string(), number }
    }
}

/// The highest number that any table has committed.
async fn committed(lake: &Lake, ingester: &IngesterId) -> Result<u64, LakeError> {
    let (mut highest, app) = (0, txn_app(ingester));
    for table in Table::ALL {
        let log = lake.table(table);
        let txn = log.txn(&log.snapshot().await?, &app).await?;
        highest = highest.max(txn.unwrap_or(0));
    }
    Ok(highest.unsigned_abs())
}

type TableRows = Vec<(Table, Vec<RecordBatch>)>;

async fn encode(rows: TableRows) -> Result<(TableRows, Vec<EncodedRows>), IngestError> {
    let work = move || {
        let encoded = rows.iter().map(|(table, batches)| EncodedRows::encode(*table, batches));
        let encoded = encoded.collect::<Result<Vec<_>, _>>();
        encoded.map(|encoded| (rows, encoded))
    };
    Ok(tokio::task::spawn_blocking(work).await??)
}
