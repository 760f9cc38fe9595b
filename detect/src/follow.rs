//! The live engine: Tail, and the bucket for what Tail no longer has.
//!
//! ```text
//!   connect ─▶ first reply: what comes up to WAL object N will not be streamed
//!      │            │ N is where we were: nothing to catch up
//!      │            └ otherwise: SQL for what arrived since the saved place
//!      ▼
//!   replies N+1, N+2, … ─▶ evaluate ─▶ sinks ─▶ place ─▶ saved once alerts are durable
//! ```
//!
//! The stream is opened before the bucket is read, so there is no gap between
//! them; what both deliver is recognised by its alert id, so there is no double.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use bailiwick_lake::Lake;
use bailiwick_proto::v1::tail_client::TailClient;
use bailiwick_proto::v1::{TailReply, TailRequest};
use bailiwick_proto::{Table, wire};
use bailiwick_rules::row;
use chrono::Utc;
use futures::StreamExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};

use crate::ask::{Ask, AskError, time_literal};
use crate::config::Config;
use crate::evaluate::{FOLLOWED, evaluate};
use crate::metrics::Metrics;
use crate::place::{Place, save_place};
use crate::rulebook::Current;
use crate::seen::Seen;
use crate::sinks::Sinks;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long the last alerts may take to become durable before the place is left as it is.
const LAST_ALERTS: Duration = Duration::from_secs(3);
/// A reply holds one table's rows of one WAL object, which may group many batches.
const MAX_REPLY_BYTES: usize = 256 << 20;

/// What the live engine works with.
pub(crate) struct Follower {
    pub(crate) config: Config,
    pub(crate) ingest: Endpoint,
    pub(crate) ask: Arc<dyn Ask>,
    pub(crate) rules: Current,
    pub(crate) sinks: Sinks,
    pub(crate) metrics: Metrics,
    pub(crate) stop: CancellationToken,
    pub(crate) seen: Seen,
    pub(crate) place: Place,
    pub(crate) reached: watch::Sender<Place>,
}

/// Why one stream ended.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("{}", .0.message())]
    Stream(Status),
    #[error("the bucket could not be read: {0}")]
    Bucket(#[from] AskError),
    #[error("detection stops")]
    Stopped,
}

// === impl Follower ===

