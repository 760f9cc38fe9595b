//! What `arrow-pg` does not write as PostgreSQL does: records, lists of lists, long
//! decimals and spans that are null.
//!
//! It writes a quote inside of a field as an array would have it, and a null as an
//! empty text; clients then take a field apart in the wrong place. A null span is
//! none of its, and a decimal has at most 28 digits.

mod binary;

use std::sync::Arc;

use arrow_pg::row_encoder::RowEncoder;
use bytes::{Buf, BytesMut};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema};
use pgwire::api::Type;
use pgwire::api::portal::Format;
use pgwire::api::results::{FieldFormat, FieldInfo};

use super::answer::fields;
use super::failure::Failure;

/// Most digits of a decimal that `arrow-pg` always writes.
const MOST_DIGITS: u8 = 28;

/// The rows with such values as they go over the wire, and the columns as they are
/// encoded: a text is not put in an array's quotes once more.
pub(super) fn written(
    rows: RecordBatch,
    columns: &Arc<Vec<FieldInfo>>,
) -> Result<(RecordBatch, Arc<Vec<FieldInfo>>), Failure> {
    let is_own = |(array, column): (&ArrayRef, &FieldInfo)| own(array, column.format());
    let own: Vec<bool> = rows.columns().iter().zip(columns.iter()).map(is_own).collect();
    if !own.contains(&true) {
        return Ok((rows, Arc::clone(columns)));
    }
    let encoded = |(column, is_own): (&FieldInfo, &bool)| match (is_own, column.format()) {
        (false, _) => column.clone(),
        (true, format) => {
            let kind = if format == FieldFormat::Text { Type::TEXT } else { Type::BYTEA };
            FieldInfo::new(column.name().to_owned(), None, None, kind, format)
        }
    };
    let encoded: Vec<FieldInfo> = columns.iter().zip(&own).map(encoded).collect();
    let mut fields = Vec::with_capacity(own.len());
    let mut arrays = Vec::with_capacity(own.len());
    for (place, is_own) in own.into_iter().enumerate() {
        let (field, array) = (&rows.schema_ref().fields()[place], rows.column(place));
        let array = match (is_own, columns[place].format()) {
            (false, _) => Arc::clone(array),
            (true, FieldFormat::Text) => {
                let texts = (0..array.len()).map(|row| literal(array, row));
                Arc::new(texts.collect::<Result<StringArray, _>>()?) as ArrayRef
            }
            (true, FieldFormat::Binary) => {
                let values = (0..array.len()).map(|row| binary::value(array, row));
                Arc::new(values.collect::<Result<BinaryArray, _>>()?)
            }
        };
        fields.push(match is_own {
            true => Arc::new(Field::new(field.name(), array.data_type().clone(), true)),
            false => Arc::clone(field),
        });
        arrays.push(array);
    }
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(internal)?;
    Ok((rows, Arc::new(encoded)))
}

/// Whether a column is written here.
fn own(array: &ArrayRef, format: FieldFormat) -> bool {
    match array.data_type() {
        DataType::Interval(_) => array.null_count() > 0,
        kind if format == FieldFormat::Text => has_struct(kind) || is_special(kind),
        kind => is_special(kind),
    }
}

/// Lists of lists and decimals that may be too long.
fn is_special(kind: &DataType) -> bool {
    match kind {
        DataType::List(item) => matches!(item.data_type(), DataType::List(_)) || is_special(item.data_type()),
        kind => is_long(kind),
    }
}

fn is_long(kind: &DataType) -> bool {
    match kind {
        DataType::Decimal128(precision, scale) => *precision > MOST_DIGITS || *scale < 0,
        kind => kind.is_decimal(),
    }
}

fn has_struct(kind: &DataType) -> bool {
    match kind {
        DataType::Struct(_) => true,
        DataType::List(item) => has_struct(item.data_type()),
        DataType::Dictionary(_, value) => has_struct(value),
        _ => false,
    }
}

/// One value as text; `None` for a null.
fn literal(array: &ArrayRef, row: usize) -> Result<Option<String>, Failure> {
    if array.is_null(row) {
        return Ok(None);
    }
    Ok(Some(match array.data_type() {
        DataType::Struct(_) => {
            let record = array.as_struct();
            let mut text = String::from("(");
            for (place, column) in record.columns().iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                if let Some(field) = literal(column, row)? {
                    quote(&mut text, &field, Kind::Record);
                }
            }
            text + ")"
        }
        DataType::List(_) => list(&array.as_list::<i32>().value(row))?,
        DataType::Dictionary(_, value) => {
            return literal(&cast(&array.slice(row, 1), value).map_err(internal)?, 0);
        }
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        kind if kind.is_decimal() => {
            let texts = cast(&array.slice(row, 1), &DataType::Utf8).map_err(internal)?;
            texts.as_string::<i32>().value(0).to_owned()
        }
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        _ => return single(array, row),
    }))
}

