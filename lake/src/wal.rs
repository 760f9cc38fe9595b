//! One WAL object: many batches, written once, checked on every read.
//!
//! ```text
//! "BWAL0002" │ header length u32 │ header CRC-32C u32 │ header, JSON │ segment │ segment …
//!                                                                   one LZ4 Arrow IPC stream a table,
//!                                                                   stamped schema, CRC in the header
//! ```
//!
//! The header carries the whole dedupe state as of this object, so that the
//! newest object of a log alone tells a successor what was already received.
//! ADR 0001 has the reasons, ADR 0008 those for what several ingesters leave in
//! each other's logs.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use bailiwick_proto::wire::{self, WireError};
use bailiwick_proto::{IngesterId, Table};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::LakeError;
use crate::keys::WalKey;

const MAGIC: &[u8; 8] = b"BWAL0002";
const PREFIX_BYTES: usize = MAGIC.len() + 8;

/// What a WAL object says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalHeader {
    /// Whose log it belongs to.
    pub ingester: String,
    /// Counts the processes that ever wrote this log.
    pub epoch: u64,
    /// Random, one per process: tells two processes of one epoch apart.
    pub nonce: String,
    /// Its place in the log.
    pub number: u64,
    /// When it was written, microseconds since 1970.
    pub written_at_us: i64,
    /// What it is there for.
    pub kind: WalKind,
    /// Where each table's rows lie in the body.
    pub segments: Vec<Segment>,
    /// Which numbers of which collector are durable, this object included.
    pub high_water: HighWater,
}

/// The rows of one table within a WAL object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The table's name.
    pub table: String,
    /// Bytes from the body's start.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// CRC-32C of those bytes.
    pub crc32c: u32,
    /// How many rows they hold.
    pub rows: u64,
}

/// Why an object was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum WalKind {
    /// Opens an epoch and fences the one before. It holds no rows.
    Opening,
    /// Batches as collectors sent them.
    Batches,
    /// Says which collectors this log is about to receive from. It holds no rows.
    Claim,
    /// Another ingester's note: these collectors are its own from here on. It
    /// holds no rows.
    HandOver {
        /// The ingester that wrote it.
        to: String,
        /// Whom it receives from now.
        collectors: Vec<String>,
    },
    /// Rows of objects before it, too few for a file of their own yet.
    Carried {
        /// When the oldest of them was first written, microseconds since 1970.
        since_us: i64,
    },
}

/// What is known of every collector.
pub type HighWater = BTreeMap<String, CollectorState>;

/// What one log knows of one collector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectorState {
    /// Whether this log receives from it.
    pub hold: Hold,
    /// When it was last heard, microseconds since 1970.
    pub heard_at_us: i64,
    /// Its numberings, the one heard last first.
    pub incarnations: Vec<Incarnation>,
}

/// One log's claim to one collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// Its next batches are expected here.
    Held,
    /// They will be, once the other logs have been told.
    Claimed,
    /// They belong into another ingester's log.
    Left,
}

/// How far one numbering of one collector is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incarnation {
    /// The collector's own number for this numbering.
    pub incarnation: u64,
    /// Every lower number is durable.
    pub next_seq: u64,
}

/// A WAL object as read: header checked, rows decoded on demand.
#[derive(Debug, Clone)]
pub struct WalObject {
    key: WalKey,
    header: WalHeader,
    body: Bytes,
}

/// A table's rows, encoded for a WAL object.
#[derive(Debug, Clone)]
pub struct EncodedRows {
    /// The table.
    pub table: Table,
    /// How many rows.
    pub rows: u64,
    /// One LZ4 Arrow IPC stream of the stamped schema.
    pub arrow_ipc: Bytes,
}

// === impl EncodedRows ===

impl EncodedRows {
    /// Encodes batches of a table's stamped schema.
    pub fn encode(table: Table, batches: &[RecordBatch]) -> Result<Self, WireError> {
        let schema: &Schema = &table.stamped_schema();
        let arrow_ipc = Bytes::from(wire::encode_compressed(batches, schema)?);
        let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        Ok(Self { table, rows, arrow_ipc })
    }
}

// === impl WalHeader ===

