use super::*;

use datafusion::arrow::array::{
    DictionaryArray, Int8Array, Int32Array, MapBuilder, NullArray, StringArray, StringBuilder,
    StringViewArray, TimestampNanosecondArray, UInt64Array, UInt64Builder,
};
use datafusion::arrow::datatypes::Int32Type;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Whether a type, or a part of it, is one that some client does not read.
fn is_odd(kind: &DataType) -> bool {
    match kind {
        DataType::List(item) => is_odd(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| is_odd(field.data_type())),
        DataType::Timestamp(unit, _) => *unit != TimeUnit::Microsecond,
        DataType::Boolean
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::Binary
        | DataType::Date32
        | DataType::Time64(_)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => false,
        _ => true,
    }
}

#[test]
fn the_engines_own_types_become_ones_that_clients_read() {
    let words: DictionaryArray<Int32Type> = ["a", "b"].into_iter().collect();
    let mut map = MapBuilder::new(None, StringBuilder::new(), UInt64Builder::new());
    map.keys().append_value("k");
    map.values().append_value(7);
    map.append(true).unwrap();
    map.append(false).unwrap();
    let record = StructArray::from(vec![(
        Arc::new(Field::new("small", DataType::Int8, true)),
        Arc::new(Int8Array::from(vec![1, -1])) as ArrayRef,
    )]);
    let wide = DataType::LargeList(Arc::new(Field::new("item", DataType::UInt64, true)));
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1)]), None]);
    let list = cast_with_options(&list, &wide, &EXACT).unwrap();
    let odd = batch(vec![
        ("tiny", Arc::new(Int8Array::from(vec![Some(-3), None]))),
        ("count", Arc::new(UInt64Array::from(vec![1, 2]))),
        ("view", Arc::new(StringViewArray::from(vec!["x", "y"]))),
        ("word", Arc::new(words)),
        ("map", Arc::new(map.finish())),
        ("none", Arc::new(NullArray::new(2))),
        ("record", Arc::new(record)),
        ("list", list),
        ("time", Arc::new(TimestampNanosecondArray::from(vec![1_500, 2_000]).with_timezone("+02:00"))),
    ]);
    let schema = public_schema(&odd.schema());
    for field in schema.fields() {
        assert!(!is_odd(field.data_type()), "{field}");
    }
    let rows = public_rows(&odd, &schema).unwrap();
    let shown = datafusion::arrow::util::pretty::pretty_format_batches(&[rows]).unwrap().to_string();
    let lines: Vec<String> =
        shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        lines[3],
        "| -3 | 1 | x | a | [{keys: k, values: 7}] | | {small: 1} | [1] | 1970-01-01T00:00:00.000001Z |",
        "{shown}"
    );
    assert_eq!(lines[4], "| | 2 | y | b | | | {small: -1} | | 1970-01-01T00:00:00.000002Z |", "{shown}");
}

#[test]
fn a_number_that_has_no_place_is_an_error_not_a_null() {
    let big = batch(vec![("big", Arc::new(UInt64Array::from(vec![u64::MAX])))]);
    let error = public_rows(&big, &public_schema(&big.schema())).unwrap_err();
    assert_eq!(error.code(), crate::Code::ExecutionFailed, "{error}");
}

#[test]
fn what_is_public_already_stays_as_it_is() {
    let plain = batch(vec![
        ("a", Arc::new(Int32Array::from(vec![1]))),
        ("b", Arc::new(StringArray::from(vec!["x"]))),
    ]);
    let rows = public_rows(&plain, &public_schema(&plain.schema())).unwrap();
    assert!(rows.column(0).to_data().ptr_eq(&plain.column(0).to_data()));
    assert_eq!(rows.column(1), plain.column(1));
}

#[test]
fn rows_without_columns_are_still_counted() {
    let options = RecordBatchOptions::new().with_row_count(Some(3));
    let none = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options).unwrap();
    assert_eq!(public_rows(&none, &public_schema(&none.schema())).unwrap().num_rows(), 3);
}
