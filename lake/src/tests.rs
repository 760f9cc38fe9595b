//! The bucket as a whole: a WAL, commits that take from it, and views meanwhile.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, new_null_array};
use arrow::datatypes::Int64Type;
use bailiwick_proto::{Table, TenantId};
use chrono::NaiveDate;

use super::*;

fn ingester() -> IngesterId {
    "ingest-0".parse().unwrap()
}

fn losses(count: i64) -> RecordBatch {
    let schema = Table::Losses.stamped_schema();
    let column = |field: &Arc<arrow::datatypes::Field>| -> ArrayRef {
        match field.name().as_str() {
            "count" => Arc::new(Int64Array::from(vec![count])),
            _ => new_null_array(field.data_type(), 1),
        }
    };
    RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect()).unwrap()
}

/// Writes WAL object `number` with one row of `losses` whose `count` is `number`.
async fn put(lake: &Lake, number: u64) {
    let header = WalHeader {
        ingester: ingester().to_string(),
        epoch: 1,
        nonce: "n".into(),
        number,
        written_at_us: 0,
        segments: vec![],
        kind: WalKind::Batches,
        high_water: BTreeMap::new(),
    };
    let rows = [EncodedRows::encode(Table::Losses, &[losses(number as i64)]).unwrap()];
    lake.put_wal(&WalKey { ingester: ingester(), number }, header.encode(&rows)).await.unwrap();
}

fn file(name: &str, rows: u64) -> DataFile {
    let (tenant, date) = (TenantId::host(), NaiveDate::from_ymd_opt(2026, 11, 24).unwrap());
    let key = keys::DataKey { table: Table::Losses, tenant: tenant.clone(), date, name: name.into() };
    let (min_time_us, max_time_us) = (Some(1_764_000_000_123_456), Some(1_764_000_001_234_567));
    let path = key.path().to_string();
    DataFile {
        path,
        size_bytes: 9,
        rows,
        tenant,
        date,
        min_time_us,
        max_time_us,
        modified_ms: 5,
        null_times: 1,
    }
}

async fn commit(lake: &Lake, through: u64, rows: u64) -> Committed {
    let log = lake.table(Table::Losses);
    let snapshot = log.snapshot().await.unwrap();
    let txn = Some(Txn { app: txn_app(&ingester()), version: through as i64, carried: None });
    let change = Change { txn, add: vec![file(&format!("f{through}"), rows)], remove: vec![] };
    log.commit(&snapshot, change).await.unwrap()
}

fn counts(view: &View) -> Vec<i64> {
    let column =
        |batch: &RecordBatch| batch.column_by_name("count").unwrap().as_primitive::<Int64Type>().value(0);
    view.wal.iter().map(column).collect()
}

#[tokio::test]
async fn a_view_is_the_version_and_exactly_the_wal_above_it() {
    let lake = Lake::open("memory://", "c").await.unwrap();
    for number in 1..=5 {
        put(&lake, number).await;
    }
    let before = lake.view(Table::Losses).await.unwrap();
    assert_eq!((counts(&before), before.files.len()), (vec![1, 2, 3, 4, 5], 0));
    commit(&lake, 3, 3).await;
    let after = lake.view(Table::Losses).await.unwrap();
    assert_eq!(counts(&after), [4, 5]);
    assert_eq!(after.wal[0].schema(), Table::Losses.stamped_schema());
    let public = to_public(Table::Losses, &after.wal[0]).unwrap();
    assert_eq!(public.schema(), Table::Losses.public_schema());
    assert_eq!(
        to_public_columns(Table::Losses, &after.wal[0], &[10, 0]).unwrap(),
        public.project(&[10, 0]).unwrap()
    );
    assert_eq!(to_public_columns(Table::Losses, &after.wal[0], &[]).unwrap().num_rows(), 1);
    assert_eq!(after.wal_through, [WalKey { ingester: ingester(), number: 5 }]);
    assert_eq!(lake.view(Table::Syscalls).await.unwrap().wal.len(), 0);
}

#[tokio::test]
async fn a_file_reads_back_from_the_log_as_it_was_committed() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(folder.path().to_str().unwrap(), "c").await.unwrap();
    assert_eq!(commit(&lake, 3, 7).await, Committed::At(1));
    // Opened anew, so that nothing comes from memory.
    let lake = Lake::open(folder.path().to_str().unwrap(), "c").await.unwrap();
    let view = lake.view(Table::Losses).await.unwrap();
    let mut expected = file("f3", 7);
    assert!(view.files[0].max_time_us >= expected.max_time_us);
    assert!(view.files[0].max_time_us.unwrap() - expected.max_time_us.unwrap() < 1_000);
    expected.max_time_us = view.files[0].max_time_us;
    assert!(view.files[0].min_time_us <= expected.min_time_us);
    expected.min_time_us = view.files[0].min_time_us;
    assert_eq!(view.files, [expected]);
}