fn list(items: &ArrayRef) -> Result<String, Failure> {
    let mut text = String::from("{");
    for place in 0..items.len() {
        if place > 0 {
            text.push(',');
        }
        match literal(items, place)? {
            Some(item) if matches!(items.data_type(), DataType::List(_)) => text.push_str(&item),
            Some(item) => quote(&mut text, &item, Kind::Array),
            None => text.push_str("NULL"),
        }
    }
    Ok(text + "}")
}

/// Anything else as it is written in a row of its own.
fn single(array: &ArrayRef, row: usize) -> Result<Option<String>, Failure> {
    let cell = cell(array, row, &Format::UnifiedText)?;
    Ok(cell.map(|cell| String::from_utf8_lossy(&cell).into_owned()))
}

/// A value as `arrow-pg` writes it.
fn cell(array: &ArrayRef, row: usize, format: &Format) -> Result<Option<BytesMut>, Failure> {
    let schema = Arc::new(Schema::new(vec![Field::new("value", array.data_type().clone(), true)]));
    let columns = Arc::new(fields(&schema, format)?);
    let rows = RecordBatch::try_new(schema, vec![array.slice(row, 1)]).map_err(internal)?;
    let Some(row) = RowEncoder::new(rows, columns).next_row() else { return Ok(None) };
    let mut data = row?.data;
    let length = data.try_get_i32().map_or(None, |length| usize::try_from(length).ok());
    Ok(length.filter(|length| *length <= data.len()).map(|length| data.split_to(length)))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Array,
    Record,
}

/// Adds a field or an item, in quotes where it could be taken for something else.
fn quote(text: &mut String, value: &str, kind: Kind) {
    let special = |letter: char| match kind {
        Kind::Array => matches!(letter, '{' | '}' | ',' | '"' | '\\') || letter.is_ascii_whitespace(),
        Kind::Record => matches!(letter, '(' | ')' | ',' | '"' | '\\') || letter.is_ascii_whitespace(),
    };
    let is_null = kind == Kind::Array && value.eq_ignore_ascii_case("null");
    if !value.is_empty() && !is_null && !value.contains(special) {
        return text.push_str(value);
    }
    text.push('"');
    for letter in value.chars() {
        match (letter, kind) {
            ('"', Kind::Record) => text.push('"'),
            ('"', Kind::Array) => text.push('\\'),
            ('\\', _) => text.push('\\'),
            _ => {}
        }
        text.push(letter);
    }
    text.push('"');
}

fn internal(error: impl std::fmt::Display) -> Failure {
    tracing::warn!(%error, "a record could not be written");
    Failure::new("XX000", "a record could not be written")
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    /// Goal: what PostgreSQL 15 writes for the same values.
    #[tokio::test]
    async fn records_are_written_as_postgresql_writes_them() {
        for (sql, expected) in [
            ("named_struct('a', 7, 'b', 'x y', 'c', NULL)", "(7,\"x y\",)"),
            ("named_struct('a', 'q\"u,o(t)e\\', 'b', '')", "(\"q\"\"u,o(t)e\\\\\",\"\")"),
            ("make_array(named_struct('a', 'x', 'b', 'y'))", "{\"(x,y)\"}"),
            ("make_array(named_struct('a', 'q\"', 'b', NULL))", "{\"(\\\"q\\\"\\\"\\\",)\"}"),
            ("named_struct('a', make_array('x', NULL, 'null'), 'b', true)", "(\"{x,NULL,\"\"null\"\"}\",t)"),
            ("named_struct('a', TIMESTAMP '2026-11-24T10:00:00')", "(\"2026-11-24 10:00:00.000000\")"),
            ("make_array(make_array(1, 2), make_array(3))", "{{1,2},{3}}"),
            ("make_array(make_array('a b'), NULL)", "{{\"a b\"},NULL}"),
            (
                "arrow_cast('12345678901234567890123456789012345678.5', 'Decimal256(50, 1)')",
                "12345678901234567890123456789012345678.5",
            ),
        ] {
            let rows =
                SessionContext::new().sql(&format!("SELECT {sql} AS v")).await.unwrap().collect().await;
            let rows = rows.unwrap().remove(0);
            let columns = Arc::new(fields(&rows.schema(), &Format::UnifiedText).unwrap());
            let (written, encoded) = written(rows, &columns).unwrap();
            assert_eq!(*encoded[0].datatype(), Type::TEXT);
            assert_eq!(written.column(0).as_string::<i32>().value(0), expected, "{sql}");
        }
    }
}
