//! A file of what a collector captured, to be played again.
//!
//! ```text
//!   header   "BAILWREC" · version u32 · made_by: length u32, UTF-8
//!   record   0x01 · table: length u8, UTF-8 · CRC-32C u32 · length u32 · Arrow IPC stream
//!   …
//!   end      0x00 · rows u64             integers are little-endian
//! ```
//!
//! The end mark tells a whole recording from one that was cut. Batches are those
//! of the wire, so a reader trusts them as little as ingest does.

use std::fmt;
use std::io::{self, Read, Write};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use bailiwick_proto::schema::UnknownTable;
use bailiwick_proto::{Table, wire};

const MAGIC: &[u8; 8] = b"BAILWREC";
const VERSION: u32 = 1;
const END: u8 = 0;
const RECORD: u8 = 1;
const MAX_MADE_BY_BYTES: usize = 1024;
/// Small batches of a table become one: each carries the table's schema.
const BATCH_ROWS: usize = 8_192;

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file itself.
    #[error("recording cannot be {doing}")]
    Io {
        /// `read` or `written`.
        doing: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another file, or one of a newer version.
    #[error("this is not a recording of version {VERSION}: {found}")]
    NotARecording {
        /// What is there instead.
        found: String,
    },
    /// It stops before its end mark, or says of itself what is not so.
    #[error("recording is damaged at byte {at}: {what}")]
    Damaged {
        /// From the start.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// A table that this version does not know.
    #[error("recording names a table at byte {at}")]
    Table {
        /// From the start.
        at: u64,
        /// The cause.
        #[source]
        source: UnknownTable,
    },
    /// A batch that is not one of its table's.
    #[error("recording has an unreadable batch at byte {at}")]
    Batch {
        /// From the start.
        at: u64,
        /// The cause.
        #[source]
        source: wire::WireError,
    },
    /// A batch to be written that is not of its table's wire schema.
    #[error("batch cannot be recorded")]
    Encode(#[from] wire::WireError),
    /// As above.
    #[error("batches cannot be joined")]
    Join(#[from] arrow::error::ArrowError),
}

/// Writes a recording. One that is dropped without [`Writer::finish`] has no
/// end mark and reads as damaged.
pub struct Writer<W: Write> {
    out: W,
    rows: u64,
    /// Batches that wait to become one, by table.
    waiting: Vec<(Table, Vec<RecordBatch>)>,
}

/// Reads a recording, batch by batch.
pub struct Reader<R: Read> {
    input: Counted<R>,
    made_by: String,
    rows: u64,
    ended: bool,
}

/// How far a file was read, for messages.
struct Counted<R> {
    inner: R,
    at: u64,
}

// === impl Writer ===

impl<W: Write> Writer<W> {
    /// Begins a recording; `made_by` says what made it, for people.
    pub fn new(mut out: W, made_by: &str) -> Result<Self, RecordingError> {
        let made_by = made_by.get(..made_by.floor_char_boundary(MAX_MADE_BY_BYTES)).unwrap_or_default();
        let mut header = MAGIC.to_vec();
        header.extend(VERSION.to_le_bytes());
        header.extend(u32::try_from(made_by.len()).unwrap_or_default().to_le_bytes());
        header.extend(made_by.as_bytes());
        out.write_all(&header).map_err(written)?;
        Ok(Self { out, rows: 0, waiting: Vec::new() })
    }

    /// Adds a batch of `table`'s wire schema. Batches of one table stay in order.
    pub fn write(&mut self, table: Table, rows: &RecordBatch) -> Result<(), RecordingError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let index = match self.waiting.iter().position(|(waiting, _)| *waiting == table) {
            Some(index) => index,
            None => {
                self.waiting.push((table, Vec::new()));
                self.waiting.len() - 1
            }
        };
        let Some((_, batches)) = self.waiting.get_mut(index) else { return Ok(()) };
        let count: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let before = if count + rows.num_rows() > BATCH_ROWS { std::mem::take(batches) } else { Vec::new() };
        batches.push(rows.clone());
        self.record(table, &before)
    }

    /// Writes what waits, and the end mark.
    pub fn finish(mut self) -> Result<W, RecordingError> {
        for (table, batches) in std::mem::take(&mut self.waiting) {
            self.record(table, &batches)?;
        }
        self.out.write_all(&[END]).map_err(written)?;
        self.out.write_all(&self.rows.to_le_bytes()).map_err(written)?;
        self.out.flush().map_err(written)?;
        Ok(self.out)
    }

    fn record(&mut self, table: Table, batches: &[RecordBatch]) -> Result<(), RecordingError> {
        if batches.is_empty() {
            return Ok(());
        }
        let joined = concat_batches(&table.wire_schema(), batches)?;
        let bytes = wire::encode(&joined)?;
        if bytes.len() > wire::MAX_BATCH_BYTES {
            // Together they are too large for a reader; one by one they were not.
            if batches.len() == 1 {
                let (what, found, limit) = ("bytes", bytes.len(), wire::MAX_BATCH_BYTES);
                return Err(RecordingError::Encode(wire::WireError::TooLarge { what, found, limit }));
            }
            return batches.chunks(1).try_for_each(|one| self.record(table, one));
        }
        let mut record = vec![RECORD, u8::try_from(table.name().len()).unwrap_or(u8::MAX)];
        record.extend(table.name().as_bytes());
        record.extend(crc32c::crc32c(&bytes).to_le_bytes());
        record.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.out.write_all(&record).map_err(written)?;
        self.out.write_all(&bytes).map_err(written)?;
        self.rows += joined.num_rows() as u64;
        Ok(())
    }
}

impl<W: Write> fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("rows", &self.rows).finish_non_exhaustive()
    }
}

