//! Ship: one stream a sender, batches in, acks out, both in order.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use bailiwick_lake::Lake;
use bailiwick_lake::keys::QuarantineKey;
use bailiwick_proto::v1::{
    Ack, Batch, Hello, ShipReply, ShipRequest, Welcome, ship_reply, ship_request, ship_server,
};
use bailiwick_proto::{CollectorId, Table, wire};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::Guard;
use crate::config::Config;
use crate::dedupe::Verdict;
use crate::loss::Loss;
use crate::metrics::{Metrics, NodeLabel};
use crate::now_us;
use crate::stamp::{Stamped, stamp};
use crate::tasks;
use crate::tenants::SharedMapping;
use crate::wal::Ready;
use crate::window::batch_bytes;

/// Batches of one stream on their way into the WAL.
const AHEAD: usize = 64;
/// No node's or cluster's name is longer; what is longer is cut.
const NAME_CHARS: usize = 253;
/// Memory is accounted in pieces of this size.
const PIECE_BYTES: usize = 1024;

static NEXT_STREAM: AtomicU64 = AtomicU64::new(0);

/// What all streams share.
pub(crate) struct Shared {
    pub(crate) lake: Arc<Lake>,
    pub(crate) requests: mpsc::Sender<tasks::Request>,
    pub(crate) mapping: SharedMapping,
    pub(crate) metrics: Metrics,
    pub(crate) memory: Arc<Semaphore>,
    pub(crate) memory_pieces: usize,
    /// The one stream of each sender, by a number of its own.
    pub(crate) streams: Mutex<HashMap<CollectorId, (u64, CancellationToken)>>,
    pub(crate) stop: CancellationToken,
}

pub(crate) struct ShipService {
    pub(crate) shared: Arc<Shared>,
    pub(crate) guard: Guard,
}

/// One sender's stream.
struct Sender {
    shared: Arc<Shared>,
    collector: CollectorId,
    incarnation: u64,
    node: String,
    cluster: String,
    stream: u64,
    ended: CancellationToken,
}

/// A batch that cannot become rows of its table.
struct Unusable {
    /// The table that it named, if there is such a one.
    table: Option<Table>,
    /// Why, one word.
    reason: &'static str,
    /// Why, in the words of who found out.
    detail: String,
}

/// A batch whose verdict is awaited.
struct Waiting {
    seq: u64,
    quarantined: bool,
    verdict: oneshot::Receiver<Verdict>,
}

type Replies = mpsc::Sender<Result<ShipReply, Status>>;

// === impl Shared ===

impl Shared {
    pub(crate) fn new(
        lake: Arc<Lake>,
        requests: mpsc::Sender<tasks::Request>,
        mapping: SharedMapping,
        metrics: Metrics,
        config: &Config,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let memory_pieces = (config.inflight_bytes() / PIECE_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        let memory = Arc::new(Semaphore::new(memory_pieces));
        Arc::new(Self {
            lake,
            requests,
            mapping,
            metrics,
            memory,
            memory_pieces,
            streams: Mutex::default(),
            stop,
        })
    }
}

// === impl ShipService ===

#[tonic::async_trait]
impl ship_server::Ship for ShipService {
    type ShipStream = ReceiverStream<Result<ShipReply, Status>>;

