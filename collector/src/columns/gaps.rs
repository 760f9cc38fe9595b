//! Which cells of a column are null, as ranges: mostly there are none, or all are.

use arrow::array::BooleanBufferBuilder;
use arrow::buffer::NullBuffer;

use super::places::Places;

/// Ranges of nulls, the first first.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// Where each begins, and how many cells it has.
    ranges: Vec<(usize, usize)>,
}

// === impl Gaps ===

impl Gaps {
    /// These cells are null. They are the last ones.
    pub(super) fn add(&mut self, at: usize, count: usize) {
        match self.ranges.last_mut() {
            Some((start, length)) if *start + *length == at => *length += count,
            _ if count > 0 => self.ranges.push((at, count)),
            _ => {}
        }
    }

    /// Whether none of `length` cells is there.
    fn is_everything(&self, length: usize) -> bool {
        self.ranges.first().is_some_and(|range| *range == (0, length))
    }

    /// The nulls of `length` cells, each as often and where these places say; a
    /// place that is none is null.
    pub(super) fn spread(&self, length: usize, places: &Places) -> Self {
        let mut spread = Self::default();
        if self.ranges.is_empty() && places.are_all_there() {
            return spread;
        }
        if self.is_everything(length) {
            spread.add(0, places.len());
            return spread;
        }
        let mut is_null = vec![false; length];
        for (start, count) in &self.ranges {
            is_null.iter_mut().skip(*start).take(*count).for_each(|cell| *cell = true);
        }
        for (at, place) in places.iter().enumerate() {
            if place.and_then(|place| is_null.get(place).copied()).unwrap_or(true) {
                spread.add(at, 1);
            }
        }
        spread
    }

    /// As arrow has it; none are left.
    pub(super) fn take(&mut self, length: usize) -> Option<NullBuffer> {
        if self.ranges.is_empty() {
            return None;
        }
        let ranges = std::mem::take(&mut self.ranges);
        let mut valid = BooleanBufferBuilder::new(length);
        for (start, count) in ranges {
            valid.append_n(start.saturating_sub(valid.len()), true);
            valid.append_n(count, false);
        }
        valid.append_n(length.saturating_sub(valid.len()), true);
        Some(NullBuffer::new(valid.finish()))
    }
}
