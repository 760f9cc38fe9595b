//! The delivering end.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use async_trait::async_trait;
use bailiwick_proto::ship::{Numbered, Outbox, OutboxError, Span};
use bytes::Bytes;

use super::{Held, Shared};

/// The spool as `bailiwick_proto::ship::deliver` sees it.
pub(crate) struct SpoolOutbox {
    shared: Arc<Shared>,
}

// === impl SpoolOutbox ===

impl SpoolOutbox {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn failed(&self, message: &str, source: Option<std::io::Error>) -> OutboxError {
        OutboxError { name: self.shared.dir.display().to_string(), message: message.to_owned(), source }
    }

    async fn read(&self, held: Held) -> Result<Bytes, OutboxError> {
        if let Some(bytes) = held.cached {
            return Ok(bytes);
        }
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; held.length as usize];
            held.file.read_exact_at(&mut bytes, held.offset).map(|()| Bytes::from(bytes))
        });
        match read.await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(error)) => Err(self.failed("a batch cannot be read, look at the disk", Some(error))),
            Err(_) => Err(self.failed("the read was cancelled", None)),
        }
    }
}

#[async_trait]
impl Outbox for SpoolOutbox {
    fn span(&self) -> Span {
        self.shared.locked(|state| Span {
            incarnation: state.identity.incarnation,
            first_seq: state.first().saturating_sub(state.identity.base),
            next_seq: state.next.saturating_sub(state.identity.base),
        })
    }

    async fn next(&mut self, seq: u64) -> Result<Option<Numbered>, OutboxError> {
        let held = loop {
            let changed = self.shared.changed.notified();
            let (held, closed) = self.shared.locked(|state| {
                let index = (state.identity.base + seq).checked_sub(state.first());
                let index = index.and_then(|index| usize::try_from(index).ok());
                (index.and_then(|index| state.held.get(index).cloned()), state.closed)
            });
            match held {
                Some(held) => break held,
                None if closed => return Ok(None),
                None => changed.await,
            }
        };
        let (table, crc32c) = (held.table, held.crc32c);
        let arrow_ipc = self.read(held).await?;
        Ok(Some(Numbered { seq, table, arrow_ipc, crc32c }))
    }

    async fn acked(&mut self, through_seq: u64) -> Result<(), OutboxError> {
        let gone = self.shared.locked(|state| {
            let through = state.identity.base + through_seq;
            while state.first() <= through && !state.held.is_empty() {
                let batch = state.held.pop_front();
                state.cached_bytes -= batch.and_then(|batch| batch.cached).map_or(0, |bytes| bytes.len());
            }
            let first = state.first();
            let mut gone = Vec::new();
            // The newest segment stays: it says where the numbering stands. So
            // does one whose mark is kept nowhere else yet.
            let needed = state.mark.as_ref().map_or(first, |(position, _)| first.min(*position));
            while state.segments.get(1).is_some_and(|second| second.first <= needed) {
                gone.extend(state.segments.pop_front());
            }
            gone
        });
        for segment in gone {
            if let Err(error) = std::fs::remove_file(&segment.path) {
                tracing::warn!(segment = %segment.path.display(), %error, "acknowledged segment cannot be deleted");
            }
        }
        self.shared.publish_metrics();
        self.shared.changed.notify_waiters();
        Ok(())
    }

    async fn renumber(&mut self) -> Result<(), OutboxError> {
        let (shared, dir) = (Arc::clone(&self.shared), self.shared.dir.clone());
        let written = shared.locked(|state| {
            let renewed = state.identity.renewed(state.first());
            renewed.write(&dir)?;
            state.identity = renewed;
            Ok(())
        });
        written.map_err(|error| self.failed("a new incarnation cannot be written", Some(error)))
    }
}
