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
use crate::flush::{Flusher, Round};
use crate::metrics::Metrics;
use crate::wal::{Landed, Ready, TableRows, Wal};
use crate::window::Window;
use crate::{IngestError, now_us};

/// So many WAL objects become one even if all of their rows must wait: readers
/// open each of them.
const OBJECTS_AT_MOST: usize = 256;

/// What a stream asks of the writer.
pub(crate) enum Request {
    /// Receive from this collector; what is expected next of its numbering?
    /// Nothing, when another ingester was quicker.
    Expected { collector: CollectorId, incarnation: u64, reply: oneshot::Sender<Option<u64>> },
    /// Make this durable, then say so. The permit is for its memory.
    Batch { ready: Ready, reply: oneshot::Sender<Verdict>, permit: OwnedSemaphorePermit },
}

/// Rows that the flush loop wants written once more, behind all others. The
/// object is announced to the flush loop as any other is.
pub(crate) struct Carry {
    rows: TableRows,
    since_us: i64,
    done: oneshot::Sender<u64>,
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
    pub(crate) carries: mpsc::Receiver<Carry>,
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
    pub(crate) carries: mpsc::Sender<Carry>,
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
    newcomers: Vec<(CollectorId, u64, oneshot::Sender<Option<u64>>)>,
    ready: Vec<Ready>,
    replies: Vec<oneshot::Sender<Verdict>>,
    permits: Vec<OwnedSemaphorePermit>,
    bytes: usize,
}

// === impl Writer ===

