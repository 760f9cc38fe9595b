//! Who owns a log, and what is left of the one before.

use std::sync::Arc;
use std::time::Duration;

use bailiwick_lake::keys::WalKey;
use bailiwick_lake::{Lake, txn_app};
use bailiwick_proto::{IngesterId, Table};
use object_store::ObjectStoreExt;
use prometheus_client::registry::Registry;

use super::rig::{Run, config, memory};
use super::rows::{NOON_US, batch, stored};
use crate::IngestError;
use crate::dedupe::Verdict;
use crate::flush::Flusher;
use crate::metrics::Metrics;
use crate::stamp::stamp;
use crate::tenants::Mapping;
use crate::wal::{Ready, Wal};
use crate::window::Window;

pub(crate) fn ingester() -> IngesterId {
    "ingest-0".parse().unwrap()
}

pub(crate) fn metrics() -> Metrics {
    Metrics::register(&mut Registry::default())
}

pub(crate) async fn take_over_of(
    lake: &Arc<Lake>,
    ingester: &IngesterId,
    now_us: i64,
) -> Result<(Wal, Vec<WalKey>), IngestError> {
    Wal::take_over(Arc::clone(lake), ingester.clone(), now_us, metrics(), Duration::from_millis(1)).await
}

pub(crate) fn flusher_of(lake: &Arc<Lake>, ingester: &IngesterId) -> Flusher {
    Flusher::new(Arc::clone(lake), ingester.clone(), metrics(), 10)
}

/// Takes over and receives from the collectors of these tests.
pub(crate) async fn take_over(lake: &Arc<Lake>, now_us: i64) -> Result<(Wal, Vec<WalKey>), IngestError> {
    let (mut wal, left) = take_over_of(lake, &ingester(), now_us).await?;
    wal.claim(&["n".parse().unwrap(), "m".parse().unwrap()], now_us).await?;
    Ok((wal, left))
}

pub(crate) fn flusher(lake: &Arc<Lake>) -> Flusher {
    flusher_of(lake, &ingester())
}

/// A batch of numbers, stamped.
pub(crate) fn ready(collector: &str, seq: u64, table: Table, numbers: &[i64]) -> Ready {
    let rows = stamp(table, &batch(table, numbers), &Mapping::default(), NOON_US).unwrap().batch;
    Ready { collector: collector.parse().unwrap(), incarnation: 1, seq, table, rows, bytes: 100 }
}

