//! Detection as it runs: against a Tail server, a lake in memory and SQL over
//! the rows that both would have. What is checked is which alerts come out.

use std::sync::Mutex;

use arrow::array::{
    ArrayRef, RecordBatch, StringArray, StringDictionaryBuilder, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Int32Type};
use async_trait::async_trait;
use bailiwick_proto::ship::{MemoryOutbox, Outbox};
use bailiwick_proto::v1::tail_server::{Tail, TailServer};
use bailiwick_proto::v1::{TailReply, TailRequest};
use bailiwick_proto::{Table, wire};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::*;

const RULES: &str = "- rule: Shell\n  desc: d\n  condition: evt.type = execve and proc.name = sh\n  \
    output: shell %proc.name\n  priority: WARNING\n";

/// One row of `syscalls`, stamped.
fn event(name: &str, exec_id: &str, ingest_time_us: i64) -> RecordBatch {
    let schema = Table::Syscalls.stamped_schema();
    let column = |field: &arrow::datatypes::Field| -> ArrayRef {
        let text = match field.name().as_str() {
            "tenant" => "team-a",
            "evt_type" => "execve",
            "proc_name" => name,
            "exec_id" => exec_id,
            "container_id" => "host",
            _ => return time_or_null(field, ingest_time_us),
        };
        let mut builder = StringDictionaryBuilder::<Int32Type>::new();
        builder.append_value(text);
        Arc::new(builder.finish())
    };
    let columns = schema.fields().iter().map(|field| column(field)).collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

fn time_or_null(field: &arrow::datatypes::Field, time_us: i64) -> ArrayRef {
    match field.data_type() {
        DataType::Timestamp(..) if matches!(field.name().as_str(), "time" | "ingest_time") => {
            Arc::new(TimestampMicrosecondArray::from(vec![time_us]).with_timezone("UTC"))
        }
        other => new_null_array(other, 1),
    }
}

/// SQL over rows that the test holds, as the query room has over the bucket.
#[derive(Default)]
struct Rows(Mutex<Vec<(Table, RecordBatch)>>);

impl Rows {
    fn add(&self, table: Table, stamped: &RecordBatch) {
        self.0.lock().unwrap().push((table, bailiwick_lake::to_public(table, stamped).unwrap()));
    }
}

#[async_trait]
impl Ask for Rows {
    async fn ask(&self, sql: &str) -> Result<BoxStream<'static, Result<RecordBatch, AskError>>, AskError> {
        let failed =
            |error: datafusion::error::DataFusionError| AskError { message: error.to_string(), retry: false };
        let context = SessionContext::new();
        for table in Table::ALL {
            let rows = self.0.lock().unwrap();
            let of_table =
                rows.iter().filter(|(of, _)| *of == table).map(|(_, batch)| batch.clone()).collect();
            let rows = MemTable::try_new(table.public_schema(), vec![of_table]).map_err(failed)?;
            context.register_table(table.name(), Arc::new(rows)).map_err(failed)?;
        }
        let stream = context.sql(sql).await.map_err(failed)?.execute_stream().await.map_err(failed)?;
        Ok(stream.map(move |batch| batch.map_err(failed)).boxed())
    }
}

/// Serves Tail: the boundary at once, then what the test sends.
struct FakeTail {
    boundary: u64,
    live: broadcast::Sender<(u64, RecordBatch)>,
}

#[async_trait]
impl Tail for FakeTail {
    type TailStream = BoxStream<'static, Result<TailReply, Status>>;

    async fn tail(&self, _: Request<TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        let first = TailReply { ingester: "i".into(), wal_number: self.boundary, ..TailReply::default() };
        let live = tokio_stream::wrappers::BroadcastStream::new(self.live.subscribe());
        let replies = live.map(|sent| {
            let (wal_number, batch) = sent.map_err(|_| Status::out_of_range("behind"))?;
            let arrow_ipc = wire::encode(&batch).unwrap().into();
            Ok(TailReply { ingester: "i".into(), wal_number, table: "syscalls".into(), arrow_ipc })
        });
        Ok(Response::new(futures::stream::iter([Ok(first)]).chain(replies).boxed()))
    }
}

