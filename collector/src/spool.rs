//! Numbered batches on disk until ingest has them.
//!
//! ```text
//!   SpoolSender.push ─▶ queue in memory ─▶ writer thread ─ write, fdatasync ─▶ segments
//!                       (8 MiB)             one group                            │
//!        ingest ◀══ Ship ══ deliver ◀── SpoolOutbox.next(seq) ◀──────────────────┘
//!                              └────────▶ SpoolOutbox.acked(seq): whole segments are deleted
//! ```
//!
//! A batch is numbered when it is durable, and a number is never taken back: a
//! full spool refuses new batches, those of the least important lane first, so
//! that what was refused is counted exactly. On disk a batch has a position
//! that only grows; its number is the position minus the identity's base, so a
//! new incarnation renumbers everything by writing one small file.
//!
//! A source that reads a log puts its place there beside the batch, as a mark:
//! both are durable or neither is. A segment stays, though all of it is
//! acknowledged, until the source has noted its newest mark elsewhere.

mod identity;
mod outbox;
mod recover;
mod segment;
mod writer;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use bailiwick_proto::{CollectorId, Table};
use bytes::Bytes;
use nix::fcntl::{Flock, FlockArg};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::error::CollectorError;
use crate::metrics::Metrics;
use crate::outlet::Lane;
use identity::Identity;
pub(crate) use outbox::SpoolOutbox;

/// Bytes that may wait in memory for the writer.
const QUEUE_BYTES: usize = 8 << 20;
/// Bytes of durable batches that are kept in memory for a delivery that keeps up.
const CACHE_BYTES: usize = 4 << 20;
/// The smallest spool that is of any use.
const LEAST_BYTES: u64 = 1 << 20;

/// The spool of one collector; owns the folder.
pub(crate) struct Spool {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Option<Waiting>>,
    writer: JoinHandle<()>,
    damage: Option<Damage>,
}

/// The filling end; clones share the spool.
#[derive(Clone)]
pub(crate) struct SpoolSender {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Option<Waiting>>,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It will be numbered, or is.
    Kept,
    /// There is no room for its lane.
    Full,
}

/// Batches that an earlier run had spooled and this one cannot read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    /// How many, as far as their numbers tell.
    pub(crate) batches: u64,
    /// Which files.
    pub(crate) detail: String,
}

/// What sender, writer and outbox share.
struct Shared {
    dir: PathBuf,
    limit_bytes: u64,
    segment_bytes: u64,
    state: Mutex<State>,
    /// Something was published, acknowledged, or cannot be written.
    changed: Notify,
    memory: Arc<Semaphore>,
    queued_bytes: AtomicU64,
    metrics: Metrics,
    stop: CancellationToken,
    /// Held for as long as anybody may read or write the folder.
    _lock: Flock<File>,
}

struct State {
    identity: Identity,
    /// The position that the next durable batch gets.
    next: u64,
    /// Durable batches in order; the last one's position is `next - 1`.
    held: VecDeque<Held>,
    segments: VecDeque<Segment>,
    /// The newest mark that its source has not noted elsewhere, and its batch's position.
    mark: Option<(u64, Bytes)>,
    cached_bytes: usize,
    /// The last write failed and is tried again.
    stuck: bool,
    /// Nothing will be added.
    closed: bool,
}

/// Where one batch lies.
#[derive(Debug, Clone)]
struct Held {
    table: Table,
    crc32c: u32,
    file: Arc<File>,
    offset: u64,
    length: u32,
    cached: Option<Bytes>,
}

/// One file of batches.
#[derive(Debug)]
struct Segment {
    /// Position of its first batch.
    first: u64,
    path: PathBuf,
    bytes: u64,
}

/// A batch on its way to the disk.
struct Waiting {
    table: Table,
    bytes: Bytes,
    /// Where its source stands behind it.
    mark: Option<Bytes>,
    /// Told when the batch is durable; dropped untold if it never will be.
    durable: Option<watch::Sender<bool>>,
}

// === impl Spool ===

impl Spool {
    /// Opens or makes the spool in `config.spool_dir`, cuts a torn tail, and
    /// starts its writer. Another process's folder is refused.
    pub(crate) fn open(
        config: &Config,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Result<Self, CollectorError> {
        let dir = config.spool_dir.clone();
        if config.spool_bytes < LEAST_BYTES {
            return Err(CollectorError::config(
                "spool_bytes",
                format!("is under {LEAST_BYTES}, the least of use"),
            ));
        }
        let failed = |message| {
            let path = dir.clone();
            move |source| CollectorError::File { field: "spool_dir", path, message, source }
        };
        std::fs::create_dir_all(&dir).map_err(failed("cannot be made"))?;
        let lock = lock(&dir)?;
        let found =
            recover::recover(&dir, &collector_name(config)).map_err(failed("cannot be read or written"))?;
        let state = State {
            identity: found.identity,
            next: found.next,
            held: found.held,
            segments: found.segments,
            mark: found.mark,
            cached_bytes: 0,
            stuck: false,
            closed: false,
        };
        let shared = Arc::new(Shared {
            dir: dir.clone(),
            limit_bytes: config.spool_bytes,
            segment_bytes: (config.spool_bytes / 16).clamp(64 << 10, 16 << 20),
            state: Mutex::new(state),
            changed: Notify::new(),
            memory: Arc::new(Semaphore::new(QUEUE_BYTES)),
            queued_bytes: AtomicU64::new(0),
            metrics,
            stop,
            _lock: lock,
        });
        shared.publish_metrics();
        let (queue, waiting) = mpsc::channel();
        let writer =
            writer::start(Arc::clone(&shared), waiting).map_err(failed("its writer cannot be started"))?;
        Ok(Self { shared, queue, writer, damage: found.damage })
    }

    /// A handle to fill it.
    pub(crate) fn sender(&self) -> SpoolSender {
        SpoolSender { shared: Arc::clone(&self.shared), queue: self.queue.clone() }
    }

    /// Makes handles to deliver it, one at a time.
    pub(crate) fn outbox_maker(&self) -> impl Fn() -> SpoolOutbox + Send + use<> {
        let shared = Arc::clone(&self.shared);
        move || SpoolOutbox::new(Arc::clone(&shared))
    }

    /// Under which name its batches are numbered.
    pub(crate) fn collector_id(&self) -> CollectorId {
        self.shared.locked(|state| state.identity.collector_id.clone())
    }

    /// What opening it found missing.
    pub(crate) fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// Writes what waits and closes the outbox; what is pushed later is refused.
    /// A disk that does not take the last batches is given up on, and logged.
    pub(crate) async fn close(self) {
        let Self { shared, queue, writer, .. } = self;
        // It ends by itself if the writer is gone already.
        let _ = queue.send(None);
        let ended = tokio::task::spawn_blocking(move || writer.join()).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::error!(spool = %shared.dir.display(), "the spool's writer ended by a panic");
        }
        shared.locked(|state| state.closed = true);
        shared.changed.notify_waiters();
    }
}