/// Goal: an ingester that slept through its successor's whole life cannot get a
/// batch acknowledged. Method: the successor commits everything and deletes all
/// that it ever deletes, so that the sleeper's next number looks free.
#[tokio::test]
async fn a_sleeper_is_fenced_even_when_its_successor_has_cleaned_up() {
    let lake = Lake::open("memory://", "c").await.unwrap();
    let (mut sleeper, _) = take_over(&lake, NOON_US).await.unwrap();
    sleeper.commit(&[ready("n", 0, Table::Losses, &[1])], NOON_US).await.unwrap();
    let (mut successor, left) = take_over(&lake, NOON_US).await.unwrap();
    let flusher = flusher(&lake);
    let mut deletable = flusher.replay(&left, 1 << 20, NOON_US).await.unwrap();
    for seq in 1..4 {
        let (_, landed) =
            successor.commit(&[ready("n", seq, Table::Losses, &[1 + seq as i64])], NOON_US).await.unwrap();
        let mut window = Window::default();
        window.push(&landed.unwrap());
        flusher.flush(&window).await.unwrap();
        deletable.extend(window.into_numbers());
    }
    let newest = deletable.pop().unwrap();
    flusher.clean_up(&mut deletable).await.unwrap();
    let kept: Vec<u64> = lake.wal_keys().await.unwrap().iter().map(|key| key.number).collect();
    assert_eq!(kept, [1, 2, 4, newest]);
    let late = sleeper.commit(&[ready("n", 1, Table::Losses, &[66])], NOON_US).await;
    assert!(matches!(late, Err(IngestError::Fenced { number: 4, .. })), "{late:?}");
    assert_eq!(stored(&lake, Table::Losses).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn openings_are_kept_for_a_day() {
    const DAY_US: i64 = 86_400_000_000;
    let lake = Lake::open("memory://", "c").await.unwrap();
    for day in 0..3 {
        take_over(&lake, NOON_US + day * DAY_US).await.unwrap();
    }
    let now_us = NOON_US + 2 * DAY_US + 1;
    let (_, left) = take_over(&lake, now_us).await.unwrap();
    let mut deletable = flusher(&lake).replay(&left, 1 << 20, now_us).await.unwrap();
    assert_eq!(deletable, [1, 2, 3, 4]);
    flusher(&lake).clean_up(&mut deletable).await.unwrap();
    assert_eq!(lake.wal_keys().await.unwrap().len(), 4);
}

/// A bucket restored from a copy that had the tables only.
#[tokio::test]
async fn a_log_that_is_gone_does_not_make_new_rows_look_committed() {
    let lake = Lake::open("memory://", "c").await.unwrap();
    let (mut wal, _) = take_over(&lake, NOON_US).await.unwrap();
    for seq in 0..3 {
        let (_, landed) =
            wal.commit(&[ready("n", seq, Table::Losses, &[seq as i64])], NOON_US).await.unwrap();
        let mut window = Window::default();
        window.push(&landed.unwrap());
        flusher(&lake).flush(&window).await.unwrap();
    }
    for key in lake.wal_keys().await.unwrap() {
        lake.delete_wal(&key).await.unwrap();
    }
    let (mut wal, _) = take_over(&lake, NOON_US).await.unwrap();
    let (verdicts, landed) = wal.commit(&[ready("m", 0, Table::Losses, &[3])], NOON_US).await.unwrap();
    assert_eq!(verdicts, [Verdict::Next]);
    assert_eq!(stored(&lake, Table::Losses).await, [0, 1, 2, 3]);
    let mut window = Window::default();
    window.push(&landed.unwrap());
    flusher(&lake).flush(&window).await.unwrap();
    assert_eq!(stored(&lake, Table::Losses).await, [0, 1, 2, 3]);
}

#[tokio::test]
async fn the_same_window_may_be_flushed_again() {
    let lake = Lake::open("memory://", "c").await.unwrap();
    let (mut wal, _) = take_over(&lake, NOON_US).await.unwrap();
    let mut window = Window::default();
    for seq in 0..4 {
        let table = if seq % 2 == 0 { Table::Losses } else { Table::Queries };
        let (_, landed) = wal.commit(&[ready("n", seq, table, &[seq as i64])], NOON_US).await.unwrap();
        window.push(&landed.unwrap());
        flusher(&lake).flush(&window).await.unwrap();
        flusher(&lake).flush(&window).await.unwrap();
    }
    assert_eq!(stored(&lake, Table::Losses).await, [0, 2]);
    assert_eq!(stored(&lake, Table::Queries).await, [1, 3]);
    let log = lake.table(Table::Losses);
    let snapshot = log.snapshot().await.unwrap();
    assert_eq!(snapshot.version(), 2);
    assert_eq!(log.txn(&snapshot, &txn_app(&ingester())).await.unwrap(), Some(5));
}

/// Bytes of a WAL object that rotted: named, set aside, counted; the rest goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_wal_object_is_set_aside_and_the_rest_is_committed() {
    let store = memory();
    let run = Run::start(store.clone(), config()).await;
    let mut stream = run.ship("node-1", 1).await;
    for seq in 0..3 {
        stream.deliver(seq, Table::Queries, &[seq as i64]).await;
    }
    run.kill();
    let path = WalKey { ingester: ingester(), number: 4 }.path();
    let mut bytes = store.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    store.put(&path, bytes.into()).await.unwrap();
    let run = Run::start(store.clone(), config()).await;
    let lake = &run.lake;
    super::rig::eventually("the damaged object is gone from the log", || async {
        store.head(&path).await.is_err()
    })
    .await;
    assert_eq!(stored(lake, Table::Queries).await, [0, 2]);
    assert_eq!(stored(lake, Table::Losses).await, [1], "one row was lost, and that is in the table");
    assert!(store.head(&"damaged/ingest-0/00000000000000000004.wal".into()).await.is_ok());
    assert_eq!(run.metric("bailiwick_ingest_damaged_wal_objects_total"), 1);
}
