//! Structs, and lists of them, in PostgreSQL's text for records.
//!
//! `arrow-pg` writes a quote inside of a field as an array would have it, and a
//! null as an empty text; clients then take a field apart in the wrong place.

use std::sync::Arc;

use arrow_pg::row_encoder::RowEncoder;
use bytes::Buf;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema};
use pgwire::api::Type;
use pgwire::api::portal::Format;
use pgwire::api::results::{FieldFormat, FieldInfo};

use super::answer::fields;
use super::failure::Failure;

/// The rows with records as texts, in those columns that are sent as text, and
/// the columns as they are encoded: a text is not put in an array's quotes once more.
pub(super) fn written(
    rows: RecordBatch,
    columns: &Arc<Vec<FieldInfo>>,
) -> Result<(RecordBatch, Arc<Vec<FieldInfo>>), Failure> {
    let schema = rows.schema();
    let is_record = |(field, column): (&Arc<Field>, &FieldInfo)| {
        column.format() == FieldFormat::Text && has_struct(field.data_type())
    };
    let records: Vec<bool> = schema.fields().iter().zip(columns.iter()).map(is_record).collect();
    if !records.contains(&true) {
        return Ok((rows, Arc::clone(columns)));
    }
    let encoded = |(column, is_record): (&FieldInfo, &bool)| match is_record {
        true => FieldInfo::new(column.name().to_owned(), None, None, Type::TEXT, FieldFormat::Text),
        false => column.clone(),
    };
    let encoded: Vec<FieldInfo> = columns.iter().zip(&records).map(encoded).collect();
    let mut fields = Vec::with_capacity(records.len());
    let mut arrays = Vec::with_capacity(records.len());
    for ((field, array), is_record) in schema.fields().iter().zip(rows.columns()).zip(records) {
        if is_record {
            let texts =
                (0..array.len()).map(|row| literal(array, row)).collect::<Result<StringArray, _>>()?;
            fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
            arrays.push(Arc::new(texts) as ArrayRef);
        } else {
            fields.push(Arc::clone(field));
            arrays.push(Arc::clone(array));
        }
    }
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(internal)?;
    Ok((rows, Arc::new(encoded)))
}

fn has_struct(kind: &DataType) -> bool {
    match kind {
        DataType::Struct(_) => true,
        DataType::List(item) | DataType::LargeList(item) => has_struct(item.data_type()),
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
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row))?,
        DataType::Dictionary(_, value) => {
            return literal(&cast(&array.slice(row, 1), value).map_err(internal)?, 0);
        }
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
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
            Some(item) => quote(&mut text, &item, Kind::Array),
            None => text.push_str("NULL"),
        }
    }
    Ok(text + "}")
}

/// Anything else as it is written in a row of its own.
fn single(array: &ArrayRef, row: usize) -> Result<Option<String>, Failure> {
    let schema = Arc::new(Schema::new(vec![Field::new("value", array.data_type().clone(), true)]));
    let columns = Arc::new(fields(&schema, &Format::UnifiedText)?);
    let rows = RecordBatch::try_new(schema, vec![array.slice(row, 1)]).map_err(internal)?;
    let Some(row) = RowEncoder::new(rows, columns).next_row() else { return Ok(None) };
    let mut data = row?.data;
    let length = data.try_get_i32().map_or(None, |length| usize::try_from(length).ok());
    let cell = length.filter(|length| *length <= data.len()).map(|length| data.split_to(length));
    Ok(cell.map(|cell| String::from_utf8_lossy(&cell).into_owned()))
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
