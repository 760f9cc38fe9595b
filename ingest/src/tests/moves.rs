//! Several ingesters on one bucket: collectors move between them, and what one
//! has left another finishes. Every row is there once throughout.

use std::sync::Arc;

use bailiwick_lake::Lake;
use bailiwick_proto::{IngesterId, Table};
use tonic::Code;

use super::rig::{Run, config, eventually, flushing, memory};
use super::rows::{NOON_US, stored};
use super::takeover::{flusher_of, ready, take_over_of};
use crate::carry::Policy;
use crate::dedupe::Verdict;
use crate::wal::Wal;
use crate::window::Window;
use crate::{Config, IngestError};

fn named(ingester_id: &str, config: Config) -> Config {
    Config { ingester_id: ingester_id.into(), ..config }
}

async fn start(lake: &Arc<Lake>, ingester: &str) -> Wal {
    take_over_of(lake, &ingester.parse().unwrap(), NOON_US).await.unwrap().0
}

async fn offer(wal: &mut Wal, seqs: std::ops::Range<u64>) -> Result<Vec<Verdict>, IngestError> {
    let group: Vec<_> = seqs.map(|seq| ready("n", seq, Table::Losses, &[seq as i64])).collect();
    wal.commit(&group, NOON_US).await.map(|(verdicts, _)| verdicts)
}

