//! This ingester's own log: taking it over, and adding to it, once each number.

mod claim;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use bailiwick_lake::keys::WalKey;
use bailiwick_lake::{EncodedRows, Lake, LakeError, WalHeader, WalKind, fresh_name, txn_app};
use bailiwick_proto::{CollectorId, IngesterId, Table};

use crate::IngestError;
use crate::dedupe::{Dedupe, Verdict};
use crate::metrics::{Metrics, TableLabel};
use crate::window::memory_bytes;

/// A collector that was not heard for so long, 90 days, is forgotten.
const REMEMBERED_US: i64 = 90 * 24 * 3600 * 1_000_000;
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
    /// Bytes that they take in memory.
    pub bytes: usize,
}

/// A WAL object that is durable.
#[derive(Debug)]
pub struct Landed {
    /// Its number.
    pub number: u64,
    /// Whether its rows are copies of rows in objects before it.
    pub is_carried: bool,
    /// Its rows as they were encoded, by table; carried ones are left out, for
    /// whoever listens has heard them.
    pub encoded: Vec<EncodedRows>,
    /// The same rows, to be flushed.
    pub rows: TableRows,
    /// Bytes that its rows take in memory.
    pub bytes: usize,
    /// When its oldest rows were first durable, microseconds since 1970.
    pub since_us: i64,
}

/// Rows of the stamped schema, by table.
pub type TableRows = Vec<(Table, Vec<RecordBatch>)>;

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

