//! The sending half in a process of its own: batches that were encoded before.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use bailiwick_proto::v1::ship_client::ShipClient;
use bailiwick_proto::v1::{Batch, Hello, ShipReply, ShipRequest, ship_reply, ship_request};
use bailiwick_proto::{Table, wire};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::percentile::percentile;
use crate::serve::say;
use crate::{Outcome, batches, cpu, now_us};

/// Batches of one sender on their way at once, as a collector has them.
const WINDOW: usize = 32;

/// How batches are sent.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// Every batch of the file once, as fast as they are taken.
    Once,
    /// The file over and over, at so many rows a second, for so long.
    Rate {
        /// Rows a second.
        rows_per_s: f64,
        /// How long.
        length: Duration,
    },
    /// The file over and over, as fast as they are taken, for so long.
    Flood {
        /// How long.
        length: Duration,
    },
}

/// One batch, ready.
struct Ready {
    table: Table,
    rows: usize,
    bytes: Bytes,
    crc32c: u32,
}

/// One Ship stream and the times of what is on its way.
struct Sender {
    up: mpsc::Sender<ShipRequest>,
    replies: Streaming<ShipReply>,
    seq: u64,
    on_way: VecDeque<(Instant, usize)>,
    sent_rows: usize,
    acked_rows: usize,
    ack_ms: Vec<f64>,
    /// When the last row of so many was sent, microseconds since 1970.
    sent: Vec<(i64, usize)>,
}

/// Sends, and says how many rows in which time, acks and all, as a line of JSON.
/// With `sent` writes there when how many rows had been sent.
pub async fn run(url: &str, name: &str, file: &Path, pace: Pace, sent: Option<&Path>) -> Outcome<()> {
    let ready = |batch: batches::WireBatch| {
        let crc32c = crc32c::crc32c(&batch.bytes);
        Ready { table: Table::Syscalls, rows: batch.rows, bytes: batch.bytes.into(), crc32c }
    };
    let ready: Vec<Ready> = batches::read(file)?.into_iter().map(ready).collect();
    let mut sender = Sender::open(url, name).await?;
    let (began, idle) = (Instant::now(), cpu::used().ok_or("no procfs")?);
    match pace {
        Pace::Once => sender.fast(ready.iter(), None).await?,
        Pace::Flood { length } => sender.fast(ready.iter().cycle(), Some(length)).await?,
        Pace::Rate { rows_per_s, length } => sender.paced(&ready, rows_per_s, length).await?,
    }
    while !sender.on_way.is_empty() {
        sender.ack().await?;
    }
    if let Some(path) = sent {
        std::fs::write(path, serde_json::to_vec(&sender.sent)?)?;
    }
    let used = cpu::used().ok_or("no procfs")?;
    say(&json!({
        "rows": sender.acked_rows,
        "wall_s": began.elapsed().as_secs_f64(),
        "cpu_s": (used - idle).as_secs_f64(),
        "batches": sender.ack_ms.len(),
        "ack_p50_ms": percentile(&mut sender.ack_ms, 0.5),
        "ack_p99_ms": percentile(&mut sender.ack_ms, 0.99),
    }));
    Ok(())
}

/// Sends batches as they are drawn, as fast as they are taken, and calls `sent` with
/// the rows so far after each.
pub async fn drawn(
    url: &str,
    name: &str,
    batches: impl Iterator<Item = Outcome<(Table, RecordBatch)>>,
    mut sent: impl FnMut(usize),
) -> Outcome<()> {
    let mut sender = Sender::open(url, name).await?;
    for batch in batches {
        let (table, batch) = batch?;
        let (rows, bytes) = (batch.num_rows(), Bytes::from(wire::encode(&batch)?));
        let crc32c = crc32c::crc32c(&bytes);
        sender.send(&Ready { table, rows, bytes, crc32c }).await?;
        while sender.on_way.len() >= WINDOW {
            sender.ack().await?;
        }
        sent(sender.sent_rows);
    }
    while !sender.on_way.is_empty() {
        sender.ack().await?;
    }
    Ok(())
}

// === impl Sender ===

impl Sender {
    async fn open(url: &str, name: &str) -> Outcome<Self> {
        let (up, requests) = mpsc::channel(WINDOW);
        let hello = Hello { collector_id: name.into(), incarnation: rand::random(), ..Hello::default() };
        up.send(ShipRequest { body: Some(ship_request::Body::Hello(hello)) }).await?;
        let channel = tonic::transport::Endpoint::from_shared(url.to_owned())?.connect().await?;
        let mut client = ShipClient::new(channel).max_encoding_message_size(usize::MAX);
        let mut replies = client.ship(ReceiverStream::new(requests)).await?.into_inner();
        replies.message().await?.ok_or("no welcome")?;
        let (on_way, ack_ms, sent) = (VecDeque::new(), Vec::new(), Vec::new());
        Ok(Self { up, replies, seq: 0, on_way, sent_rows: 0, acked_rows: 0, ack_ms, sent })
    }

    async fn fast<'a>(
        &mut self,
        batches: impl Iterator<Item = &'a Ready>,
        length: Option<Duration>,
    ) -> Outcome<()> {
        let began = Instant::now();
        for batch in batches {
            if length.is_some_and(|length| began.elapsed() > length) {
                break;
            }
            self.send(batch).await?;
            while self.on_way.len() >= WINDOW {
                self.ack().await?;
            }
        }
        Ok(())
    }

    async fn paced(&mut self, batches: &[Ready], rows_per_s: f64, length: Duration) -> Outcome<()> {
        let began = tokio::time::Instant::now();
        let mut due_s = 0.0;
        for batch in batches.iter().cycle() {
            let due = began + Duration::from_secs_f64(due_s);
            while let Ok(acked) = tokio::time::timeout_at(due, self.ack_if_any()).await {
                acked?;
            }
            if began.elapsed() > length {
                break;
            }
            self.send(batch).await?;
            due_s += batch.rows as f64 / rows_per_s;
        }
        Ok(())
    }

    async fn send(&mut self, ready: &Ready) -> Outcome<()> {
        let (seq, table, crc32c) = (self.seq, ready.table.name().to_owned(), ready.crc32c);
        let batch = Batch { seq, table, arrow_ipc: ready.bytes.clone(), crc32c };
        self.sent_rows += ready.rows;
        self.on_way.push_back((Instant::now(), ready.rows));
        self.sent.push((now_us(), self.sent_rows));
        self.up.send(ShipRequest { body: Some(ship_request::Body::Batch(batch)) }).await?;
        self.seq += 1;
        Ok(())
    }

    async fn ack(&mut self) -> Outcome<()> {
        let reply = self.replies.message().await?.ok_or("ingest closed the stream")?;
        let Some(ship_reply::Body::Ack(ack)) = reply.body else { return Err("no ack".into()) };
        if ack.quarantined > 0 {
            return Err("a batch was set aside".into());
        }
        let (sent_at, rows) = self.on_way.pop_front().ok_or("an ack for nothing")?;
        self.acked_rows += rows;
        self.ack_ms.push(sent_at.elapsed().as_secs_f64() * 1_000.0);
        Ok(())
    }

    /// The next ack; never ends while nothing is on its way.
    async fn ack_if_any(&mut self) -> Outcome<()> {
        if self.on_way.is_empty() {
            std::future::pending::<()>().await;
        }
        self.ack().await
    }
}
