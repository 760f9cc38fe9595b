//! An ingester with everything around it, and a sender that does exactly what a test says.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bailiwick_lake::Lake;
use bailiwick_proto::v1::ship_client::ShipClient;
use bailiwick_proto::v1::{Ack, Batch, Hello, ShipReply, ShipRequest, ship_reply, ship_request};
use bailiwick_proto::{Table, wire};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use super::rows::batch;
use super::store::Faulty;
use crate::{Config, Ingest, IngestError};

/// One run of an ingester.
pub(crate) struct Run {
    pub(crate) ingest: Ingest,
    pub(crate) lake: Arc<Lake>,
    registry: Registry,
    stop: CancellationToken,
}

/// One Ship stream.
pub(crate) struct Stream {
    pub(crate) expected_seq: u64,
    up: mpsc::Sender<ShipRequest>,
    pub(crate) replies: Streaming<ShipReply>,
}

/// Flushes only when it is told to end.
pub(crate) fn config() -> Config {
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        group_wait_ms: 1,
        flush_after_ms: 3_600_000,
        carry_at_most_ms: 0,
        adopt_after_ms: 0,
        retry_at_most_ms: 5,
        ..Config::default()
    }
}

/// The same, but flushes all the time.
pub(crate) fn flushing() -> Config {
    Config { flush_after_ms: 10, ..config() }
}

pub(crate) fn memory() -> Arc<Faulty> {
    Faulty::over(Arc::new(InMemory::new()))
}

// === impl Run ===

impl Run {
    pub(crate) async fn start(store: Arc<dyn ObjectStore>, config: Config) -> Self {
        Self::try_start(store, config).await.unwrap()
    }

    pub(crate) async fn try_start(store: Arc<dyn ObjectStore>, config: Config) -> Result<Self, IngestError> {
        // Opened anew, so that nothing is known but what is in the bucket.
        let lake = Lake::over(store, "c").await?;
        let (stop, mut registry) = (CancellationToken::new(), Registry::default());
        let ingest = Ingest::start(config, Arc::clone(&lake), &mut registry, stop.clone()).await?;
        Ok(Self { ingest, lake, registry, stop })
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(format!("http://{}", self.ingest.listen_addr())).unwrap()
    }

    /// Ends it as a signal does.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.ingest.join().await.unwrap();
    }

    /// Ends it as SIGKILL does: nothing is finished.
    pub(crate) fn kill(self) {
        for task in [
            self.ingest.server.abort_handle(),
            self.ingest.writer.abort_handle(),
            self.ingest.flusher.abort_handle(),
            self.ingest.adopter.abort_handle(),
            self.ingest.upkeep.abort_handle(),
        ] {
            task.abort();
        }
    }

    pub(crate) async fn ship(&self, collector: &str, incarnation: u64) -> Stream {
        Stream::open(self.endpoint(), collector, incarnation).await.unwrap()
    }

    /// The value of a metric's line that begins so.
    pub(crate) fn metric(&self, line: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let found = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("no metric {line} in\n{text}"))
    }
}

// === impl Stream ===

impl Stream {
    pub(crate) async fn open(endpoint: Endpoint, collector: &str, incarnation: u64) -> Result<Self, Status> {
        let channel = endpoint.connect().await.map_err(|error| Status::unavailable(format!("{error:?}")))?;
        Self::over(ShipClient::new(channel), collector, incarnation).await
    }

    pub(crate) async fn over(
        client: ShipClient<Channel>,
        collector: &str,
        incarnation: u64,
    ) -> Result<Self, Status> {
        let (up, requests) = mpsc::channel(64);
        let collector_id = collector.to_owned();
        let (node, cluster) = ("node-7".to_owned(), "c".to_owned());
        let hello = Hello { collector_id, incarnation, node, cluster, ..Hello::default() };
        up.send(ShipRequest { body: Some(ship_request::Body::Hello(hello)) }).await.unwrap();
        let mut client = client.max_encoding_message_size(usize::MAX);
        let mut replies = client.ship(ReceiverStream::new(requests)).await?.into_inner();
        match replies.message().await? {
            Some(ShipReply { body: Some(ship_reply::Body::Welcome(welcome)) }) => {
                Ok(Self { expected_seq: welcome.expected_seq, up, replies })
            }
            other => panic!("no welcome but {other:?}"),
        }
    }

    /// Sends numbers as the rows of a good batch.
    pub(crate) async fn send(&self, seq: u64, table: Table, numbers: &[i64]) {
        let arrow_ipc = wire::encode(&batch(table, numbers)).unwrap();
        self.send_bytes(seq, table.name(), arrow_ipc).await;
    }

    pub(crate) async fn send_bytes(&self, seq: u64, table: &str, arrow_ipc: Vec<u8>) {
        let crc32c = crc32c::crc32c(&arrow_ipc);
        self.send_batch(Batch { seq, table: table.to_owned(), arrow_ipc: arrow_ipc.into(), crc32c }).await;
    }

    pub(crate) async fn send_batch(&self, batch: Batch) {
        let _ = self.up.send(ShipRequest { body: Some(ship_request::Body::Batch(batch)) }).await;
    }

    pub(crate) async fn ack(&mut self) -> Result<Ack, Status> {
        match self.replies.message().await? {
            Some(ShipReply { body: Some(ship_reply::Body::Ack(ack)) }) => Ok(ack),
            other => panic!("no ack but {other:?}"),
        }
    }

    /// Sends and waits for the ack.
    pub(crate) async fn deliver(&mut self, seq: u64, table: Table, numbers: &[i64]) {
        self.send(seq, table, numbers).await;
        assert_eq!(self.ack().await.unwrap(), Ack { through_seq: seq, quarantined: 0 });
    }
}

/// Tries again until it holds: only a hang is a failure, never slowness.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..6_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

/// The names of the objects below a folder of a directory bucket.
pub(crate) fn files(bucket: &Path, folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(bucket.join(folder)).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