/// Goal: whatever the one before had acknowledged, and whatever it still has in
/// its hands, a batch is taken by one of them. Method: back and forth, each
/// time with batches on their way to the one that was left.
#[tokio::test]
async fn a_collector_moves_between_ingesters_that_are_alive() {
    let lake = Lake::open("memory://", "c").await.unwrap();
    let (mut one, mut two) = (start(&lake, "one").await, start(&lake, "two").await);
    let collector = "n".parse().unwrap();
    one.claim(&["n".parse().unwrap()], NOON_US).await.unwrap();
    assert_eq!(offer(&mut one, 0..3).await.unwrap(), [Verdict::Next; 3]);
    two.claim(&["n".parse().unwrap()], NOON_US).await.unwrap();
    assert_eq!(two.expected_seq(&collector, 1), Some(3));
    assert_eq!(offer(&mut one, 3..5).await.unwrap(), [Verdict::Left; 2], "it has read the note");
    assert_eq!(offer(&mut two, 2..5).await.unwrap(), [Verdict::Duplicate, Verdict::Next, Verdict::Next]);
    one.claim(&["n".parse().unwrap()], NOON_US).await.unwrap();
    assert_eq!(one.expected_seq(&collector, 1), Some(5));
    assert_eq!(offer(&mut two, 5..6).await.unwrap(), [Verdict::Left]);
    assert_eq!(offer(&mut one, 4..7).await.unwrap(), [Verdict::Duplicate, Verdict::Next, Verdict::Next]);
    assert_eq!(stored(&lake, Table::Losses).await, (0..7).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_claim_that_was_not_finished_takes_nothing_and_is_made_again() {
    let lake = Lake::open("memory://", "c").await.unwrap();
    let mut one = start(&lake, "one").await;
    one.claim(&["n".parse().unwrap()], NOON_US).await.unwrap();
    offer(&mut one, 0..3).await.unwrap();
    // Both claim at once, and neither has told the other yet.
    let (mut two, mut three) = (start(&lake, "two").await, start(&lake, "three").await);
    let collector = "n".parse().unwrap();
    two.claim(&["n".parse().unwrap()], NOON_US).await.unwrap();
    three.claim(&["n".parse().unwrap()], NOON_US).await.unwrap();
    assert_eq!(offer(&mut two, 3..4).await.unwrap(), [Verdict::Left]);
    // The process that had claimed is replaced: what it held is still its log's.
    let mut three = {
        drop(three);
        start(&lake, "three").await
    };
    assert_eq!(three.expected_seq(&collector, 1), None, "its claim had not been followed by a batch");
    three.claim(&["n".parse().unwrap()], NOON_US).await.unwrap();
    assert_eq!(three.expected_seq(&collector, 1), Some(3));
    assert_eq!(offer(&mut three, 3..5).await.unwrap(), [Verdict::Next; 2]);
    assert_eq!(stored(&lake, Table::Losses).await, (0..5).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_elsewhere_ends_the_one_here() {
    let store = memory();
    let one = Run::start(store.clone(), named("one", config())).await;
    let two = Run::start(store.clone(), named("two", config())).await;
    let mut first = one.ship("node-1", 1).await;
    first.deliver(0, Table::Losses, &[0]).await;
    let mut second = two.ship("node-1", 1).await;
    assert_eq!(second.expected_seq, 1);
    first.send(1, Table::Losses, &[66]).await;
    let refused = first.ack().await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    second.deliver(1, Table::Losses, &[1]).await;
    assert_eq!(stored(&two.lake, Table::Losses).await, [0, 1]);
    assert_eq!(one.metric("bailiwick_ingest_left_collectors_total"), 1);
    assert_eq!(two.metric("bailiwick_ingest_claimed_collectors_total"), 1);
    let mut third = one.ship("node-1", 1).await;
    third.deliver(2, Table::Losses, &[2]).await;
    assert_eq!(stored(&one.lake, Table::Losses).await, [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_ingesters_collectors_are_received_elsewhere_at_once_and_its_rows_committed_later() {
    let store = memory();
    let one = Run::start(store.clone(), named("one", config())).await;
    let mut stream = one.ship("node-1", 1).await;
    for seq in 0..4 {
        stream.deliver(seq, Table::Losses, &[seq as i64]).await;
    }
    one.kill();
    let patient = named("two", Config { adopt_after_ms: 300, ..flushing() });
    let two = Run::start(store.clone(), patient).await;
    let mut stream = two.ship("node-1", 1).await;
    assert_eq!(stream.expected_seq, 4);
    stream.deliver(4, Table::Losses, &[4]).await;
    let lake = &two.lake;
    eventually("the dead one's rows are committed", || async {
        two.metric("bailiwick_ingest_adopted_logs_total") == 1
            && lake.view(Table::Losses).await.unwrap().wal.is_empty()
    })
    .await;
    assert_eq!(stored(lake, Table::Losses).await, (0..5).collect::<Vec<_>>());
    // It comes back: nothing of it is there twice.
    let one = Run::start(store, named("one", flushing())).await;
    let mut stream = one.ship("node-1", 1).await;
    assert_eq!(stream.expected_seq, 5);
    stream.deliver(5, Table::Losses, &[5]).await;
    assert_eq!(stored(&one.lake, Table::Losses).await, (0..6).collect::<Vec<_>>());
}

/// An ingester that only looked dead finds out before it acknowledges anything.
#[tokio::test]
async fn an_ingester_whose_log_was_finished_by_another_is_fenced() {
    let lake = Lake::open("memory://", "c").await.unwrap();
    let one: IngesterId = "one".parse().unwrap();
    let mut sleeper = start(&lake, "one").await;
    sleeper.claim(&["n".parse().unwrap()], NOON_US).await.unwrap();
    offer(&mut sleeper, 0..3).await.unwrap();
    let (_, left) = take_over_of(&lake, &one, NOON_US).await.unwrap();
    flusher_of(&lake, &one).replay(&left, 1 << 20, NOON_US).await.unwrap();
    assert!(matches!(offer(&mut sleeper, 3..4).await, Err(IngestError::Fenced { .. })));
    assert_eq!(stored(&lake, Table::Losses).await, [0, 1, 2]);
}

/// Goal: few rows make no file and are seen all the time. Method: a look after
/// every step of a flush, and a crash after each.
#[tokio::test]
async fn carried_rows_are_there_once_at_every_step() {
    let lake = Lake::open("memory://", "c").await.unwrap();
    let one: IngesterId = "one".parse().unwrap();
    let mut wal = start(&lake, "one").await;
    wal.claim(&["n".parse().unwrap()], NOON_US).await.unwrap();
    let flusher = flusher_of(&lake, &one);
    let mut window = Window::default();
    for (seq, table) in [Table::Losses, Table::Queries, Table::Losses].into_iter().enumerate() {
        let group = [ready("n", seq as u64, table, &[seq as i64])];
        window.push(&wal.commit(&group, NOON_US).await.unwrap().1.unwrap());
    }
    let there = || async { (stored(&lake, Table::Losses).await, stored(&lake, Table::Queries).await) };
    let all = (vec![0, 2], vec![1]);
    let policy = Policy { below_rows: 2, at_most_us: 1_000, at_most_bytes: usize::MAX };
    let round = flusher.plan(&window, Some(&policy), NOON_US).await.unwrap();
    assert!(round.makes_files(), "there are two losses");
    let (rows, since_us) = round.small().unwrap();
    assert_eq!(rows.len(), 1, "one query waits");
    let carried = wal.carry(rows, since_us, NOON_US).await.unwrap();
    assert_eq!(there().await, all);
    flusher.commit(&round, Some(carried.number)).await.unwrap();
    assert_eq!(there().await, all);
    let mut numbers = window.into_numbers();
    flusher.clean_up(&mut numbers).await.unwrap();
    assert_eq!(there().await, all);
    let files = |table| {
        let lake = &lake;
        async move { lake.view(table).await.unwrap().files.len() }
    };
    assert_eq!((files(Table::Losses).await, files(Table::Queries).await), (1, 0));
    // A successor flushes what waited; it was long enough.
    let (_, left) = take_over_of(&lake, &one, NOON_US).await.unwrap();
    let mut numbers = flusher.replay(&left, 1 << 20, NOON_US).await.unwrap();
    assert_eq!(there().await, all);
    flusher.clean_up(&mut numbers).await.unwrap();
    assert_eq!(there().await, all);
    assert_eq!((files(Table::Losses).await, files(Table::Queries).await), (1, 1));
}

/// Goal: an ingester that runs makes one file of many small flushes' rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_tenant_gets_few_files() {
    let store = memory();
    let run = Run::start(store.clone(), Config { carry_at_most_ms: 3_600_000, ..flushing() }).await;
    let mut stream = run.ship("node-1", 1).await;
    let many: Vec<i64> = (1_000_000..1_020_000).collect();
    for seq in 0..40 {
        stream.deliver(seq, Table::Queries, &[seq as i64]).await;
        if seq % 10 == 9 {
            // Enough of another table for a file, so that a flush has something to do.
            let mut other = run.ship("node-2", seq).await;
            other.deliver(0, Table::Losses, &many).await;
        }
    }
    let lake = &run.lake;
    eventually("the many are committed and the few are carried", || async {
        let losses = lake.view(Table::Losses).await.unwrap();
        losses.wal.is_empty() && run.metric("bailiwick_ingest_carried_rows_total") >= 40
    })
    .await;
    let queries = lake.view(Table::Queries).await.unwrap();
    assert_eq!((queries.files.len(), queries.wal.is_empty()), (0, false));
    assert_eq!(stored(lake, Table::Queries).await, (0..40).collect::<Vec<_>>());
    let lake = Arc::clone(lake);
    drop(stream);
    run.end().await;
    assert_eq!(lake.view(Table::Queries).await.unwrap().files.len(), 1, "a stop leaves nothing behind");
    assert_eq!(stored(&lake, Table::Queries).await, (0..40).collect::<Vec<_>>());
}