#[tokio::test]
async fn of_two_commits_on_one_version_the_second_conflicts() {
    let lake = Lake::open("memory://", "c").await.unwrap();
    let log = lake.table(Table::Losses);
    let base = log.snapshot().await.unwrap();
    let change = |name: &str| Change { add: vec![file(name, 1)], ..Change::default() };
    assert_eq!(log.commit(&base, change("a")).await.unwrap(), Committed::At(1));
    assert_eq!(log.commit(&base, change("b")).await.unwrap(), Committed::Conflict);
    assert_eq!(log.snapshot().await.unwrap().files().len(), 1);
}

#[tokio::test]
async fn a_rewrite_swaps_files_in_one_version_and_a_checkpoint_changes_nothing() {
    let lake = Lake::open("memory://", "c").await.unwrap();
    let log = lake.table(Table::Losses);
    for number in 1..=4 {
        commit(&lake, number, 1).await;
    }
    let base = log.snapshot().await.unwrap();
    log.checkpoint(&base).await.unwrap();
    let remove = vec![file("f1", 1).path, file("f2", 1).path];
    let change = Change { add: vec![file("merged", 2)], remove, txn: None };
    assert_eq!(log.commit(&base, change).await.unwrap(), Committed::At(5));
    let again = Lake::over(lake.store(), "c").await.unwrap();
    let snapshot = again.table(Table::Losses).snapshot().await.unwrap();
    assert_eq!(snapshot.files().iter().map(|file| file.rows).sum::<u64>(), 4);
    assert_eq!(snapshot.files().len(), 3);
    let txn = again.table(Table::Losses).txn(&snapshot, &txn_app(&ingester())).await.unwrap();
    assert_eq!(txn, Some(4));
}