/// A run of detection with everything around it.
struct Run {
    detect: Detect,
    live: broadcast::Sender<(u64, RecordBatch)>,
    alerts: mpsc::UnboundedReceiver<Alert>,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Run {
    async fn start(lake: &Arc<Lake>, rows: &Arc<Rows>, boundary: u64) -> Self {
        Self::start_with(lake, rows, boundary, Config::default()).await
    }

    /// Starts with alerts acknowledged and put among the rows, as ingest would.
    async fn start_with(lake: &Arc<Lake>, rows: &Arc<Rows>, boundary: u64, config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rules.yaml");
        std::fs::write(&file, RULES).unwrap();
        let config = Config { rules_files: vec![file], checkpoint_every_ms: 20, settle_ms: 0, ..config };
        let (live, _) = broadcast::channel(100);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ingest = Endpoint::from_shared(format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let tail = TailServer::new(FakeTail { boundary, live: live.clone() });
        let served = tonic::transport::Server::builder().add_service(tail);
        tokio::spawn(served.serve_with_incoming(TcpListenerStream::new(listener)));
        let (out, outbox) = MemoryOutbox::new(1, 1 << 20);
        tokio::spawn(acknowledge(outbox, Arc::clone(rows)));
        let (sent, alerts) = mpsc::unbounded_channel();
        let on_alert: OnAlert = Arc::new(move |alert: &Alert| drop(sent.send(alert.clone())));
        let stop = CancellationToken::new();
        let ask: Arc<dyn Ask> = Arc::clone(rows) as Arc<dyn Ask>;
        let ingester = "ingest-0".to_owned();
        let parts = Parts {
            lake: Arc::clone(lake),
            ask,
            ingest,
            ingester,
            out,
            on_alert,
            rules_in_use: RulesInUse::default(),
            stop: stop.clone(),
        };
        let detect = Detect::start_with(config, parts, &mut Registry::default()).await.unwrap();
        Self { detect, live, alerts, stop, _folder: folder }
    }

    async fn next(&mut self) -> Option<Alert> {
        tokio::time::timeout(Duration::from_secs(5), self.alerts.recv()).await.ok().flatten()
    }

    async fn subscribed(&self) {
        while self.live.receiver_count() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn end(mut self) -> Vec<String> {
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.stop.cancel();
        self.detect.join().await.unwrap();
        let mut late = Vec::new();
        while let Ok(alert) = self.alerts.try_recv() {
            late.push(alert.exec_id.unwrap_or_default());
        }
        late
    }
}

async fn acknowledge(mut outbox: MemoryOutbox, rows: Arc<Rows>) {
    let mut seq = 0;
    while let Ok(Some(numbered)) = outbox.next(seq).await {
        let batch =
            wire::decode(&numbered.arrow_ipc, numbered.crc32c, &numbered.table.wire_schema()).unwrap();
        let stamped = Table::Alerts.stamped_schema();
        let now = Utc::now().timestamp_micros();
        let column = |field: &Arc<arrow::datatypes::Field>| {
            let sent = batch.column_by_name(field.name()).cloned();
            let times: ArrayRef =
                Arc::new(TimestampMicrosecondArray::from(vec![now; batch.num_rows()]).with_timezone("UTC"));
            sent.unwrap_or_else(|| match field.name().as_str() {
                "ingest_time" => times,
                _ => new_null_array(field.data_type(), batch.num_rows()),
            })
        };
        let columns = stamped.fields().iter().map(column).collect();
        rows.add(Table::Alerts, &RecordBatch::try_new(stamped, columns).unwrap());
        outbox.acked(seq).await.unwrap();
        seq += 1;
    }
}

fn now() -> i64 {
    Utc::now().timestamp_micros()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrives_is_alerted_and_what_was_missed_is_made_up_for_once() {
    let lake = Lake::open("memory://", "c").await.unwrap();
    let rows = Arc::new(Rows::default());
    let mut run = Run::start(&lake, &rows, 7).await;
    run.subscribed().await;
    let first = event("sh", "first", now());
    rows.add(Table::Syscalls, &first);
    run.live.send((8, first)).unwrap();
    let alert = run.next().await.unwrap();
    assert_eq!(
        (alert.rule.as_str(), alert.owner.as_str(), alert.output.as_str()),
        ("Shell", "team-a", "shell sh")
    );
    assert!(run.end().await.is_empty());

    // While nothing runs, an event arrives; `first` is within the overlap and is read again.
    rows.add(Table::Syscalls, &event("sh", "missed", now()));
    rows.add(Table::Syscalls, &event("cat", "harmless", now()));
    let mut run = Run::start(&lake, &rows, 9).await;
    assert_eq!(run.next().await.unwrap().exec_id.as_deref(), Some("missed"));
    run.subscribed().await;
    run.live.send((10, event("sh", "third", now()))).unwrap();
    assert_eq!(run.next().await.unwrap().exec_id.as_deref(), Some("third"));
    assert!(run.end().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_in_both_stream_and_bucket_is_alerted_once() {
    let lake = Lake::open("memory://", "c").await.unwrap();
    let rows = Arc::new(Rows::default());
    let both = event("sh", "both", now());
    rows.add(Table::Syscalls, &both);
    let mut run = Run::start(&lake, &rows, 3).await;
    assert_eq!(run.next().await.unwrap().exec_id.as_deref(), Some("both"));
    run.subscribed().await;
    run.live.send((4, both)).unwrap();
    run.live.send((5, event("sh", "next", now()))).unwrap();
    assert_eq!(run.next().await.unwrap().exec_id.as_deref(), Some("next"));
    assert!(run.end().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_over_a_window_is_alerted_once_per_tenant() {
    let lake = Lake::open("memory://", "c").await.unwrap();
    let rows = Arc::new(Rows::default());
    for (tenant, count) in [("team-a", 12), ("team-b", 3)] {
        for number in 0..count {
            rows.add(Table::ApiAccess, &denied(tenant, number, now() - 20_000_000));
        }
    }
    let mut run = Run::start(&lake, &rows, 1).await;
    let alert = run.next().await.unwrap();
    assert_eq!((alert.owner.as_str(), alert.source, alert.mode), ("team-a", "sql", "scheduled"));
    assert_eq!(
        alert.output,
        "12 API requests of mallory were denied within five minutes, 1 kinds of resources"
    );
    assert!(run.end().await.is_empty());
    let mut again = Run::start(&lake, &rows, 1).await;
    assert!(tokio::time::timeout(Duration::from_secs(1), again.alerts.recv()).await.is_err());
}

/// Goal: detections are written while detection runs. Method: a file that is
/// good, then damaged, then another; which of them alerts is asked each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn detections_that_changed_run_and_damaged_ones_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("detections.yaml");
    let detection = |name: &str| {
        format!(
            "- name: {name}\n  desc: d\n  priority: NOTICE\n  every_s: 1\n  window_s: 1\n  output: o\n  \
             sql: SELECT 'team-a' AS tenant, $from AS f, $to AS t\n"
        )
    };
    std::fs::write(&file, detection("First")).unwrap();
    let config = Config { detections_files: vec![file.clone()], reload_every_ms: 50, ..Config::default() };
    let lake = Lake::open("memory://", "c").await.unwrap();
    let mut run = Run::start_with(&lake, &Arc::new(Rows::default()), 1, config).await;
    assert_eq!(run.next().await.unwrap().rule, "First");
    std::fs::write(&file, detection("Second").replace("NOTICE", "URGENT")).unwrap();
    for _ in 0..3 {
        assert_eq!(run.next().await.unwrap().rule, "First");
    }
    std::fs::write(&file, detection("Third")).unwrap();
    loop {
        match run.next().await.unwrap().rule.as_str() {
            "Third" => break,
            rule => assert_eq!(rule, "First"),
        }
    }
    assert_eq!(run.next().await.unwrap().rule, "Third");
    let late = run.end().await;
    assert!(late.len() < 3, "{late:?}");
}

fn denied(tenant: &str, number: i32, time_us: i64) -> RecordBatch {
    let schema = Table::ApiAccess.public_schema();
    let id = number.to_string();
    let column = |field: &Arc<arrow::datatypes::Field>| -> ArrayRef {
        let text = match field.name().as_str() {
            "tenant" => tenant,
            "user" => "mallory",
            "resource" => "secrets",
            "stage" => "ResponseComplete",
            "audit_id" => &id,
            "code" => return Arc::new(arrow::array::Int64Array::from(vec![403])),
            _ => return time_or_null(field, time_us),
        };
        Arc::new(StringArray::from(vec![text]))
    };
    RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect()).unwrap()
}

#[test]
fn bad_configuration_says_what_to_do() {
    let of = |config: Config| rulebook::texts(&config).unwrap_err();
    let missing = of(Config { rules_files: vec!["/nowhere/rules.yaml".into()], ..Config::default() });
    assert!(missing.to_string().contains("/nowhere/rules.yaml"));
    assert_eq!(missing.action(), bailiwick_proto::Action::Fix);
}
