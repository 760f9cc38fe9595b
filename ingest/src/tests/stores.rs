//! What delivery promises, over every kind of store: memory, a directory, a real S3 service.

use std::sync::Arc;

use bailiwick_lake::{BucketConfig, S3Config, open_store};
use bailiwick_proto::Table;
use object_store::ObjectStore;
use object_store::prefix::PrefixStore;

use super::delivery::outlive;
use super::rig::{Run, config, eventually, flushing};
use super::rows::stored;
use super::store::{Fate, Faulty, Operation};

#[path = "../../../tests/it/harness/weed.rs"]
mod weed;

/// Every scenario in a bucket of its own.
async fn deliver_in_every_way(store: Arc<dyn ObjectStore>) {
    let bucket = |name: &str| Faulty::over(Arc::new(PrefixStore::new(Arc::clone(&store), name)));
    killed_and_stopped_runs_neither_lose_nor_double(bucket("restart")).await;
    a_crash_between_two_tables_is_finished(bucket("crash")).await;
    lost_replies_are_recognised(bucket("replies")).await;
    failed_writes_hold_acks_back(bucket("failing")).await;
    a_predecessor_is_fenced(bucket("fence")).await;
    outlive(bucket("sender"), 4, 30).await;
}

async fn killed_and_stopped_runs_neither_lose_nor_double(store: Arc<Faulty>) {
    let run = Run::start(store.clone(), config()).await;
    let mut stream = run.ship("node-1", 7).await;
    for seq in 0..5 {
        stream.deliver(seq, Table::Losses, &[seq as i64]).await;
    }
    run.kill();
    let run = Run::start(store.clone(), config()).await;
    let mut stream = run.ship("node-1", 7).await;
    assert_eq!(stream.expected_seq, 5);
    // Two of them came already.
    for seq in 3..8 {
        stream.deliver(seq, Table::Losses, &[seq as i64]).await;
    }
    stream.deliver(8, Table::Queries, &[100]).await;
    drop(stream);
    run.end().await;
    let run = Run::start(store, config()).await;
    assert_eq!(run.ship("node-1", 7).await.expected_seq, 9);
    assert_eq!(stored(&run.lake, Table::Losses).await, (0..8).collect::<Vec<_>>());
    assert_eq!(stored(&run.lake, Table::Queries).await, [100]);
    run.end().await;
}

async fn a_crash_between_two_tables_is_finished(store: Arc<Faulty>) {
    let run = Run::start(store.clone(), flushing()).await;
    store.faults.decide(|operation, key| {
        let second = key.as_ref().starts_with("tables/queries/_delta_log");
        if second && operation == Operation::Write { Fate::DiesBefore } else { Fate::Done }
    });
    let stream = run.ship("node-1", 1).await;
    stream.send(0, Table::Losses, &[1, 2]).await;
    stream.send(1, Table::Queries, &[3]).await;
    store.faults.died().await;
    run.kill();
    store.faults.release();
    let run = Run::start(store, flushing()).await;
    let mut stream = run.ship("node-1", 1).await;
    for (seq, table, numbers) in [(0, Table::Losses, [1, 2].as_slice()), (1, Table::Queries, &[3])] {
        if seq >= stream.expected_seq {
            stream.deliver(seq, table, numbers).await;
        }
    }
    let lake = &run.lake;
    eventually("everything is committed", || async {
        let (queries, losses) =
            (lake.view(Table::Queries).await.unwrap(), lake.view(Table::Losses).await.unwrap());
        queries.wal.is_empty() && losses.wal.is_empty()
    })
    .await;
    assert_eq!(stored(lake, Table::Losses).await, [1, 2]);
    assert_eq!(stored(lake, Table::Queries).await, [3]);
    drop(stream);
    run.end().await;
}

