//! One task that keeps an outbox and a Ship stream in step.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use super::{Numbered, Outbox, OutboxError};
use crate::v1::ship_client::ShipClient;
use crate::v1::{Batch, Hello, ShipReply, ShipRequest, ship_reply, ship_request};
use crate::wire::MAX_BATCH_BYTES;
use crate::{Action, CollectorId};

/// Batches sent ahead of their acks on one stream.
const WINDOW: usize = 64;
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// Who delivers, and what others can see of it while it runs.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Under which name batches are numbered.
    pub collector_id: CollectorId,
    /// The node's name, for the receiver's log.
    pub node: String,
    /// The cluster's name, for the receiver's log.
    pub cluster: String,
    bearer: Option<Bearer>,
    progress: Arc<Progress>,
}

/// Asked for the token at every connection, so that it may be rotated.
#[derive(Clone)]
struct Bearer(Arc<dyn Fn() -> std::io::Result<String> + Send + Sync>);

#[derive(Debug, Default)]
struct Progress {
    connected: AtomicBool,
    acked: AtomicU64,
    quarantined: AtomicU64,
    reconnects: AtomicU64,
}

/// Delivery cannot go on; what is in the outbox stays there.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The outbox could not be read or shortened.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The receiver refuses this sender for good.
    #[error("ingest refused the collector {collector_id}: {message}")]
    Refused {
        /// Who was refused.
        collector_id: CollectorId,
        /// The receiver's reason and what to do about it.
        message: String,
    },
}

/// Why one stream ended.
enum End {
    /// The outbox is closed and everything in it was acknowledged.
    Drained,
    /// Worth another connection.
    Lost(Status),
}

// === impl Delivery ===

impl Delivery {
    /// A delivery that has not begun.
    pub fn new(collector_id: CollectorId, node: impl Into<String>, cluster: impl Into<String>) -> Self {
        let progress = Arc::default();
        Self { collector_id, node: node.into(), cluster: cluster.into(), bearer: None, progress }
    }

    /// Presents what `token` answers as `authorization: Bearer`. It is asked
    /// anew for every connection, and must answer without waiting.
    pub fn with_bearer(self, token: impl Fn() -> std::io::Result<String> + Send + Sync + 'static) -> Self {
        Self { bearer: Some(Bearer(Arc::new(token))), ..self }
    }

    /// Whether a stream is established now.
    pub fn is_connected(&self) -> bool {
        self.progress.connected.load(Ordering::Relaxed)
    }

    /// Batches acknowledged since the start.
    pub fn acked_total(&self) -> u64 {
        self.progress.acked.load(Ordering::Relaxed)
    }

    /// Of them, batches that ingest could not read and set aside.
    pub fn quarantined_total(&self) -> u64 {
        self.progress.quarantined.load(Ordering::Relaxed)
    }

    /// Streams that were lost since the start.
    pub fn reconnects_total(&self) -> u64 {
        self.progress.reconnects.load(Ordering::Relaxed)
    }
}

// === impl Bearer ===

impl Bearer {
    fn header(&self) -> Result<MetadataValue<Ascii>, Status> {
        let token = (self.0)().map_err(|error| Status::unauthenticated(format!("ship token: {error}")))?;
        let header = format!("Bearer {}", token.trim()).parse::<MetadataValue<Ascii>>();
        // The error would show the token.
        let mut header = header.map_err(|_| Status::unauthenticated("ship token is not ASCII text"))?;
        header.set_sensitive(true);
        Ok(header)
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(..)")
    }
}

/// Delivers until the outbox is closed and everything in it was acknowledged.
///
/// Connections that break are made again for ever, with back-off. Dropping the
/// future stops delivery at once; nothing is lost by it, for what was not
/// acknowledged is still in the outbox.
pub async fn deliver(
    mut outbox: impl Outbox,
    endpoint: Endpoint,
    delivery: Delivery,
) -> Result<(), DeliverError> {
    let mut backoff = FIRST_BACKOFF;
    loop {
        let acked_before = delivery.acked_total();
        let end = match endpoint.connect().await {
            Ok(channel) => one_stream(&mut outbox, channel, &delivery).await?,
            Err(error) => End::Lost(Status::unavailable(chain(&error))),
        };
        delivery.progress.connected.store(false, Ordering::Relaxed);
        let End::Lost(status) = end else { return Ok(()) };
        // FailedPrecondition is how ingest says stop: fenced, or not ours.
        if Action::from_grpc(status.code()) == Action::Stop {
            let collector_id = delivery.collector_id.clone();
            return Err(DeliverError::Refused { collector_id, message: status.message().to_owned() });
        }
        delivery.progress.reconnects.fetch_add(1, Ordering::Relaxed);
        let progressed = delivery.acked_total() > acked_before;
        backoff = if progressed { FIRST_BACKOFF } else { (backoff * 2).min(LONGEST_BACKOFF) };
        let (reason, wait_ms) = (status.message(), backoff.as_millis());
        tracing::warn!(collector_id = %delivery.collector_id, reason, wait_ms, "ship stream lost, will reconnect");
        tokio::time::sleep(backoff).await;
    }
}

