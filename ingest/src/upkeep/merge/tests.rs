use std::sync::Arc;

use arrow::array::{AsArray, Date32Array, DictionaryArray, Int64Array, TimestampMicrosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int32Type, Int64Type};
use proptest::prelude::*;

use super::*;
use crate::sort;

/// What a row is sorted by, and its number.
type Key = (Option<&'static str>, Option<i64>, i64);

fn key() -> impl Strategy<Value = Key> {
    let container = prop::option::of(prop::sample::select(vec!["", "a", "aa", "b", "é"]));
    (container, prop::option::of(0i64..3), 0i64..5)
}

/// Rows of the stamped schema of one tenant and day; `seq` numbers them.
fn stamped(keys: &[Key], first: i64) -> RecordBatch {
    let schema = Table::Syscalls.stamped_schema();
    let noon_us = crate::tests::rows::NOON_US;
    let column = |field: &Arc<arrow::datatypes::Field>| -> ArrayRef {
        match field.name().as_str() {
            "tenant" => Arc::new(keys.iter().map(|_| Some("t")).collect::<DictionaryArray<Int32Type>>()),
            "date" => Arc::new(Date32Array::from_value((noon_us / 86_400_000_000) as i32, keys.len())),
            "time" => {
                let times = keys.iter().map(|key| noon_us + key.2);
                Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
            }
            "container_id" => Arc::new(keys.iter().map(|key| key.0).collect::<DictionaryArray<Int32Type>>()),
            "proc_pid" => Arc::new(keys.iter().map(|key| key.1).collect::<Int64Array>()),
            "seq" => Arc::new(Int64Array::from_iter_values(first..first + keys.len() as i64)),
            _ => new_null_array(field.data_type(), keys.len()),
        }
    };
    RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect()).unwrap()
}

/// Rows as a file has them, sorted as a flush does.
fn sorted(batches: &[RecordBatch]) -> Vec<RecordBatch> {
    let partitions = sort::partitions(Table::Syscalls, batches).unwrap();
    let schema = file_schema(Table::Syscalls);
    partitions.iter().map(|partition| conform(&schema, &partition.rows).unwrap()).collect()
}

fn merged(runs: &[RecordBatch], fed_rows: usize, batch_rows: usize) -> Vec<RecordBatch> {
    let mut merge = Merge::new(Table::Syscalls, runs.len(), batch_rows).unwrap();
    let (mut read, mut found) = (vec![0; runs.len()], Vec::new());
    loop {
        match merge.step().unwrap() {
            Step::Feed(run) => {
                let rows = fed_rows.min(runs[run].num_rows() - read[run]);
                let batch = (rows > 0).then(|| runs[run].slice(read[run], rows));
                read[run] += rows;
                merge.feed(run, batch.as_ref()).unwrap();
            }
            Step::Rows(rows) => found.push(rows),
            Step::Done => return found,
        }
    }
}

fn numbers(batch: &RecordBatch) -> Vec<i64> {
    batch.column_by_name("seq").unwrap().as_primitive::<Int64Type>().values().to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Merging sorted runs gives what sorting all rows at once gives, ties
    /// included, whatever the sizes of batches.
    #[test]
    fn a_merge_of_sorted_runs_is_the_sort_of_their_union(
        runs in prop::collection::vec(prop::collection::vec(key(), 1..30), 1..5),
        fed_rows in 1usize..9,
        batch_rows in 1usize..40,
    ) {
        let mut first = 0;
        let mut unsorted = Vec::new();
        for keys in &runs {
            unsorted.push(stamped(keys, first));
            first += keys.len() as i64;
        }
        let expected = sorted(&unsorted);
        prop_assert_eq!(expected.len(), 1, "all rows are of one tenant and day");
        let files: Vec<RecordBatch> =
            unsorted.iter().flat_map(|batch| sorted(std::slice::from_ref(batch))).collect();
        let found = merged(&files, fed_rows, batch_rows);
        prop_assert!(found.iter().rev().skip(1).all(|batch| batch.num_rows() == batch_rows));
        let found = concat_batches(&file_schema(Table::Syscalls), &found).unwrap();
        prop_assert_eq!(numbers(&found), numbers(&expected[0]));
        prop_assert_eq!(&found, &expected[0]);
    }
}

#[test]
fn nothing_merges_to_nothing() {
    let nothing = RecordBatch::new_empty(file_schema(Table::Syscalls));
    assert!(merged(&[nothing.clone(), nothing], 4, 4).is_empty());
}

#[test]
fn a_file_from_before_a_column_came_has_nulls_in_it() {
    let rows = sorted(&[stamped(&[(Some("a"), None, 0)], 0)]).remove(0);
    let last = rows.num_columns() - 1;
    let older = rows.project(&(0..last).collect::<Vec<_>>()).unwrap();
    let found = conform(&file_schema(Table::Syscalls), &older).unwrap();
    assert_eq!((found.num_columns(), found.column(last).null_count()), (last + 1, 1));
}
