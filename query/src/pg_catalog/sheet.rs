//! Small tables written down cell by cell.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use datafusion::error::Result;

/// A row: the cells that are worth writing down, by column.
pub(super) type Row<'a> = Vec<(&'a str, ScalarValue)>;

/// A text cell.
pub(super) fn text(value: &str) -> ScalarValue {
    ScalarValue::from(value)
}

/// A number cell.
pub(super) fn number(value: i32) -> ScalarValue {
    ScalarValue::from(value)
}

/// A table of these rows. A cell that is not written down is null where the
/// column may be null, and its type's zero otherwise.
pub(super) fn table(schema: SchemaRef, rows: &[Row<'_>]) -> Result<Arc<dyn TableProvider>> {
    let column = |field: &Arc<Field>| {
        let cells = rows.iter().map(|row| cell(field, row)).collect::<Result<Vec<_>>>()?;
        if cells.is_empty() {
            return Ok(datafusion::arrow::array::new_empty_array(field.data_type()));
        }
        ScalarValue::iter_to_array(cells)
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}

/// A schema of columns that may all be null.
pub(super) fn columns<'a>(
    fields: impl IntoIterator<Item = (&'a str, datafusion::arrow::datatypes::DataType)>,
) -> SchemaRef {
    let fields: Vec<_> = fields.into_iter().map(|(name, kind)| Field::new(name, kind, true)).collect();
    Arc::new(Schema::new(fields))
}

fn cell(field: &Field, row: &Row<'_>) -> Result<ScalarValue> {
    match row.iter().find(|(name, _)| name == field.name()) {
        Some((_, value)) => value.cast_to(field.data_type()),
        None if field.is_nullable() => ScalarValue::try_from(field.data_type()),
        None => ScalarValue::new_default(field.data_type()),
    }
}
