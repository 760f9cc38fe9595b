//! One pass at a time, over a store that works.

use std::sync::Arc;

use bailiwick_lake::{Change, Committed, Lake};
use bailiwick_proto::{Table, TenantId};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::rig::{TABLE, add, config, files, fill, found, pass, upkeep, upkeep_over};
use crate::tests::rows::{numbers, stored};
use crate::upkeep::ByHand;
use crate::upkeep::orders::{OrderBook, OrderError, What, place};
use crate::upkeep::report::Merged;

async fn lake() -> (Arc<InMemory>, Arc<Lake>) {
    let store = Arc::new(InMemory::new());
    let lake = Lake::over(store.clone(), "c").await.unwrap();
    (store, lake)
}

async fn give(lake: &Lake, tenant: &TenantId, what: What) -> Result<(), OrderError> {
    place(lake, tenant, what, "ann@desk", "case 17", crate::now_us()).await.map(drop)
}

/// Names of what is in the bucket below a folder.
async fn keys(store: &dyn ObjectStore, folder: &str) -> Vec<String> {
    let listed: Vec<_> =
        futures::TryStreamExt::try_collect(store.list(Some(&Path::from(folder)))).await.unwrap();
    listed.into_iter().map(|meta: object_store::ObjectMeta| meta.location.to_string()).collect()
}

#[tokio::test]
async fn small_files_become_one_whose_rows_are_sorted() {
    let (store, lake) = lake().await;
    let rows = fill(&lake, 6, 700).await;
    let before = files(&lake).await;
    let report = pass(&upkeep(&lake, &config())).await;
    let after = files(&lake).await;
    assert_eq!((before.len(), after.len()), (6, 1));
    let [(_, Merged { files_in: 6, files_out: 1, rows: 4_200, .. })] = report.merged[..] else {
        panic!("{report:?}")
    };
    assert_eq!(after[0].min_time_us, before.iter().filter_map(|file| file.min_time_us).min());
    assert!(after[0].max_time_us >= before.iter().filter_map(|file| file.max_time_us).max());
    assert!(after[0].crc32c().is_some() && before.iter().all(|file| file.crc32c().is_some()));
    assert_eq!(found(store.clone()).await, rows);
    let bytes = store.get(&Path::from(after[0].path.as_str())).await.unwrap().bytes().await.unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
    let mut in_file = Vec::new();
    for batch in builder.build().unwrap() {
        in_file.extend(numbers(TABLE, &batch.unwrap()));
    }
    // By time, which is the number below a thousand; then by run.
    let mut sorted = rows;
    sorted.sort_by_key(|number| number % 1_000);
    assert_eq!(
        in_file.iter().map(|number| number % 1_000).collect::<Vec<_>>(),
        sorted.iter().map(|number| number % 1_000).collect::<Vec<_>>()
    );
    // Other readers must not notice who wrote a file.
    let flushed = store.get(&Path::from(before[0].path.as_str())).await.unwrap().bytes().await.unwrap();
    let flushed = ParquetRecordBatchReaderBuilder::try_new(flushed).unwrap();
    let merged = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    assert_eq!(flushed.parquet_schema(), merged.parquet_schema());
    assert_eq!(pass(&upkeep(&lake, &config())).await.merged, [], "there is nothing left to do");
}

#[tokio::test]
async fn an_output_ends_at_the_target_and_inputs_are_bounded_by_memory() {
    let (store, lake) = lake().await;
    let rows = fill(&lake, 12, 3_000).await;
    let mut config = config();
    config.upkeep.target_file_bytes = files(&lake).await[0].size_bytes * 4;
    for _ in 0..4 {
        pass(&upkeep(&lake, &config)).await;
    }
    let left = files(&lake).await;
    assert!((2..=5).contains(&left.len()), "{left:#?}");
    assert_eq!(stored(&lake, TABLE).await, rows);
    // Hardly any memory: nothing is merged, and nothing fails.
    config.upkeep.memory_bytes = 1;
    add(&lake, "ingest-1", 1, &[-1]).await;
    add(&lake, "ingest-1", 2, &[-2]).await;
    assert_eq!(pass(&upkeep(&lake, &config)).await.merged, []);
    assert_eq!(found(store).await.len(), rows.len() + 2);
}

