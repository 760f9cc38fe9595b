//! The thread that makes batches durable, a group at a time.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;

use super::{CACHE_BYTES, Held, QUEUE_BYTES, Segment, Shared, Waiting, segment};

/// Bytes that are made durable at once.
const GROUP_BYTES: usize = 2 << 20;
/// How long to wait before a write that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// How often a closing spool tries before it gives up on a disk.
const LAST_TRIES: u32 = 8;

/// Ends when it is told so by `None`, with everything sent before it durable.
pub(super) fn start(
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Option<Waiting>>,
) -> io::Result<JoinHandle<()>> {
    let writer = Writer { shared, active: None, buffer: Vec::new() };
    thread::Builder::new().name("spool-writer".into()).spawn(move || writer.run(&queue))
}

struct Writer {
    shared: Arc<Shared>,
    active: Option<Active>,
    buffer: Vec<u8>,
}

/// The segment that is written to.
struct Active {
    file: Arc<File>,
    bytes: u64,
}

// === impl Writer ===

impl Writer {
    fn run(mut self, queue: &Receiver<Option<Waiting>>) {
        while let Ok(Some(first)) = queue.recv() {
            let mut bytes = first.bytes.len();
            let mut group = vec![first];
            let mut closing = false;
            while bytes < GROUP_BYTES && !closing {
                match queue.try_recv() {
                    Ok(Some(next)) => {
                        bytes += next.bytes.len();
                        group.push(next);
                    }
                    Ok(None) => closing = true,
                    Err(_) => break,
                }
            }
            self.keep(&group);
            if closing {
                return;
            }
        }
    }

    /// Writes a group, in smaller parts where the disk is nearly full, again and
    /// again while it refuses. Senders see that and are refused, so that memory
    /// stays bounded.
    fn keep(&mut self, mut group: &[Waiting]) {
        let mut most = group.len();
        let mut tries = 0;
        while !group.is_empty() {
            let (part, rest) = group.split_at(most.min(group.len()));
            match self.write(part) {
                Ok(()) => {
                    part.iter().filter_map(|batch| batch.durable.as_ref()).for_each(|durable| {
                        durable.send_replace(true);
                    });
                    self.release(part);
                    self.unstuck();
                    group = rest;
                }
                Err(_) if part.len() > 1 => most = part.len() / 2,
                Err(error) => {
                    self.stuck(&error);
                    tries += u32::from(self.shared.stop.is_cancelled());
                    if tries >= LAST_TRIES {
                        tracing::error!(batches = group.len(), %error, "spool stays unwritable, its last batches are lost");
                        return self.release(group);
                    }
                    thread::sleep(RETRY_AFTER);
                }
            }
        }
    }

    fn stuck(&self, error: &io::Error) {
        self.shared.metrics.spool_write_failures.inc();
        if self.shared.locked(|state| !std::mem::replace(&mut state.stuck, true)) {
            let spool = self.shared.dir.display();
            tracing::error!(%spool, %error, "spool cannot be written, new events are dropped and counted until it can");
            self.shared.changed.notify_waiters();
        }
    }

    fn unstuck(&self) {
        if self.shared.locked(|state| std::mem::take(&mut state.stuck)) {
            tracing::info!(spool = %self.shared.dir.display(), "spool can be written again");
        }
        self.shared.changed.notify_waiters();
        self.shared.publish_metrics();
    }

    /// Makes a group durable and visible, or neither.
    fn write(&mut self, group: &[Waiting]) -> io::Result<()> {
        let first = self.shared.locked(|state| state.next);
        let mut active = self.segment(first)?;
        self.buffer.clear();
        let mut held = Vec::with_capacity(group.len());
        for (batch, position) in group.iter().zip(first..) {
            let (table, mark) = (batch.table, batch.mark.as_deref());
            let (offset, crc32c) = segment::put(&mut self.buffer, position, table, &batch.bytes, mark);
            held.push(Held {
                table,
                crc32c,
                file: Arc::clone(&active.file),
                offset: active.bytes + offset as u64,
                length: u32::try_from(batch.bytes.len()).unwrap_or(u32::MAX),
                cached: Some(batch.bytes.clone()),
            });
        }
        let written =
            active.file.write_all_at(&self.buffer, active.bytes).and_then(|()| active.file.sync_data());
        if let Err(error) = written {
            // Whatever arrived of it must not be taken for a record later.
            if let Err(error) = active.file.set_len(active.bytes) {
                tracing::warn!(%error, "a half written group cannot be cut off, it is skipped when the spool opens");
            }
            return Err(error);
        }
        active.bytes += self.buffer.len() as u64;
        let marked =
            group.iter().zip(first..).filter_map(|(batch, at)| Some((at, batch.mark.clone()?))).last();
        self.publish(held, active.bytes, marked);
        self.buffer.shrink_to(GROUP_BYTES);
        self.active = Some(active);
        Ok(())
    }

    fn publish(&self, held: Vec<Held>, bytes: u64, marked: Option<(u64, Bytes)>) {
        self.shared.locked(|state| {
            state.mark = marked.or(state.mark.take());
            for mut batch in held {
                let length = batch.length as usize;
                if state.cached_bytes + length <= CACHE_BYTES {
                    state.cached_bytes += length;
                } else {
                    batch.cached = None;
                }
                state.held.push_back(batch);
                state.next += 1;
            }
            if let Some(segment) = state.segments.back_mut() {
                segment.bytes = bytes;
            }
        });
    }

    /// The segment for the next group: the one in use, or a new one when that is
    /// full or a write to it failed.
    fn segment(&mut self, first: u64) -> io::Result<Active> {
        if let Some(active) = self.active.take()
            && active.bytes < self.shared.segment_bytes
        {
            return Ok(active);
        }
        let dir = &self.shared.dir;
        let file = Arc::new(segment::create(dir, first)?);
        let bytes = segment::HEADER_BYTES as u64;
        let path = segment::path(dir, first);
        self.shared.locked(|state| {
            // A segment without a batch has been replaced by this one.
            if state.segments.back().is_some_and(|last| last.first == first) {
                state.segments.pop_back();
            }
            state.segments.push_back(Segment { first, path, bytes });
        });
        Ok(Active { file, bytes })
    }

    fn release(&self, group: &[Waiting]) {
        for batch in group {
            self.shared.queued_bytes.fetch_sub(batch.bytes.len() as u64, Ordering::Relaxed);
            self.shared.memory.add_permits(batch.bytes.len().clamp(1, QUEUE_BYTES));
        }
    }
}
