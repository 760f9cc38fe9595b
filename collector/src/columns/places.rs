//! Whose shared cells each row of a batch has.

/// A row without any.
const NONE: u32 = u32::MAX;

/// A place among the shared cells for each row, or none.
#[derive(Debug)]
pub(super) struct Places {
    of_rows: Vec<u32>,
    some_have_none: bool,
}

// === impl Places ===

impl Places {
    /// `u32::MAX` is none.
    pub(super) fn new(of_rows: Vec<u32>) -> Self {
        let some_have_none = of_rows.contains(&NONE);
        Self { of_rows, some_have_none }
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.of_rows.len()
    }

    /// Whether every row has a place.
    pub(super) fn are_all_there(&self) -> bool {
        !self.some_have_none
    }

    /// Row by row.
    pub(super) fn iter(&self) -> impl Iterator<Item = Option<usize>> {
        self.of_rows.iter().map(|place| (*place != NONE).then_some(*place as usize))
    }

    /// The cell at each row's place; `none` where it has none.
    pub(super) fn spread<T: Copy + PartialEq>(&self, cells: &[T], none: T) -> Vec<T> {
        // Most columns say the same of all processes: that is filled in at once.
        if let [first, others @ ..] = cells
            && (self.are_all_there() || *first == none)
            && others.iter().all(|other| other == first)
        {
            return vec![*first; self.len()];
        }
        self.of_rows.iter().map(|place| cells.get(*place as usize).copied().unwrap_or(none)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn each_row_has_the_cell_at_its_place(
            cells in proptest::collection::vec(0_i32..3, 0..6),
            places in proptest::collection::vec(proptest::option::of(0_usize..5), 0..20),
        ) {
            let places: Vec<_> = places.into_iter().map(|place| place.filter(|place| *place < cells.len())).collect();
            let of_rows = places.iter().map(|place| place.map_or(NONE, |place| u32::try_from(place).unwrap()));
            let made = Places::new(of_rows.collect());
            let expected: Vec<_> = places.iter().map(|place| place.map_or(0, |place| cells[place])).collect();
            proptest::prop_assert_eq!(made.spread(&cells, 0), expected);
            proptest::prop_assert_eq!(made.are_all_there(), places.iter().all(Option::is_some));
            proptest::prop_assert_eq!(made.iter().collect::<Vec<_>>(), places);
        }
    }
}
