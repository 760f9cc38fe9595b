//! Finishes what other ingesters left behind, and sweeps this one's own log.
//!
//! A log is left behind when it holds rows that are in no table and nothing was
//! added to it for a long time. Its ingester may be dead or only unlucky:
//! fencing it first makes that a question of cost, not of correctness.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bailiwick_lake::keys::WalKey;
use bailiwick_lake::{Boundary, Lake, Segment};
use bailiwick_proto::{IngesterId, Table};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::flush::Flusher;
use crate::metrics::Metrics;
use crate::wal::Wal;
use crate::{IngestError, now_us};

/// Looks within the time after which a log counts as left behind.
const LOOKS: u32 = 10;
/// Objects without rows are looked for so often.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// Watches the other logs of a bucket.
pub(crate) struct Adopter {
    lake: Arc<Lake>,
    ingester: IngesterId,
    metrics: Metrics,
    adopt_after: Option<Duration>,
    retry_at_most: Duration,
    window_bytes: usize,
    checkpoint_every: u64,
    seen: HashMap<IngesterId, Seen>,
}

/// A log's newest object, and since when it is that one.
struct Seen {
    newest: u64,
    since: Instant,
    looks: u32,
}

// === impl Adopter ===

impl Adopter {
    pub(crate) fn new(lake: Arc<Lake>, ingester: IngesterId, metrics: Metrics, config: &Config) -> Self {
        Self {
            lake,
            ingester,
            metrics,
            adopt_after: (config.adopt_after_ms > 0).then(|| Duration::from_millis(config.adopt_after_ms)),
            retry_at_most: Duration::from_millis(config.retry_at_most_ms),
            window_bytes: config.flush_at_bytes(),
            checkpoint_every: config.checkpoint_every,
            seen: HashMap::new(),
        }
    }

    /// Looks around until told to stop. A look that fails is only late.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let every =
            self.adopt_after.map_or(SWEEP_EVERY, |after| (after / LOOKS).max(Duration::from_millis(1)));
        let mut swept = Instant::now();
        while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            // Between two steps everything is durable, so it may be left at any.
            let Some(looked) = stop.run_until_cancelled(self.look()).await else { return };
            if let Err(error) = looked {
                tracing::warn!(%error, "other ingesters' logs could not be looked at");
            }
            if swept.elapsed() >= SWEEP_EVERY {
                swept = Instant::now();
                let _ = stop.run_until_cancelled(self.sweep()).await;
            }
        }
    }

    async fn look(&mut self) -> Result<(), IngestError> {
        let Some(after) = self.adopt_after else { return Ok(()) };
        for head in self.lake.wal_heads().await? {
            if head.ingester != self.ingester
                && self.is_still(&head, after)
                && self.has_rows(&head.ingester).await?
            {
                self.adopt(head.ingester).await?;
            }
        }
        Ok(())
    }

    /// Whether nothing was added for long, as this process's own clock tells,
    /// while the store answered all along.
    fn is_still(&mut self, head: &WalKey, after: Duration) -> bool {
        let fresh = || Seen { newest: head.number, since: Instant::now(), looks: 0 };
        let seen = self.seen.entry(head.ingester.clone()).or_insert_with(fresh);
        if seen.newest != head.number {
            *seen = fresh();
        }
        seen.looks += 1;
        seen.since.elapsed() >= after && seen.looks > LOOKS / 2
    }

    /// Whether any of its rows are in no table.
    async fn has_rows(&self, ingester: &IngesterId) -> Result<bool, IngestError> {
        let keys = self.lake.wal_keys_of(ingester).await?;
        let mut committed = HashMap::new();
        for table in Table::ALL {
            let log = self.lake.table(table);
            let boundary = Boundary::of(log, &log.snapshot().await?, ingester).await?;
            committed.insert(table.name(), boundary);
        }
        for key in keys {
            let object = match self.lake.read_wal(&key).await {
                Ok(object) => object,
                // Whoever finishes the log sets it aside.
                Err(error) if error.is_damage() => return Ok(true),
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error.into()),
            };
            let header = object.header();
            let counts = |segment: &Segment| {
                let boundary = committed.get(segment.table.as_str()).copied().unwrap_or_default();
                boundary.counts(key.number, header.is_carried())
            };
            if header.segments.iter().any(counts) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Fences a log, commits what it holds, deletes what is committed.
    async fn adopt(&mut self, ingester: IngesterId) -> Result<(), IngestError> {
        tracing::warn!(%ingester, "its rows were left in the wal, they are committed from here");
        let (lake, metrics) = (Arc::clone(&self.lake), self.metrics.clone());
        let taking = Wal::take_over(lake, ingester.clone(), now_us(), metrics, self.retry_at_most);
        let (_, left) = taking.await?;
        let flusher = self.flusher(ingester.clone());
        let mut deletable = flusher.replay(&left, self.window_bytes, now_us()).await?;
        flusher.clean_up(&mut deletable).await?;
        self.metrics.adopted_logs.inc();
        self.seen.remove(&ingester);
        Ok(())
    }

    async fn sweep(&self) {
        let swept = async {
            let keys = self.lake.wal_keys_of(&self.ingester).await?;
            let Some(newest) = keys.last() else { return Ok(0) };
            self.flusher(self.ingester.clone()).sweep_signs(newest.number, now_us()).await
        };
        if let Err(error) = swept.await {
            tracing::warn!(%error, "old objects of this ingester's log stay until the next sweep");
        }
    }

    fn flusher(&self, ingester: IngesterId) -> Flusher {
        Flusher::new(Arc::clone(&self.lake), ingester, self.metrics.clone(), self.checkpoint_every)
    }
}
