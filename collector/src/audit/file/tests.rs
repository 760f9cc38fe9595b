use std::fs::{self, OpenOptions};
use std::io::Write;

use super::super::spooled::Spooled;
use super::*;

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn event(id: usize) -> String {
    format!("{{\"kind\":\"Event\",\"verb\":\"get\",\"auditID\":\"{id}\"}}\n")
}

fn spooled() -> (Spooled, PathBuf) {
    let mut spooled = Spooled::new();
    let log = spooled.dir.path().join("audit.log");
    spooled.config.audit_file.path.clone_from(&log);
    spooled.config.audit_file.poll_every_ms = 10;
    (spooled, log)
}

async fn started(spooled: &Spooled, stop: &CancellationToken) -> Started {
    start(&spooled.config, spooled.outlet.clone(), spooled.metrics.clone(), stop.clone()).await.unwrap()
}

/// Goal: from a growing log with a malformed line to rows and a loss that names
/// the line, through a rotation and a restart, every event once.
#[tokio::test(flavor = "multi_thread")]
async fn events_reach_the_spool_once_over_rotation_and_restart() {
    let (mut spooled, log) = spooled();
    let first = CancellationToken::new();
    let source = started(&spooled, &first).await;
    assert!(
        matches!(&source.status.state, SourceState::Running { detail } if detail.starts_with("waits for"))
    );
    append(&log, &format!("{}not json\n{}", event(0), event(1)));
    assert_eq!(spooled.texts(Table::ApiAccess, "audit_id", 2).await, ["0", "1"]);
    fs::rename(&log, log.with_extension("log.1")).unwrap();
    append(&log, &event(2));
    assert_eq!(spooled.texts(Table::ApiAccess, "audit_id", 1).await, ["2"]);
    first.cancel();
    source.task.unwrap().await.unwrap();

    append(&log, &event(3));
    let second = CancellationToken::new();
    let source = started(&spooled, &second).await;
    assert!(matches!(&source.status.state, SourceState::Running { detail } if detail.starts_with("follows")));
    assert_eq!(spooled.texts(Table::ApiAccess, "audit_id", 1).await, ["3"]);
    let losses = spooled.losses(1).await;
    assert!(
        losses[0].starts_with("malformed: ") && losses[0].contains("audit.log:2: not JSON"),
        "{losses:?}"
    );
    second.cancel();
    source.task.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_followed_is_told_at_the_start() {
    let (mut spooled, _) = spooled();
    spooled.config.audit_file.path = PathBuf::new();
    let off = started(&spooled, &spooled.stop).await;
    assert!(matches!(off.status.state, SourceState::Off { .. }) && off.task.is_none());
    spooled.config.audit_file.path = spooled.dir.path().to_owned();
    let stop = spooled.stop.clone();
    let folder = start(&spooled.config, spooled.outlet.clone(), spooled.metrics.clone(), stop).await;
    let message = folder.err().unwrap().to_string();
    assert!(message.contains("audit_file.path") && message.contains("not a regular file"), "{message}");
}

/// Goal: the log is not marked as read where the spool took nothing. Method: a
/// spool of one mebibyte, and a log with more events of 300 kB than fit.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_spool_did_not_take_is_read_again() {
    let mut spooled = Spooled::of(1 << 20);
    let log = spooled.dir.path().join("audit.log");
    spooled.config.audit_file.path.clone_from(&log);
    let large = |id: usize| event(id).replace("get", &"x".repeat(300_000));
    append(&log, &(0..6).map(large).collect::<String>());
    let source = started(&spooled, &spooled.stop).await;
    assert_eq!(spooled.texts(Table::ApiAccess, "audit_id", 3).await, ["0", "1", "2"]);
    spooled.stop.cancel();
    source.task.unwrap().await.unwrap();
    let bookmark = Shelf::new(&spooled.config.spool_dir).load().unwrap();
    assert_eq!((bookmark.line, bookmark.offset), (3, 3 * large(0).len() as u64));
}

/// Goal: a kill after rows are durable and before their place is noted repeats
/// none of them. Method: the bookmark cannot be written, since a folder has its
/// name; then another process, with everything before acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn rows_whose_place_was_not_noted_are_not_read_again() {
    let (mut spooled, log) = spooled();
    append(&log, &format!("{}{}", event(0), event(1)));
    let first = CancellationToken::new();
    let source = started(&spooled, &first).await;
    assert_eq!(spooled.texts(Table::ApiAccess, "audit_id", 2).await, ["0", "1"]);
    let shelf = Shelf::new(&spooled.config.spool_dir);
    while shelf.load().is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let in_the_way = spooled.config.spool_dir.join("audit_file.bookmark.new");
    fs::create_dir(&in_the_way).unwrap();
    append(&log, &format!("{}{}", event(2), event(3)));
    assert_eq!(spooled.texts(Table::ApiAccess, "audit_id", 2).await, ["2", "3"]);
    first.cancel();
    source.task.unwrap().await.unwrap();
    assert_eq!(shelf.load().unwrap().line, 2, "the place was not noted");

    // Not even where it still cannot be written.
    let mut spooled = spooled.reopened().await;
    let source = started(&spooled, &spooled.stop).await;
    append(&log, &event(4));
    assert_eq!(spooled.texts(Table::ApiAccess, "audit_id", 1).await, ["4"]);
    fs::remove_dir(&in_the_way).unwrap();
    while shelf.load().unwrap().line < 5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    spooled.stop.cancel();
    source.task.unwrap().await.unwrap();
    assert_eq!(spooled.outlet.mark(), None, "it is noted elsewhere");
}
