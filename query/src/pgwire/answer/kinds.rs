//! The engine's types that PostgreSQL has none for, as those that it has.
//!
//! `arrow-pg` announces a byte as two and sends one, and knows no lists of lists,
//! maps, half floats and long decimals.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::arrow::error::ArrowError;

use crate::pgwire::dialect::shown;
use crate::pgwire::failure::Failure;

/// The columns as clients are told of them.
pub(super) fn announced(schema: &Schema) -> Result<Schema, Failure> {
    let field = |field: &FieldRef| {
        let kind = flat(field.data_type())?;
        Ok(Arc::new(field.as_ref().clone().with_data_type(kind).with_name(shown(field.name()))))
    };
    let fields = schema.fields().iter().map(field).collect::<Result<Vec<_>, Failure>>()?;
    Ok(Schema::new(fields))
}

/// The type that one is announced as: PostgreSQL's arrays have one type whatever their dimensions.
pub(super) fn flat(kind: &DataType) -> Result<DataType, Failure> {
    let kind = sent(kind)?;
    Ok(match &kind {
        DataType::List(item) => {
            let mut item = item.data_type();
            while let DataType::List(inner) = item {
                item = inner.data_type();
            }
            DataType::new_list(announced_decimal(item), true)
        }
        other => announced_decimal(other),
    })
}

fn announced_decimal(kind: &DataType) -> DataType {
    match kind {
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal256(_, scale) => {
            DataType::Decimal128(38, *scale)
        }
        other => other.clone(),
    }
}

/// Rows with columns of types that can be sent.
pub(super) fn plain(rows: &RecordBatch) -> Result<RecordBatch, Failure> {
    let schema = rows.schema();
    let mut fields = Vec::with_capacity(rows.num_columns());
    let mut columns = Vec::with_capacity(rows.num_columns());
    let mut changed = false;
    for (field, column) in schema.fields().iter().zip(rows.columns()) {
        let kind = sent(field.data_type())?;
        if kind == *field.data_type() {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
        } else {
            changed = true;
            fields.push(Arc::new(field.as_ref().clone().with_data_type(kind.clone())));
            columns.push(converted(column, &kind).map_err(|error| unsupported(field.data_type(), &error))?);
        }
    }
    match changed {
        true => RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|error| unsupported(&DataType::Null, &error)),
        false => Ok(rows.clone()),
    }
}

/// The type in which values are encoded.
fn sent(kind: &DataType) -> Result<DataType, Failure> {
    let item = |item: &FieldRef| -> Result<FieldRef, Failure> {
        Ok(Arc::new(item.as_ref().clone().with_data_type(sent(item.data_type())?)))
    };
    Ok(match kind {
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::List(of) => DataType::List(item(of)?),
        DataType::LargeList(of)
        | DataType::FixedSizeList(of, _)
        | DataType::ListView(of)
        | DataType::LargeListView(of) => DataType::List(item(of)?),
        DataType::Map(entries, _) => DataType::List(item(entries)?),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(item).collect::<Result<Vec<_>, _>>()?.into())
        }
        DataType::Dictionary(_, value) => match sent(value)? {
            same if same == **value => kind.clone(),
            other => other,
        },
        DataType::Union(..) | DataType::RunEndEncoded(..) => {
            let message = format!("columns of type {} are not supported", name(kind));
            return Err(Failure::new("0A000", message).hint("cast it to text"));
        }
        other => other.clone(),
    })
}

fn converted(column: &ArrayRef, kind: &DataType) -> Result<ArrayRef, ArrowError> {
    let DataType::Map(entries, _) = column.data_type() else { return cast(column, kind) };
    let map = column.as_map();
    let list = ListArray::try_new(
        Arc::clone(entries),
        map.offsets().clone(),
        Arc::new(map.entries().clone()),
        map.nulls().cloned(),
    )?;
    let list: ArrayRef = Arc::new(list);
    if list.data_type() == kind { Ok(list) } else { cast(&list, kind) }
}

/// Names of types are short; values are never told.
fn name(kind: &DataType) -> String {
    kind.to_string().chars().take_while(|letter| *letter != '(').collect()
}

fn unsupported(kind: &DataType, error: &ArrowError) -> Failure {
    tracing::debug!(%error, "a column could not be sent");
    let message = format!("a column of type {} cannot be sent", name(kind));
    Failure::new("0A000", message).hint("cast it to text")
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{Field, UnionFields, UnionMode};

    use super::*;

    #[test]
    fn types_are_announced_as_postgresqls() {
        let list = |item| DataType::new_list(item, true);
        for (kind, expected) in [
            (DataType::Int8, DataType::Int16),
            (list(DataType::UInt32), list(DataType::Int64)),
            (list(list(DataType::Int8)), list(DataType::Int16)),
            (DataType::Float16, DataType::Float32),
            (DataType::Decimal256(70, 3), DataType::Decimal128(38, 3)),
        ] {
            assert_eq!(flat(&kind).unwrap(), expected);
        }
        let union = DataType::Union(UnionFields::empty(), UnionMode::Sparse);
        assert!(flat(&union).is_err());
        let named = Schema::new(vec![Field::new("a\u{e000}2", DataType::Int8, true)]);
        assert_eq!(announced(&named).unwrap().field(0).name(), "a");
    }
}
