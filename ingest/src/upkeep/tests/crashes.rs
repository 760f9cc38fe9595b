//! A pass that dies at every one of its operations, or hears of a failure
//! where there was none: rows are the same before and after, and the next
//! process finishes what was begun.

use std::sync::Arc;

use bailiwick_lake::Lake;
use object_store::memory::InMemory;

use super::rig::{config, fill, found, pass, upkeep, upkeep_over};
use crate::tests::store::{Fate, Faulty, Operation};
use crate::upkeep::ByHand;
use crate::upkeep::orders::{deletion, place};

/// A bucket with some small files and what an earlier merge left for vacuum.
async fn bucket() -> (InMemory, Vec<i64>) {
    let store = Arc::new(InMemory::new());
    let lake = Lake::over(store.clone(), "c").await.unwrap();
    let rows = fill(&lake, 3, 10).await;
    pass(&upkeep(&lake, &config())).await;
    super::rig::add(&lake, "ingest-1", 1, &[100]).await;
    (store.fork(), rows.into_iter().chain([100]).collect())
}

fn impatient() -> crate::Config {
    let mut config = config();
    config.upkeep.vacuum_grace_ms = 0;
    config
}

/// Plays a pass with a fate for its `nth` operation; returns whether it had so many.
async fn play(made: &InMemory, rows: &[i64], nth: u64, fate: Fate) -> bool {
    let inner = Arc::new(made.fork());
    let store = Faulty::over(inner.clone());
    let upkeep = upkeep_over(store.clone(), &impatient()).await;
    let mut seen = 0;
    store.faults.decide(move |operation, _| {
        seen += 1;
        let changes = matches!(operation, Operation::Write | Operation::Delete);
        let fits = changes || fate != Fate::ReplyLost;
        if seen == nth + 1 && fits { fate } else { Fate::Done }
    });
    upkeep.pass(ByHand { scrub_all: false, vacuum_now: true }).await;
    let reached = nth < store.faults.asked();
    store.faults.release();
    assert_eq!(found(inner.clone()).await, rows, "operation {nth}, {fate:?}");
    // Somebody else goes on.
    let next = upkeep_over(inner.clone(), &impatient()).await;
    pass(&next).await;
    pass(&next).await;
    assert_eq!(found(inner.clone()).await, rows, "after operation {nth}, {fate:?}");
    let lake = Lake::over(inner, "c").await.unwrap();
    let files = lake.table(super::rig::TABLE).snapshot().await.unwrap().files().len();
    assert_eq!(files, 1, "the merge is finished after operation {nth}, {fate:?}");
    reached
}

#[tokio::test]
async fn a_pass_that_dies_anywhere_loses_and_doubles_nothing() {
    let (made, rows) = bucket().await;
    for fate in [Fate::DiesBefore, Fate::DiesAfter, Fate::Fails, Fate::ReplyLost] {
        let mut nth = 0;
        while play(&made, &rows, nth, fate).await {
            nth += 1;
        }
        assert!(nth > 30, "a pass has more operations than {nth}");
    }
}

/// The same for a deletion: whenever it dies, the next one completes it, and
/// nothing that came after the order is gone.
#[tokio::test]
async fn a_deletion_that_dies_anywhere_is_completed_by_the_next() {
    let made = Arc::new(InMemory::new());
    let lake = Lake::over(made.clone(), "c").await.unwrap();
    fill(&lake, 2, 10).await;
    let tenant = lake.table(super::rig::TABLE).snapshot().await.unwrap().files()[0].tenant.clone();
    let what = deletion(&lake).await.unwrap();
    place(&lake, &tenant, what, "ann", "contract ended", crate::now_us()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    super::rig::add(&lake, "ingest-1", 1, &[100]).await;
    for fate in [Fate::DiesBefore, Fate::DiesAfter, Fate::ReplyLost] {
        let (mut nth, mut more) = (0, true);
        while more {
            let inner = Arc::new(made.fork());
            let store = Faulty::over(inner.clone());
            let upkeep = upkeep_over(store.clone(), &config()).await;
            let mut seen = 0;
            store.faults.decide(move |_, _| {
                seen += 1;
                if seen == nth + 1 { fate } else { Fate::Done }
            });
            upkeep.pass(ByHand::default()).await;
            more = nth < store.faults.asked();
            nth += 1;
            store.faults.release();
            pass(&upkeep_over(inner.clone(), &config()).await).await;
            assert_eq!(found(inner.clone()).await, [100], "operation {nth}, {fate:?}");
            let lake = Lake::over(inner, "c").await.unwrap();
            let standings = crate::upkeep::orders::OrderBook::default().standings(&lake).await.unwrap();
            assert!(standings[&tenant].deletion.is_none() && standings[&tenant].deleted.is_some());
        }
    }
}
