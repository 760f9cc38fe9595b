use arrow::array::{
    ArrayRef, AsArray, DictionaryArray, Int32Array, Int64Array, ListBuilder, StringArray, StringBuilder,
};
use arrow::datatypes::{Field, Int32Type};
use proptest::prelude::*;

use super::*;
use crate::Table;

fn sample(names: &[&str]) -> RecordBatch {
    let columns = names.iter().map(|name| {
        let column: ArrayRef = match *name {
            "count" => Arc::new(Int64Array::from(vec![1, 2])),
            "lane" => Arc::new(DictionaryArray::<Int32Type>::from_iter(["file", "audit"])),
            _ => Arc::new(StringArray::from(vec!["a", "b"])),
        };
        (*name, column)
    });
    RecordBatch::try_from_iter(columns).unwrap()
}

fn decode_as_losses(bytes: &[u8]) -> Result<RecordBatch, WireError> {
    decode(bytes, crc32c::crc32c(bytes), &Table::Losses.wire_schema())
}

#[test]
fn missing_columns_become_nulls_and_order_is_the_tables() {
    let bytes = encode(&sample(&["count", "lane"])).unwrap();
    let batch = decode_as_losses(&bytes).unwrap();
    assert_eq!(batch.schema(), Table::Losses.wire_schema());
    assert_eq!(batch.column_by_name("detail").unwrap().null_count(), 2);
    assert_eq!(batch.column_by_name("count").unwrap().null_count(), 0);
}

#[test]
fn a_stranger_among_the_columns_is_named() {
    let bytes = encode(&sample(&["count", "nonsense"])).unwrap();
    let error = decode_as_losses(&bytes).unwrap_err();
    assert!(matches!(error, WireError::UnknownColumn { name } if name == "nonsense"));
}

#[test]
fn a_stamped_column_cannot_be_sent() {
    let bytes = encode(&sample(&["count", "tenant"])).unwrap();
    assert!(matches!(decode_as_losses(&bytes), Err(WireError::UnknownColumn { .. })));
}

#[test]
fn a_column_of_another_type_is_named() {
    let plain: ArrayRef = Arc::new(StringArray::from(vec!["file"]));
    let batch = RecordBatch::try_from_iter([("lane", plain)]).unwrap();
    let error = decode_as_losses(&encode(&batch).unwrap()).unwrap_err();
    assert!(matches!(error, WireError::WrongType { name, .. } if name == "lane"));
}

#[test]
fn a_flipped_bit_is_noticed() {
    let mut bytes = encode(&sample(&["count", "lane"])).unwrap();
    let crc32c = crc32c::crc32c(&bytes);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let error = decode(&bytes, crc32c, &Table::Losses.wire_schema()).unwrap_err();
    assert!(matches!(error, WireError::Checksum { .. }));
}

#[test]
fn compressed_bodies_are_refused_before_they_are_read() {
    let batch = sample(&["count", "lane"]);
    let bytes = encode_compressed(std::slice::from_ref(&batch), &batch.schema()).unwrap();
    assert!(matches!(decode_as_losses(&bytes), Err(WireError::Compressed)));
    assert_eq!(decode_trusted(&bytes, &batch.schema()).unwrap(), vec![batch]);
}

