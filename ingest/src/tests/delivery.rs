//! Once it is acknowledged it is durable, and it is there once.

use std::sync::Arc;

use bailiwick_lake::{DirectoryStore, Lake};
use bailiwick_proto::Table;
use bailiwick_proto::ship::{Delivery, MemoryOutbox, deliver};
use object_store::ObjectStore;

use super::rig::{Run, config, eventually, flushing, memory};
use super::rows::{batch, stored};
use super::store::{Fate, Faulty, Operation};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ack_comes_after_the_wal_object_and_not_before() {
    let store = memory();
    let run = Run::start(store.clone(), config()).await;
    let mut stream = run.ship("node-1", 1).await;
    let is_wal = |operation, key: &object_store::path::Path| {
        operation == Operation::Write && key.as_ref().starts_with("wal/")
    };
    store.faults.decide(move |operation, key| if is_wal(operation, key) { Fate::Held } else { Fate::Done });
    stream.send(0, Table::Losses, &[1, 2]).await;
    store.faults.held(1).await;
    // The write is on its way; whatever time passes, nobody may say it is done.
    let early = tokio::time::timeout(std::time::Duration::from_millis(100), stream.ack()).await;
    assert!(early.is_err(), "{early:?}");
    store.faults.release();
    assert_eq!(stream.ack().await.unwrap().through_seq, 0);
    let fresh = Lake::over(store, "c").await.unwrap();
    assert_eq!(stored(&fresh, Table::Losses).await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_ack_was_lost_is_not_doubled() {
    let run = Run::start(memory(), config()).await;
    let stream = run.ship("node-1", 1).await;
    stream.send(0, Table::Losses, &[1]).await;
    let lake = &run.lake;
    eventually("the batch is durable", || async { stored(lake, Table::Losses).await == [1] }).await;
    drop(stream);
    let mut again = run.ship("node-1", 1).await;
    assert_eq!(again.expected_seq, 1);
    // A sender that pays no attention to the welcome is acknowledged again.
    again.deliver(0, Table::Losses, &[1]).await;
    again.deliver(1, Table::Losses, &[2]).await;
    assert_eq!(stored(&run.lake, Table::Losses).await, [1, 2]);
    assert_eq!(run.metric("bailiwick_ingest_duplicate_batches_total"), 1);
    // Under another numbering the same bytes are other rows.
    run.ship("node-1", 2).await.deliver(0, Table::Losses, &[3]).await;
    assert_eq!(stored(&run.lake, Table::Losses).await, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_streams_of_one_sender_the_older_ends() {
    let run = Run::start(memory(), config()).await;
    let mut older = run.ship("node-1", 1).await;
    older.deliver(0, Table::Losses, &[1]).await;
    let mut newer = run.ship("node-1", 1).await;
    assert_eq!(older.ack().await.unwrap_err().code(), tonic::Code::Unavailable);
    newer.deliver(1, Table::Losses, &[2]).await;
    let mut other = run.ship("node-2", 1).await;
    other.deliver(0, Table::Losses, &[3]).await;
    newer.deliver(2, Table::Losses, &[4]).await;
    assert_eq!(run.metric("bailiwick_ingest_streams"), 2);
    drop((newer, other));
    eventually("streams are forgotten", || async { run.metric("bailiwick_ingest_streams") == 0 }).await;
}

/// Goal: a run knows from the bucket alone what was received before it, however
/// the run before it ended. Method: three runs over one folder, the first
/// killed, the second stopped; every run is sent what it already has as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_neither_loses_nor_doubles() {
    let folder = tempfile::tempdir().unwrap();
    let open = || -> Arc<dyn ObjectStore> { Arc::new(DirectoryStore::open(folder.path()).unwrap()) };
    let run = Run::start(open(), config()).await;
    let mut stream = run.ship("node-1", 7).await;
    for seq in 0..5 {
        stream.deliver(seq, Table::Losses, &[seq as i64]).await;
    }
    run.kill();
    let run = Run::start(open(), config()).await;
    let mut stream = run.ship("node-1", 7).await;
    assert_eq!(stream.expected_seq, 5);
    for seq in 3..8 {
        stream.deliver(seq, Table::Losses, &[seq as i64]).await;
    }
    stream.deliver(8, Table::Queries, &[100]).await;
    drop(stream);
    run.end().await;
    let run = Run::start(open(), config()).await;
    assert_eq!(run.ship("node-1", 7).await.expected_seq, 9);
    assert_eq!(run.ship("node-1", 8).await.expected_seq, 0);
    assert_eq!(stored(&run.lake, Table::Losses).await, (0..8).collect::<Vec<_>>());
    assert_eq!(stored(&run.lake, Table::Queries).await, [100]);
    let view = run.lake.view(Table::Losses).await.unwrap();
    assert!(view.wal.is_empty() && view.version == 2, "the second run replayed, then flushed: {view:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_two_tables_is_finished_and_not_repeated() {
    let store = memory();
    let run = Run::start(store.clone(), flushing()).await;
    store.faults.decide(|operation, key| {
        let second = key.as_ref().starts_with("tables/queries/_delta_log");
        if second && operation == Operation::Write { Fate::DiesBefore } else { Fate::Done }
    });
    let stream = run.ship("node-1", 1).await;
    // Both tables in one group or two: the tables' commits are apart either way.
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
        let wal = lake.view(Table::Queries).await.unwrap().wal.len()
            + lake.view(Table::Losses).await.unwrap().wal.len();
        wal == 0
    })
    .await;
    assert_eq!(stored(lake, Table::Losses).await, [1, 2]);
    assert_eq!(stored(lake, Table::Queries).await, [3]);
    assert_eq!(lake.view(Table::Losses).await.unwrap().version, 1, "committed once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wal_objects_go_once_committed_but_for_the_newest_and_those_that_fence() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(DirectoryStore::open(folder.path()).unwrap());
    let run = Run::start(store, flushing()).await;
    let mut stream = run.ship("node-1", 1).await;
    for seq in 0..6 {
        stream.deliver(seq, Table::Losses, &[seq as i64]).await;
    }
    let left = || super::rig::files(folder.path(), "wal/ingest-0");
    eventually("only opening, claim and newest are left", || async { left().len() == 3 }).await;
    let fences = ["00000000000000000001.wal", "00000000000000000002.wal"];
    assert_eq!(left(), [fences[0], fences[1], "00000000000000000008.wal"]);
    assert_eq!(stored(&run.lake, Table::Losses).await, (0..6).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_ingester_writes_nothing() {
    let store = memory();
    let run = Run::start(store.clone(), flushing()).await;
    let mut stream = run.ship("node-1", 1).await;
    stream.deliver(0, Table::Losses, &[1]).await;
    let lake = &run.lake;
    eventually("the row is committed", || async { lake.view(Table::Losses).await.unwrap().wal.is_empty() })
        .await;
    // A batch without rows is acknowledged; it makes no version of any table.
    stream.deliver(1, Table::Usage, &[]).await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let before = store.faults.writes();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(store.faults.writes(), before);
    let versions = Table::ALL.map(|table| async move { lake.view(table).await.unwrap().version });
    assert_eq!(
        futures::future::join_all(versions).await,
        Table::ALL.map(|table| i64::from(table == Table::Losses))
    );
}

/// The real sending half against ingesters that are killed again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_outlives_its_ingesters() {
    outlive(memory(), 8, 50).await;
}

/// Over any store; `batches` are sent to each of so many runs.
pub(super) async fn outlive(store: Arc<Faulty>, runs: i64, batches: i64) {
    let mut run = Run::start(store.clone(), flushing()).await;
    let again = crate::Config { listen: run.ingest.listen_addr(), ..flushing() };
    let (sender, outbox) = MemoryOutbox::new(1, 1 << 24);
    let delivery = Delivery::new("node-1".parse().unwrap(), "node-1", "c");
    let delivering = tokio::spawn(deliver(outbox, run.endpoint(), delivery));
    let mut sent = Vec::new();
    for round in 0..runs {
        for number in round * batches..(round + 1) * batches {
            sender.push(Table::Losses, &batch(Table::Losses, &[number])).unwrap();
            sent.push(number);
            tokio::time::sleep(std::time::Duration::from_micros(500)).await;
        }
        run.kill();
        run = loop {
            // The port is free once the last stream of the killed run is gone.
            match Run::try_start(store.clone(), again.clone()).await {
                Ok(run) => break run,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
        };
    }
    drop(sender);
    delivering.await.unwrap().unwrap();
    assert_eq!(stored(&run.lake, Table::Losses).await, sent);
    run.end().await;
}
