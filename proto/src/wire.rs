//! Record batches as bytes: Arrow IPC streams, checked on the way in.
//!
//! ```text
//!   lists packed:   key a row ──▶ distinct lists          a sender may, see [`packed`]
//!   lists plain:    a list a row                          what is read is always this
//! ```

mod packed;

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_ipc::CompressionType;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};

pub use packed::{packed, plain};

/// The most bytes that one batch may have on the wire.
pub const MAX_BATCH_BYTES: usize = 16 << 20;
/// The most rows that one batch may have on the wire.
pub const MAX_BATCH_ROWS: usize = 262_144;
/// The most bytes that the lists of one batch may have when each row has its own.
pub const MAX_LIST_BYTES: usize = 4 * MAX_BATCH_BYTES;

/// Why bytes are not a batch of the schema that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// More bytes or rows than a receiver takes at once.
    #[error("batch of {what} {found} is over the limit of {limit}")]
    TooLarge {
        /// `bytes`, `rows` or `bytes of lists`.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A column that the table does not have.
    #[error("column {name:?} is not one of this table's")]
    UnknownColumn {
        /// The column's name as sent.
        name: String,
    },
    /// A column of another type than the table's.
    #[error("column {name:?} has type {found}, the table has {expected}")]
    WrongType {
        /// The column's name.
        name: String,
        /// The type sent.
        found: DataType,
        /// The table's type.
        expected: DataType,
    },
    /// The bytes do not match the checksum sent with them.
    #[error("checksum of the batch is {found:#010x}, its sender computed {expected:#010x}")]
    Checksum {
        /// Computed here.
        found: u32,
        /// Sent along.
        expected: u32,
    },
    /// Not an Arrow IPC stream, or a damaged one.
    #[error("not a readable Arrow IPC stream")]
    Ipc(#[from] ArrowError),
    /// A message that says it is longer than what was sent, or that the reader
    /// could not make sense of.
    #[error("the Arrow IPC stream is cut short or damaged")]
    Damaged,
    /// Compressed bodies are refused from senders: a few bytes could ask for
    /// any amount of memory.
    #[error("compressed batches are not accepted")]
    Compressed,
}

/// Writes a batch as one uncompressed IPC stream, for the wire.
///
/// Columns that are null in every row are left out, since [`decode`] fills what
/// is missing with nulls: an event has values in some columns of many.
pub fn encode(batch: &RecordBatch) -> Result<Vec<u8>, WireError> {
    write(std::slice::from_ref(batch), &batch.schema(), None)
}

/// Writes batches of one schema as one LZ4-compressed IPC stream, for the WAL.
/// Columns that are null in every row of all of them are left out, as for the wire.
pub fn encode_compressed(batches: &[RecordBatch], schema: &Schema) -> Result<Vec<u8>, WireError> {
    write(batches, schema, Some(CompressionType::LZ4_FRAME))
}

/// Reads what a sender sent, trusting nothing: limits, checksum and schema.
///
/// Columns may come in any order and may be missing (an older sender); they
/// are put in the order of `schema`, missing ones filled with nulls. Packed lists
/// become plain ones.
pub fn decode(bytes: &[u8], crc32c: u32, schema: &SchemaRef) -> Result<RecordBatch, WireError> {
    within("bytes", bytes.len(), MAX_BATCH_BYTES)?;
    let found = crc32c::crc32c(bytes);
    if found != crc32c {
        return Err(WireError::Checksum { found, expected: crc32c });
    }
    hostile::check_frames(bytes)?;
    // The IPC reader trusts offsets and counts in message headers and panics on
    // some that are wrong; what a sender wrote must not end the receiver.
    std::panic::catch_unwind(|| read_untrusted(bytes, schema)).unwrap_or(Err(WireError::Damaged))
}

fn read_untrusted(bytes: &[u8], schema: &SchemaRef) -> Result<RecordBatch, WireError> {
    let mut rows = 0;
    let mut batches = Vec::new();
    for batch in StreamReader::try_new(Cursor::new(bytes), None)? {
        let batch = batch?;
        rows += batch.num_rows();
        within("rows", rows, MAX_BATCH_ROWS)?;
        batches.push(conform(&batch, schema)?);
    }
    Ok(concat_batches(schema, &batches)?)
}

/// Reads an IPC stream that this system wrote and whose checksum was already
/// verified; what was left out is filled with nulls.
pub fn decode_trusted(bytes: &[u8], schema: &SchemaRef) -> Result<Vec<RecordBatch>, WireError> {
    let batches = StreamReader::try_new(Cursor::new(bytes), None)?;
    batches.map(|batch| conform(&batch?, schema)).collect()
}

fn write(
    batches: &[RecordBatch],
    schema: &Schema,
    compression: Option<CompressionType>,
) -> Result<Vec<u8>, WireError> {
    let filled = |index: &usize| {
        batches.iter().any(|batch| batch.column(*index).logical_null_count() < batch.num_rows())
    };
    let mut sent: Vec<usize> = (0..schema.fields().len()).filter(filled).collect();
    if sent.is_empty() && !schema.fields().is_empty() {
        // How many rows there are is said by a column.
        sent.push(0);
    }
    let options = IpcWriteOptions::default().try_with_compression(compression)?;
    let sent_of = |batch: &RecordBatch| batch.project(&sent);
    let batches = batches.iter().map(sent_of).collect::<Result<Vec<_>, _>>()?;
    // A vector that grows is copied again and again.
    let room = if compression.is_none() { batches.iter().map(bytes_about).sum() } else { 0 };
    let to = Vec::with_capacity(room);
    let mut writer = StreamWriter::try_new_with_options(to, &schema.project(&sent)?, options)?;
    batches.iter().try_for_each(|batch| writer.write(batch))?;
    let mut bytes = writer.into_inner()?;
    if bytes.capacity() / 5 > bytes.len() / 4 {
        // It waits in a spool's memory.
        bytes.shrink_to_fit();
    }
    Ok(bytes)
}

/// About how many bytes a batch takes: its buffers, and a little for each column.
fn bytes_about(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.get_buffer_memory_size() + 256).sum()
}

