//! A store that fails stops acks, not the process; when it works again, so do they.

use std::process::Command;
use std::sync::Arc;

use bailiwick_lake::DirectoryStore;
use bailiwick_proto::Table;
use object_store::ObjectStore;

use super::rig::{Run, config, eventually, flushing, memory};
use super::rows::stored;
use super::store::{Fate, Operation};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_while_writes_fail_and_everything_afterwards() {
    let store = memory();
    let run = Run::start(store.clone(), config()).await;
    let mut stream = run.ship("node-1", 1).await;
    stream.deliver(0, Table::Losses, &[0]).await;
    store.faults.decide(|operation, _| if operation == Operation::Write { Fate::Fails } else { Fate::Done });
    for seq in 1..20 {
        stream.send(seq, Table::Losses, &[seq as i64]).await;
    }
    eventually("the write is tried again and again", || async {
        run.metric("bailiwick_ingest_wal_retries_total") > 5
    })
    .await;
    assert_eq!(stored(&run.lake, Table::Losses).await, [0]);
    assert_eq!(run.metric("bailiwick_ingest_acked_batches_total"), 1);
    store.faults.release();
    for seq in 1..20 {
        assert_eq!(stream.ack().await.unwrap().through_seq, seq);
    }
    assert_eq!(stored(&run.lake, Table::Losses).await, (0..20).collect::<Vec<_>>());
}

/// Replies that are lost leave the object there: the next try finds it taken
/// by its own bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_reply_was_lost_is_recognised_as_ones_own() {
    let store = memory();
    let run = Run::start(store.clone(), flushing()).await;
    let mut lost = 0;
    store.faults.decide(move |operation, _| {
        lost += 1;
        if operation == Operation::Write && lost % 3 != 0 { Fate::ReplyLost } else { Fate::Done }
    });
    let mut stream = run.ship("node-1", 1).await;
    for seq in 0..30 {
        stream.deliver(seq, Table::Losses, &[seq as i64]).await;
    }
    store.faults.release();
    drop(stream);
    let lake = Arc::clone(&run.lake);
    run.end().await;
    assert_eq!(stored(&lake, Table::Losses).await, (0..30).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_cannot_be_written_holds_up_acks_only_at_the_limit() {
    let store = memory();
    let config = crate::Config { flush_at_bytes: 10_000, ..flushing() };
    let run = Run::start(store.clone(), config).await;
    let mut stream = run.ship("node-1", 1).await;
    store.faults.decide(|operation, key| {
        let table = key.as_ref().starts_with("tables/");
        if table && operation == Operation::Write { Fate::Fails } else { Fate::Done }
    });
    stream.deliver(0, Table::Losses, &[0]).await;
    eventually("flushes fail", || async { run.metric("bailiwick_ingest_flush_failures_total") > 0 }).await;
    for seq in 1..100 {
        stream.send(seq, Table::Losses, &[seq as i64]).await;
        if run.metric("bailiwick_ingest_pending_bytes") >= 40_000 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    eventually("the limit is reached", || async { run.metric("bailiwick_ingest_pending_bytes") >= 40_000 })
        .await;
    let acked = run.metric("bailiwick_ingest_acked_batches_total");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(run.metric("bailiwick_ingest_acked_batches_total"), acked, "acks stop");
    store.faults.release();
    eventually("acks go on and rows are committed", || async {
        run.metric("bailiwick_ingest_acked_batches_total") > acked
            && run.metric("bailiwick_ingest_pending_bytes") < 40_000
    })
    .await;
}

/// A small file system of one's own.
struct Tmpfs {
    folder: tempfile::TempDir,
}

impl Tmpfs {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(folder.path());
        if mount.output().is_ok_and(|done| done.status.success()) {
            return Some(Self { folder });
        }
        assert!(std::env::var_os("BAILIWICK_REQUIRE_KERNEL").is_none(), "needs to mount a tmpfs");
        println!("skipped: needs to mount a tmpfs, which takes root");
        None
    }

    fn remount(&self, how: &str) {
        let mut mount = Command::new("mount");
        let done = mount.args(["-o", &format!("remount,{how}")]).arg(self.folder.path()).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_and_a_read_only_one_stop_acks_until_they_are_no_more() {
    let Some(disk) = Tmpfs::mount() else { return };
    let store: Arc<dyn ObjectStore> =
        Arc::new(DirectoryStore::open(&disk.folder.path().join("bucket")).unwrap());
    let run = Run::start(store, flushing()).await;
    let mut stream = run.ship("node-1", 1).await;
    stream.deliver(0, Table::Losses, &[0]).await;
    let lake = &run.lake;
    eventually("the row is committed", || async { lake.view(Table::Losses).await.unwrap().wal.is_empty() })
        .await;
    let tries = || run.metric("bailiwick_ingest_wal_retries_total");

    let ballast = disk.folder.path().join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    stream.send(1, Table::Losses, &[1]).await;
    eventually("the full disk is met", || async { tries() > 3 }).await;
    std::fs::remove_file(&ballast).unwrap();
    drop(file);
    assert_eq!(stream.ack().await.unwrap().through_seq, 1);

    eventually("the row is committed", || async { lake.view(Table::Losses).await.unwrap().wal.is_empty() })
        .await;
    // Nothing is open for writing now, so the file system lets itself be closed.
    disk.remount("ro");
    let before = tries();
    stream.send(2, Table::Losses, &[2]).await;
    eventually("the read-only disk is met", || async { tries() > before + 3 }).await;
    disk.remount("rw");
    assert_eq!(stream.ack().await.unwrap().through_seq, 2);
    assert_eq!(stored(lake, Table::Losses).await, [0, 1, 2]);
    run.end().await;
}
