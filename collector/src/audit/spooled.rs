//! A real spool for tests of sources: what they sent, read back from the disk.

use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use bailiwick_proto::ship::Outbox;
use bailiwick_proto::{Table, wire};
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::metrics::Metrics;
use crate::outlet::Outlet;
use crate::spool::{Spool, SpoolOutbox};

/// A spool in a folder of its own, and the outlet into it.
pub(crate) struct Spooled {
    pub(crate) config: Config,
    pub(crate) outlet: Outlet,
    pub(crate) metrics: Metrics,
    pub(crate) stop: CancellationToken,
    pub(crate) dir: tempfile::TempDir,
    outbox: SpoolOutbox,
    next: u64,
    spool: Spool,
}

impl Spooled {
    pub(crate) fn new() -> Self {
        Self::of(Config::default().spool_bytes)
    }

    /// A spool that holds so much.
    pub(crate) fn of(spool_bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            node: "node-1".into(),
            cluster: "cluster-1".into(),
            spool_dir: dir.path().join("spool"),
            spool_bytes,
            ..Config::default()
        };
        Self::over(dir, config)
    }

    fn over(dir: tempfile::TempDir, config: Config) -> Self {
        let (metrics, stop) = (Metrics::default(), CancellationToken::new());
        let spool = Spool::open(&config, metrics.clone(), stop.clone()).unwrap();
        let outlet =
            Outlet::new(config.node.clone(), config.cluster.clone(), spool.sender(), metrics.clone());
        let outbox = spool.outbox_maker()();
        Self { config, outlet, metrics, stop, dir, outbox, next: 0, spool }
    }

    /// The same folder in the next process; what was read is acknowledged and more so.
    pub(crate) async fn reopened(mut self) -> Self {
        let read = self.next;
        self.outbox.acked(read.saturating_sub(1)).await.unwrap();
        let Self { dir, config, spool, outlet, outbox, .. } = self;
        spool.close().await;
        drop((outlet, outbox));
        Self { next: read, ..Self::over(dir, config) }
    }

    /// What was read is acknowledged.
    pub(crate) async fn acknowledge(&mut self) {
        self.outbox.acked(self.next.saturating_sub(1)).await.unwrap();
    }

    /// The next batch that was spooled, waiting for it; far too long means never.
    pub(crate) async fn next(&mut self) -> (Table, RecordBatch) {
        let next = tokio::time::timeout(Duration::from_secs(60), self.outbox.next(self.next));
        let batch = next.await.unwrap().unwrap().unwrap();
        self.next += 1;
        let rows = wire::decode(&batch.arrow_ipc, batch.crc32c, &batch.table.wire_schema()).unwrap();
        (batch.table, rows)
    }

    /// One text column of the next `count` rows of a table; losses are told first.
    pub(crate) async fn texts(&mut self, table: Table, column: &str, count: usize) -> Vec<String> {
        let mut found = Vec::new();
        while found.len() < count {
            let (spooled, rows) = self.next().await;
            if spooled == table {
                found.extend(texts(&rows, column));
            }
        }
        found
    }

    /// Tells the losses so far.
    pub(crate) async fn losses(&mut self, count: usize) -> Vec<String> {
        self.outlet.flush_losses().await;
        let mut found = Vec::new();
        while found.len() < count {
            let (table, rows) = self.next().await;
            if table == Table::Losses {
                let details = texts(&rows, "detail");
                let reasons = texts(&rows, "reason");
                found.extend(
                    reasons.into_iter().zip(details).map(|(reason, detail)| format!("{reason}: {detail}")),
                );
            }
        }
        found
    }
}

/// A text column, nulls as empty text.
pub(crate) fn texts(rows: &RecordBatch, column: &str) -> Vec<String> {
    let texts = cast(rows.column_by_name(column).unwrap(), &DataType::Utf8).unwrap();
    texts.as_string::<i32>().iter().map(|text| text.unwrap_or_default().to_owned()).collect()
}
