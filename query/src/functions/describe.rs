//! `obj_description` and `col_description`: what `psql`'s `\d+` shows beside a table and its columns.

use std::sync::Arc;

use datafusion::arrow::array::{Int64Array, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::cast::as_int64_array;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use crate::pg_catalog::relation_of_oid;

/// `obj_description(oid [, catalog])` and `col_description(table oid, column number)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Describe {
    of_column: bool,
    signature: Signature,
}

/// Both functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let shapes = [vec![TypeSignature::Any(1), TypeSignature::Any(2)], vec![TypeSignature::Any(2)]];
    let function = |(shapes, of_column)| {
        let signature = Signature::one_of(shapes, Volatility::Stable);
        ScalarUDF::new_from_impl(Describe { of_column, signature })
    };
    shapes.into_iter().zip([false, true]).map(function).collect()
}

// === impl Describe ===

impl ScalarUDFImpl for Describe {
    fn name(&self) -> &str {
        if self.of_column { "col_description" } else { "obj_description" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = super::rows(&arguments.args);
        let numbers = |argument: &ColumnarValue| -> Result<Int64Array> {
            Ok(as_int64_array(&argument.cast_to(&DataType::Int64, None)?.to_array(rows)?)?.clone())
        };
        let objects = numbers(&arguments.args[0])?;
        let texts: StringArray = if self.of_column {
            let columns = numbers(&arguments.args[1])?;
            objects.iter().zip(columns.iter()).map(|(object, column)| column_doc(object?, column?)).collect()
        } else {
            objects.iter().map(|object| Some(relation_of_oid(object?)?.doc())).collect()
        };
        Ok(ColumnarValue::Array(Arc::new(texts)))
    }
}

fn column_doc(object: i64, number: i64) -> Option<&'static str> {
    let relation = relation_of_oid(object)?;
    // Column 0 is the table itself.
    match usize::try_from(number).ok()?.checked_sub(1) {
        None => Some(relation.doc()),
        Some(index) => relation.columns().nth(index).map(|column| column.doc),
    }
}
