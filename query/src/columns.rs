//! Answers in types that every client reads.
//!
//! The engine computes in types of its own: unsigned counts, views of text,
//! dictionaries. A driver that does not know one fails on the whole answer, so
//! those formats that carry Arrow's types send none of them: no unsigned and no
//! 8-bit numbers, no maps, no dictionaries, times in microseconds.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ListArray};
use datafusion::arrow::array::{ArrayRef, AsArray, MapArray, RecordBatch, RecordBatchOptions, StructArray};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::error::ArrowError;

use crate::QueryError;

/// A value that has no place in its column's new type is an error, not a null.
const EXACT: CastOptions<'static> =
    CastOptions { safe: false, format_options: datafusion::arrow::util::display::FormatOptions::new() };

/// A result's columns as they are sent.
pub(crate) fn public_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(public_field);
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Rows in the columns of [`public_schema`].
pub(crate) fn public_rows(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, QueryError> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| public_column(column, field.data_type()));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(SchemaRef::clone(schema), columns, &options)?)
}

/// The type that stands for a type of the engine's.
pub(crate) fn public_type(kind: &DataType) -> DataType {
    match kind {
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(digits, scale) | DataType::Decimal64(digits, scale) => {
            DataType::Decimal128(*digits, *scale)
        }
        DataType::Null
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Interval(_)
        | DataType::Duration(_) => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(_, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into()))
        }
        DataType::Dictionary(_, value) => public_type(value),
        DataType::RunEndEncoded(_, value) => public_type(value.data_type()),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => DataType::List(public_field(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(public_field).collect()),
        same => same.clone(),
    }
}

fn public_field(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), public_type(field.data_type()), true))
}

fn public_column(column: &ArrayRef, kind: &DataType) -> Result<ArrayRef, ArrowError> {
    match (column.data_type(), kind) {
        (same, kind) if same == kind => Ok(Arc::clone(column)),
        (DataType::Dictionary(_, value), _) => {
            let plain = cast_with_options(column, value, &EXACT)?;
            public_column(&plain, kind)
        }
        (DataType::RunEndEncoded(_, value), _) => {
            let plain = cast_with_options(column, value.data_type(), &EXACT)?;
            public_column(&plain, kind)
        }
        (DataType::FixedSizeBinary(_), _) => cast_with_options(column, kind, &EXACT),
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let from = column.as_struct();
            let parts = from.columns().iter().zip(fields);
            let parts = parts.map(|(part, field)| public_column(part, field.data_type()));
            let parts = parts.collect::<Result<Vec<_>, _>>()?;
            let nulls = from.nulls().cloned();
            let whole = StructArray::try_new_with_length(fields.clone(), parts, nulls, from.len())?;
            Ok(Arc::new(whole))
        }
        (DataType::Map(..), DataType::List(item)) => {
            let map: &MapArray = column.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            let entries = public_column(&entries, item.data_type())?;
            let offsets = map.offsets().clone();
            Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, entries, map.nulls().cloned())?))
        }
        (DataType::List(_), DataType::List(item)) => {
            let list = column.as_list::<i32>();
            let values = public_column(list.values(), item.data_type())?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, nulls)?))
        }
        (
            DataType::LargeList(from)
            | DataType::ListView(from)
            | DataType::LargeListView(from)
            | DataType::FixedSizeList(from, _),
            DataType::List(_),
        ) => {
            let list = cast_with_options(column, &DataType::List(Arc::clone(from)), &EXACT)?;
            public_column(&list, kind)
        }
        _ => cast_with_options(column, kind, &EXACT),
    }
}

#[cfg(test)]
mod tests;
