//! What becomes of a file whose tenant has a hold, a deletion or a retention: pure.
//!
//! A hold wins over everything, a deletion over retention, and what nothing is
//! said about stays.

use chrono::{Days, NaiveDate};

/// What is ordered about a tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ordered {
    /// Nothing of it may go.
    pub held: bool,
    /// Rows that arrived before this moment go, microseconds since 1970.
    pub deleted_before_us: Option<i64>,
}

/// What is known of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// The day of its rows.
    pub date: NaiveDate,
    /// When the first of its rows arrived, microseconds since 1970.
    pub first_arrival_us: i64,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Stays,
    /// It would go, and stays for the hold.
    Held,
    /// It goes with its tenant's rows.
    Deleted,
    /// It goes for its age.
    Expired,
}

/// Decides; `kept_days` is `None` where files are kept for ever.
pub fn fate(ordered: Ordered, kept_days: Option<u32>, age: Age, today: NaiveDate) -> Fate {
    let deleted = ordered.deleted_before_us.is_some_and(|before_us| age.first_arrival_us < before_us);
    // A date so far ahead that it has no end never expires.
    let end = |days: u32| age.date.checked_add_days(Days::new(days.into()));
    let expired = kept_days.and_then(end).is_some_and(|end| end < today);
    match (ordered.held, deleted, expired) {
        (true, true, _) | (true, _, true) => Fate::Held,
        (false, true, _) => Fate::Deleted,
        (false, false, true) => Fate::Expired,
        (_, false, false) => Fate::Stays,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn day(day: i32) -> NaiveDate {
        NaiveDate::from_num_days_from_ce_opt(739_000 + day).unwrap()
    }

    #[test]
    fn a_file_of_the_last_day_that_is_kept_stays_until_that_day_is_over() {
        let fate = |today| {
            let age = Age { date: day(0), first_arrival_us: 0 };
            fate(Ordered::default(), Some(30), age, day(today))
        };
        assert_eq!((fate(30), fate(31)), (Fate::Stays, Fate::Expired));
    }

    proptest! {
        #[test]
        fn a_hold_beats_a_deletion_and_a_deletion_beats_retention(
            held: bool,
            before_us in prop::option::of(0i64..100),
            kept_days in prop::option::of(0u32..50),
            date in 0i32..100,
            first_arrival_us in 0i64..100,
            today in 0i32..200,
        ) {
            let age = Age { date: day(date), first_arrival_us };
            let ordered = Ordered { held, deleted_before_us: before_us };
            let decided = fate(ordered, kept_days, age, day(today));
            let goes = matches!(decided, Fate::Deleted | Fate::Expired);
            if held {
                prop_assert!(!goes, "nothing goes under a hold");
            }
            let without_hold = fate(Ordered { held: false, ..ordered }, kept_days, age, day(today));
            prop_assert_eq!(decided == Fate::Held, held && without_hold != Fate::Stays);
            if !held && before_us.is_some_and(|before_us| first_arrival_us < before_us) {
                prop_assert_eq!(decided, Fate::Deleted, "whatever retention says");
            }
            if !held && before_us.is_none() {
                let old = kept_days.is_some_and(|days| date + (days as i32) < today);
                prop_assert_eq!(decided, if old { Fate::Expired } else { Fate::Stays });
            }
            // More orders never save a file, except for a hold.
            let less = fate(Ordered { held, deleted_before_us: None }, None, age, day(today));
            prop_assert_eq!(less, Fate::Stays);
        }
    }
}
