use arrow::array::{Array, AsArray};

use super::*;
use crate::audit::spooled::{Spooled, texts};
use crate::columns::Columns;
use crate::recording::Writer;

const SECOND: i64 = 1_000_000;

/// A recording of two system calls and an API request.
fn recorded(path: &Path) {
    let mut writer = Writer::new(File::create(path).unwrap(), "test").unwrap();
    let mut calls = Columns::new(Table::Syscalls);
    for (time, id) in [(1000 * SECOND, "p1"), (1004 * SECOND, "p2")] {
        calls.time("time", Some(time));
        calls.time("proc_start_time", Some(time - SECOND));
        for (column, value) in [("node", "there"), ("cluster", "old"), ("observed", "live"), ("exec_id", id)]
        {
            calls.text(column, Some(value));
        }
        calls.end_row();
    }
    writer.write(Table::Syscalls, &calls.finish().unwrap()).unwrap();
    let mut requests = Columns::new(Table::ApiAccess);
    requests.time("time", Some(1010 * SECOND));
    requests.text("source", Some("file"));
    requests.end_row();
    writer.write(Table::ApiAccess, &requests.finish().unwrap()).unwrap();
    writer.finish().unwrap();
}

fn times(rows: &RecordBatch, column: &str) -> Vec<Option<i64>> {
    rows.column_by_name(column).unwrap().as_primitive::<TimestampMicrosecondType>().iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_played_as_if_it_happened_here_and_now() {
    let mut spooled = Spooled::new();
    let path = spooled.dir.path().join("r.bwr");
    recorded(&path);
    spooled.config.replay.path = path;
    let before = Utc::now().timestamp_micros();
    let started =
        start(&spooled.config, spooled.outlet.clone(), spooled.metrics.clone(), spooled.stop.clone())
            .await
            .unwrap();
    assert!(matches!(&started.status.state, SourceState::Running { detail } if detail.contains("3 rows")));
    let (table, calls) = spooled.next().await;
    assert_eq!(table, Table::Syscalls);
    for (column, expected) in [("node", "node-1"), ("cluster", "cluster-1"), ("observed", "replay")] {
        assert_eq!(texts(&calls, column), [expected, expected], "{column}");
    }
    assert_eq!(texts(&calls, "exec_id"), ["p1", "p2"]);
    let (_, requests) = spooled.next().await;
    assert_eq!(texts(&requests, "source"), ["replay"]);
    let last = times(&requests, "time")[0].unwrap();
    assert!((before..=Utc::now().timestamp_micros()).contains(&last));
    assert_eq!(times(&calls, "time"), [Some(last - 10 * SECOND), Some(last - 6 * SECOND)]);
    assert_eq!(times(&calls, "proc_start_time")[0], Some(last - 11 * SECOND));
    assert_eq!(times(&calls, "time").len(), calls.num_rows());
    assert_eq!(calls.column_by_name("evt_type").unwrap().null_count(), 2);
    started.task.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_recording_is_not_played_at_all() {
    let mut spooled = Spooled::new();
    let path = spooled.dir.path().join("r.bwr");
    recorded(&path);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    spooled.config.replay.path = path;
    let error =
        start(&spooled.config, spooled.outlet.clone(), spooled.metrics.clone(), spooled.stop.clone()).await;
    let message = error.err().unwrap().to_string();
    assert!(message.contains("replay.path") && message.contains("it ends here"), "{message}");
}
