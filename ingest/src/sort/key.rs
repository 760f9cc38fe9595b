//! Rows as integers that compare as the rows do.
//!
//! Every column gets as many bits as its values in these rows differ by, one
//! value more where there are nulls, which are 0. The row's own number comes
//! last: it makes equal rows keep their order, and is what is left in the end.

use std::ops::{Add, BitOr, Shl};

use arrow::array::UInt32Array;
use arrow::buffer::NullBuffer;
use arrow::error::ArrowError;

use super::columns::{Joined, NONE};

/// A column's values where rows are compared by it.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// Ranks of texts, [`NONE`] for a null.
    Ranks(&'a [i32]),
    /// Days since 1970.
    Days(&'a [i32], Option<&'a NullBuffer>),
    /// Integers, or times.
    Ints(&'a [i64], Option<&'a NullBuffer>),
}

/// A column's place in a key.
struct Part<'a> {
    source: Source<'a>,
    lowest: i64,
    nulls: bool,
    bits: u32,
}

/// What keys are made of: 64 bits where they suffice, 128 otherwise.
trait Key:
    Copy + Ord + Default + From<u64> + Add<Output = Self> + Shl<u32, Output = Self> + BitOr<Output = Self>
{
    fn low(self) -> u64;
}

/// The places of rows, ordered by these columns, the weightiest first.
pub(super) fn order(by: &[&Joined], rows: usize) -> Result<UInt32Array, ArrowError> {
    if u32::try_from(rows).is_err() {
        return Err(ArrowError::InvalidArgumentError(format!("{rows} rows are too many to sort at once")));
    }
    let mut parts = Vec::with_capacity(by.len());
    for column in by {
        parts.extend(column.source()?.map(Part::of));
    }
    let row_bits = bits(rows as u128);
    let order = match row_bits + parts.iter().map(|part| part.bits).sum::<u32>() {
        0..=64 => packed::<u64>(&parts, rows, row_bits),
        65..=128 => packed::<u128>(&parts, rows, row_bits),
        _ => compared(&parts, rows),
    };
    Ok(UInt32Array::from(order))
}

fn packed<K: Key>(parts: &[Part<'_>], rows: usize, row_bits: u32) -> Vec<u32> {
    let mut keys = vec![K::default(); rows];
    for part in parts.iter().filter(|part| part.bits > 0) {
        part.append(&mut keys);
    }
    for (key, row) in keys.iter_mut().zip(0u64..) {
        *key = *key << row_bits | K::from(row);
    }
    keys.sort_unstable();
    let mask = (1u64 << row_bits) - 1;
    keys.iter().map(|key| (key.low() & mask) as u32).collect()
}

/// For values so far apart that they do not fit in one integer.
fn compared(parts: &[Part<'_>], rows: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..rows as u32).collect();
    order.sort_by(|a, b| {
        let compare = |part: &Part<'_>| part.source.value(*a as usize).cmp(&part.source.value(*b as usize));
        parts.iter().map(compare).find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
    });
    order
}

/// How many bits hold this many different values.
fn bits(values: u128) -> u32 {
    u128::BITS - values.saturating_sub(1).leading_zeros()
}

// === impl Source ===

impl Source<'_> {
    fn value(&self, row: usize) -> Option<i64> {
        let valid = |nulls: Option<&NullBuffer>| nulls.is_none_or(|nulls| nulls.is_valid(row));
        match *self {
            Self::Ranks(ranks) => Some(ranks[row]).filter(|rank| *rank != NONE).map(i64::from),
            Self::Days(days, nulls) => valid(nulls).then(|| i64::from(days[row])),
            Self::Ints(ints, nulls) => valid(nulls).then(|| ints[row]),
        }
    }

    /// Calls `visit` for every row, in one loop a kind of column.
    fn each(&self, mut visit: impl FnMut(usize, Option<i64>)) {
        match *self {
            Self::Ranks(ranks) => ranks
                .iter()
                .enumerate()
                .for_each(|(row, rank)| visit(row, (*rank != NONE).then(|| i64::from(*rank)))),
            Self::Days(days, None) => {
                days.iter().enumerate().for_each(|(row, day)| visit(row, Some(i64::from(*day))));
            }
            Self::Ints(ints, None) => ints.iter().enumerate().for_each(|(row, int)| visit(row, Some(*int))),
            Self::Days(days, _) => (0..days.len()).for_each(|row| visit(row, self.value(row))),
            Self::Ints(ints, _) => (0..ints.len()).for_each(|row| visit(row, self.value(row))),
        }
    }
}

// === impl Part ===

impl<'a> Part<'a> {
    fn of(source: Source<'a>) -> Self {
        let (mut range, mut nulls) = (None::<(i64, i64)>, false);
        source.each(|_, value| match (value, &mut range) {
            (None, _) => nulls = true,
            (Some(value), None) => range = Some((value, value)),
            (Some(value), Some((lowest, highest))) => {
                *lowest = value.min(*lowest);
                *highest = value.max(*highest);
            }
        });
        let different = range.map_or(0, |(lowest, highest)| u128::from(highest.abs_diff(lowest)) + 1);
        let lowest = range.map_or(0, |(lowest, _)| lowest);
        Self { source, lowest, nulls, bits: bits(different + u128::from(nulls)) }
    }

    /// Puts the column behind what is in the keys already.
    fn append<K: Key>(&self, keys: &mut [K]) {
        let above_null = K::from(u64::from(self.nulls));
        self.source.each(|row, value| {
            let code = value.map(|value| K::from(value.abs_diff(self.lowest)) + above_null);
            keys[row] = keys[row] << self.bits | code.unwrap_or_default();
        });
    }
}

// === impl Key ===

impl Key for u64 {
    fn low(self) -> u64 {
        self
    }
}

impl Key for u128 {
    fn low(self) -> u64 {
        self as u64
    }
}