impl Writer {
    /// Runs until nobody can ask any more, or the WAL is somebody else's.
    pub(crate) async fn run(mut self) -> Result<(), IngestError> {
        loop {
            tokio::select! {
                Some(carry) = self.carries.recv() => self.carry(carry).await?,
                first = self.requests.recv() => match first {
                    Some(first) => self.group(first).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    async fn group(&mut self, first: Request) -> Result<(), IngestError> {
        let started = Instant::now();
        let mut group = Group::default();
        self.take(first, &mut group);
        self.gather(&mut group).await;
        self.welcome(std::mem::take(&mut group.newcomers)).await?;
        if group.ready.is_empty() {
            return Ok(());
        }
        self.room().await?;
        let (verdicts, landed) = self.wal.commit(&group.ready, now_us()).await?;
        if let Some(landed) = landed {
            self.metrics.wal_write.observe(started.elapsed().as_secs_f64());
            self.land(landed);
        }
        self.answer(group, verdicts);
        Ok(())
    }

    async fn welcome(
        &mut self,
        newcomers: Vec<(CollectorId, u64, oneshot::Sender<Option<u64>>)>,
    ) -> Result<(), IngestError> {
        let collectors: Vec<_> = newcomers.iter().map(|(collector, ..)| collector.clone()).collect();
        self.wal.claim(&collectors, now_us()).await?;
        for (collector, incarnation, reply) in newcomers {
            let _ = reply.send(self.wal.expected_seq(&collector, incarnation));
        }
        Ok(())
    }

    /// Waits until what waits for the tables is little enough. The flush loop
    /// may need this very task to get there.
    async fn room(&mut self) -> Result<(), IngestError> {
        let (pending, limit) = (Arc::clone(&self.pending), self.config.pending_bytes());
        let below = pending.below(limit);
        tokio::pin!(below);
        loop {
            tokio::select! {
                biased;
                () = &mut below => return Ok(()),
                Some(carry) = self.carries.recv() => self.carry(carry).await?,
            }
        }
    }

    async fn carry(&mut self, carry: Carry) -> Result<(), IngestError> {
        let Carry { rows, since_us, done } = carry;
        let landed = self.wal.carry(rows, since_us, now_us()).await?;
        let number = landed.number;
        self.land(landed);
        let _ = done.send(number);
        Ok(())
    }

    fn land(&self, landed: Landed) {
        self.pending.add(landed.bytes);
        self.metrics.pending_bytes.set(self.pending.bytes.load(Ordering::Relaxed) as i64);
        self.announcer.announce(landed.number, &landed.encoded);
        let _ = self.landed.send(Arc::new(landed));
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
                match self.wal.expected_seq(&collector, incarnation) {
                    None => group.newcomers.push((collector, incarnation, reply)),
                    expected => drop(reply.send(expected)),
                }
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
                Verdict::Left => {
                    self.metrics.reject("left");
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
            if last {
                // A failure ends it: what is left stays in the wal.
                while self.round(&mut waiting, true).await && !waiting.window.is_empty() {}
                return;
            }
            if waiting.is_due(self.config.flush_at_bytes()) {
                self.round(&mut waiting, false).await;
            }
        }
    }

    /// One flush, and the deletion of what the one before it committed: a
    /// flush later than it could go, so that readers that have just listed it
    /// find it.
    async fn round(&mut self, waiting: &mut Waiting, last: bool) -> bool {
        let flushed = match self.flush(&mut waiting.window, last).await {
            Ok(flushed) => flushed,
            Err(error) => {
                self.metrics.flush_failures.inc();
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, last, "rows stay in the wal, they are flushed later");
                waiting.failures += 1;
                waiting.due = tokio::time::Instant::now() + self.pause(waiting.failures);
                return false;
            }
        };
        waiting.failures = 0;
        waiting.due = tokio::time::Instant::now() + self.flush_after();
        self.pending.remove(flushed.bytes());
        self.metrics.pending_bytes.set(self.pending.bytes.load(Ordering::Relaxed) as i64);
        let through = flushed.through();
        if last {
            waiting.deletable.extend(flushed.into_numbers());
            self.clean_up(waiting).await;
            return true;
        }
        self.clean_up(waiting).await;
        waiting.newest = waiting.newest.max(through);
        waiting.deletable.extend(flushed.into_numbers());
        true
    }

    /// Moves a window, or as much of it as may be sorted at a time, into the
    /// tables and returns that; the rest and what arrived meanwhile take its
    /// place. Rows too few for files are carried over first, and when
    /// there are no others, they all wait where they are. After an error the
    /// window holds everything that still waits.
    async fn flush(&mut self, window: &mut Window, last: bool) -> Result<Window, IngestError> {
        let flushing = window.take_first(self.config.flush_at_bytes());
        let done = self.commit(&flushing, window, last).await;
        if let Ok(true) = done {
            return Ok(flushing);
        }
        let later = std::mem::replace(window, flushing);
        window.append(later);
        done.map(|_| Window::default())
    }

    /// False where everything waits.
    async fn commit(
        &mut self,
        flushing: &Window,
        later: &mut Window,
        last: bool,
    ) -> Result<bool, IngestError> {
        let policy = (!last).then(|| self.config.carry_policy());
        let round = self.flusher.plan(flushing, policy.as_ref(), now_us()).await?;
        if !last && !round.makes_files() && flushing.objects() < OBJECTS_AT_MOST {
            return Ok(false);
        }
        let carried = self.carry(&round, later).await?;
        self.flusher.commit(&round, carried).await?;
        Ok(true)
    }

    /// Has a round's small rows written once more, and takes note of what the
    /// WAL got until then. Returns the object that they are in.
    async fn carry(&mut self, round: &Round, later: &mut Window) -> Result<Option<u64>, IngestError> {
        let Some((rows, since_us)) = round.small() else { return Ok(None) };
        let (done, carried) = oneshot::channel();
        let carry = Carry { rows, since_us, done };
        self.carries.send(carry).await.map_err(|_| IngestError::Stopped)?;
        let number = carried.await.map_err(|_| IngestError::Stopped)?;
        while later.through() < number {
            let Some(landed) = self.landed.recv().await else { return Err(IngestError::Stopped) };
            later.push(&landed);
        }
        Ok(Some(number))
    }

    /// Between two tries of a failing flush: every try writes its files anew.
    fn pause(&self, failures: u32) -> Duration {
        let first = Duration::from_millis(self.config.retry_at_most_ms.max(100));
        (first * 2u32.saturating_pow(failures.min(10) - 1)).min(self.flush_after())
    }

    fn flush_after(&self) -> Duration {
        Duration::from_millis(self.config.flush_after_ms)
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
            let window_bytes = self.config.flush_at_bytes();
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
