//! What an earlier run left behind, made usable.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bailiwick_proto::CollectorId;
use bytes::Bytes;

use super::identity::Identity;
use super::segment::{self, Found};
use super::{Damage, Held, Segment, sync_dir};

/// A spool as found.
pub(super) struct Recovered {
    pub(super) identity: Identity,
    pub(super) next: u64,
    pub(super) held: VecDeque<Held>,
    pub(super) segments: VecDeque<Segment>,
    pub(super) damage: Option<Damage>,
    /// The last mark, with the position of its batch.
    pub(super) mark: Option<(u64, Bytes)>,
}

/// A segment's good part.
struct Piece {
    segment: Segment,
    file: Arc<File>,
    records: Vec<Found>,
}

// === impl Piece ===

impl Piece {
    fn end(&self) -> u64 {
        self.segment.first + self.records.len() as u64
    }
}

/// Reads the folder. A torn tail is cut. A hole in the positions, a missing or
/// damaged identity, or no segment at all begins a new incarnation, since the
/// old numbers can no longer be told apart.
pub(super) fn recover(dir: &Path, name: &str) -> io::Result<Recovered> {
    let mut pieces = pieces(dir)?;
    let damage = bridge(dir, &mut pieces)?;
    let identity = Identity::read(dir)?;
    let (first, next) = match (pieces.first(), pieces.last()) {
        (Some(oldest), Some(newest)) => (oldest.segment.first, newest.end()),
        // Positions may have been used: begin where none of them was.
        _ => identity.as_ref().map_or((0, 0), |identity| (identity.base, identity.base)),
    };
    let trusted = !pieces.is_empty() && damage.is_none();
    let identity = match identity {
        Some(identity) if trusted && identity.base <= next => identity,
        Some(identity) => renewed(dir, &identity.renewed(first))?,
        None => renewed(dir, &Identity::new(collector_id(name)?, first))?,
    };
    if pieces.is_empty() {
        let file = segment::create(dir, next)?;
        let path = segment::path(dir, next);
        let bytes = segment::HEADER_BYTES as u64;
        let segment = Segment { first: next, path, bytes };
        pieces.push(Piece { segment, file: Arc::new(file), records: Vec::new() });
    }
    let records = pieces.iter().flat_map(|piece| &piece.records);
    let mark = records.filter_map(|found| Some((found.position, found.mark.clone()?))).last();
    let mut held = VecDeque::new();
    let mut segments = VecDeque::new();
    for piece in pieces {
        held.extend(piece.records.iter().map(|found| Held::found(found, &piece.file)));
        segments.push_back(piece.segment);
    }
    // What was acknowledged before an earlier renumbering is not sent again.
    let done = identity.base.saturating_sub(first).min(held.len() as u64);
    held.drain(..usize::try_from(done).unwrap_or(0));
    Ok(Recovered { identity, next, held, segments, damage, mark })
}

fn renewed(dir: &Path, identity: &Identity) -> io::Result<Identity> {
    identity.write(dir)?;
    Identity::read(dir)?.ok_or_else(|| io::Error::other("the identity just written cannot be read"))
}

fn collector_id(name: &str) -> io::Result<CollectorId> {
    name.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// Every segment that holds something, cut behind its last good record.
fn pieces(dir: &Path) -> io::Result<Vec<Piece>> {
    let mut pieces: Vec<Piece> = Vec::new();
    let listed = segment::list(dir)?;
    for (index, (first, path)) in listed.iter().enumerate() {
        let mut file = File::options().read(true).write(true).open(path)?;
        let (records, good) = segment::scan(&mut file, *first)?;
        let length = file.metadata()?.len();
        if length > good && good > 0 {
            tracing::warn!(segment = %path.display(), cut_bytes = length - good, "torn tail cut");
            file.set_len(good)?;
            file.sync_all()?;
        }
        let last = index + 1 == listed.len();
        // The newest segment also says where the numbering stands.
        if records.is_empty() && !(last && good > 0) {
            continue;
        }
        if let Some(older) = pieces.last_mut() {
            // A write that failed halfway was done again in the next segment.
            let overlap = older.end().saturating_sub(*first);
            let keep = older.records.len().saturating_sub(usize::try_from(overlap).unwrap_or(usize::MAX));
            older.records.truncate(keep);
        }
        let segment = Segment { first: *first, path: path.clone(), bytes: good };
        pieces.push(Piece { segment, file: Arc::new(file), records });
    }
    Ok(pieces)
}

/// Closes holes between segments: everything is written again, in order, with
/// positions that were never used.
fn bridge(dir: &Path, pieces: &mut Vec<Piece>) -> io::Result<Option<Damage>> {
    let gaps = pieces.windows(2).map(|pair| match pair {
        [older, newer] => newer.segment.first.saturating_sub(older.end()),
        _ => 0,
    });
    let batches: u64 = gaps.sum();
    if batches == 0 {
        return Ok(None);
    }
    let detail = format!("{}: {batches} batches between intact ones cannot be read", dir.display());
    tracing::error!("{detail}");
    let start = pieces.last().map_or(0, Piece::end);
    let mut position = start;
    let mut whole = Vec::new();
    for piece in pieces.drain(..) {
        if piece.records.is_empty() {
            fs::remove_file(&piece.segment.path)?;
            continue;
        }
        let copy = rewrite(dir, position, &piece)?;
        position = copy.end();
        whole.push(copy);
        fs::remove_file(&piece.segment.path)?;
    }
    sync_dir(dir)?;
    *pieces = whole;
    Ok(Some(Damage { batches, detail }))
}

fn rewrite(dir: &Path, first: u64, piece: &Piece) -> io::Result<Piece> {
    let file = segment::create(dir, first)?;
    let mut at = segment::HEADER_BYTES as u64;
    let mut records = Vec::new();
    let (mut batch, mut record) = (Vec::new(), Vec::new());
    for (found, position) in piece.records.iter().zip(first..) {
        batch.resize(found.length as usize, 0);
        piece.file.read_exact_at(&mut batch, found.offset)?;
        record.clear();
        let mark = found.mark.clone();
        let (offset, arrow_crc32c) =
            segment::put(&mut record, position, found.table, &batch, mark.as_deref());
        file.write_all_at(&record, at)?;
        let offset = at + offset as u64;
        at += record.len() as u64;
        let (table, length) = (found.table, found.length);
        records.push(Found { position, table, arrow_crc32c, offset, length, mark });
    }
    file.sync_all()?;
    let segment = Segment { first, path: segment::path(dir, first), bytes: at };
    Ok(Piece { segment, file: Arc::new(file), records })
}

// === impl Held ===

impl Held {
    fn found(found: &Found, file: &Arc<File>) -> Self {
        Self {
            table: found.table,
            crc32c: found.arrow_crc32c,
            file: Arc::clone(file),
            offset: found.offset,
            length: found.length,
            cached: None,
        }
    }
}