/// Readers look on while a writer moves rows from the WAL to the table and
/// deletes WAL objects at once, the worst case: every view must hold the rows
/// 1..=n for some n, each once.
async fn views_are_exact_while_flushes_run(bucket: &str, readers_own: bool) {
    const OBJECTS: u64 = 120;
    let lake = Lake::open(bucket, "c").await.unwrap();
    let writer = Arc::clone(&lake);
    let writing = tokio::spawn(async move {
        let mut committed = 0;
        for number in 1..=OBJECTS {
            put(&writer, number).await;
            if number % 7 == 0 {
                commit(&writer, number, number - committed).await;
                for gone in committed + 1..number {
                    writer.delete_wal(&WalKey { ingester: ingester(), number: gone }).await.unwrap();
                }
                committed = number;
            }
        }
    });
    // Another process's reader has caches of its own, and meets what is gone.
    let lake = if readers_own { Lake::open(bucket, "c").await.unwrap() } else { lake };
    let mut seen = 0;
    while !writing.is_finished() {
        let view = lake.view(Table::Losses).await.unwrap();
        let committed: u64 = view.files.iter().map(|file| file.rows).sum();
        let wal: Vec<u64> = counts(&view).iter().map(|count| *count as u64).collect();
        let expected: Vec<u64> = (committed + 1..=committed + wal.len() as u64).collect();
        assert_eq!(wal, expected, "version {}", view.version);
        let through = committed + wal.len() as u64;
        assert!(through >= seen, "a later view has fewer rows");
        seen = through;
    }
    writing.await.unwrap();
    let last = lake.view(Table::Losses).await.unwrap();
    let committed: u64 = last.files.iter().map(|file| file.rows).sum();
    assert_eq!(committed + last.wal.len() as u64, OBJECTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_view_in_memory_has_a_gap_or_an_overlap() {
    views_are_exact_while_flushes_run("memory://", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_view_of_a_directory_has_a_gap_or_an_overlap() {
    let folder = tempfile::tempdir().unwrap();
    views_are_exact_while_flushes_run(folder.path().to_str().unwrap(), true).await;
}

#[tokio::test]
async fn a_state_is_what_was_put_last() {
    let lake = Lake::open("memory://", "c").await.unwrap();
    assert_eq!(lake.get_state("detect").await.unwrap(), None);
    lake.put_state("detect", "1".into()).await.unwrap();
    lake.put_state("detect", "2".into()).await.unwrap();
    assert_eq!(lake.get_state("detect").await.unwrap().unwrap(), "2");
}

#[tokio::test]
async fn a_change_that_does_not_fit_its_base_is_refused_and_changes_nothing() {
    let lake = Lake::open("memory://", "c").await.unwrap();
    let log = lake.table(Table::Losses);
    commit(&lake, 1, 5).await;
    let base = log.snapshot().await.unwrap();
    let gone = Change { remove: vec![file("never", 1).path], ..Change::default() };
    assert!(matches!(log.commit(&base, gone).await, Err(LakeError::NotInTable { .. })));
    let fewer = Change { add: vec![file("merged", 4)], remove: vec![file("f1", 5).path], txn: None };
    assert!(matches!(
        log.commit(&base, fewer).await,
        Err(LakeError::RowsDiffer { rows_in: 4, rows_out: 5, .. })
    ));
    assert_eq!(log.snapshot().await.unwrap().version(), base.version());
    let deletion = Change { remove: vec![file("f1", 5).path], ..Change::default() };
    assert_eq!(deletion.kind(), ChangeKind::Deletion);
    assert_eq!(log.commit(&base, deletion).await.unwrap(), Committed::At(2));
    assert_eq!(log.snapshot().await.unwrap().files(), []);
}

/// Clean-up of a log that another process holds an old version of, whether
/// versions came since or not. Method: the files of the log are given an old
/// age, since clean-up leaves alone what is young.
#[tokio::test]
async fn who_holds_a_version_from_before_a_clean_up_finds_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = folder.path().to_str().unwrap();
    let lake = Lake::open(bucket, "c").await.unwrap();
    let early = Lake::open(bucket, "c").await.unwrap();
    commit(&lake, 1, 1).await;
    let held = early.table(Table::Losses).snapshot().await.unwrap();
    let log = lake.table(Table::Losses);
    let mut versions = Vec::new();
    for number in 2..=9 {
        commit(&lake, number, 1).await;
        versions.push(log.snapshot().await.unwrap());
        if number == 3 {
            log.checkpoint(&versions[1]).await.unwrap();
        }
    }
    // Has the newest version already, read from what will be gone.
    let late = Lake::open(bucket, "c").await.unwrap();
    let newest = late.table(Table::Losses).snapshot().await.unwrap();
    for number in [6, 9] {
        log.checkpoint(&versions[number - 2]).await.unwrap();
    }
    assert_eq!(log.clean_log(i64::MAX).await.unwrap(), Cleaned::default(), "all of it is young");
    let log_folder = folder.path().join("tables/losses/_delta_log");
    for entry in std::fs::read_dir(&log_folder).unwrap() {
        let file = std::fs::File::options().write(true).open(entry.unwrap().path()).unwrap();
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(7_200)).unwrap();
    }
    let cleaned = log.clean_log(i64::MAX).await.unwrap();
    assert_eq!(cleaned, Cleaned { commits: 6, checkpoints: 1 });
    for reader in [&early, &late, &lake, &Lake::open(bucket, "c").await.unwrap()] {
        let log = reader.table(Table::Losses);
        let snapshot = log.snapshot().await.unwrap();
        assert_eq!(snapshot.files().len(), 9);
        assert_eq!(log.txn(&snapshot, &txn_app(&ingester())).await.unwrap(), Some(9));
        assert_eq!(log.txn(&snapshot, "bailiwick/nobody").await.unwrap(), None);
    }
    assert_eq!((held.files().len(), newest.files().len()), (1, 9));
    assert_eq!(commit(&early, 10, 1).await, Committed::At(10));
}

/// A writer that slept until the log was cleaned past its base must not be
/// told that it committed where nobody reads.
#[tokio::test]
async fn a_commit_on_a_base_from_long_ago_is_never_believed() {
    let lake = Lake::open("memory://", "c").await.unwrap();
    let log = lake.table(Table::Losses);
    let base = log.snapshot().await.unwrap();
    base.pinned.pretend_age(LOG_KEPT_AT_LEAST_MS);
    let change = |name: &str| Change { add: vec![file(name, 1)], ..Change::default() };
    assert_eq!(log.commit(&base, change("a")).await.unwrap(), Committed::Conflict);
    let base = log.snapshot().await.unwrap();
    assert_eq!(base.files().len(), 1, "it was in time after all, as the newest version shows");
}