fn written(source: io::Error) -> RecordingError {
    RecordingError::Io { doing: "written", source }
}

// === impl Reader ===

impl<R: Read> Reader<R> {
    /// Reads the header.
    pub fn new(input: R) -> Result<Self, RecordingError> {
        let mut input = Counted { inner: input, at: 0 };
        let not_one = |found: String| RecordingError::NotARecording { found };
        let magic = input.array::<8>().map_err(|_| not_one("the file is too short".to_owned()))?;
        if &magic != MAGIC {
            return Err(not_one("it begins otherwise".to_owned()));
        }
        let version = input.u32()?;
        if version != VERSION {
            return Err(not_one(format!("its version is {version}")));
        }
        let length = input.u32()? as usize;
        if length > MAX_MADE_BY_BYTES {
            return Err(input.damaged("its maker's name is too long"));
        }
        let made_by = String::from_utf8_lossy(&input.bytes(length)?).into_owned();
        Ok(Self { input, made_by, rows: 0, ended: false })
    }

    /// What made it.
    pub fn made_by(&self) -> &str {
        &self.made_by
    }

    /// The next batch, of its table's wire schema; `None` after the last one.
    pub fn next_batch(&mut self) -> Result<Option<(Table, RecordBatch)>, RecordingError> {
        if self.ended {
            return Ok(None);
        }
        match self.input.array::<1>()? {
            [RECORD] => self.record().map(Some),
            [END] => self.end().map(|()| None),
            [other] => Err(self.input.damaged(&format!("{other:#04x} is no kind of record"))),
        }
    }

    fn record(&mut self) -> Result<(Table, RecordBatch), RecordingError> {
        let at = self.input.at;
        let [length] = self.input.array::<1>()?;
        let name = String::from_utf8_lossy(&self.input.bytes(usize::from(length))?).into_owned();
        let table: Table = name.parse().map_err(|source| RecordingError::Table { at, source })?;
        let crc32c = self.input.u32()?;
        let length = self.input.u32()? as usize;
        if length > wire::MAX_BATCH_BYTES {
            return Err(self.input.damaged(&format!("a batch of {length} bytes is over the limit")));
        }
        let bytes = self.input.bytes(length)?;
        let rows = wire::decode(&bytes, crc32c, &table.wire_schema());
        let rows = rows.map_err(|source| RecordingError::Batch { at, source })?;
        self.rows += rows.num_rows() as u64;
        Ok((table, rows))
    }

    fn end(&mut self) -> Result<(), RecordingError> {
        let rows = u64::from_le_bytes(self.input.array()?);
        if rows != self.rows {
            return Err(self.input.damaged(&format!("{} rows were read, {rows} were written", self.rows)));
        }
        self.ended = true;
        Ok(())
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<(Table, RecordBatch), RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_batch().transpose();
        // What follows damage means nothing.
        self.ended |= matches!(next, Some(Err(_)));
        next
    }
}

impl<R: Read> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("made_by", &self.made_by)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

// === impl Counted ===

impl<R: Read> Counted<R> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordingError> {
        let mut bytes = [0; N];
        match self.inner.read_exact(&mut bytes) {
            Ok(()) => {
                self.at += N as u64;
                Ok(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.damaged("it ends here")),
            Err(source) => Err(RecordingError::Io { doing: "read", source }),
        }
    }

    fn u32(&mut self) -> Result<u32, RecordingError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Grows with what is there, not with what the file says is there.
    fn bytes(&mut self, length: usize) -> Result<Vec<u8>, RecordingError> {
        let mut bytes = Vec::new();
        let read = self.inner.by_ref().take(length as u64).read_to_end(&mut bytes);
        let read = read.map_err(|source| RecordingError::Io { doing: "read", source })?;
        self.at += read as u64;
        if read < length { Err(self.damaged("it ends here")) } else { Ok(bytes) }
    }

    fn damaged(&self, what: &str) -> RecordingError {
        RecordingError::Damaged { at: self.at, what: what.to_owned() }
    }
}

#[cfg(test)]
mod tests;