// === impl SpoolSender ===

impl SpoolSender {
    /// Hands a batch to the writer. Waits while memory for it is taken; does not
    /// wait for the disk. A lane without room is refused, or waits if it can.
    pub(crate) async fn push(&self, table: Table, lane: Lane, bytes: Bytes) -> Pushed {
        self.hand(Waiting { table, bytes, mark: None, durable: None }, lane).await
    }

    /// Hands a batch to the writer and waits until it is durable, together with
    /// the mark if there is one.
    pub(crate) async fn keep(&self, table: Table, lane: Lane, bytes: Bytes, mark: Option<Bytes>) -> Pushed {
        let mark = mark.filter(|mark| mark.len() <= segment::MAX_MARK_BYTES);
        let (told, mut durable) = watch::channel(false);
        match self.hand(Waiting { table, bytes, mark, durable: Some(told) }, lane).await {
            Pushed::Kept if durable.wait_for(|durable| *durable).await.is_ok() => Pushed::Kept,
            _ => Pushed::Full,
        }
    }

    /// The newest mark that was not yet noted elsewhere, an earlier run's too.
    pub(crate) fn mark(&self) -> Option<Bytes> {
        self.shared.locked(|state| state.mark.as_ref().map(|(_, mark)| mark.clone()))
    }

    /// The newest mark is noted elsewhere: its segment may go.
    pub(crate) fn mark_noted(&self) {
        self.shared.locked(|state| state.mark = None);
    }

    /// Whether less than half of the spool is in use.
    pub(crate) fn has_room(&self) -> bool {
        let (used, stuck) = self.shared.locked(|state| (state.used_bytes(), state.stuck));
        !stuck && used + self.shared.queued_bytes.load(Ordering::Relaxed) < self.shared.limit_bytes / 2
    }

    async fn hand(&self, batch: Waiting, lane: Lane) -> Pushed {
        let bytes = batch.bytes.len();
        let size = u32::try_from(bytes.clamp(1, QUEUE_BYTES)).unwrap_or(u32::MAX);
        loop {
            let changed = self.shared.changed.notified();
            let admitted = self.shared.admits(lane, bytes as u64);
            if !admitted && (!lane.waits() || self.shared.stop.is_cancelled()) {
                return Pushed::Full;
            }
            let memory = Arc::clone(&self.shared.memory).acquire_many_owned(size);
            tokio::select! {
                biased;
                permit = memory, if admitted => {
                    // The writer gives the memory back when the batch is durable.
                    let Ok(permit) = permit else { return Pushed::Full };
                    permit.forget();
                    self.shared.queued_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                    let sent = self.queue.send(Some(batch));
                    return if sent.is_ok() { Pushed::Kept } else { Pushed::Full };
                }
                () = changed => {}
                () = self.shared.stop.cancelled(), if !admitted => {}
            }
        }
    }
}

// === impl Shared ===

impl Shared {
    fn locked<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a batch of this lane may still come in.
    fn admits(&self, lane: Lane, bytes: u64) -> bool {
        let queued = self.queued_bytes.load(Ordering::Relaxed);
        let (used, stuck) = self.locked(|state| (state.used_bytes(), state.stuck));
        let limit = self.limit_bytes / 100 * lane.spool_percent();
        !stuck && used + queued + bytes <= limit
    }

    fn publish_metrics(&self) {
        let (bytes, batches) = self.locked(|state| (state.used_bytes(), state.held.len()));
        self.metrics.spool_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.metrics.spool_batches.set(i64::try_from(batches).unwrap_or(i64::MAX));
    }
}

// === impl State ===

impl State {
    /// The position of the oldest batch held; `next` if there is none.
    fn first(&self) -> u64 {
        self.next - self.held.len() as u64
    }

    fn used_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

/// One process a spool: two would give one number to two batches.
fn lock(dir: &Path) -> Result<Flock<File>, CollectorError> {
    let path = dir.join("lock");
    let failed = |source| CollectorError::File {
        field: "spool_dir",
        path: dir.to_owned(),
        message: "its lock file cannot be opened",
        source,
    };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(CollectorError::SpoolInUse { path: dir.to_owned() }),
        Err((_, errno)) => Err(failed(io::Error::from(errno))),
    }
}

/// Cluster and node, in the alphabet of a collector's id.
fn collector_name(config: &Config) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = format!("{}.{}", config.cluster, config.node).chars().map(clean).take(200).collect();
    if name.chars().all(|c| c == '.') { "collector".to_owned() } else { name }
}

/// Makes the entries of a folder durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests;
