//! The collector as a whole, against a Ship endpoint in this process.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, Int64Array, RecordBatch};
use bailiwick_proto::v1::ship_server::{Ship, ShipServer};
use bailiwick_proto::v1::{Ack, ShipReply, ShipRequest, Welcome, ship_reply, ship_request};
use bailiwick_proto::{Action, Table, wire};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::*;

/// Takes batches in order, as ingest would, and wants this token.
#[derive(Clone, Default)]
struct Receiver {
    token: Option<&'static str>,
    taken: Arc<Mutex<Vec<(Table, RecordBatch)>>>,
}

#[tonic::async_trait]
impl Ship for Receiver {
    type ShipStream = Pin<Box<dyn Stream<Item = Result<ShipReply, Status>> + Send>>;

    async fn ship(
        &self,
        requests: Request<Streaming<ShipRequest>>,
    ) -> Result<Response<Self::ShipStream>, Status> {
        let given = requests.metadata().get("authorization").and_then(|value| value.to_str().ok());
        if given != self.token {
            return Err(Status::unauthenticated("another token, please"));
        }
        let taken = Arc::clone(&self.taken);
        let replies = requests.into_inner().map(move |request| {
            let mut taken = taken.lock().unwrap();
            let body = match request?.body.unwrap() {
                ship_request::Body::Hello(_) => {
                    ship_reply::Body::Welcome(Welcome { expected_seq: taken.len() as u64 })
                }
                ship_request::Body::Batch(batch) => {
                    assert_eq!(batch.seq, taken.len() as u64, "in order and once");
                    let table: Table = batch.table.parse().unwrap();
                    let rows = wire::decode(&batch.arrow_ipc, batch.crc32c, &table.wire_schema()).unwrap();
                    taken.push((table, rows));
                    ship_reply::Body::Ack(Ack { through_seq: batch.seq, quarantined: 0 })
                }
            };
            Ok(ShipReply { body: Some(body) })
        });
        Ok(Response::new(Box::pin(replies)))
    }
}

// === impl Receiver ===

impl Receiver {
    /// Begins to listen; answers where.
    async fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let service = ShipServer::new(self.clone()).max_decoding_message_size(wire::MAX_BATCH_BYTES + 4096);
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        endpoint
    }

    fn lost(&self) -> i64 {
        let taken = self.taken.lock().unwrap();
        let batches = taken.iter().filter(|(table, _)| *table == Table::Losses);
        let sum = |rows: &RecordBatch| {
            let counts = rows.column_by_name("count").unwrap().clone();
            counts.as_any().downcast_ref::<Int64Array>().unwrap().iter().flatten().sum::<i64>()
        };
        batches.map(|(_, rows)| sum(rows)).sum()
    }
}

/// Nothing of the machine is captured.
fn nothing(dir: &Path) -> Config {
    let mut config =
        Config { node: "n1".into(), cluster: "c1".into(), spool_dir: dir.join("spool"), ..Config::default() };
    config.syscalls.enabled = Enabled::Off;
    config.usage.enabled = Enabled::Off;
    config.webhook.enabled = Enabled::Off;
    config.kube.enabled = Enabled::Off;
    config
}

async fn started(config: Config) -> Result<(Collector, CancellationToken), CollectorError> {
    let stop = CancellationToken::new();
    let collector = Collector::start(config, &mut Registry::default(), stop.clone()).await?;
    Ok((collector, stop))
}

#[tokio::test]
async fn every_source_says_what_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = nothing(dir.path());
    config.endpoint = String::new();
    let (collector, stop) = started(config).await.unwrap();
    let sources = collector.sources();
    let names: Vec<_> = sources.iter().map(|source| source.name).collect();
    assert_eq!(names, ["system calls", "audit log", "audit webhook", "usage", "kubernetes", "replay"]);
    for source in sources {
        assert!(matches!(&source.state, SourceState::Off { detail } if !detail.is_empty()), "{source:?}");
    }
    stop.cancel();
    collector.join().await.unwrap();
}

/// Goal: what was lost while ingest was away is told when it is back, exactly
/// once, across a restart of the collector. Method: count, stop, start again
/// with an endpoint that wants a token.
#[tokio::test]
async fn losses_are_delivered_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = nothing(dir.path());
    config.endpoint = "http://127.0.0.1:9".into();
    config.drain_timeout_ms = 0;
    let (collector, stop) = started(config.clone()).await.unwrap();
    collector.outlet.lost("file", "open", "ring_full", 40, "");
    collector.outlet.lost("file", "open", "ring_full", 2, "");
    stop.cancel();
    collector.join().await.unwrap();

    let receiver = Receiver { token: Some("Bearer secret"), ..Receiver::default() };
    std::fs::write(dir.path().join("token"), "secret\n").unwrap();
    config.endpoint = receiver.listen().await;
    config.token_file = Some(dir.path().join("token"));
    config.drain_timeout_ms = 60_000;
    let (collector, stop) = started(config).await.unwrap();
    collector.outlet.lost("audit", "request", "malformed", 5, "audit.log:3");
    stop.cancel();
    collector.join().await.unwrap();
    assert_eq!(receiver.lost(), 47);
}