    async fn ship(
        &self,
        request: Request<Streaming<ShipRequest>>,
    ) -> Result<Response<Self::ShipStream>, Status> {
        self.guard.check(&request).inspect_err(|_| self.shared.metrics.reject("unauthenticated"))?;
        let certificates = request.peer_certs();
        let mut batches = request.into_inner();
        let Some(ShipRequest { body: Some(ship_request::Body::Hello(hello)) }) = batches.message().await?
        else {
            self.shared.metrics.reject("no_hello");
            return Err(Status::invalid_argument("the first message of a stream must be a hello"));
        };
        self.guard
            .check_name(certificates.as_deref(), &hello.collector_id)
            .inspect_err(|_| self.shared.metrics.reject("certificate"))?;
        let sender = Sender::new(Arc::clone(&self.shared), hello)?;
        let expected_seq = sender.expected_seq().await?;
        let (replies, stream) = mpsc::channel(AHEAD);
        let welcome = ship_reply::Body::Welcome(Welcome { expected_seq });
        let _ = replies.send(Ok(ShipReply { body: Some(welcome) })).await;
        tokio::spawn(sender.run(batches, replies));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

// === impl Sender ===

impl Sender {
    fn new(shared: Arc<Shared>, hello: Hello) -> Result<Self, Status> {
        let refused = |error: bailiwick_proto::InvalidId| {
            shared.metrics.reject("collector_id");
            Status::invalid_argument(error.to_string())
        };
        let collector: CollectorId = hello.collector_id.parse().map_err(refused)?;
        let ended = shared.stop.child_token();
        let stream = NEXT_STREAM.fetch_add(1, Ordering::Relaxed);
        let mut streams = shared.streams.lock().unwrap_or_else(PoisonError::into_inner);
        // Of two streams of one sender the older one is a leftover of a broken
        // connection.
        if let Some((_, older)) = streams.insert(collector.clone(), (stream, ended.clone())) {
            older.cancel();
        }
        drop(streams);
        shared.metrics.streams.inc();
        let cut = |name: String| name.chars().take(NAME_CHARS).collect();
        let (node, cluster, incarnation) = (cut(hello.node), cut(hello.cluster), hello.incarnation);
        Ok(Self { shared, collector, incarnation, node, cluster, stream, ended })
    }

    async fn expected_seq(&self) -> Result<u64, Status> {
        let (reply, answer) = oneshot::channel();
        let collector = self.collector.clone();
        let request = tasks::Request::Expected { collector, incarnation: self.incarnation, reply };
        self.shared.requests.send(request).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?.ok_or_else(moved)
    }

    async fn run(self, batches: Streaming<ShipRequest>, replies: Replies) {
        let (waiting, verdicts) = mpsc::channel(AHEAD);
        let acks = tokio::spawn(acknowledge(verdicts, replies.clone()));
        let received = tokio::select! {
            received = self.receive(batches, waiting) => received,
            () = self.ended.cancelled() => Err(stopping()),
            () = replies.closed() => Ok(()),
        };
        // What was taken is still acknowledged before the stream ends.
        let _ = acks.await;
        if let Err(status) = received {
            let _ = replies.try_send(Err(status));
        }
    }

    async fn receive(
        &self,
        mut batches: Streaming<ShipRequest>,
        waiting: mpsc::Sender<Waiting>,
    ) -> Result<(), Status> {
        loop {
            let message = batches.message().await.inspect_err(|_| self.shared.metrics.reject("stream"))?;
            let Some(message) = message else { return Ok(()) };
            let Some(ship_request::Body::Batch(batch)) = message.body else {
                self.shared.metrics.reject("no_batch");
                return Err(Status::invalid_argument("after the hello only batches may follow"));
            };
            // Waiting for memory here is what slows a sender down.
            let read = self.room_for(batch.arrow_ipc.len()).await?;
            let seq = batch.seq;
            let (ready, quarantined) = self.prepare(batch).await?;
            // Decoded it may be larger. Who waits for more holds nothing, or all
            // might wait for one another.
            drop(read);
            let permit = self.room_for(ready.bytes).await?;
            let (reply, verdict) = oneshot::channel();
            let request = tasks::Request::Batch { ready, reply, permit };
            self.shared.requests.send(request).await.map_err(|_| stopping())?;
            waiting.send(Waiting { seq, quarantined, verdict }).await.map_err(|_| stopping())?;
        }
    }

    async fn room_for(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Status> {
        let pieces = bytes.div_ceil(PIECE_BYTES).clamp(1, self.shared.memory_pieces);
        let memory = Arc::clone(&self.shared.memory);
        memory.acquire_many_owned(pieces as u32).await.map_err(|_| stopping())
    }

    /// Stamps a batch, or sets it aside and puts a row about that in its place.
    async fn prepare(&self, batch: Batch) -> Result<(Ready, bool), Status> {
        let seq = batch.seq;
        let table = batch.table.parse::<Table>();
        let (mapping, ipc, now) = (self.shared.mapping.current(), batch.arrow_ipc.clone(), now_us());
        let collector = self.collector.clone();
        let work = move || -> Result<_, Unusable> {
            let unusable = |table, reason, detail| Unusable { table, reason, detail };
            let table = table.map_err(|error| unusable(None, "quarantined", error.to_string()))?;
            let failed = |error: &dyn std::error::Error| unusable(Some(table), "quarantined", chain(error));
            let rows =
                wire::decode(&ipc, batch.crc32c, &table.wire_schema()).map_err(|error| failed(&error))?;
            let stamped = stamp(table, &rows, &mapping, now).map_err(|error| failed(&error))?;
            match mapping.stranger(&collector, stamped.tenants()) {
                Some(tenant) => {
                    let detail = format!("{collector} may not send rows of tenant {tenant}");
                    Err(unusable(Some(table), "foreign_tenant", detail))
                }
                None => Ok((table, stamped)),
            }
        };
        let done = tokio::task::spawn_blocking(work).await.map_err(|_| stopping())?;
        let (table, rows, quarantined) = match done {
            Ok((table, stamped)) => {
                self.notice(&stamped);
                (table, stamped.batch, false)
            }
            Err(unusable) => (Table::Losses, self.quarantine(seq, &unusable, batch.arrow_ipc).await?, true),
        };
        let (collector, incarnation, bytes) = (self.collector.clone(), self.incarnation, batch_bytes(&rows));
        Ok((Ready { collector, incarnation, seq, table, rows, bytes }, quarantined))
    }

    /// Makes late events and clocks that run wrong visible.
    fn notice(&self, stamped: &Stamped) {
        let metrics = &self.shared.metrics;
        metrics.undated_rows.inc_by(stamped.undated);
        metrics.late_rows.inc_by(stamped.late);
        if let Some(ahead_us) = stamped.ahead_us {
            metrics.clock_ahead.get_or_create(&self.label()).set(ahead_us as f64 / 1e6);
        }
    }

    fn label(&self) -> NodeLabel {
        NodeLabel { node: self.node.clone() }
    }

    /// Keeps a batch that cannot be taken; returns the row of `losses` that says so.
    async fn quarantine(
        &self,
        seq: u64,
        unusable: &Unusable,
        bytes: bytes::Bytes,
    ) -> Result<RecordBatch, Status> {
        let Unusable { table, reason, detail } = unusable;
        let table = *table;
        let (collector, incarnation) = (self.collector.clone(), self.incarnation);
        let key = QuarantineKey { collector, incarnation, seq, table };
        let mut pause = Duration::from_millis(20);
        while let Err(error) = self.shared.lake.quarantine(&key, bytes.clone()).await {
            tracing::warn!(%error, "batch not set aside yet");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
        self.shared.metrics.reject(reason);
        let key = key.path();
        tracing::error!(%key, reason, detail, "batch set aside");
        let (node, cluster, detail) = (&self.node, &self.cluster, &format!("{key}: {detail}"));
        let (lane, class) = ("ship", "batch");
        let loss = Loss { node, cluster, lane, class, reason, count: 1, detail };
        loss.row(now_us()).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.metrics.streams.dec();
        self.shared.metrics.clock_ahead.remove(&self.label());
        let mut streams = self.shared.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if streams.get(&self.collector).is_some_and(|(stream, _)| *stream == self.stream) {
            streams.remove(&self.collector);
        }
    }
}

/// Acks in the order of batches; ends the stream at the first one not taken.
async fn acknowledge(mut verdicts: mpsc::Receiver<Waiting>, replies: Replies) {
    while let Some(Waiting { seq, quarantined, verdict }) = verdicts.recv().await {
        let reply = match verdict.await {
            Ok(Verdict::Next | Verdict::Duplicate) => {
                let ack = Ack { through_seq: seq, quarantined: quarantined.into() };
                Ok(ShipReply { body: Some(ship_reply::Body::Ack(ack)) })
            }
            Ok(Verdict::Left) => Err(moved()),
            Ok(Verdict::Gap { expected_seq }) => Err(Status::aborted(format!(
                "batch {seq} came where {expected_seq} was expected: connect again"
            ))),
            Err(_) => Err(stopping()),
        };
        let ends = reply.is_err();
        if replies.send(reply).await.is_err() || ends {
            return;
        }
    }
}

fn moved() -> Status {
    Status::unavailable("another ingester receives from this collector now: connect again")
}

fn stopping() -> Status {
    Status::unavailable("ingest stops, or a newer stream took over: connect again")
}

fn chain(error: &dyn std::error::Error) -> String {
    let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{source}")
}