#[tokio::test]
async fn merged_files_stay_for_the_grace_and_then_go() {
    let (store, lake) = lake().await;
    let rows = fill(&lake, 4, 10).await;
    let orphan = "tables/losses/tenant=_host/date=2026-11-24/ingest-9-never.parquet";
    store.put(&Path::from(orphan), "x".into()).await.unwrap();
    store.put(&Path::from("staging/losses/ingest-9-left.parquet"), "x".into()).await.unwrap();
    let report = pass(&upkeep(&lake, &config())).await;
    assert_eq!((report.vacuum.waiting, report.vacuum.files), (6, 0));
    let impatient =
        crate::Config { upkeep: crate::upkeep::Config { vacuum_grace_ms: 0, ..config().upkeep }, ..config() };
    let report = pass(&upkeep(&lake, &impatient)).await;
    assert_eq!((report.vacuum.waiting, report.vacuum.files), (0, 6));
    assert_eq!(keys(&*store, "staging").await, Vec::<String>::new());
    let left = keys(&*store, "tables/losses").await.into_iter().filter(|key| key.ends_with(".parquet"));
    assert_eq!(
        left.collect::<Vec<_>>(),
        files(&lake).await.iter().map(|file| file.path.clone()).collect::<Vec<_>>()
    );
    assert_eq!(found(store).await, rows);
}

/// A writer that uploaded a file and then slept until vacuum deleted it.
#[tokio::test]
async fn a_commit_of_files_that_vacuum_deleted_conflicts() {
    let (_, lake) = lake().await;
    fill(&lake, 1, 10).await;
    let log = lake.table(TABLE);
    let base = log.snapshot().await.unwrap();
    let mut slept = base.files()[0].clone();
    slept.path = slept.path.replace("ingest-0-", "ingest-0-slept-");
    lake.store().put(&Path::from(slept.path.as_str()), "x".into()).await.unwrap();
    let impatient =
        crate::Config { upkeep: crate::upkeep::Config { vacuum_grace_ms: 0, ..config().upkeep }, ..config() };
    assert_eq!(pass(&upkeep(&lake, &impatient)).await.vacuum.files, 1);
    let change = Change { add: vec![slept], ..Change::default() };
    assert_eq!(log.commit(&base, change).await.unwrap(), Committed::Conflict);
}

#[tokio::test]
async fn rows_expire_by_table_and_tenant_unless_there_is_a_hold() {
    let (store, lake) = lake().await;
    let rows = fill(&lake, 2, 10).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("retention.yaml");
    let (tenant, date) = (files(&lake).await[0].tenant.clone(), files(&lake).await[0].date);
    let retained = crate::Config { retention_file: Some(file.clone()), ..config() };
    let text = format!("tables: {{losses: 90}}\ntenants:\n- tenant: {tenant}\n  tables: {{losses: 30}}\n");
    std::fs::write(&file, text).unwrap();
    let mut upkeep = upkeep(&lake, &retained);
    upkeep.pretended_today = Some(date + chrono::Days::new(30));
    assert_eq!(pass(&upkeep).await.expired.rows, 0);
    upkeep.pretended_today = Some(date + chrono::Days::new(31));
    give(&lake, &tenant, What::Hold).await.unwrap();
    let held = pass(&upkeep).await;
    assert_eq!((held.expired.rows, held.held_files), (0, 1));
    assert_eq!(found(store.clone()).await, rows);
    give(&lake, &tenant, What::Release).await.unwrap();
    let report = pass(&upkeep).await;
    assert_eq!((report.expired.rows, report.held_files), (20, 0));
    assert_eq!(found(store).await, Vec::<i64>::new());
}

/// A hold that came after the last look at orders and before the commit.
#[tokio::test]
async fn a_hold_that_comes_while_files_go_gets_them_back() {
    let (store, lake) = lake().await;
    let rows = fill(&lake, 2, 10).await;
    let (log, gone) = (lake.table(TABLE), files(&lake).await);
    let remove = gone.iter().map(|file| file.path.clone()).collect();
    let change = Change { remove, ..Change::default() };
    log.commit(&log.snapshot().await.unwrap(), change).await.unwrap();
    let upkeep = upkeep(&lake, &config());
    upkeep.give_back(TABLE, &gone).await.unwrap();
    assert_eq!(found(store.clone()).await, Vec::<i64>::new(), "nobody holds them");
    give(&lake, &gone[0].tenant, What::Hold).await.unwrap();
    upkeep.give_back(TABLE, &gone).await.unwrap();
    upkeep.give_back(TABLE, &gone).await.unwrap();
    assert_eq!(found(store).await, rows);
}

