//! The packed order against a naive one, over rows that have every kind of
//! value in the columns that tables are sorted by.

use std::cmp::Ordering;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, Int64Array, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use proptest::prelude::*;

use super::*;

/// 2026-11-24 as days since 1970.
const DAY: i32 = 20_781;

/// A row, as far as it matters for its place; its number is its arrival.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    tenant: &'static str,
    day: i32,
    container: Option<String>,
    pid: Option<i64>,
    time: Option<i64>,
    number: i64,
}

fn row(far: bool) -> impl Strategy<Value = Row> {
    let any_or = |near: std::ops::Range<i64>| {
        if far {
            prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), near].boxed()
        } else {
            near.boxed()
        }
    };
    let container = prop::option::of(prop_oneof!["[a-c]{0,2}", "\\PC{0,6}"]);
    let (pid, time) = (prop::option::of(any_or(-2..3)), prop::option::of(any_or(-5..5)));
    let tenant = prop::sample::select(vec!["a", "b", "c9", "_host", "a-long-one"]);
    (tenant, DAY - 2..DAY, container, pid, time).prop_map(|(tenant, day, container, pid, time)| Row {
        tenant,
        day,
        container,
        pid,
        time,
        number: 0,
    })
}

fn batches() -> impl Strategy<Value = Vec<Vec<Row>>> {
    let batch = |far| prop::collection::vec(row(far), 0..25);
    let batches =
        prop_oneof![prop::collection::vec(batch(false), 0..6), prop::collection::vec(batch(true), 0..6),];
    batches.prop_map(|mut batches| {
        let rows = batches.iter_mut().flatten();
        rows.zip(0..).for_each(|(row, number)| row.number = number);
        batches
    })
}

/// Text whose dictionary repeats every value, has one more and, under a key, a
/// null.
fn clumsy(texts: &[Option<String>]) -> ArrayRef {
    let mut values: Vec<Option<String>> = vec![Some("unused".into()), None];
    let mut keys = Vec::new();
    for (row, text) in texts.iter().enumerate() {
        keys.push(match text {
            None if row % 2 == 0 => Some(1),
            None => None,
            Some(_) => {
                values.push(text.clone());
                Some(values.len() as i32 - 1)
            }
        });
    }
    let values = Arc::new(StringArray::from(values));
    Arc::new(DictionaryArray::<Int32Type>::try_new(Int32Array::from(keys), values).unwrap())
}

fn stamped(rows: &[Row]) -> RecordBatch {
    let schema = Table::Syscalls.stamped_schema();
    let texts = |of: &dyn Fn(&Row) -> Option<String>| clumsy(&rows.iter().map(of).collect::<Vec<_>>());
    let ints = |of: &dyn Fn(&Row) -> Option<i64>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<Int64Array>())
    };
    let column = |field: &Arc<arrow::datatypes::Field>| match field.name().as_str() {
        "tenant" => texts(&|row| Some(row.tenant.to_owned())),
        "date" => {
            cast(&Int32Array::from_iter_values(rows.iter().map(|row| row.day)), &DataType::Date32).unwrap()
        }
        "container_id" => texts(&|row| row.container.clone()),
        "proc_pid" => ints(&|row| row.pid),
        "time" => cast(&ints(&|row| row.time), field.data_type()).unwrap(),
        "seq" => ints(&|row| Some(row.number)),
        _ => new_null_array(field.data_type(), rows.len()),
    };
    RecordBatch::try_new(Arc::clone(&schema), schema.fields().iter().map(column).collect()).unwrap()
}

fn naive(a: &Row, b: &Row) -> Ordering {
    let partition = (a.tenant, a.day).cmp(&(b.tenant, b.day));
    let text = |row: &Row| row.container.as_ref().map(|text| text.as_bytes().to_vec());
    partition
        .then_with(|| text(a).cmp(&text(b)))
        .then_with(|| a.pid.cmp(&b.pid))
        .then_with(|| a.time.cmp(&b.time))
        .then_with(|| a.number.cmp(&b.number))
}

/// The rows that partitions hold, read back.
fn found(partitions: &[Partition]) -> Vec<Row> {
    let mut found = Vec::new();
    for Partition { tenant, date, rows, .. } in partitions {
        let day = date.signed_duration_since(NaiveDate::from_ymd_opt(1970, 1, 1).unwrap()).num_days() as i32;
        let tenant =
            ["a", "b", "c9", "_host", "a-long-one"].into_iter().find(|name| *name == tenant.as_str());
        let texts = cast(&rows["container_id"], &DataType::Utf8).unwrap();
        let (texts, pids) = (texts.as_string::<i32>(), rows["proc_pid"].as_primitive::<Int64Type>());
        let times = cast(&rows["time"], &DataType::Int64).unwrap();
        let (times, numbers) = (times.as_primitive::<Int64Type>(), rows["seq"].as_primitive::<Int64Type>());
        found.extend((0..rows.num_rows()).map(|row| Row {
            tenant: tenant.unwrap(),
            day,
            container: texts.is_valid(row).then(|| texts.value(row).to_owned()),
            pid: pids.is_valid(row).then(|| pids.value(row)),
            time: times.is_valid(row).then(|| times.value(row)),
            number: numbers.value(row),
        }));
    }
    found
}

proptest! {
    #[test]
    fn packed_keys_order_as_comparing_column_by_column_does(batches in batches()) {
        let mut expected: Vec<Row> = batches.iter().flatten().cloned().collect();
        expected.sort_by(naive);
        let rows: Vec<RecordBatch> = batches.iter().map(|rows| stamped(rows)).collect();
        let partitions = partitions(Table::Syscalls, &rows).unwrap();
        prop_assert_eq!(found(&partitions), expected);
        for partition in &partitions {
            let of: Vec<Row> = found(std::slice::from_ref(partition));
            let times = || of.iter().filter_map(|row| row.time);
            prop_assert_eq!(partition.min_time_us, times().min());
            prop_assert_eq!(partition.max_time_us, times().max());
            prop_assert_eq!(partition.null_times as usize, of.len() - times().count());
        }
    }

    #[test]
    fn texts_have_one_sorted_dictionary(batches in batches()) {
        let rows: Vec<RecordBatch> = batches.iter().map(|rows| stamped(rows)).collect();
        for partition in partitions(Table::Syscalls, &rows).unwrap() {
            let texts = partition.rows["container_id"].as_dictionary::<Int32Type>();
            let texts: Vec<_> = texts.values().as_string::<i32>().iter().collect();
            prop_assert!(texts.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", texts);
        }
    }
}

#[test]
fn no_rows_are_no_files() {
    assert!(partitions(Table::Syscalls, &[]).unwrap().is_empty());
    assert!(partitions(Table::Syscalls, &[stamped(&[])]).unwrap().is_empty());
}

#[test]
fn every_table_is_sorted_by_columns_that_it_has_and_that_can_be_compared() {
    for table in Table::ALL {
        let schema = table.stamped_schema();
        for name in order_of(table) {
            let field = schema.field_with_name(name).unwrap();
            let batch = new_null_array(field.data_type(), 2);
            assert!(!matches!(batch.data_type(), DataType::List(_)), "{table}.{name}");
        }
        let columns = schema.fields().iter().map(|field| new_null_array(field.data_type(), 3)).collect();
        let nulls = RecordBatch::try_new(schema, columns).unwrap();
        // Ingest stamps a tenant on every row, so one without is an error.
        assert!(partitions(table, &[nulls]).is_err());
    }
}
