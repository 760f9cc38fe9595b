//! The two loops between the server and the bucket: write groups, flush windows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bailiwick_lake::keys::WalKey;
use bailiwick_proto::CollectorId;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::announce::Announcer;
use crate::config::Config;
use crate::dedupe::Verdict;
use crate::flush::{Flusher, Window};
use crate::metrics::Metrics;
use crate::wal::{Landed, Ready, Wal};
use crate::{IngestError, now_us};

/// Flushes stop keeping up when this many times `flush_at_bytes` wait.
const WINDOWS_WAITING: usize = 4;

/// What a stream asks of the writer.
pub(crate) enum Request {
    /// What is expected next of this numbering?
    Expected { collector: CollectorId, incarnation: u64, reply: oneshot::Sender<u64> },
    /// Make this durable, then say so. The permit is for its memory.
    Batch { ready: Ready, reply: oneshot::Sender<Verdict>, permit: OwnedSemaphorePermit },
}

/// Bytes that are durable but not committed, shared by both loops.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    bytes: AtomicUsize,
    less: Notify,
}

pub(crate) struct Writer {
    pub(crate) wal: Wal,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) landed: mpsc::UnboundedSender<Arc<Landed>>,
    pub(crate) announcer: Arc<Announcer>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
}

pub(crate) struct FlushLoop {
    pub(crate) flusher: Flusher,
    pub(crate) left: Vec<WalKey>,
    pub(crate) landed: mpsc::UnboundedReceiver<Arc<Landed>>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    pub(crate) stop: CancellationToken,
}

/// What the flush loop has before it.
struct Waiting {
    window: Window,
    due: tokio::time::Instant,
    failures: u32,
    /// Committed objects that may go.
    deletable: Vec<u64>,
    /// The newest object that was seen: it stays.
    newest: u64,
}

/// One group on its way into a WAL object.
#[derive(Default)]
struct Group {
    ready: Vec<Ready>,
    replies: Vec<oneshot::Sender<Verdict>>,
    permits: Vec<OwnedSemaphorePermit>,
    bytes: usize,
}

// === impl Writer ===

impl Writer {
    /// Runs until nobody can ask any more, or the WAL is somebody else's.
    pub(crate) async fn run(mut self) -> Result<(), IngestError> {
        while let Some(first) = self.requests.recv().await {
            let started = Instant::now();
            let mut group = Group::default();
            self.take(first, &mut group);
            self.gather(&mut group).await;
            if group.ready.is_empty() {
                continue;
            }
            self.pending.below(self.config.flush_at_bytes.saturating_mul(WINDOWS_WAITING)).await;
            let (verdicts, landed) = self.wal.commit(&group.ready, now_us()).await?;
            if let Some(landed) = landed.map(Arc::new) {
                self.metrics.wal_write.observe(started.elapsed().as_secs_f64());
                self.pending.add(landed.bytes);
                self.metrics.pending_bytes.set(self.pending.bytes.load(Ordering::Relaxed) as i64);
                self.announcer.announce(landed.number, &landed.encoded);
                let _ = self.landed.send(landed);
            }
            self.answer(group, verdicts);
        }
        Ok(())
    }

    async fn gather(&mut self, group: &mut Group) {
        let until = tokio::time::Instant::now() + Duration::from_millis(self.config.group_wait_ms);
        while group.bytes < self.config.group_at_bytes {
            match tokio::time::timeout_at(until, self.requests.recv()).await {
                Ok(Some(request)) => self.take(request, group),
                _ => return,
            }
        }
    }

    fn take(&self, request: Request, group: &mut Group) {
        match request {
            // What is in the group is not durable yet, so it does not count; it
            // will be sent again and recognised.
            Request::Expected { collector, incarnation, reply } => {
                let _ = reply.send(self.wal.expected_seq(&collector, incarnation));
            }
            Request::Batch { ready, reply, permit } => {
                group.bytes += ready.bytes;
                group.ready.push(ready);
                group.replies.push(reply);
                group.permits.push(permit);
            }
        }
    }

    fn answer(&self, group: Group, verdicts: Vec<Verdict>) {
        for (reply, verdict) in group.replies.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Next => self.metrics.acked_batches.inc(),
                Verdict::Duplicate => self.metrics.duplicate_batches.inc(),
                Verdict::Gap { .. } => {
                    self.metrics.reject("gap");
                    0
                }
            };
            // The stream may be gone; its sender will ask again.
            let _ = reply.send(verdict);
        }
    }
}

// === impl FlushLoop ===

