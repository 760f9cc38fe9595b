//! Single values out of a batch, whichever of the three schemas it has.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// A text, from a dictionary or plain column.
pub fn text<'a>(batch: &'a RecordBatch, column: &str, row: usize) -> Option<&'a str> {
    text_of(batch.column_by_name(column)?, row)
}

fn text_of(column: &ArrayRef, row: usize) -> Option<&str> {
    if column.is_null(row) {
        return None;
    }
    if let Some(dictionary) = column.as_dictionary_opt::<Int32Type>() {
        return text_of(dictionary.values(), dictionary.key(row)?);
    }
    match column.data_type() {
        DataType::Utf8 => Some(column.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Some(column.as_string::<i64>().value(row)),
        DataType::Utf8View => Some(column.as_string_view().value(row)),
        _ => None,
    }
}

/// A time in microseconds.
pub fn time_us(batch: &RecordBatch, column: &str, row: usize) -> Option<i64> {
    let times = batch.column_by_name(column)?.as_primitive_opt::<TimestampMicrosecondType>()?;
    times.is_valid(row).then(|| times.value(row))
}

/// The highest time of a column.
pub fn newest_us(batch: &RecordBatch, column: &str) -> Option<i64> {
    let times = batch.column_by_name(column)?.as_primitive_opt::<TimestampMicrosecondType>()?;
    arrow::compute::max(times)
}

/// Any value as text; nothing for null.
pub fn any(column: &ArrayRef, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    let formatter = ArrayFormatter::try_new(column.as_ref(), &FormatOptions::default()).ok()?;
    formatter.value(row).try_to_string().ok()
}