#[test]
fn too_many_rows_are_refused() {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![0; MAX_BATCH_ROWS + 1]));
    let schema = Arc::new(Schema::new(vec![Field::new("count", DataType::Int64, true)]));
    let batch = RecordBatch::try_new(schema, vec![column]).unwrap();
    let error = decode_as_losses(&encode(&batch).unwrap()).unwrap_err();
    assert!(matches!(error, WireError::TooLarge { what: "rows", .. }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn damaged_bytes_never_panic(
        position in 0usize..4_000, value: u8, cut in 0usize..4_000, stretch in 0usize..64,
    ) {
        let mut bytes = encode(&sample(&["count", "lane"])).unwrap();
        let position = position % bytes.len();
        bytes[position] = value;
        bytes.extend(std::iter::repeat_n(value, stretch));
        bytes.truncate(cut.max(1));
        // Either it is still a batch of the table, or the damage is an error.
        if let Ok(batch) = decode_as_losses(&bytes) {
            prop_assert_eq!(batch.schema(), Table::Losses.wire_schema());
        }
    }
}

#[test]
fn columns_of_nulls_are_not_sent_and_come_back() {
    let schema = Table::Losses.wire_schema();
    let columns = schema.fields().iter().map(|field| match field.name().as_str() {
        "count" => Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef,
        _ => new_null_array(field.data_type(), 2),
    });
    let batch = RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();
    let bytes = encode(&batch).unwrap();
    let sent = StreamReader::try_new(Cursor::new(&bytes), None).unwrap();
    assert_eq!(sent.schema().fields().len(), 1);
    assert_eq!(decode_as_losses(&bytes).unwrap(), batch);
}

#[test]
fn rows_without_any_value_are_still_rows() {
    let schema = Table::Losses.wire_schema();
    let columns = schema.fields().iter().map(|field| new_null_array(field.data_type(), 3)).collect();
    let batch = RecordBatch::try_new(schema, columns).unwrap();
    assert_eq!(decode_as_losses(&encode(&batch).unwrap()).unwrap(), batch);
}

/// Rows of `losses` whose lists of texts are packed: `texts`, and a key a row.
fn with_packed_lists(texts: &[Option<&[&str]>], keys: Vec<Option<i32>>) -> (RecordBatch, SchemaRef) {
    let mut lists =
        ListBuilder::new(StringBuilder::new()).with_field(Field::new("element", DataType::Utf8, true));
    for list in texts {
        match list {
            Some(list) => {
                list.iter().for_each(|text| lists.values().append_value(text));
                lists.append(true);
            }
            None => lists.append(false),
        }
    }
    let lists: ArrayRef = Arc::new(lists.finish());
    let plain = Field::new("args", lists.data_type().clone(), true);
    let column = DictionaryArray::<Int32Type>::new(Int32Array::from(keys), lists);
    let batch = RecordBatch::try_from_iter([("args", Arc::new(column) as ArrayRef)]).unwrap();
    (batch, Arc::new(Schema::new(vec![plain])))
}

#[test]
fn packed_lists_are_read_as_plain_ones() {
    let texts: [Option<&[&str]>; 3] = [Some(&["a", "b"]), None, Some(&[])];
    let keys = vec![Some(0), None, Some(2), Some(0), Some(1)];
    let (batch, schema) = with_packed_lists(&texts, keys);
    let bytes = encode(&batch).unwrap();
    let read = decode(&bytes, crc32c::crc32c(&bytes), &schema).unwrap();
    assert_eq!(read.schema(), schema);
    let column = read.column(0).as_list::<i32>();
    let list =
        |row: usize| column.value(row).as_string::<i32>().iter().flatten().collect::<Vec<_>>().join(",");
    assert_eq!((list(0), list(2), list(3)), ("a,b".into(), String::new(), "a,b".into()));
    assert_eq!((1..5).map(|row| column.is_null(row)).collect::<Vec<_>>(), [true, false, false, true]);
}

#[test]
fn a_few_bytes_cannot_ask_for_lists_without_end() {
    let long = "x".repeat(1 << 20);
    let (batch, schema) = with_packed_lists(&[Some(&[&long])], vec![Some(0); 1_000]);
    let bytes = encode(&batch).unwrap();
    let error = decode(&bytes, crc32c::crc32c(&bytes), &schema).unwrap_err();
    assert!(matches!(error, WireError::TooLarge { what: "bytes of lists", .. }), "{error}");
}

#[test]
fn only_lists_may_be_packed() {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let column = DictionaryArray::<Int32Type>::new(Int32Array::from(vec![0]), numbers);
    let batch = RecordBatch::try_from_iter([("count", Arc::new(column) as ArrayRef)]).unwrap();
    let error = decode_as_losses(&encode(&batch).unwrap()).unwrap_err();
    assert!(matches!(error, WireError::WrongType { name, .. } if name == "count"));
}

proptest! {
    /// Goal: whatever a sender packs is read as the lists that it means, and what
    /// is damaged of it never panics.
    #[test]
    fn packed_lists_are_what_they_mean(
        texts in proptest::collection::vec(proptest::collection::vec("[a-z]{0,3}", 0..4), 1..5),
        keys in proptest::collection::vec(proptest::option::of(0_usize..5), 1..40),
        position: prop::sample::Index, value: u8,
    ) {
        let lists: Vec<Vec<&str>> = texts.iter().map(|list| list.iter().map(String::as_str).collect()).collect();
        let lists: Vec<Option<&[&str]>> = lists.iter().map(|list| Some(list.as_slice())).collect();
        let keys: Vec<_> = keys.into_iter().map(|key| key.map(|key| key % lists.len())).collect();
        let small = |key: &Option<usize>| key.map(|key| i32::try_from(key).unwrap());
        let (batch, schema) = with_packed_lists(&lists, keys.iter().map(small).collect());
        let mut bytes = encode(&batch).unwrap();
        let read = decode(&bytes, crc32c::crc32c(&bytes), &schema).unwrap();
        let column = read.column(0).as_list::<i32>();
        for (row, key) in keys.iter().enumerate() {
            prop_assert_eq!(column.is_null(row), key.is_none());
            if let Some(key) = key {
                let list = column.value(row);
                let list: Vec<_> = list.as_string::<i32>().iter().flatten().collect();
                prop_assert_eq!(list, texts[*key].iter().map(String::as_str).collect::<Vec<_>>());
            }
        }
        let at = position.index(bytes.len());
        bytes[at] = value;
        let _ = decode(&bytes, crc32c::crc32c(&bytes), &schema);
    }
}
