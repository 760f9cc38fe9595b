//! What this server is, in the words that clients ask for.

use std::sync::Arc;

use datafusion::arrow::array::StringArray;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::cast::{as_boolean_array, as_string_array};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use super::fixed::Fixed;

/// The PostgreSQL whose dialect and catalog clients may expect. Drivers choose
/// their queries by it; they read the digits before the first space.
const SERVER_VERSION: &str = concat!("16.6 (Bailiwick ", env!("CARGO_PKG_VERSION"), ")");

const VERSION: &str = concat!("PostgreSQL 16.6, Bailiwick ", env!("CARGO_PKG_VERSION"));

/// Settings that clients read, by name in lower case, and what they are at the
/// start of a connection. Nothing of the server's own configuration is among them.
const SETTINGS: &[(&str, &str)] = &[
    ("application_name", ""),
    ("backslash_quote", "safe_encoding"),
    ("bytea_output", "hex"),
    ("check_function_bodies", "on"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("datestyle", "ISO, MDY"),
    ("default_statistics_target", "100"),
    ("default_table_access_method", "heap"),
    ("default_tablespace", ""),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "on"),
    ("effective_cache_size", "4GB"),
    ("enable_bitmapscan", "on"),
    ("enable_hashjoin", "on"),
    ("enable_indexscan", "on"),
    ("enable_mergejoin", "on"),
    ("enable_nestloop", "on"),
    ("enable_seqscan", "on"),
    ("escape_string_warning", "on"),
    ("extra_float_digits", "1"),
    ("from_collapse_limit", "8"),
    ("geqo", "on"),
    ("hash_mem_multiplier", "2"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("is_superuser", "off"),
    ("jit", "off"),
    ("join_collapse_limit", "8"),
    ("lc_collate", "C"),
    ("lc_ctype", "C.UTF-8"),
    ("lc_messages", "C"),
    ("lc_monetary", "C"),
    ("lc_numeric", "C"),
    ("lc_time", "C"),
    ("lock_timeout", "0"),
    ("maintenance_work_mem", "64MB"),
    ("max_identifier_length", "63"),
    ("max_index_keys", "32"),
    ("max_parallel_workers_per_gather", "2"),
    ("plan_cache_mode", "auto"),
    ("random_page_cost", "4"),
    ("row_security", "on"),
    ("search_path", "\"$user\", public"),
    ("seq_page_cost", "1"),
    ("server_encoding", "UTF8"),
    ("server_version", SERVER_VERSION),
    ("server_version_num", "160006"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("synchronous_commit", "on"),
    ("temp_buffers", "8MB"),
    ("temp_tablespaces", ""),
    ("timezone", "UTC"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "on"),
    ("work_mem", "4MB"),
    ("xmloption", "content"),
];

/// The names and starting values of all settings.
pub(crate) fn settings() -> impl Iterator<Item = (&'static str, &'static str)> {
    SETTINGS.iter().copied()
}

/// The starting value of a setting, whatever the case of its name.
pub(crate) fn setting(name: &str) -> Option<&'static str> {
    SETTINGS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
}

/// `current_setting(name [, missing_ok])`.
///
/// A function does not know its connection, so this answers what a connection
/// starts with; `SHOW` answers what it has now.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CurrentSetting {
    signature: Signature,
}

// === impl CurrentSetting ===

impl CurrentSetting {
    fn function() -> ScalarUDF {
        let (text, flag) = (DataType::Utf8, DataType::Boolean);
        let shapes = vec![TypeSignature::Exact(vec![text.clone()]), TypeSignature::Exact(vec![text, flag])];
        ScalarUDF::new_from_impl(Self { signature: Signature::one_of(shapes, Volatility::Stable) })
    }
}

impl ScalarUDFImpl for CurrentSetting {
    fn name(&self) -> &str {
        "current_setting"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = super::rows(&arguments.args);
        let constant = arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let names = as_string_array(&arrays[0])?;
        let missing_ok = arrays.get(1).map(|flags| as_boolean_array(flags)).transpose()?;
        let value = |row: usize, name: Option<&str>| match name {
            None => Ok(None),
            Some(name) => match (setting(name), missing_ok.is_some_and(|flags| flags.value(row))) {
                (None, false) => Err(unknown(name)),
                (value, _) => Ok(value),
            },
        };
        let values = names.iter().enumerate().map(|(row, name)| value(row, name));
        let values = values.collect::<Result<Vec<_>>>()?;
        if constant && rows == 1 {
            return Ok(ColumnarValue::Scalar(ScalarValue::from(values[0])));
        }
        Ok(ColumnarValue::Array(Arc::new(StringArray::from(values))))
    }
}

fn unknown(name: &str) -> DataFusionError {
    let name: String = name.chars().take(100).collect();
    DataFusionError::Plan(format!("unrecognized configuration parameter {name:?}"))
}

/// Every such function.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![Fixed::function("version", 0, ScalarValue::from(VERSION)), CurrentSetting::function()]
}
