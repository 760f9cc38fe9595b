//! Rows as JSON and CSV text.

use arrow_json::writer::{NullableEncoder, make_encoder};
use arrow_json::{EncoderOptions, StructMode};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};

use crate::QueryError;

/// RFC 3339 with microseconds, the precision of every stored time.
const TIME_UTC: &str = "%Y-%m-%dT%H:%M:%S%.6fZ";
const TIME_LOCAL: &str = "%Y-%m-%dT%H:%M:%S%.6f";

/// A result's columns by name and PostgreSQL type.
pub(super) fn columns(schema: &Schema) -> serde_json::Value {
    let column =
        |field: &FieldRef| serde_json::json!({ "name": field.name(), "type": type_name(field.data_type()) });
    schema.fields().iter().map(column).collect()
}

/// Appends rows as JSON arrays, separated by commas; `first` says whether none
/// came before.
pub(super) fn json_rows(batch: &RecordBatch, first: bool, out: &mut Vec<u8>) -> Result<(), QueryError> {
    let (fields, columns) = plain(batch)?;
    let options = options();
    let mut encoders = encoders(&fields, &columns, &options)?;
    for row in 0..batch.num_rows() {
        out.extend_from_slice(if row == 0 && first { b"\n[" } else { b",\n[" });
        for (index, encoder) in encoders.iter_mut().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            cell(encoder, row, out);
        }
        out.push(b']');
    }
    Ok(())
}

/// Appends rows as JSON objects, a line each; `names` are the columns', as JSON.
pub(super) fn ndjson_rows(
    batch: &RecordBatch,
    names: &[String],
    out: &mut Vec<u8>,
) -> Result<(), QueryError> {
    let (fields, columns) = plain(batch)?;
    let options = options();
    let mut encoders = encoders(&fields, &columns, &options)?;
    for row in 0..batch.num_rows() {
        out.push(b'{');
        for (index, (encoder, name)) in encoders.iter_mut().zip(names).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(name.as_bytes());
            out.push(b':');
            cell(encoder, row, out);
        }
        out.extend_from_slice(b"}\n");
    }
    Ok(())
}

/// The line of column names.
pub(super) fn csv_head(schema: &Schema) -> Result<Vec<u8>, QueryError> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(schema.fields().iter().map(|field| field.name())).map_err(QueryError::internal)?;
    writer.into_inner().map_err(|error| QueryError::internal(error.to_string()))
}

/// Rows as lines, as PostgreSQL's `COPY` writes them. Null is nothing, and text of no
/// length `""`; lists and structs are JSON in their cell.
pub(super) fn csv_rows(batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
    let (fields, columns) = plain(batch)?;
    let options = options();
    let mut encoders = encoders(&fields, &columns, &options)?;
    let (mut out, mut text) = (Vec::new(), Vec::new());
    for row in 0..batch.num_rows() {
        for (index, (column, encoder)) in columns.iter().zip(&mut encoders).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            text.clear();
            match column.as_string_opt::<i32>() {
                _ if encoder.is_null(row) => {}
                Some(column) => csv_field(column.value(row).as_bytes(), &mut out),
                None => {
                    encoder.encode(row, &mut text);
                    csv_field(unquoted(&text), &mut out);
                }
            }
        }
        out.push(b'\n');
    }
    Ok(out)
}

/// A value that is not null. The `csv` crate cannot tell one without any text from null.
fn csv_field(value: &[u8], out: &mut Vec<u8>) {
    let quoted = value.is_empty() || value.iter().any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n'));
    if !quoted {
        return out.extend_from_slice(value);
    }
    out.push(b'"');
    for byte in value {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

fn options() -> EncoderOptions {
    EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_struct_mode(StructMode::ObjectOnly)
        .with_timestamp_format(TIME_LOCAL.to_owned())
        .with_timestamp_tz_format(TIME_UTC.to_owned())
}

fn encoders<'a>(
    fields: &'a [FieldRef],
    columns: &'a [ArrayRef],
    options: &'a EncoderOptions,
) -> Result<Vec<NullableEncoder<'a>>, QueryError> {
    let encoder =
        |(field, column): (&'a FieldRef, &'a ArrayRef)| make_encoder(field, column.as_ref(), options);
    let encoders = fields.iter().zip(columns).map(encoder).collect::<Result<_, _>>();
    encoders.map_err(QueryError::from)
}

fn cell(encoder: &mut NullableEncoder<'_>, row: usize, out: &mut Vec<u8>) {
    match encoder.is_null(row) {
        true => out.extend_from_slice(b"null"),
        false => encoder.encode(row, out),
    }
}

/// JSON of times, dates and the like without its quotes; nothing in them is escaped.
fn unquoted(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text)
}

/// Text in any of Arrow's forms as one form, and zoned times in UTC.
fn plain(batch: &RecordBatch) -> Result<(Vec<FieldRef>, Vec<ArrayRef>), QueryError> {
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let kind = match column.data_type() {
            DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
            DataType::Dictionary(_, value) if value.is_string() => DataType::Utf8,
            DataType::Dictionary(_, value) => value.as_ref().clone(),
            DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some("UTC".into())),
            DataType::Interval(_) | DataType::Duration(_) => DataType::Utf8,
            same => same.clone(),
        };
        columns.push(cast(column, &kind)?);
        fields.push(FieldRef::new(Field::new(field.name(), kind, true)));
    }
    Ok((fields, columns))
}

/// As PostgreSQL names a type.
fn type_name(kind: &DataType) -> String {
    let name = match kind {
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => "smallint",
        DataType::UInt16 | DataType::Int32 => "integer",
        DataType::UInt32 | DataType::Int64 => "bigint",
        DataType::UInt64 => "numeric",
        DataType::Float16 | DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "bytea"
        }
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Timestamp(
            TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond | TimeUnit::Nanosecond,
            zone,
        ) => {
            if zone.is_some() {
                "timestamp with time zone"
            } else {
                "timestamp"
            }
        }
        DataType::Interval(_) | DataType::Duration(_) => "interval",
        DataType::Dictionary(_, value) => return type_name(value),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::FixedSizeList(item, _) => {
            return format!("{}[]", type_name(item.data_type()));
        }
        DataType::Struct(_) => "record",
        DataType::Null => "unknown",
        kind if kind.is_numeric() => "numeric",
        _ => "unknown",
    };
    name.to_owned()
}

#[cfg(test)]
mod tests;
