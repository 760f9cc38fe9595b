//! Everything that a spool holds, by a collector that only ships, counted by what
//! made it.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::{Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use bailiwick_collector::{Collector, Enabled};
use bailiwick_proto::v1::ship_server::{Ship, ShipServer};
use bailiwick_proto::v1::{Ack, ShipReply, ShipRequest, Welcome, ship_reply, ship_request};
use bailiwick_proto::{Table, wire};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::{Outcome, collector};

/// How long reading a spool back may take; what is missing then is an error.
const PATIENCE: Duration = Duration::from_secs(600);

/// What was found of some threads: their calls, and their children's starts and ends.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Rows by event type.
    pub rows: BTreeMap<String, u64>,
    /// Further identical events that rows stand for, by event type.
    pub repeats: BTreeMap<String, u64>,
    /// Losses of whatever process, by class.
    pub lost: BTreeMap<String, u64>,
    /// Events left out by sampling, of whatever process, by class.
    pub sampled: BTreeMap<String, u64>,
    /// Bytes of all batches.
    pub bytes: u64,
    /// Rows of all processes.
    pub all_rows: u64,
}

/// Counts what arrives.
#[derive(Clone)]
struct Receiver {
    pid: i64,
    threads: Arc<Vec<i64>>,
    found: Arc<Mutex<(u64, Found)>>,
}

/// Reads the spool of a collector that has ended, counting rows of these threads of
/// this process.
pub async fn read(spool: &Path, threads: Vec<i64>) -> Outcome<Found> {
    let receiver =
        Receiver { pid: std::process::id().into(), threads: Arc::new(threads), found: Arc::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut config = collector::config(spool, "{}")?;
    config.endpoint = format!("http://{}", listener.local_addr()?);
    config.syscalls.enabled = Enabled::Off;
    config.drain_timeout_ms = u64::try_from(PATIENCE.as_millis())?;
    let service = ShipServer::new(receiver.clone()).max_decoding_message_size(wire::MAX_BATCH_BYTES + 4096);
    let server = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener));
    let server = tokio::spawn(server);
    let stop = CancellationToken::new();
    let collector = Collector::start(config, &mut Registry::default(), stop.clone()).await?;
    stop.cancel();
    collector.join().await?;
    server.abort();
    let found = receiver.found.lock().unwrap_or_else(PoisonError::into_inner).1.clone();
    Ok(found)
}

// === impl Receiver ===

impl Receiver {
    fn take(&self, table: &str, bytes: &[u8], crc32c: u32) -> Outcome<()> {
        let table: Table = table.parse()?;
        let rows = wire::decode(bytes, crc32c, &table.wire_schema())?;
        let (taken, found) = &mut *self.found.lock().unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        found.bytes += bytes.len() as u64;
        match table {
            Table::Syscalls => found.events(&rows, self.pid, &self.threads),
            Table::Losses => found.losses(&rows),
            _ => Ok(()),
        }
    }

    fn taken(&self) -> u64 {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).0
    }
}

#[tonic::async_trait]
impl Ship for Receiver {
    type ShipStream = Pin<Box<dyn Stream<Item = Result<ShipReply, Status>> + Send>>;

    async fn ship(
        &self,
        requests: Request<Streaming<ShipRequest>>,
    ) -> Result<Response<Self::ShipStream>, Status> {
        let receiver = self.clone();
        let replies = requests.into_inner().map(move |request| {
            let body = match request?.body {
                Some(ship_request::Body::Hello(_)) => {
                    ship_reply::Body::Welcome(Welcome { expected_seq: receiver.taken() })
                }
                Some(ship_request::Body::Batch(batch)) => {
                    if batch.seq >= receiver.taken() {
                        let taken = receiver.take(&batch.table, &batch.arrow_ipc, batch.crc32c);
                        taken.map_err(|error| Status::failed_precondition(error.to_string()))?;
                    }
                    ship_reply::Body::Ack(Ack { through_seq: batch.seq, quarantined: 0 })
                }
                None => return Err(Status::invalid_argument("a request without a body")),
            };
            Ok(ShipReply { body: Some(body) })
        });
        Ok(Response::new(Box::pin(replies)))
    }
}

// === impl Found ===

impl Found {
    fn events(&mut self, rows: &RecordBatch, of: i64, threads: &[i64]) -> Outcome<()> {
        let (types, repeats) = (texts(rows, "evt_type")?, integers(rows, "repeats")?);
        let (callers, parents) = (integers(rows, "thread_tid")?, integers(rows, "proc_ppid")?);
        self.all_rows += rows.num_rows() as u64;
        for row in 0..rows.num_rows() {
            let evt_type = if types.is_null(row) { "" } else { types.value(row) };
            let is_childs = matches!(evt_type, "execve" | "procexit") && parents.value(row) == of;
            if !threads.contains(&callers.value(row)) && !is_childs {
                continue;
            }
            *self.rows.entry(evt_type.to_owned()).or_default() += 1;
            let further = u64::try_from(repeats.value(row)).unwrap_or(0);
            *self.repeats.entry(evt_type.to_owned()).or_default() += further;
        }
        Ok(())
    }

    fn losses(&mut self, rows: &RecordBatch) -> Outcome<()> {
        let (classes, reasons) = (texts(rows, "class")?, texts(rows, "reason")?);
        let counts = integers(rows, "count")?;
        for ((class, reason), count) in classes.iter().zip(reasons.iter()).zip(counts.iter()) {
            let count = u64::try_from(count.unwrap_or(0)).unwrap_or(0);
            let counts = if reason == Some("sampled") { &mut self.sampled } else { &mut self.lost };
            *counts.entry(class.unwrap_or_default().to_owned()).or_default() += count;
        }
        Ok(())
    }
}

fn texts(rows: &RecordBatch, name: &str) -> Outcome<StringArray> {
    let column = rows.column_by_name(name).ok_or_else(|| format!("no column {name}"))?;
    let column = cast(column, &DataType::Utf8)?;
    Ok(column.as_any().downcast_ref::<StringArray>().ok_or("no text")?.clone())
}

fn integers(rows: &RecordBatch, name: &str) -> Outcome<Int64Array> {
    let column = rows.column_by_name(name).ok_or_else(|| format!("no column {name}"))?;
    let column = cast(column, &DataType::Int64)?;
    Ok(column.as_any().downcast_ref::<Int64Array>().ok_or("no integers")?.clone())
}