impl WalHeader {
    /// Writes the object: this header, with segments as `rows` demands, and the rows.
    pub fn encode(mut self, rows: &[EncodedRows]) -> Bytes {
        let mut offset = 0;
        self.segments.clear();
        for EncodedRows { table, rows, arrow_ipc } in rows {
            let length = arrow_ipc.len() as u64;
            let crc32c = crc32c::crc32c(arrow_ipc);
            self.segments.push(Segment { table: table.name().into(), offset, length, crc32c, rows: *rows });
            offset += length;
        }
        // Strings and integers only: there is nothing in it that JSON cannot hold.
        let header = serde_json::to_vec(&self).unwrap_or_default();
        let body: usize = rows.iter().map(|rows| rows.arrow_ipc.len()).sum();
        let mut bytes = Vec::with_capacity(PREFIX_BYTES + header.len() + body);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
        bytes.extend_from_slice(&header);
        rows.iter().for_each(|rows| bytes.extend_from_slice(&rows.arrow_ipc));
        bytes.into()
    }

    /// The ingester's id, checked.
    pub fn ingester_id(&self) -> Option<IngesterId> {
        self.ingester.parse().ok()
    }

    /// Whether its rows are copies of rows in objects before it.
    pub fn is_carried(&self) -> bool {
        matches!(self.kind, WalKind::Carried { .. })
    }

    /// When its rows were first durable, microseconds since 1970.
    pub fn since_us(&self) -> i64 {
        match self.kind {
            WalKind::Carried { since_us } => since_us,
            _ => self.written_at_us,
        }
    }
}

// === impl WalObject ===

impl WalObject {
    /// Checks magic, header and that every segment lies within the bytes.
    pub fn parse(key: WalKey, bytes: &Bytes) -> Result<Self, LakeError> {
        let damaged =
            |reason: &str| LakeError::DamagedWal { key: key.path().to_string(), reason: reason.into() };
        let (prefix, rest) =
            bytes.split_at_checked(PREFIX_BYTES).ok_or_else(|| damaged("it is cut short"))?;
        let (magic, numbers) = prefix.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(damaged("it does not begin as one"));
        }
        let (length, crc32c) = numbers.split_at(4);
        let little = |bytes: &[u8]| bytes.iter().rev().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte));
        let (length, crc32c) = (little(length) as usize, little(crc32c));
        let header = rest.get(..length).ok_or_else(|| damaged("its header is cut short"))?;
        if crc32c::crc32c(header) != crc32c {
            return Err(damaged("its header's checksum differs"));
        }
        let header: WalHeader =
            serde_json::from_slice(header).map_err(|_| damaged("its header is no JSON"))?;
        if header.number != key.number || header.ingester != key.ingester.as_str() {
            return Err(damaged("its header names another object"));
        }
        let body = bytes.slice(PREFIX_BYTES + length..);
        let end = header.segments.iter().map(|segment| segment.offset.saturating_add(segment.length)).max();
        if end.unwrap_or(0) != body.len() as u64 {
            return Err(damaged("its body has another length"));
        }
        Ok(Self { key, header, body })
    }

    /// Its key.
    pub fn key(&self) -> &WalKey {
        &self.key
    }

    /// What it says about itself.
    pub fn header(&self) -> &WalHeader {
        &self.header
    }

    /// Bytes of rows, as stored.
    pub fn body_bytes(&self) -> u64 {
        self.body.len() as u64
    }

    /// The encoded rows of every table in it, checksums verified.
    pub fn encoded(&self) -> Result<Vec<EncodedRows>, LakeError> {
        self.header.segments.iter().map(|segment| self.segment(segment)).collect()
    }

    /// The rows of every table in it: stamped schema, as they were received.
    pub fn rows(&self) -> Result<Vec<(Table, Vec<RecordBatch>)>, LakeError> {
        let decode = |EncodedRows { table, arrow_ipc, .. }: EncodedRows| {
            let failed = |source| LakeError::Rows { key: self.key.path().to_string(), table, source };
            Ok((table, wire::decode_trusted(&arrow_ipc, &table.stamped_schema()).map_err(failed)?))
        };
        self.encoded()?.into_iter().map(decode).collect()
    }

    fn segment(&self, segment: &Segment) -> Result<EncodedRows, LakeError> {
        let damaged = |reason: String| LakeError::DamagedWal { key: self.key.path().to_string(), reason };
        let table = segment.table.parse::<Table>().map_err(|error| damaged(error.to_string()))?;
        // `parse` has checked that both ends lie within the body.
        let (start, end) = (segment.offset as usize, (segment.offset + segment.length) as usize);
        let arrow_ipc = self.body.slice(start..end);
        if crc32c::crc32c(&arrow_ipc) != segment.crc32c {
            return Err(damaged(format!("the checksum of its {table} rows differs")));
        }
        Ok(EncodedRows { table, rows: segment.rows, arrow_ipc })
    }
}

#[cfg(test)]
mod tests;
