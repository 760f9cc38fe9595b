//! A pass that dies at every one of its operations, or hears of a failure
//! where there was none: rows are the same before and after, and the next
//! process finishes what was begun.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bailiwick_lake::Lake;
use object_store::ObjectStore;
use object_store::memory::InMemory;

use super::rig::{TABLE, add, config, fill, found, pass, upkeep, upkeep_over};
use crate::tests::store::{Fate, Faulty, Operation};
use crate::upkeep::orders::{OrderBook, What, place};
use crate::upkeep::{ByHand, Report};

/// A bucket with some small files and what an earlier merge left for vacuum.
async fn bucket() -> (InMemory, Vec<i64>) {
    let store = Arc::new(InMemory::new());
    let lake = Lake::over(store.clone(), "c").await.unwrap();
    let rows = fill(&lake, 3, 10).await;
    pass(&upkeep(&lake, &config())).await;
    let later: Vec<i64> = (100..140).collect();
    add(&lake, "ingest-1", 1, &later).await;
    (store.fork(), rows.into_iter().chain(later).collect())
}

/// Merges with a grace, and then vacuums as if it were over.
async fn both(store: Arc<dyn ObjectStore>) -> [Report; 2] {
    let mut impatient = config();
    impatient.upkeep.vacuum_grace_ms = 0;
    impatient.upkeep.merges_per_pass = 0;
    let by_hand = ByHand { scrub_all: false, vacuum_now: true };
    let mut reports = [Report::default(), Report::default()];
    for (config, report) in [config(), impatient].iter().zip(&mut reports) {
        let Ok(lake) = Lake::over(store.clone(), "c").await else { continue };
        *report = upkeep(&lake, config).pass(by_hand).await;
    }
    reports
}

/// Gives the `nth` operation a fate, and counts those that could have it: to
/// die at a read is to die after the write before it.
fn meet(store: &Faulty, nth: u64, fate: Fate) -> Arc<AtomicU64> {
    let counted = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&counted);
    store.faults.decide(move |operation, _| {
        let changes = matches!(operation, Operation::Write | Operation::Delete);
        if !changes && fate != Fate::Fails {
            return Fate::Done;
        }
        if count.fetch_add(1, Ordering::SeqCst) == nth { fate } else { Fate::Done }
    });
    counted
}

/// Plays passes with a fate for one operation; returns whether there were so many.
async fn play(made: &InMemory, rows: &[i64], nth: u64, fate: Fate) -> bool {
    let inner = Arc::new(made.fork());
    let store = Faulty::over(inner.clone());
    let counted = meet(&store, nth, fate);
    both(store.clone()).await;
    store.faults.release();
    assert_eq!(found(inner.clone()).await, rows, "operation {nth}, {fate:?}");
    // Somebody else goes on.
    for report in both(inner.clone()).await {
        assert_eq!(report.failures, Vec::<String>::new());
    }
    assert_eq!(found(inner.clone()).await, rows, "after operation {nth}, {fate:?}");
    let lake = Lake::over(inner, "c").await.unwrap();
    let files = lake.table(TABLE).snapshot().await.unwrap().files().len();
    assert_eq!(files, 1, "the merge is finished after operation {nth}, {fate:?}");
    nth < counted.load(Ordering::SeqCst)
}

async fn a_pass_meets(fate: Fate, at_least: u64) {
    let (made, rows) = bucket().await;
    let mut nth = 0;
    while play(&made, &rows, nth, fate).await {
        nth += 1;
    }
    assert!(nth >= at_least, "a pass has more operations than {nth}");
}

#[tokio::test]
async fn a_pass_that_dies_before_any_write_loses_and_doubles_nothing() {
    a_pass_meets(Fate::DiesBefore, 12).await;
}

#[tokio::test]
async fn a_pass_that_dies_after_any_write_loses_and_doubles_nothing() {
    a_pass_meets(Fate::DiesAfter, 12).await;
}

#[tokio::test]
async fn a_pass_that_loses_any_reply_loses_and_doubles_nothing() {
    a_pass_meets(Fate::ReplyLost, 12).await;
}

#[tokio::test]
async fn a_pass_that_fails_anywhere_loses_and_doubles_nothing() {
    a_pass_meets(Fate::Fails, 40).await;
}

/// The same for a deletion: whenever it dies, the next one completes it, and
/// nothing that came after the order is gone.
#[tokio::test]
async fn a_deletion_that_dies_anywhere_is_completed_by_the_next() {
    let made = Arc::new(InMemory::new());
    let lake = Lake::over(made.clone(), "c").await.unwrap();
    fill(&lake, 2, 10).await;
    let tenant = lake.table(TABLE).snapshot().await.unwrap().files()[0].tenant.clone();
    place(&lake, &tenant, What::Delete, "ann", "contract ended", crate::now_us()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    add(&lake, "ingest-1", 1, &[100]).await;
    for fate in [Fate::DiesBefore, Fate::DiesAfter, Fate::ReplyLost] {
        let (mut nth, mut more) = (0, true);
        while more {
            let inner = Arc::new(made.fork());
            let store = Faulty::over(inner.clone());
            let upkeep = upkeep_over(store.clone(), &config()).await;
            let counted = meet(&store, nth, fate);
            upkeep.pass(ByHand::default()).await;
            more = nth < counted.load(Ordering::SeqCst);
            nth += 1;
            store.faults.release();
            pass(&upkeep_over(inner.clone(), &config()).await).await;
            assert_eq!(found(inner.clone()).await, [100], "operation {nth}, {fate:?}");
            let lake = Lake::over(inner, "c").await.unwrap();
            let standings = OrderBook::default().standings(&lake).await.unwrap();
            assert!(standings[&tenant].deletion.is_none() && standings[&tenant].deleted.is_some());
        }
    }
}