/// Two of three writes are done and say that they failed.
async fn lost_replies_are_recognised(store: Arc<Faulty>) {
    let run = Run::start(store.clone(), flushing()).await;
    let mut count = 0;
    store.faults.decide(move |operation, _| {
        count += 1;
        if operation == Operation::Write && count % 3 != 0 { Fate::ReplyLost } else { Fate::Done }
    });
    let mut stream = run.ship("node-1", 1).await;
    for seq in 0..12 {
        stream.deliver(seq, Table::Losses, &[seq as i64]).await;
    }
    store.faults.release();
    drop(stream);
    let lake = Arc::clone(&run.lake);
    run.end().await;
    assert_eq!(stored(&lake, Table::Losses).await, (0..12).collect::<Vec<_>>());
}

async fn failed_writes_hold_acks_back(store: Arc<Faulty>) {
    let run = Run::start(store.clone(), config()).await;
    let mut stream = run.ship("node-1", 1).await;
    stream.deliver(0, Table::Losses, &[0]).await;
    store.faults.decide(|operation, _| if operation == Operation::Write { Fate::Fails } else { Fate::Done });
    for seq in 1..6 {
        stream.send(seq, Table::Losses, &[seq as i64]).await;
    }
    eventually("the write is tried again", || async { run.metric("bailiwick_ingest_wal_retries_total") > 3 })
        .await;
    assert_eq!(run.metric("bailiwick_ingest_acked_batches_total"), 1);
    store.faults.release();
    for seq in 1..6 {
        assert_eq!(stream.ack().await.unwrap().through_seq, seq);
    }
    assert_eq!(stored(&run.lake, Table::Losses).await, (0..6).collect::<Vec<_>>());
    drop(stream);
    run.end().await;
}

/// Goal: of two that write one log the older gets nothing acknowledged any more.
async fn a_predecessor_is_fenced(store: Arc<Faulty>) {
    let older = Run::start(store.clone(), config()).await;
    let mut before = older.ship("node-1", 1).await;
    before.deliver(0, Table::Losses, &[0]).await;
    let newer = Run::start(store, config()).await;
    before.send(1, Table::Losses, &[1]).await;
    assert!(before.ack().await.is_err(), "the older one acknowledged");
    older.ingest.ended().await;
    let mut after = newer.ship("node-1", 1).await;
    assert_eq!(after.expected_seq, 1);
    after.deliver(1, Table::Losses, &[1]).await;
    assert_eq!(stored(&newer.lake, Table::Losses).await, [0, 1]);
    drop((before, after));
    older.kill();
    newer.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivery_holds_in_memory() {
    deliver_in_every_way(open_store(&BucketConfig::at("memory://")).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivery_holds_in_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = BucketConfig::at(folder.path().to_str().unwrap());
    deliver_in_every_way(open_store(&bucket).await.unwrap()).await;
}

/// Goal: the same in S3, and over its absence. Method: a real service, killed
/// and started again while batches are on their way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivery_holds_in_s3_and_outlives_its_service() {
    let Some(mut weed) = weed::Weed::start() else { return };
    let (id, secret) = weed.key_files();
    let s3 = S3Config {
        endpoint: weed.endpoint(),
        access_key_id_file: Some(id),
        secret_access_key_file: Some(secret),
        ..S3Config::default()
    };
    let bucket = BucketConfig { url: weed.bucket("delivery"), s3 };
    let store = open_store(&bucket).await.unwrap();
    deliver_in_every_way(Arc::clone(&store)).await;

    let run = Run::start(Arc::new(PrefixStore::new(store, "absence")), flushing()).await;
    let mut stream = run.ship("node-1", 1).await;
    stream.deliver(0, Table::Losses, &[0]).await;
    weed.kill();
    stream.send(1, Table::Losses, &[1]).await;
    eventually("the absence is met", || async { run.metric("bailiwick_ingest_wal_retries_total") > 0 }).await;
    assert_eq!(run.metric("bailiwick_ingest_acked_batches_total"), 1);
    assert!(weed.start_again());
    assert_eq!(stream.ack().await.unwrap().through_seq, 1);
    stream.deliver(2, Table::Losses, &[2]).await;
    let lake = &run.lake;
    eventually("it is committed", || async {
        lake.view(Table::Losses).await.is_ok_and(|view| view.wal.is_empty())
    })
    .await;
    assert_eq!(stored(lake, Table::Losses).await, [0, 1, 2]);
    drop(stream);
    run.end().await;
}
