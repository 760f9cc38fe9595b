//! How many of the opens that read are kept, by how full the file ring is.
//!
//! ```text
//!   a turn's bytes of the file ring ─┐
//!   opens lost since the last turn ──┴▶ Level ─▶ 1, 2, 4, … ─▶ KEEP_ONE_OF (kernel)
//!                                                               └ each kept row: weight
//! ```
//!
//! A turn reads what was in the ring when it began, so its bytes are how full the
//! ring was. The level rises at once to what would have left the ring half full,
//! and falls by half when the ring was nearly empty for a while.

use std::time::{Duration, Instant};

use aya::maps::{Array, MapData, MapError};

/// How long the ring must have been nearly empty before more is kept.
const CALM: Duration = Duration::from_secs(1);
/// A fuller ring than this share makes the level rise.
const RISE_ABOVE: u64 = 2;
/// An emptier ring than this share lets it fall; much less than the other, so
/// that twice as much does not make it rise again.
const FALL_BELOW: u64 = 8;
/// What the kernel adds to each record, and what it rounds its size up to.
const RECORD_HEADER: u64 = 8;

/// What a turn found in the file ring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    records: u64,
    bytes: u64,
}

/// Of how many sampled events one is kept. Pure.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Level {
    ring_bytes: u64,
    most: u32,
    one_of: u32,
    /// It rose after the last turn: what the next one reads is older in part.
    settling: bool,
    /// Since when the ring was nearly empty in every turn.
    calm_since: Option<Instant>,
}

/// A level that the kernel programs are told.
pub(super) struct Sampling {
    level: Level,
    keep_one_of: Array<MapData, u32>,
    /// Opens that were lost, of all turns.
    lost: u64,
}

// === impl Load ===

impl Load {
    /// A record of this many bytes was read.
    pub(super) fn add(&mut self, bytes: usize) {
        self.records += 1;
        self.bytes += RECORD_HEADER + (bytes as u64).next_multiple_of(8);
    }

    /// The bytes that it would have been with what was lost.
    fn wanted(&self, lost: u64) -> u64 {
        let each = self.bytes.checked_div(self.records).unwrap_or(0);
        self.bytes.saturating_add(lost.saturating_mul(each))
    }
}

// === impl Level ===

impl Level {
    fn new(ring_bytes: u64, most: u32) -> Self {
        Self { ring_bytes, most: most.max(1), one_of: 1, settling: false, calm_since: None }
    }

    /// After a turn with this load and these many lost opens; whether it changed.
    fn turn(&mut self, load: &Load, lost: u64, now: Instant) -> bool {
        let before = self.one_of;
        let wanted = load.wanted(lost);
        // Lost opens are of after the last change, whatever the ring held.
        let full = lost > 0 || wanted > self.ring_bytes / RISE_ABOVE;
        if !full && wanted < self.ring_bytes / FALL_BELOW {
            self.calm(now);
        } else {
            self.calm_since = None;
        }
        let settling = std::mem::take(&mut self.settling);
        if full && !settling {
            self.rise(wanted);
        }
        self.one_of != before
    }

    /// So far that what was wanted would have been half a ring, at least twofold.
    fn rise(&mut self, wanted: u64) {
        let half = (self.ring_bytes / RISE_ABOVE).max(1);
        let factor = wanted.div_ceil(half).max(2).checked_next_power_of_two();
        let factor = factor.and_then(|factor| u32::try_from(factor).ok()).unwrap_or(u32::MAX);
        self.one_of = self.one_of.saturating_mul(factor).min(self.most);
        self.settling = true;
    }

    fn calm(&mut self, now: Instant) {
        let since = *self.calm_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= CALM {
            self.one_of = (self.one_of / 2).max(1);
            self.calm_since = Some(now);
        }
    }
}

// === impl Sampling ===

impl Sampling {
    /// Nothing is left out yet. `most` is the highest level; 1 means never.
    pub(super) fn new(keep_one_of: Array<MapData, u32>, ring_bytes: u32, most: u32) -> Self {
        Self { level: Level::new(ring_bytes.into(), most), keep_one_of, lost: 0 }
    }

    /// Takes a turn's load, and how many opens were lost until now.
    pub(super) fn turn(&mut self, load: &Load, lost: u64, now: Instant) {
        let lost_since = lost.saturating_sub(self.lost);
        self.lost = self.lost.max(lost);
        if self.level.turn(load, lost_since, now)
            && let Err(error) = self.tell()
        {
            tracing::warn!(%error, "the kernel programs cannot be told how many opens to keep");
        }
    }

    /// Of how many opens that read one is kept now.
    pub(super) fn one_of(&self) -> u32 {
        self.level.one_of
    }

    fn tell(&mut self) -> Result<(), MapError> {
        self.keep_one_of.set(0, self.level.one_of, 0)
    }
}

#[cfg(test)]
mod tests;