#[tokio::test]
async fn a_deletion_takes_what_had_arrived_and_nothing_later() {
    let (store, lake) = lake().await;
    let rows = fill(&lake, 3, 10).await;
    let tenant = files(&lake).await[0].tenant.clone();
    let other: TenantId = "other".parse().unwrap();
    give(&lake, &tenant, What::Delete).await.unwrap();
    give(&lake, &other, What::Delete).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    add(&lake, "ingest-1", 1, &[1_000]).await;
    let report = pass(&upkeep(&lake, &config())).await;
    assert_eq!((report.deleted.rows, report.deletions_completed.len()), (rows.len() as u64, 2));
    assert_eq!(found(store.clone()).await, [1_000]);
    let standing = OrderBook::default().standings(&lake).await.unwrap().remove(&tenant).unwrap();
    let What::Deleted { count, .. } = standing.deleted.unwrap().what else { panic!() };
    assert_eq!((count.files, count.rows), (3, rows.len() as u64));
    assert_eq!(pass(&upkeep(&lake, &config())).await.deleted.rows, 0);
    assert_eq!(found(store).await, [1_000]);
}

#[tokio::test]
async fn a_deletion_waits_for_rows_that_are_in_the_wal() {
    use crate::tests::takeover::{ready, take_over};
    let (store, lake) = lake().await;
    let (mut wal, _) = take_over(&lake, crate::now_us()).await.unwrap();
    let (_, landed) = wal.commit(&[ready("n", 0, TABLE, &[1, 2])], crate::now_us()).await.unwrap();
    let landed = landed.unwrap();
    for tenant in [TenantId::cluster(), TenantId::host(), TenantId::unassigned()] {
        give(&lake, &tenant, What::Delete).await.unwrap();
    }
    // Only the tenant that rows without an owner get in this table has any.
    let report = pass(&upkeep(&lake, &config())).await;
    assert_eq!((report.deletions_waiting.len(), report.deletions_completed.len()), (1, 2));
    assert_eq!(found(store.clone()).await, [1, 2]);
    let mut window = crate::window::Window::default();
    window.push(&landed);
    crate::tests::takeover::flusher(&lake).flush(&window).await.unwrap();
    let report = pass(&upkeep(&lake, &config())).await;
    assert_eq!((report.deleted.rows, report.deletions_completed.len()), (2, 1));
    assert_eq!(found(store).await, Vec::<i64>::new());
}

#[tokio::test]
async fn a_file_whose_bytes_changed_is_set_aside_and_the_rest_is_served() {
    let (store, lake) = lake().await;
    fill(&lake, 3, 10).await;
    let damaged = files(&lake).await[1].clone();
    let path = Path::from(damaged.path.as_str());
    let mut bytes = store.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
    bytes[20] ^= 1;
    store.put(&path, bytes.into()).await.unwrap();
    let by_hand = ByHand { scrub_all: true, vacuum_now: false };
    let mut patient = config();
    patient.upkeep.merge_at_files = 100;
    patient.upkeep.merges_per_pass = 0;
    let upkeep = upkeep(&lake, &patient);
    let report = upkeep.pass(by_hand).await;
    assert_eq!(report.scrub.damaged, std::slice::from_ref(&damaged.path));
    assert_eq!(upkeep.metrics.damaged_files.get(), 1);
    // The two whole files, and the row that tells of the third.
    let found = found(store.clone()).await;
    assert_eq!((found.len(), found.contains(&10)), (21, true), "its count is 10 rows");
    let aside = keys(&*store, "damaged").await;
    assert_eq!(aside, [format!("damaged/{}", damaged.path)]);
    assert_eq!(upkeep.pass(by_hand).await.scrub.damaged, Vec::<String>::new());
    assert_eq!(stored(&lake, TABLE).await.len(), 21);
}

