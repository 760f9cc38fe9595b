//! Small things of rows; whole rows are in the capture's tests.

use super::*;

#[test]
fn every_place_is_a_column() {
    // Naming a column that the table does not have panics in debug builds.
    let rows = Rows::new(Lane::File);
    assert!(rows.columns.is_empty());
}

#[test]
fn times_that_are_unknown_are_null() {
    assert_eq!((micros(0), micros(1_500), micros(u64::MAX)), (None, Some(1), Some(18_446_744_073_709_551)));
}
