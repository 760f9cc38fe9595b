//! An outbox for senders that can produce their rows again after a crash.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;

use super::{Numbered, Outbox, OutboxError, Span};
use crate::Table;
use crate::wire::{self, WireError};

/// The receiving end of a bounded queue of numbered batches.
#[derive(Debug)]
pub struct MemoryOutbox {
    shared: Arc<Shared>,
}

/// The filling end; clones share the queue. Dropping the last one closes it.
#[derive(Debug)]
pub struct MemorySender {
    shared: Arc<Shared>,
}

/// Why a batch was not queued.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The queue is at its limit: the receiver is slower than the sender.
    #[error("{waiting_bytes} bytes wait for ingest, the limit is {limit_bytes}")]
    Full {
        /// Bytes in the queue.
        waiting_bytes: usize,
        /// The queue's limit.
        limit_bytes: usize,
    },
    /// The batch itself could not be encoded.
    #[error("batch cannot be encoded")]
    Encode(#[from] WireError),
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Notify,
    limit_bytes: usize,
}

#[derive(Debug)]
struct Queue {
    span: Span,
    batches: VecDeque<Numbered>,
    bytes: usize,
    senders: usize,
}

// === impl MemoryOutbox ===

impl MemoryOutbox {
    /// A queue of at most `limit_bytes`; `incarnation` must be new for every
    /// start of the process.
    pub fn new(incarnation: u64, limit_bytes: usize) -> (MemorySender, Self) {
        let span = Span { incarnation, first_seq: 0, next_seq: 0 };
        let queue = Queue { span, batches: VecDeque::new(), bytes: 0, senders: 1 };
        let shared = Shared { queue: Mutex::new(queue), changed: Notify::new(), limit_bytes };
        let shared = Arc::new(shared);
        (MemorySender { shared: Arc::clone(&shared) }, Self { shared })
    }
}

#[async_trait]
impl Outbox for MemoryOutbox {
    fn span(&self) -> Span {
        self.shared.locked(|queue| queue.span)
    }

    async fn next(&mut self, seq: u64) -> Result<Option<Numbered>, OutboxError> {
        loop {
            let changed = self.shared.changed.notified();
            let found = self.shared.locked(|queue| {
                let index = seq.checked_sub(queue.span.first_seq);
                let index = index.and_then(|index| usize::try_from(index).ok());
                let batch = index.and_then(|index| queue.batches.get(index)).cloned();
                batch.map(Some).or((queue.senders == 0).then_some(None))
            });
            match found {
                Some(answer) => return Ok(answer),
                None => changed.await,
            }
        }
    }

    async fn acked(&mut self, through_seq: u64) -> Result<(), OutboxError> {
        self.shared.locked(|queue| {
            while queue.batches.front().is_some_and(|batch| batch.seq <= through_seq) {
                let gone = queue.batches.pop_front();
                queue.bytes -= gone.map_or(0, |batch| batch.arrow_ipc.len());
                queue.span.first_seq += 1;
            }
        });
        self.shared.changed.notify_waiters();
        Ok(())
    }

    async fn renumber(&mut self) -> Result<(), OutboxError> {
        self.shared.locked(|queue| {
            let next_seq = queue.batches.len() as u64;
            let incarnation = queue.span.incarnation.wrapping_add(1);
            queue.span = Span { incarnation, first_seq: 0, next_seq };
            for (batch, seq) in queue.batches.iter_mut().zip(0..) {
                batch.seq = seq;
            }
        });
        Ok(())
    }
}

// === impl MemorySender ===

impl MemorySender {
    /// Numbers a batch and queues it. Refuses rather than waits when full.
    pub fn push(&self, table: Table, batch: &RecordBatch) -> Result<(), PushError> {
        let arrow_ipc = Bytes::from(wire::encode(batch)?);
        let limit_bytes = self.shared.limit_bytes;
        self.shared.locked(|queue| {
            let waiting_bytes = queue.bytes;
            if waiting_bytes > 0 && waiting_bytes + arrow_ipc.len() > limit_bytes {
                return Err(PushError::Full { waiting_bytes, limit_bytes });
            }
            let crc32c = crc32c::crc32c(&arrow_ipc);
            queue.bytes += arrow_ipc.len();
            queue.batches.push_back(Numbered { seq: queue.span.next_seq, table, arrow_ipc, crc32c });
            queue.span.next_seq += 1;
            Ok(())
        })?;
        self.shared.changed.notify_waiters();
        Ok(())
    }

    /// Waits until everything pushed before has been acknowledged.
    pub async fn drained(&self) {
        loop {
            let changed = self.shared.changed.notified();
            if self.shared.locked(|queue| queue.batches.is_empty()) {
                return;
            }
            changed.await;
        }
    }
}

impl Clone for MemorySender {
    fn clone(&self) -> Self {
        self.shared.locked(|queue| queue.senders += 1);
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for MemorySender {
    fn drop(&mut self) {
        self.shared.locked(|queue| queue.senders -= 1);
        self.shared.changed.notify_waiters();
    }
}

// === impl Shared ===

impl Shared {
    fn locked<T>(&self, work: impl FnOnce(&mut Queue) -> T) -> T {
        // A panic while the lock was held cannot leave the queue half changed:
        // nothing in here can panic between two writes.
        work(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
