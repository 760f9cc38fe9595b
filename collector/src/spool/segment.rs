//! One file of batches: a header, then records, each with a checksum. Pure but
//! for reading and making the file.
//!
//! ```text
//!   BWSPOOL1 · first u64 · crc u32
//!   length u32 · crc u32 · position u64 · table u8 · arrow_crc u32 · Arrow IPC [· length u16 · mark]
//!                └──────────────── covers everything behind it ─────────────────────────────┘
//! ```
//!
//! The highest bit of `table` says that a mark follows the batch: the place in
//! its source up to which the batch and those before it go.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bailiwick_proto::Table;
use bailiwick_proto::wire::MAX_BATCH_BYTES;
use bytes::Bytes;

use super::sync_dir;

const MAGIC: &[u8; 8] = b"BWSPOOL1";
pub(super) const HEADER_BYTES: usize = 8 + 8 + 4;
/// Bytes of a record before its batch.
pub(super) const PREFIX_BYTES: usize = 4 + 4 + 8 + 1 + 4;
const TABLE_AT: usize = 4 + 4 + 8;
const MARKED: u8 = 0x80;
/// A mark that is longer is not one.
pub(super) const MAX_MARK_BYTES: usize = 16 << 10;
const SUFFIX: &str = ".batches";

/// A record found in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) position: u64,
    pub(super) table: Table,
    pub(super) arrow_crc32c: u32,
    /// Where its batch begins in the file.
    pub(super) offset: u64,
    /// The batch's length.
    pub(super) length: u32,
    /// The place in its source, if it told one.
    pub(super) mark: Option<Bytes>,
}

/// The name of the segment that begins with this position.
pub(super) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}{SUFFIX}"))
}

/// All segments of a folder, oldest first.
pub(super) fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let first = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse().ok());
        if let Some(first) = first {
            found.push((first, path(dir, first)));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Makes a segment with its header, durable before its first record. A file of
/// the same name holds no record that anybody was told of, and is replaced.
pub(super) fn create(dir: &Path, first: u64) -> io::Result<File> {
    let path = path(dir, first);
    let mut file = File::options().create(true).truncate(true).read(true).write(true).open(path)?;
    file.write_all(&header(first))?;
    file.sync_all()?;
    sync_dir(dir)?;
    Ok(file)
}

/// Appends one record to `to`; answers where its batch begins there.
pub(super) fn put(
    to: &mut Vec<u8>,
    position: u64,
    table: Table,
    arrow_ipc: &[u8],
    mark: Option<&[u8]>,
) -> (usize, u32) {
    let arrow_crc32c = crc32c::crc32c(arrow_ipc);
    let start = to.len();
    let length = u32::try_from(arrow_ipc.len()).unwrap_or(u32::MAX);
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(&[0; 4]);
    to.extend_from_slice(&position.to_le_bytes());
    to.push(table as u8 | if mark.is_some() { MARKED } else { 0 });
    to.extend_from_slice(&arrow_crc32c.to_le_bytes());
    to.extend_from_slice(arrow_ipc);
    if let Some(mark) = mark {
        to.extend_from_slice(&u16::try_from(mark.len()).unwrap_or(u16::MAX).to_le_bytes());
        to.extend_from_slice(mark);
    }
    // Of the batch there is a checksum already: it is not read again.
    let batch = start + PREFIX_BYTES;
    let before = crc32c::crc32c(&to[start + 8..batch]);
    let whole = crc32c::crc32c_combine(before, arrow_crc32c, arrow_ipc.len());
    let crc = crc32c::crc32c_append(whole, &to[batch + arrow_ipc.len()..]);
    to[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    (start + PREFIX_BYTES, arrow_crc32c)
}

/// Reads the records of a segment that should begin at `first`, up to the first
/// one that is torn or damaged; answers them and the length of what is good.
pub(super) fn scan(file: &mut File, first: u64) -> io::Result<(Vec<Found>, u64)> {
    let mut input = io::BufReader::new(file);
    let mut head = [0; HEADER_BYTES];
    if !filled(&mut input, &mut head)? || head != header(first) {
        return Ok((Vec::new(), 0));
    }
    let mut found = Vec::new();
    let mut good = HEADER_BYTES as u64;
    let mut prefix = [0; PREFIX_BYTES];
    let mut body = Vec::new();
    while filled(&mut input, &mut prefix)? {
        let Some(mut record) = parse(&prefix, good, first + found.len() as u64) else { break };
        let length = record.length as usize;
        body.resize(length, 0);
        let whole = filled(&mut input, &mut body)? && rest(&mut input, &prefix, &mut body)?;
        if !whole || record_crc(&prefix[8..], &body).to_le_bytes() != prefix[4..8] {
            break;
        }
        good += (PREFIX_BYTES + body.len()) as u64;
        record.mark = body.get(length + 2..).map(Bytes::copy_from_slice);
        found.push(record);
    }
    Ok((found, good))
}

fn header(first: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&first.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..16]);
    bytes[16..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Appends the mark and its length to a batch that has one; false if it is cut short.
fn rest(input: &mut impl Read, prefix: &[u8; PREFIX_BYTES], body: &mut Vec<u8>) -> io::Result<bool> {
    if prefix[TABLE_AT] & MARKED == 0 {
        return Ok(true);
    }
    let mut length = [0; 2];
    if !filled(input, &mut length)? {
        return Ok(false);
    }
    body.extend_from_slice(&length);
    let start = body.len();
    body.resize(start + usize::from(u16::from_le_bytes(length)), 0);
    filled(input, body.get_mut(start..).unwrap_or_default())
}

fn record_crc(prefix: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(prefix), body)
}

/// A record's prefix, if it can be one.
fn parse(prefix: &[u8; PREFIX_BYTES], at: u64, expected: u64) -> Option<Found> {
    let u32_at = |at: usize| Some(u32::from_le_bytes(prefix.get(at..at + 4)?.try_into().ok()?));
    let length = u32_at(0)?;
    let position = u64::from_le_bytes(prefix.get(8..16)?.try_into().ok()?);
    let table = *Table::ALL.iter().find(|table| **table as u8 == prefix[TABLE_AT] & !MARKED)?;
    let fits = length as usize <= MAX_BATCH_BYTES && position == expected;
    let arrow_crc32c = u32_at(17)?;
    let offset = at + PREFIX_BYTES as u64;
    fits.then_some(Found { position, table, arrow_crc32c, offset, length, mark: None })
}

/// Whether there were enough bytes.
fn filled(input: &mut impl Read, to: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