/// The growing pauses between tries of a store that fails.
struct Pauses {
    next: Duration,
    at_most: Duration,
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
            let (mut epoch, mut known) = (1, BTreeMap::new());
            if let Some(header) = newest_header(&lake, &found).await? {
                (epoch, known) = (header.epoch + 1, header.high_water);
            }
            // A bucket that was restored without its WAL: numbers up to what the
            // tables hold are spent, rows under them would be taken for committed.
            let spent = found.last().map_or(0, |newest| newest.number);
            let next_number = spent.max(committed(&lake, &ingester).await?) + 1;
            let (lake, ingester, nonce) = (Arc::clone(&lake), ingester.clone(), nonce.clone());
            let (dedupe, metrics) = (Dedupe::new(known), metrics.clone());
            let mut wal = Self { lake, ingester, epoch, nonce, next_number, dedupe, metrics, retry_at_most };
            match wal.put(WalKind::Opening, &wal.dedupe.clone(), &[], now_us).await {
                Ok(Some(_)) => return Ok((wal, found)),
                // The one before is alive and was quicker, or another ingester
                // left a note: look again.
                Ok(None) | Err(IngestError::Fenced { .. }) => {
                    tracing::warn!(number = next_number, "taking the wal over again")
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The last number written.
    pub fn last_number(&self) -> u64 {
        self.next_number - 1
    }

    /// What is expected next of a collector's numbering; nothing while its
    /// batches are not taken here.
    pub fn expected_seq(&self, collector: &CollectorId, incarnation: u64) -> Option<u64> {
        self.dedupe.holds(collector).then(|| self.dedupe.expected_seq(collector, incarnation))
    }

    /// Makes a group of batches durable as one object, trying for as long as
    /// the store fails. Verdicts are in the group's order; there is no object
    /// when nothing in the group was new.
    pub async fn commit(
        &mut self,
        group: &[Ready],
        now_us: i64,
    ) -> Result<(Vec<Verdict>, Option<Landed>), IngestError> {
        loop {
            let mut dedupe = self.dedupe.clone();
            dedupe.forget_before(now_us.saturating_sub(REMEMBERED_US));
            let judge = |ready: &Ready| dedupe.take(&ready.collector, ready.incarnation, ready.seq, now_us);
            let verdicts: Vec<Verdict> = group.iter().map(judge).collect();
            let taken = || group.iter().zip(&verdicts).filter(|(_, verdict)| **verdict == Verdict::Next);
            let mut by_table: BTreeMap<Table, Vec<RecordBatch>> = BTreeMap::new();
            for (ready, _) in taken() {
                by_table.entry(ready.table).or_default().push(ready.rows.clone());
            }
            if by_table.is_empty() {
                return Ok((verdicts, None));
            }
            let (rows, encoded) = encode(by_table.into_iter().collect()).await?;
            let bytes = taken().map(|(ready, _)| ready.bytes).sum();
            // A note of another ingester changes whose batches are taken.
            let Some(number) = self.put(WalKind::Batches, &dedupe, &encoded, now_us).await? else { continue };
            self.dedupe = dedupe;
            self.count(&encoded);
            let landed = Landed { number, is_carried: false, encoded, rows, bytes, since_us: now_us };
            return Ok((verdicts, Some(landed)));
        }
    }

    /// Writes rows once more, behind all others, so that the objects they came in
    /// may go although these rows are too few for a file.
    pub async fn carry(
        &mut self,
        rows: TableRows,
        since_us: i64,
        now_us: i64,
    ) -> Result<Landed, IngestError> {
        let (rows, encoded) = encode(rows).await?;
        loop {
            let kind = WalKind::Carried { since_us };
            let Some(number) = self.put(kind, &self.dedupe.clone(), &encoded, now_us).await? else {
                continue;
            };
            self.metrics.carried_rows.inc_by(encoded.iter().map(|encoded| encoded.rows).sum());
            let bytes = memory_bytes(&rows);
            return Ok(Landed { number, is_carried: true, encoded: vec![], rows, bytes, since_us });
        }
    }

    /// Writes the next object. There is no number when a note of another
    /// ingester stands under the one that was next: it is taken to heart, and
    /// what was to be written must be thought over.
    async fn put(
        &mut self,
        kind: WalKind,
        dedupe: &Dedupe,
        rows: &[EncodedRows],
        now_us: i64,
    ) -> Result<Option<u64>, IngestError> {
        let object = self.header(kind, dedupe, now_us).encode(rows);
        let key = WalKey { ingester: self.ingester.clone(), number: self.next_number };
        let mut pauses = Pauses::new(self.retry_at_most);
        loop {
            // Whatever a failed try may have done, the bytes of the next try are
            // the same, so either of them is the one.
            let failed = match self.lake.put_wal(&key, object.clone()).await {
                Ok(()) => break,
                Err(error) if error.is_already_there() => match self.lake.read_wal(&key).await {
                    Ok(found) if found.header().nonce == self.nonce => break,
                    Ok(found) => return self.heed(found.header()).map(|()| None),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            self.metrics.wal_retries.inc();
            pauses.after(&failed).await;
        }
        self.next_number += 1;
        self.metrics.wal_bytes.inc_by(object.len() as u64);
        Ok(Some(key.number))
    }

    fn header(&self, kind: WalKind, dedupe: &Dedupe, now_us: i64) -> WalHeader {
        WalHeader {
            ingester: self.ingester.to_string(),
            epoch: self.epoch,
            nonce: self.nonce.clone(),
            number: self.next_number,
            written_at_us: now_us,
            kind,
            segments: vec![],
            high_water: dedupe.high_water().clone(),
        }
    }

    /// Acts on what somebody else wrote under this log's next number.
    fn heed(&mut self, found: &WalHeader) -> Result<(), IngestError> {
        let WalKind::HandOver { to, collectors } = &found.kind else {
            return Err(IngestError::Fenced { ingester: self.ingester.to_string(), number: found.number });
        };
        tracing::info!(%to, collectors = collectors.len(), "collectors have moved to another ingester");
        self.dedupe.leave(collectors.iter().map(String::as_str));
        self.metrics.left_collectors.inc_by(collectors.len() as u64);
        self.next_number += 1;
        Ok(())
    }

    fn count(&self, encoded: &[EncodedRows]) {
        for encoded in encoded {
            let label = TableLabel { table: encoded.table.name().to_owned() };
            self.metrics.acked_rows.get_or_create(&label).inc_by(encoded.rows);
        }
    }
}

// === impl Pauses ===

impl Pauses {
    fn new(at_most: Duration) -> Self {
        Self { next: FIRST_PAUSE, at_most }
    }

    /// Waits before the next try; says so once, the first time.
    async fn after(&mut self, failed: &LakeError) {
        if self.next == FIRST_PAUSE {
            let cause = std::error::Error::source(failed).map(ToString::to_string);
            tracing::error!(error = %failed, cause, "wal cannot be written, nothing is acknowledged until it can");
        }
        tokio::time::sleep(self.next.min(self.at_most)).await;
        self.next = (self.next * 2).min(self.at_most.max(FIRST_PAUSE * 2));
    }
}

/// What the newest object that can be read says; damaged ones before it hold
/// nothing that anybody could still miss.
async fn newest_header(lake: &Lake, found: &[WalKey]) -> Result<Option<WalHeader>, LakeError> {
    for key in found.iter().rev() {
        match lake.read_wal(key).await {
            Ok(object) => return Ok(Some(object.header().clone())),
            Err(error) if error.is_damage() => {
                tracing::error!(%error, "damaged wal object, the one before it is believed")
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
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

async fn encode(rows: TableRows) -> Result<(TableRows, Vec<EncodedRows>), IngestError> {
    let work = move || {
        let encoded = rows.iter().map(|(table, batches)| EncodedRows::encode(*table, batches));
        let encoded = encoded.collect::<Result<Vec<_>, _>>();
        encoded.map(|encoded| (rows, encoded))
    };
    Ok(tokio::task::spawn_blocking(work).await??)
}
