//! `has_*_privilege`: a session may read what its catalog holds, and nothing else.

use std::sync::Arc;

use datafusion::arrow::array::BooleanArray;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::cast::as_string_array;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

/// `has_<thing>_privilege([user,] thing, privileges)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct HasPrivilege {
    name: &'static str,
    signature: Signature,
    arguments: usize,
}

// === impl HasPrivilege ===

impl HasPrivilege {
    /// With `arguments` arguments before an optional leading user.
    fn function(name: &'static str, arguments: usize) -> ScalarUDF {
        let shapes = vec![TypeSignature::Any(arguments), TypeSignature::Any(arguments + 1)];
        let signature = Signature::one_of(shapes, Volatility::Stable);
        ScalarUDF::new_from_impl(Self { name, signature, arguments })
    }
}

impl ScalarUDFImpl for HasPrivilege {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = super::rows(&arguments.args);
        let Some(privileges) = arguments.args.last().filter(|_| arguments.args.len() >= self.arguments)
        else {
            return Ok(ColumnarValue::Scalar(Some(false).into()));
        };
        let privileges = privileges.cast_to(&DataType::Utf8, None)?.to_array(rows)?;
        let answers: BooleanArray =
            as_string_array(&privileges)?.iter().map(|asked| asked.map(only_reads)).collect();
        Ok(ColumnarValue::Array(Arc::new(answers)))
    }
}

/// Whether one of a comma separated list of privileges is granted, as PostgreSQL has it.
fn only_reads(privileges: &str) -> bool {
    let reads = ["select", "usage", "connect", "execute"];
    let granted = |asked: &str| reads.iter().any(|read| asked.trim().eq_ignore_ascii_case(read));
    privileges.split(',').any(granted)
}

/// Every such function.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        HasPrivilege::function("has_table_privilege", 2),
        HasPrivilege::function("has_schema_privilege", 2),
        HasPrivilege::function("has_database_privilege", 2),
        HasPrivilege::function("has_any_column_privilege", 2),
        HasPrivilege::function("has_column_privilege", 3),
        HasPrivilege::function("has_function_privilege", 2),
        HasPrivilege::function("has_sequence_privilege", 2),
        HasPrivilege::function("pg_has_role", 2),
    ]
}