async fn one_stream(
    outbox: &mut impl Outbox,
    channel: Channel,
    delivery: &Delivery,
) -> Result<End, OutboxError> {
    let (up, requests) = mpsc::channel(WINDOW);
    if up.send(hello(outbox, delivery)).await.is_err() {
        return Ok(End::Lost(Status::unavailable("stream closed before hello")));
    }
    let mut client = ShipClient::new(channel).max_encoding_message_size(MAX_BATCH_BYTES + 4096);
    let mut request = Request::new(ReceiverStream::new(requests));
    match delivery.bearer.as_ref().map(Bearer::header) {
        Some(Ok(header)) => drop(request.metadata_mut().insert("authorization", header)),
        Some(Err(status)) => return Ok(End::Lost(status)),
        None => {}
    }
    let mut replies = match client.ship(request).await {
        Ok(replies) => replies.into_inner(),
        Err(status) => return Ok(End::Lost(status)),
    };
    let span = outbox.span();
    let expected_seq = match welcome(&mut replies).await {
        Ok(expected_seq) => expected_seq,
        Err(status) => return Ok(End::Lost(status)),
    };
    if expected_seq > span.next_seq {
        // The receiver holds numbers that this outbox has not given out yet:
        // its tail was lost with the machine. Giving them out again would make
        // new rows look like duplicates.
        outbox.renumber().await?;
        return Ok(End::Lost(Status::aborted("outbox lost its tail, numbering starts anew")));
    }
    if expected_seq < span.first_seq {
        let message = format!(
            "ingest expects batch {expected_seq}, the oldest held is {}: is this another bucket?",
            span.first_seq
        );
        tracing::error!(collector_id = %delivery.collector_id, "{message}");
        outbox.renumber().await?;
        return Ok(End::Lost(Status::aborted(message)));
    }
    if let Some(through_seq) = expected_seq.checked_sub(1) {
        outbox.acked(through_seq).await?;
    }
    delivery.progress.connected.store(true, Ordering::Relaxed);
    exchange(outbox, up, replies, expected_seq, delivery).await
}

/// Sends what the outbox holds from `next_seq` on and takes acks, until either
/// side is done.
async fn exchange(
    outbox: &mut impl Outbox,
    up: mpsc::Sender<ShipRequest>,
    mut replies: Streaming<ShipReply>,
    mut next_seq: u64,
    delivery: &Delivery,
) -> Result<End, OutboxError> {
    let mut up = Some(up);
    let mut waiting: Option<Numbered> = None;
    let mut acked_seq = next_seq;
    loop {
        let sender = up.clone();
        tokio::select! {
            reply = replies.message() => match reply {
                Ok(Some(ShipReply { body: Some(ship_reply::Body::Ack(ack)) })) => {
                    outbox.acked(ack.through_seq).await?;
                    let newly = (ack.through_seq + 1).saturating_sub(acked_seq);
                    acked_seq += newly;
                    delivery.progress.acked.fetch_add(newly, Ordering::Relaxed);
                    delivery.progress.quarantined.fetch_add(ack.quarantined, Ordering::Relaxed);
                }
                Ok(Some(_)) => return Ok(End::Lost(Status::internal("ingest sent something that is no ack"))),
                Ok(None) if up.is_none() && acked_seq == next_seq => return Ok(End::Drained),
                Ok(None) => return Ok(End::Lost(Status::unavailable("ingest closed the stream"))),
                Err(status) => return Ok(End::Lost(status)),
            },
            batch = outbox.next(next_seq), if up.is_some() && waiting.is_none() => match batch? {
                Some(batch) => waiting = Some(batch),
                // Closing our half tells ingest to finish; its acks still come.
                None => up = None,
            },
            permit = reserve(sender), if waiting.is_some() => match (permit, waiting.take()) {
                (Some(permit), Some(batch)) => {
                    next_seq = batch.seq + 1;
                    permit.send(request(batch));
                }
                _ => return Ok(End::Lost(Status::unavailable("stream closed"))),
            },
        }
    }
}

async fn reserve(sender: Option<mpsc::Sender<ShipRequest>>) -> Option<mpsc::OwnedPermit<ShipRequest>> {
    sender?.reserve_owned().await.ok()
}

async fn welcome(replies: &mut Streaming<ShipReply>) -> Result<u64, Status> {
    match replies.message().await? {
        Some(ShipReply { body: Some(ship_reply::Body::Welcome(welcome)) }) => Ok(welcome.expected_seq),
        _ => Err(Status::internal("ingest did not begin with a welcome")),
    }
}

fn hello(outbox: &impl Outbox, delivery: &Delivery) -> ShipRequest {
    let span = outbox.span();
    let hello = Hello {
        collector_id: delivery.collector_id.to_string(),
        incarnation: span.incarnation,
        first_seq: span.first_seq,
        next_seq: span.next_seq,
        node: delivery.node.clone(),
        cluster: delivery.cluster.clone(),
    };
    ShipRequest { body: Some(ship_request::Body::Hello(hello)) }
}

fn request(batch: Numbered) -> ShipRequest {
    let Numbered { seq, table, arrow_ipc, crc32c } = batch;
    let batch = Batch { seq, table: table.name().to_owned(), arrow_ipc, crc32c };
    ShipRequest { body: Some(ship_request::Body::Batch(batch)) }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