impl Follower {
    /// Follows until stopped, connecting again for as long as it takes.
    pub(crate) async fn run(mut self) {
        let mut wait = FIRST_WAIT;
        while !self.stop.is_cancelled() {
            let before = self.place.clone();
            let stop = self.stop.clone();
            let lost = tokio::select! {
                lost = self.one_stream() => lost,
                () = stop.cancelled() => return,
            };
            let Err(error) = lost else { continue };
            if matches!(error, Lost::Stopped) {
                return;
            }
            self.metrics.tail_lost.inc();
            wait = if before == self.place { (wait * 2).min(LONGEST_WAIT) } else { FIRST_WAIT };
            tracing::warn!(%error, wait_ms = wait.as_millis() as u64, "stream from ingest lost, will connect again");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn one_stream(&mut self) -> Result<(), Lost> {
        let mut replies = self.subscribe().await.map_err(Lost::Stream)?;
        loop {
            let reply = replies.message().await.map_err(Lost::Stream)?;
            let Some(reply) = reply else {
                return Err(Lost::Stream(Status::unavailable("ingest closed the stream")));
            };
            if reply.table.is_empty() {
                self.boundary(&reply).await?;
            } else {
                self.rows(reply).await?;
            }
        }
    }

    async fn subscribe(&self) -> Result<Streaming<TailReply>, Status> {
        let unreachable = |error: tonic::transport::Error| Status::new(Code::Unavailable, error.to_string());
        let channel = self.ingest.connect().await.map_err(unreachable)?;
        let mut client = TailClient::new(channel).max_decoding_message_size(MAX_REPLY_BYTES);
        let tables = FOLLOWED.iter().map(|(table, _)| table.name().to_owned()).collect();
        Ok(client.tail(TailRequest { tables }).await?.into_inner())
    }

    /// Nothing up to this WAL object is streamed: what of it was not evaluated
    /// yet is in the bucket.
    async fn boundary(&mut self, reply: &TailReply) -> Result<(), Lost> {
        if self.place.wal.get(&reply.ingester) != Some(&reply.wal_number) {
            self.catch_up().await?;
        }
        self.place.advance(&reply.ingester, reply.wal_number, None);
        self.reached.send_replace(self.place.clone());
        Ok(())
    }

    async fn catch_up(&mut self) -> Result<(), Lost> {
        let from_us = self.place.ingest_time_us.saturating_sub_unsigned(self.config.overlap_ms * 1000);
        self.remember_alerts(from_us).await?;
        for (table, _) in FOLLOWED {
            let from = time_literal(from_us);
            let sql = format!("SELECT * FROM {table} WHERE ingest_time >= {from}");
            let mut batches = self.ask.ask(&sql).await?;
            while let Some(batch) = batches.next().await {
                let batch = batch?;
                self.batch(table, &batch).await?;
                let newest = row::newest_us(&batch, "ingest_time");
                self.place.ingest_time_us = self.place.ingest_time_us.max(newest.unwrap_or(i64::MIN));
            }
        }
        Ok(())
    }

    /// What was alerted in the time that is read again.
    async fn remember_alerts(&mut self, from_us: i64) -> Result<(), Lost> {
        let sql = format!("SELECT alert_id FROM alerts WHERE ingest_time >= {}", time_literal(from_us));
        let mut batches = self.ask.ask(&sql).await?;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            let ids = (0..batch.num_rows()).filter_map(|at| row::text(&batch, "alert_id", at));
            self.seen.remember(ids);
        }
        Ok(())
    }

    async fn rows(&mut self, reply: TailReply) -> Result<(), Lost> {
        let mut newest = None;
        if let Ok(table) = reply.table.parse::<Table>() {
            match wire::decode_trusted(&reply.arrow_ipc, &table.stamped_schema()) {
                Ok(batches) => {
                    for batch in &batches {
                        self.batch(table, batch).await?;
                        newest = newest.max(row::newest_us(batch, "ingest_time"));
                    }
                }
                Err(error) => {
                    tracing::error!(%error, wal_number = reply.wal_number, "rows from ingest cannot be read");
                    self.metrics.undecodable.inc();
                }
            }
        }
        // Another reply may hold the same object's rows of another table, so only
        // the objects before it are known to be done.
        self.place.advance(&reply.ingester, reply.wal_number.saturating_sub(1), newest);
        self.reached.send_replace(self.place.clone());
        Ok(())
    }

    async fn batch(&mut self, table: Table, batch: &RecordBatch) -> Result<(), Lost> {
        if let Some(newest) = row::newest_us(batch, "time") {
            self.metrics.lag_us.set(Utc::now().timestamp_micros() - newest);
        }
        let book = self.rules.get();
        let alerts = evaluate(&book.rules, table, batch, self.config.matching, &mut self.seen, &self.metrics);
        if self.sinks.raise(&alerts, &self.stop).await { Ok(()) } else { Err(Lost::Stopped) }
    }
}

/// Saves the place reached, always behind the alerts raised up to it.
pub(crate) async fn save_places(
    lake: Arc<Lake>,
    name: String,
    sinks: Sinks,
    mut reached: watch::Receiver<Place>,
    every: Duration,
    stop: CancellationToken,
) {
    let mut saved = None;
    loop {
        let last = tokio::select! {
            () = tokio::time::sleep(every) => false,
            () = stop.cancelled() => true,
            // The follower is gone: what it reached is final.
            () = async { while reached.changed().await.is_ok() {} } => true,
        };
        let place = reached.borrow().clone();
        if saved.as_ref() != Some(&place) && became_durable(&sinks, last).await {
            match save_place(&lake, &name, &place).await {
                Ok(()) => saved = Some(place),
                Err(error) => tracing::warn!(%error, "place of detection not saved, will try again"),
            }
        }
        if last {
            return;
        }
    }
}

/// At the end ingest may be gone already: then the place before is the true one.
async fn became_durable(sinks: &Sinks, last: bool) -> bool {
    if !last {
        sinks.durable().await;
        return true;
    }
    tokio::time::timeout(LAST_ALERTS, sinks.durable()).await.is_ok()
}