#[tokio::test]
async fn a_damaged_input_is_set_aside_before_a_merge_and_the_others_are_merged_next() {
    let (store, lake) = lake().await;
    fill(&lake, 4, 10).await;
    let path = Path::from(files(&lake).await[2].path.as_str());
    let mut bytes = store.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
    bytes.truncate(100);
    store.put(&path, bytes.into()).await.unwrap();
    let upkeep = upkeep_over(store.clone(), &config()).await;
    pass(&upkeep).await;
    pass(&upkeep).await;
    assert_eq!(found(store).await.len(), 31);
    assert!(files(&lake).await.len() <= 2);
    assert_eq!(upkeep.metrics.damaged_files.get(), 1);
}

#[tokio::test]
async fn a_file_that_the_store_does_not_show_is_told_of_and_stays_named() {
    let (store, lake) = lake().await;
    fill(&lake, 1, 10).await;
    store.delete(&Path::from(files(&lake).await[0].path.as_str())).await.unwrap();
    let report = upkeep(&lake, &config()).pass(ByHand { scrub_all: true, vacuum_now: false }).await;
    assert_eq!((report.scrub.missing.len(), files(&lake).await.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingesters_that_look_after_one_bucket_at_once_keep_every_row() {
    let (store, lake) = lake().await;
    let rows = fill(&lake, 24, 20).await;
    let mut passes = Vec::new();
    for _ in 0..4 {
        let upkeep = upkeep_over(store.clone(), &config()).await;
        passes.push(tokio::spawn(async move { upkeep.pass(ByHand::default()).await }));
    }
    // And rows go on coming.
    for number in 0..6 {
        add(&lake, "ingest-1", number as u64 + 1, &[1_000 + number]).await;
    }
    for pass in passes {
        assert_eq!(pass.await.unwrap().failures, Vec::<String>::new());
    }
    let expected: Vec<i64> = rows.into_iter().chain(1_000..1_006).collect();
    assert_eq!(found(store).await, expected);
}

#[tokio::test]
async fn a_pass_measures_the_tables() {
    let (_, lake) = lake().await;
    fill(&lake, 2, 5).await;
    let report = pass(&upkeep(&lake, &config())).await;
    let (_, count) = report.tables.iter().find(|(table, _)| *table == Table::Losses).unwrap();
    assert_eq!((count.files, count.rows), (1, 10));
}

/// Several passes make one round, and then there is none until it is due.
#[tokio::test]
async fn the_background_check_goes_on_where_the_last_pass_ended() {
    let (store, lake) = lake().await;
    fill(&lake, 5, 10).await;
    let mut slow = config();
    slow.upkeep.merges_per_pass = 0;
    slow.upkeep.scrub_bytes_per_s = 1 << 20;
    slow.upkeep.every_ms = 2;
    let mut looked = Vec::new();
    for _ in 0..8 {
        // A process of its own each time: the place is in the bucket.
        let report = upkeep_over(store.clone(), &slow).await.pass(ByHand::default()).await;
        looked.push(report.scrub.files);
    }
    assert_eq!(looked.iter().sum::<u64>(), 5, "{looked:?}");
    assert!(looked.iter().filter(|files| **files > 0).count() > 1, "{looked:?}");
}

/// The whole of it in a running ingester, beside its flushes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_ingester_looks_after_its_tables() {
    use crate::tests::rig::{Run, eventually, flushing};
    let mut config = crate::Config { upkeep: config().upkeep, ..flushing() };
    config.upkeep.every_ms = 20;
    let run = Run::start(crate::tests::rig::memory(), config).await;
    let mut stream = run.ship("node-1", 1).await;
    for seq in 0..30 {
        stream.deliver(seq, TABLE, &[seq as i64]).await;
    }
    eventually("files are merged", || async { run.metric("bailiwick_ingest_upkeep_merged_files_total") > 1 })
        .await;
    let rows = "bailiwick_ingest_upkeep_table_rows{table=\"losses\"}";
    eventually("the tables are measured", || async { run.metric(rows) == 30 }).await;
    assert_eq!(run.metric("bailiwick_ingest_upkeep_failures_total"), 0);
    assert_eq!(stored(&run.lake, TABLE).await, (0..30).collect::<Vec<_>>());
    drop(stream);
    run.end().await;
}