/// Brings a batch to `schema`'s column order; refuses what does not belong.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, WireError> {
    for field in batch.schema_ref().fields() {
        let known = schema.field_with_name(field.name());
        let expected = known.map_err(|_| WireError::UnknownColumn { name: field.name().clone() })?;
        let (is, expected) = (field.data_type(), expected.data_type());
        if expected != is && !packed::is_packed(is, expected) {
            return Err(WireError::WrongType {
                name: field.name().clone(),
                found: is.clone(),
                expected: expected.clone(),
            });
        }
    }
    let batch = plain(batch)?;
    // Columns that are missing share their nulls, one array a type.
    let mut nulls: Vec<ArrayRef> = Vec::new();
    let mut column = |field: &Arc<arrow::datatypes::Field>| {
        if let Some(sent) = batch.column_by_name(field.name()) {
            return Arc::clone(sent);
        }
        if let Some(shared) = nulls.iter().find(|nulls| nulls.data_type() == field.data_type()) {
            return Arc::clone(shared);
        }
        let missing = new_null_array(field.data_type(), batch.num_rows());
        nulls.push(Arc::clone(&missing));
        missing
    };
    let columns = schema.fields().iter().map(&mut column).collect();
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<(), WireError> {
    if found > limit { Err(WireError::TooLarge { what, found, limit }) } else { Ok(()) }
}

/// Looks at message headers before any body is read.
mod hostile {
    use arrow_ipc::{MessageHeader, root_as_message};

    use super::WireError;

    const CONTINUATION: [u8; 4] = [0xff; 4];

    /// Walks the stream's message headers: every body must be there in full, so
    /// that no header can ask for more memory than was sent, and uncompressed.
    pub(super) fn check_frames(mut bytes: &[u8]) -> Result<(), WireError> {
        while let Some((header, rest)) = next_message(bytes)? {
            let message = root_as_message(header).map_err(|_| WireError::Damaged)?;
            let batch = match message.header_type() {
                MessageHeader::RecordBatch => message.header_as_record_batch(),
                MessageHeader::DictionaryBatch => {
                    message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data())
                }
                _ => None,
            };
            if batch.is_some_and(|batch| batch.compression().is_some()) {
                return Err(WireError::Compressed);
            }
            let body = usize::try_from(message.bodyLength()).map_err(|_| WireError::Damaged)?;
            bytes = rest.get(body..).ok_or(WireError::Damaged)?;
        }
        Ok(())
    }

    /// A message's header, and what follows it.
    type Message<'a> = (&'a [u8], &'a [u8]);

    /// The next message; `None` at the end mark.
    fn next_message(bytes: &[u8]) -> Result<Option<Message<'_>>, WireError> {
        let bytes = bytes.strip_prefix(&CONTINUATION).unwrap_or(bytes);
        let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length == 0 {
            return Ok(None);
        }
        rest.split_at_checked(length).map(Some).ok_or(WireError::Damaged)
    }
}

#[cfg(test)]
mod tests;