impl FlushLoop {
    /// Runs until the writer is done, then tries one last flush.
    pub(crate) async fn run(mut self) {
        if !self.replay().await {
            // A later window's txn would cover rows that are not committed.
            return;
        }
        let due = tokio::time::Instant::now() + self.flush_after();
        let (window, deletable) = (Window::default(), Vec::new());
        let mut waiting = Waiting { window, due, failures: 0, deletable, newest: 0 };
        loop {
            let last = tokio::select! {
                landed = self.landed.recv() => match landed {
                    Some(landed) => { waiting.window.push(&landed); false }
                    None => true,
                },
                () = tokio::time::sleep_until(waiting.due) => false,
            };
            let lag_us = waiting.window.oldest_us().map_or(0, |oldest_us| now_us() - oldest_us);
            self.metrics.flush_lag.set(lag_us / 1_000_000);
            if last || waiting.is_due(self.config.flush_at_bytes) {
                self.round(&mut waiting, last).await;
            }
            if last {
                return;
            }
        }
    }

    /// One flush, and the deletion of what the one before it committed: a
    /// flush later than it could go, so that readers that have just listed it
    /// find it.
    async fn round(&self, waiting: &mut Waiting, last: bool) {
        if !waiting.window.is_empty() && !self.flush(&waiting.window, last).await {
            waiting.failures += 1;
            waiting.due = tokio::time::Instant::now() + self.pause(waiting.failures);
            return;
        }
        waiting.failures = 0;
        waiting.due = tokio::time::Instant::now() + self.flush_after();
        let flushed = std::mem::take(&mut waiting.window);
        self.pending.remove(flushed.bytes());
        self.metrics.pending_bytes.set(self.pending.bytes.load(Ordering::Relaxed) as i64);
        let through = flushed.through();
        if last {
            waiting.deletable.extend(flushed.into_numbers());
            self.clean_up(waiting).await;
            return;
        }
        self.clean_up(waiting).await;
        waiting.newest = waiting.newest.max(through);
        waiting.deletable.extend(flushed.into_numbers());
    }

    /// Between two tries of a failing flush: every try writes its files anew.
    fn pause(&self, failures: u32) -> Duration {
        let first = Duration::from_millis(self.config.retry_at_most_ms.max(100));
        (first * 2u32.saturating_pow(failures.min(10) - 1)).min(self.flush_after())
    }

    fn flush_after(&self) -> Duration {
        Duration::from_millis(self.config.flush_after_ms)
    }

    /// A failed flush is tried again by the next round with more rows in it.
    async fn flush(&self, window: &Window, last: bool) -> bool {
        let Err(error) = self.flusher.flush(window).await else { return true };
        self.metrics.flush_failures.inc();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::error!(%error, cause, last, "rows stay in the wal, they are flushed later");
        false
    }

    async fn clean_up(&self, waiting: &mut Waiting) {
        let newest = waiting.newest.max(waiting.deletable.iter().copied().max().unwrap_or(0));
        let kept = waiting.deletable.contains(&newest);
        waiting.deletable.retain(|number| *number != newest);
        if let Err(error) = self.flusher.clean_up(&mut waiting.deletable).await {
            tracing::warn!(%error, "committed wal objects stay until the next flush");
        }
        if kept {
            waiting.deletable.push(newest);
        }
    }

    /// Whether everything that was left is committed now.
    async fn replay(&self) -> bool {
        let mut pause = Duration::from_millis(100);
        loop {
            let window_bytes = self.config.flush_at_bytes / 4;
            match self.flusher.replay(&self.left, window_bytes, now_us()).await {
                Ok(mut deletable) => {
                    if let Err(error) = self.flusher.clean_up(&mut deletable).await {
                        tracing::warn!(%error, "committed wal objects stay until the next start");
                    }
                    return true;
                }
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::error!(%error, cause, "rows that the last run left in the wal are not committed yet");
                }
            }
            self.metrics.flush_failures.inc();
            if self.stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return false;
            }
            pause = (pause * 2).min(Duration::from_millis(self.config.retry_at_most_ms).max(pause));
        }
    }
}

// === impl Waiting ===

impl Waiting {
    fn is_due(&self, flush_at_bytes: usize) -> bool {
        let full = self.failures == 0 && self.window.bytes() >= flush_at_bytes;
        full || tokio::time::Instant::now() >= self.due
    }
}

// === impl Pending ===

impl Pending {
    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn remove(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.less.notify_one();
    }

    /// Waits until fewer than `limit` bytes are pending.
    async fn below(&self, limit: usize) {
        while self.bytes.load(Ordering::Relaxed) >= limit.max(1) {
            self.less.notified().await;
        }
    }
}
