//! `bailiwick record`: what the collector captures, into a file that can be replayed.
//!
//! ```text
//!   collector ══ Ship ══▶ this endpoint ──▶ recording
//! ```
//!
//! The collector is the real one and does not know: it ships to an endpoint
//! that writes a file instead of a bucket.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, BooleanArray, RecordBatch, StringArray};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::DataType;
use bailiwick_collector::recording::Writer;
use bailiwick_proto::v1::ship_server::{Ship, ShipServer};
use bailiwick_proto::v1::{Ack, Batch, ShipReply, ShipRequest, Welcome, ship_reply, ship_request};
use bailiwick_proto::{Table, wire};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::cli;
use crate::config::Config;
use crate::failure::Failure;
use crate::node::{Node, source_lines};
use crate::say::say;
use crate::signals::stop_on_signal;
use crate::span;

/// Captures for a while and writes what fits the filter.
pub(crate) async fn run(mut config: Config, args: cli::Record) -> Result<(), Failure> {
    let length = span::parse(&args.r#for)?;
    let stop = stop_on_signal()?;
    let scratch =
        tempfile::tempdir().map_err(|error| Failure::failed(format!("temporary folder: {error}")))?;
    let recording = Recording::create(&args.out, args.cgroup)?;
    let listener =
        TcpListener::bind("127.0.0.1:0").await.map_err(|error| Failure::failed(error.to_string()))?;
    let addr = listener.local_addr().map_err(|error| Failure::failed(error.to_string()))?;
    let service = ShipServer::new(recording.clone()).max_decoding_message_size(wire::MAX_BATCH_BYTES + 4096);
    let server = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener));
    let server = tokio::spawn(server);

    config.collector.spool_dir = scratch.path().join("spool");
    config.collector.endpoint = format!("http://{addr}");
    let node = Node::start(&config, &mut Registry::default()).await?;
    for line in source_lines(&node.sources()) {
        say!("{line}");
    }
    say!("recording for {} into {}, Ctrl-C ends earlier", args.r#for, args.out.display());
    tokio::select! {
        () = tokio::time::sleep(length) => {}
        () = stop.cancelled() => {}
    }
    node.stop().await?;
    server.abort();
    let rows = recording.finish()?;
    say!("{rows} rows in {}", args.out.display());
    Ok(())
}

/// The file, shared by the streams of the one collector.
#[derive(Clone)]
struct Recording {
    shared: Arc<Mutex<Shared>>,
    cgroup: Option<String>,
}

struct Shared {
    writer: Option<Writer<BufWriter<File>>>,
    next_seq: u64,
    rows: usize,
}

// === impl Recording ===

impl Recording {
    fn create(path: &Path, cgroup: Option<String>) -> Result<Self, Failure> {
        let named = |error: &dyn std::fmt::Display| Failure::failed(format!("{}: {error}", path.display()));
        let file = File::create(path).map_err(|error| named(&error))?;
        let made_by = format!("bailiwick {} record", env!("CARGO_PKG_VERSION"));
        let writer = Writer::new(BufWriter::new(file), &made_by).map_err(|error| named(&error))?;
        let shared = Shared { writer: Some(writer), next_seq: 0, rows: 0 };
        Ok(Self { shared: Arc::new(Mutex::new(shared)), cgroup })
    }

    fn finish(&self) -> Result<usize, Failure> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = shared.writer.take() {
            writer.finish().map_err(|error| Failure::failed(error.to_string()))?;
        }
        Ok(shared.rows)
    }

    /// Writes one batch, unless it was written before.
    fn take(&self, batch: &Batch) -> Result<u64, Status> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if batch.seq < shared.next_seq {
            return Ok(batch.seq);
        }
        let refused = |error: &dyn std::fmt::Display| Status::failed_precondition(error.to_string());
        let table: Table = batch.table.parse().map_err(|error| refused(&error))?;
        let rows = wire::decode(&batch.arrow_ipc, batch.crc32c, &table.wire_schema());
        let rows = self.wanted(rows.map_err(|error| refused(&error))?).map_err(|error| refused(&error))?;
        if let (true, Some(writer)) = (rows.num_rows() > 0, shared.writer.as_mut()) {
            writer.write(table, &rows).map_err(|error| refused(&error))?;
        }
        shared.rows += rows.num_rows();
        shared.next_seq = batch.seq + 1;
        Ok(batch.seq)
    }

    /// The rows whose cgroup's path contains the text asked for; all without one.
    fn wanted(&self, rows: RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
        let Some(cgroup) = &self.cgroup else { return Ok(rows) };
        let Some(paths) = rows.column_by_name("cgroup_path") else { return Ok(rows.slice(0, 0)) };
        let paths = cast(paths, &DataType::Utf8)?;
        let Some(paths) = paths.as_any().downcast_ref::<StringArray>() else { return Ok(rows.slice(0, 0)) };
        let keep: BooleanArray =
            paths.iter().map(|path| path.map(|path| path.contains(cgroup.as_str()))).collect();
        filter_record_batch(&rows, &keep)
    }
}

#[tonic::async_trait]
impl Ship for Recording {
    type ShipStream = Pin<Box<dyn Stream<Item = Result<ShipReply, Status>> + Send>>;

    async fn ship(
        &self,
        requests: Request<Streaming<ShipRequest>>,
    ) -> Result<Response<Self::ShipStream>, Status> {
        let recording = self.clone();
        let replies = requests.into_inner().map(move |request| {
            let body = match request?.body {
                Some(ship_request::Body::Hello(_)) => {
                    let shared = recording.shared.lock().unwrap_or_else(PoisonError::into_inner);
                    ship_reply::Body::Welcome(Welcome { expected_seq: shared.next_seq })
                }
                Some(ship_request::Body::Batch(batch)) => {
                    let through_seq = recording.take(&batch)?;
                    ship_reply::Body::Ack(Ack { through_seq, quarantined: 0 })
                }
                None => return Err(Status::invalid_argument("a request without a body")),
            };
            Ok(ShipReply { body: Some(body) })
        });
        Ok(Response::new(Box::pin(replies)))
    }
}