/// Goal: what a full spool does not take is counted, row by row and by class.
/// Method: more than fits while ingest is away, then ingest comes back.
#[tokio::test]
async fn rows_and_losses_of_a_full_spool_are_all_there_were() {
    const BATCHES: i64 = 300;
    const ROWS: i64 = 300;
    let dir = tempfile::tempdir().unwrap();
    let mut config = nothing(dir.path());
    config.endpoint = "http://127.0.0.1:9".into();
    config.drain_timeout_ms = 0;
    config.spool_bytes = 1 << 20;
    let (collector, stop) = started(config.clone()).await.unwrap();
    let mut columns = columns::Columns::new(Table::Syscalls);
    for batch in 0..BATCHES {
        for row in 0..ROWS {
            columns.text("evt_type", Some(if row % 3 == 0 { "creat" } else { "openat" }));
            columns.text("fd_name", Some(format!("/some/where/{batch}/{row}")));
            columns.end_row();
        }
        collector.outlet.send(Table::Syscalls, outlet::Lane::File, columns.finish().unwrap()).await;
    }
    stop.cancel();
    collector.join().await.unwrap();

    let receiver = Receiver::default();
    config.endpoint = receiver.listen().await;
    config.drain_timeout_ms = 60_000;
    let (collector, stop) = started(config).await.unwrap();
    stop.cancel();
    collector.join().await.unwrap();
    let taken: usize = {
        let taken = receiver.taken.lock().unwrap();
        taken.iter().filter(|(table, _)| *table == Table::Syscalls).map(|(_, rows)| rows.num_rows()).sum()
    };
    let (taken, lost) = (i64::try_from(taken).unwrap(), receiver.lost());
    assert!(taken > 0 && lost > 0, "{taken} rows and {lost} lost");
    assert_eq!(taken + lost, BATCHES * ROWS);
}

/// Goal: where memory is short, file events give way, counted, and nothing else
/// does. Method: a limit that is always passed.
#[tokio::test]
async fn file_events_give_way_to_memory() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::default();
    let mut config = nothing(dir.path());
    config.endpoint = receiver.listen().await;
    config.drain_timeout_ms = 60_000;
    config.memory_bytes = 1;
    let (collector, stop) = started(config).await.unwrap();
    while collector.outlet.has_room() {
        tokio::task::yield_now().await;
    }
    let mut columns = columns::Columns::new(Table::Syscalls);
    for (lane, evt_type, rows) in [(outlet::Lane::File, "openat", 7), (outlet::Lane::Process, "execve", 5)] {
        for _ in 0..rows {
            columns.text("evt_type", Some(evt_type));
            columns.end_row();
        }
        collector.outlet.send(Table::Syscalls, lane, columns.finish().unwrap()).await;
    }
    stop.cancel();
    collector.join().await.unwrap();
    assert_eq!(receiver.lost(), 7);
    let taken = receiver.taken.lock().unwrap();
    let rows = taken.iter().filter(|(table, _)| *table == Table::Syscalls).map(|(_, rows)| rows.num_rows());
    assert_eq!(rows.sum::<usize>(), 5);
}

/// Goal: a batch larger than a receiver takes arrives in parts, every row once.
#[tokio::test]
async fn a_batch_that_is_too_large_is_halved() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::default();
    let mut config = nothing(dir.path());
    config.endpoint = receiver.listen().await;
    config.drain_timeout_ms = 60_000;
    let (collector, stop) = started(config).await.unwrap();
    let mut columns = columns::Columns::new(Table::Syscalls);
    let seq = columns.place("seq");
    for row in 0..40 {
        columns.int(seq, Some(row));
        columns.text("proc_args", Some(format!("{row}{}", "x".repeat(1 << 20))));
        columns.end_row();
    }
    collector.outlet.send(Table::Syscalls, outlet::Lane::Process, columns.finish().unwrap()).await;
    stop.cancel();
    collector.join().await.unwrap();
    let taken = receiver.taken.lock().unwrap();
    assert!(taken.len() > 2, "{} parts", taken.len());
    let seqs: Vec<_> = taken
        .iter()
        .flat_map(|(_, rows)| {
            let seqs = rows.column_by_name("seq").unwrap().clone();
            seqs.as_any().downcast_ref::<Int64Array>().unwrap().iter().flatten().collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(seqs, (0..40).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_configuration_that_cannot_be_meant_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    type Change = fn(&mut Config);
    let wrong: [(&str, Change); 3] = [
        ("endpoint", |config| config.endpoint = "http://ingest.example:4150".into()),
        ("spool_bytes", |config| config.spool_bytes = 10),
        ("token_file", |config| config.token_file = Some("/nonexistent/token".into())),
    ];
    for (field, change) in wrong {
        let mut config = nothing(&dir.path().join(field));
        change(&mut config);
        let error = started(config).await.err().unwrap();
        assert!(error.to_string().contains(&format!("collector.{field}")), "{error}");
        assert_eq!(error.action(), Action::Fix);
    }
}
