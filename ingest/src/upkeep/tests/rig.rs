//! A lake with small files in it, and upkeep over it.

use std::sync::Arc;

use bailiwick_lake::{DataFile, Lake};
use bailiwick_proto::{IngesterId, Table};
use object_store::ObjectStore;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::flush::Flusher;
use crate::metrics::Metrics;
use crate::stamp::stamp;
use crate::tenants::Mapping;
use crate::tests::rows::{batch, stored};
use crate::upkeep::retention::SharedRetention;
use crate::upkeep::{ByHand, Report, Upkeep};
use crate::window::{Origin, Window};

pub(super) const TABLE: Table = Table::Losses;

/// Merges two files already, and has neither patience nor memory of old versions.
pub(super) fn config() -> Config {
    let mut config = Config::default();
    config.upkeep.merge_at_files = 2;
    config.upkeep.vacuum_grace_ms = 1_000_000;
    config
}

/// Upkeep by a process that has just started.
pub(super) async fn upkeep_over(store: Arc<dyn ObjectStore>, config: &Config) -> Upkeep {
    let lake = Lake::over(store, "c").await.unwrap();
    upkeep(&lake, config)
}

pub(super) fn upkeep(lake: &Arc<Lake>, config: &Config) -> Upkeep {
    let retention = SharedRetention::open(config.retention_file.as_deref()).unwrap();
    let metrics = crate::upkeep::Metrics::default();
    let (lake, ingester) = (Arc::clone(lake), "ingest-0".parse().unwrap());
    Upkeep::new(lake, ingester, config, retention, metrics, CancellationToken::new())
}

/// One flush after another, each of one file of one tenant; numbers count up.
pub(super) async fn fill(lake: &Arc<Lake>, flushes: i64, rows_each: i64) -> Vec<i64> {
    for flush in 0..flushes {
        let numbers: Vec<i64> = (flush * rows_each..(flush + 1) * rows_each).collect();
        add(lake, "ingest-0", flush as u64 + 1, &numbers).await;
    }
    (0..flushes * rows_each).collect()
}

/// Flushes rows as WAL object `number` of an ingester.
pub(super) async fn add(lake: &Arc<Lake>, ingester: &str, number: u64, numbers: &[i64]) {
    let now_us = crate::now_us();
    let stamped = stamp(TABLE, &batch(TABLE, numbers), &Mapping::default(), now_us).unwrap();
    let mut window = Window::default();
    let origin = Origin { number, is_carried: false, since_us: now_us, bytes: 1 };
    window.add(origin, &vec![(TABLE, vec![stamped.batch])]);
    let ingester: IngesterId = ingester.parse().unwrap();
    let metrics = Metrics::register(&mut Registry::default());
    Flusher::new(Arc::clone(lake), ingester, metrics, 1_000).flush(&window).await.unwrap();
}

pub(super) async fn pass(upkeep: &Upkeep) -> Report {
    let report = upkeep.pass(ByHand { scrub_all: false, vacuum_now: true }).await;
    assert_eq!(report.failures, Vec::<String>::new());
    report
}

pub(super) async fn files(lake: &Lake) -> Vec<DataFile> {
    lake.table(TABLE).snapshot().await.unwrap().files().to_vec()
}

/// What a process that has just started finds.
pub(super) async fn found(store: Arc<dyn ObjectStore>) -> Vec<i64> {
    stored(&Lake::over(store, "c").await.unwrap(), TABLE).await
}
