//! Texts as the engine computes with them, and as answers have them.
//!
//! A text that is read as a view points into the page that holds it: a value
//! that comes again and again, as most here do, is copied for no row, and whether
//! two are equal is mostly seen by their first letters. Tables therefore have
//! views of text. An answer has texts one after the other, as every client
//! reads them.

use std::sync::{Arc, LazyLock};

use bailiwick_proto::Table;
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

/// Of every table, in the order of [`Table::ALL`]: a statement asks for them again and again.
static OF_TABLES: LazyLock<[SchemaRef; Table::ALL.len()]> =
    LazyLock::new(|| Table::ALL.map(|table| viewed(&table.public_schema())));

/// A table's columns with views of texts.
pub(crate) fn of_table(table: Table) -> SchemaRef {
    SchemaRef::clone(&OF_TABLES[table as usize])
}

/// The same columns with views of texts; texts in lists stay as they are.
pub(crate) fn viewed(schema: &Schema) -> SchemaRef {
    with_texts(schema, &DataType::Utf8, &DataType::Utf8View)
}

/// The same columns with texts themselves.
pub(crate) fn plain(schema: &Schema) -> SchemaRef {
    with_texts(schema, &DataType::Utf8View, &DataType::Utf8)
}

/// The type of a text itself, of anything else its own.
pub(crate) fn plain_type(kind: DataType) -> DataType {
    if kind == DataType::Utf8View { DataType::Utf8 } else { kind }
}

/// The same rows with texts themselves.
pub(crate) fn plain_stream(batches: SendableRecordBatchStream) -> SendableRecordBatchStream {
    let schema = plain(&batches.schema());
    let of = SchemaRef::clone(&schema);
    let batches = batches.map(move |batch| Ok(rows(&batch?, &of)?));
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

/// Rows with their texts as this schema has them.
pub(crate) fn rows(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| match column.data_type() == field.data_type() {
        true => Ok(Arc::clone(column)),
        false => cast(column, field.data_type()),
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(SchemaRef::clone(schema), columns, &options)
}

fn with_texts(schema: &Schema, from: &DataType, to: &DataType) -> SchemaRef {
    let changed = |field: &FieldRef| match field.data_type() == from {
        true => Arc::new(Field::clone(field).with_data_type(to.clone())),
        false => Arc::clone(field),
    };
    let fields: Vec<FieldRef> = schema.fields().iter().map(changed).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The bytes of a `bytea`'s text: `\x00ff`, or with a backslash before what is not printed.
pub(crate) fn bytea(text: &str) -> Option<Vec<u8>> {
    if let Some(digits) = text.strip_prefix("\\x") {
        let digits: String = digits.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
        return hex::decode(digits).ok();
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'\\', [b'\\', tail @ ..]) => {
                bytes.push(b'\\');
                tail
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                tail
            }
            (b'\\', _) => return None,
            (byte, tail) => {
                bytes.push(*byte);
                tail
            }
        };
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int64Array, ListArray, StringArray};
    use datafusion::arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn there_and_back_is_the_same() {
        let texts: ArrayRef =
            Arc::new(StringArray::from(vec![Some("a"), None, Some("much longer than twelve")]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let lists: ArrayRef =
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(vec![None::<[_; 0]>; 3]));
        let batch = RecordBatch::try_from_iter([("t", texts), ("n", numbers), ("l", lists)]).unwrap();
        let viewed = rows(&batch, &viewed(batch.schema_ref())).unwrap();
        assert_eq!(viewed.column(0).data_type(), &DataType::Utf8View);
        assert_eq!(rows(&viewed, &plain(viewed.schema_ref())).unwrap(), batch);
    }

    #[test]
    fn rows_without_columns_are_still_counted() {
        let options = RecordBatchOptions::new().with_row_count(Some(5));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
        assert_eq!(rows(&batch, &plain(batch.schema_ref())).unwrap().num_rows(), 5);
    }
}
