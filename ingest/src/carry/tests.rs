use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{DictionaryArray, Int64Array, StringArray, new_null_array};
use arrow::datatypes::{Date32Type, Int64Type};
use proptest::prelude::*;

use super::*;

const TABLE: Table = Table::Losses;

/// A part whose rows are of these tenants and days; `count` numbers them.
fn part(rows: &[(u8, i32, i64)], since_us: i64) -> Part {
    let schema = TABLE.stamped_schema();
    let column = |field: &Arc<arrow::datatypes::Field>| -> ArrayRef {
        match field.name().as_str() {
            "tenant" => {
                let tenants: Vec<String> = rows.iter().map(|(tenant, ..)| format!("t{tenant}")).collect();
                Arc::new(
                    tenants.iter().map(|name| Some(name.as_str())).collect::<DictionaryArray<Int32Type>>(),
                )
            }
            "date" => {
                Arc::new(rows.iter().map(|(_, day, _)| Some(*day)).collect::<arrow::array::Date32Array>())
            }
            "count" => Arc::new(rows.iter().map(|(.., number)| Some(*number)).collect::<Int64Array>()),
            "detail" => {
                let texts: Vec<String> = rows.iter().map(|(.., number)| format!("text {number}")).collect();
                Arc::new(texts.iter().map(|text| Some(text.as_str())).collect::<DictionaryArray<Int32Type>>())
            }
            _ => new_null_array(field.data_type(), rows.len()),
        }
    };
    let columns = schema.fields().iter().map(column).collect();
    Part { number: 1, is_carried: false, since_us, rows: RecordBatch::try_new(schema, columns).unwrap() }
}

/// The numbers of all rows by partition.
fn numbers(batches: &[RecordBatch]) -> BTreeMap<(String, i32), Vec<i64>> {
    let mut found: BTreeMap<_, Vec<i64>> = BTreeMap::new();
    for batch in batches {
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let tenants = cast(column("tenant"), &DataType::Utf8).unwrap();
        let details = cast(column("detail"), &DataType::Utf8).unwrap();
        let (tenants, details) = (tenants.as_string::<i32>(), details.as_string::<i32>());
        let (days, counts) =
            (column("date").as_primitive::<Date32Type>(), column("count").as_primitive::<Int64Type>());
        for row in 0..batch.num_rows() {
            assert_eq!(details.value(row), format!("text {}", counts.value(row)), "columns stay together");
            found
                .entry((tenants.value(row).to_owned(), days.value(row)))
                .or_default()
                .push(counts.value(row));
        }
    }
    found.values_mut().for_each(|numbers| numbers.sort_unstable());
    found
}

fn policy(below_rows: u64) -> Policy {
    Policy { below_rows, at_most_us: 100, at_most_bytes: usize::MAX }
}

#[test]
fn few_rows_wait_with_the_texts_they_need_and_no_others() {
    let rows: Vec<(u8, i32, i64)> = (0..1000).map(|number| (u8::from(number == 500), 1, number)).collect();
    let part = part(&rows, 5);
    let split = split(TABLE, &[&part], &policy(10), 50).unwrap();
    assert_eq!(numbers(&split.small), BTreeMap::from([(("t1".to_owned(), 1), vec![500])]));
    assert_eq!(numbers(&split.large)[&("t0".to_owned(), 1)].len(), 999);
    assert_eq!(split.small_since_us, Some(5));
    let details = split.small[0].column_by_name("detail").unwrap().as_dictionary::<Int32Type>();
    assert_eq!(details.values().as_string::<i32>(), &StringArray::from(vec!["text 500"]));
}

#[test]
fn nobody_waits_longer_than_allowed_nor_with_more_than_allowed() {
    let parts = [part(&[(1, 1, 1)], 0), part(&[(1, 1, 2), (2, 1, 3)], 60)];
    let parts: Vec<&Part> = parts.iter().collect();
    let at = |now_us| split(TABLE, &parts, &policy(10), now_us).unwrap();
    assert!(at(99).large.is_empty());
    assert_eq!(numbers(&at(100).small), BTreeMap::from([(("t2".to_owned(), 1), vec![3])]));
    assert!(at(160).small.is_empty());
    let tight = Policy { at_most_bytes: 10, ..policy(10) };
    assert!(split(TABLE, &parts, &tight, 0).unwrap().small.is_empty());
}

proptest! {
    /// Every row is in one of both, a partition wholly in one, and the large ones large.
    #[test]
    fn rows_are_taken_apart_by_partition(
        batches in prop::collection::vec(prop::collection::vec((0u8..4, 0i32..3), 1..20), 1..6), below in 0u64..12,
    ) {
        let mut next = 0;
        let parts: Vec<Part> = batches.iter().map(|rows| {
            let rows: Vec<_> = rows.iter().map(|(tenant, day)| { next += 1; (*tenant, *day, next) }).collect();
            part(&rows, 0)
        }).collect();
        let all = numbers(&parts.iter().map(|part| part.rows.clone()).collect::<Vec<_>>());
        let split = split(TABLE, &parts.iter().collect::<Vec<_>>(), &policy(below), 1).unwrap();
        let (large, small) = (numbers(&split.large), numbers(&split.small));
        for (partition, rows) in &all {
            let wanted = if (rows.len() as u64) < below { &small } else { &large };
            prop_assert_eq!(wanted.get(partition), Some(rows));
        }
        prop_assert_eq!(large.len() + small.len(), all.len());
    }
}
