//! The sending half of the Ship contract, for whoever has rows to deliver.
//!
//! ```text
//!   Outbox (numbered batches)         Ship stream              ingest
//!   ┌──────────────────────┐  Hello / Welcome(expected)  ┌─────────────┐
//!   │ spool on disk, or    │ ───────── Batch ──────────▶ │ WAL object, │
//!   │ memory               │ ◀──────── Ack ───────────── │ then ack    │
//!   └──────────────────────┘                             └─────────────┘
//! ```
//!
//! [`deliver`] drives one outbox until it is closed and empty, reconnecting
//! with back-off for as long as it takes. Nothing leaves an outbox before it
//! was acknowledged, so a batch may arrive twice; the receiver recognises it
//! by `(collector_id, incarnation, seq)`.

mod drive;
mod memory;

use async_trait::async_trait;
use bytes::Bytes;

pub use drive::{DeliverError, Delivery, deliver};
pub use memory::{MemoryOutbox, MemorySender, PushError};

use crate::Table;

/// A batch with the number under which it will be delivered exactly once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// Consecutive within the outbox's incarnation.
    pub seq: u64,
    /// Where the rows belong.
    pub table: Table,
    /// One Arrow IPC stream, see [`crate::wire::encode`].
    pub arrow_ipc: Bytes,
    /// CRC-32C of `arrow_ipc`, from when it was numbered.
    pub crc32c: u32,
}

/// Which numbers an outbox holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Changes exactly when the numbering starts anew.
    pub incarnation: u64,
    /// The lowest number still held; `next_seq` when empty.
    pub first_seq: u64,
    /// The number that the next batch will get.
    pub next_seq: u64,
}

/// Where numbered batches wait until they are durable.
///
/// `next` and `acked` are called from one task; filling the outbox is another
/// task's, through a handle of the implementation's own.
#[async_trait]
pub trait Outbox: Send {
    /// The numbers held now.
    fn span(&self) -> Span;

    /// The batch numbered `seq`, waiting until there is one. `None` once the
    /// outbox is closed and holds no such number. Cancel-safe.
    async fn next(&mut self, seq: u64) -> Result<Option<Numbered>, OutboxError>;

    /// Every batch up to and including `through_seq` is durable and may be forgotten.
    async fn acked(&mut self, through_seq: u64) -> Result<(), OutboxError>;

    /// Starts a new incarnation: what is held is numbered from 0 again. Called
    /// when the receiver proves that numbers were given out twice.
    async fn renumber(&mut self) -> Result<(), OutboxError>;
}

/// The outbox itself failed; nothing of it is known to be lost.
#[derive(Debug, thiserror::Error)]
#[error("outbox {name}: {message}")]
pub struct OutboxError {
    /// Which outbox, e.g. the spool's folder.
    pub name: String,
    /// What went wrong and what to do.
    pub message: String,
    /// The cause underneath.
    #[source]
    pub source: Option<std::io::Error>,
}
