//! Functions about things that Bailiwick has none of, or one of: the same answer for every row.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

/// A function of any arguments with one answer.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Fixed {
    name: &'static str,
    signature: Signature,
    answer: ScalarValue,
}

// === impl Fixed ===

impl Fixed {
    /// A function `name` of at most `most` arguments that answers `answer`.
    pub(super) fn function(name: &'static str, most: usize, answer: ScalarValue) -> ScalarUDF {
        let shapes = (1..=most).map(TypeSignature::Any);
        let shapes = std::iter::once(TypeSignature::Nullary).chain(shapes).collect();
        let signature = Signature::one_of(shapes, Volatility::Stable);
        ScalarUDF::new_from_impl(Self { name, signature, answer })
    }
}

impl ScalarUDFImpl for Fixed {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.answer.data_type())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.answer.clone()))
    }
}

/// Every such function.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let yes = ScalarValue::Boolean(Some(true));
    let no = ScalarValue::Boolean(Some(false));
    let text = |text: &str| ScalarValue::Utf8(Some(text.to_owned()));
    let nothing = ScalarValue::Utf8(None);
    // Everything that the catalog lists is in the search path.
    let visible = [
        "pg_table_is_visible",
        "pg_type_is_visible",
        "pg_function_is_visible",
        "pg_operator_is_visible",
        "pg_opclass_is_visible",
        "pg_opfamily_is_visible",
        "pg_collation_is_visible",
        "pg_conversion_is_visible",
        "pg_statistics_obj_is_visible",
        "pg_ts_config_is_visible",
        "pg_ts_dict_is_visible",
        "pg_ts_parser_is_visible",
        "pg_ts_template_is_visible",
    ];
    // There are no indexes, views, triggers, rules or functions of one's own.
    let absent = [
        "pg_get_indexdef",
        "pg_get_viewdef",
        "pg_get_triggerdef",
        "pg_get_ruledef",
        "pg_get_functiondef",
        "pg_get_function_sqlbody",
        "pg_get_serial_sequence",
        "pg_tablespace_location",
        "shobj_description",
        "pg_advisory_unlock_all",
        "inet_client_addr",
        "inet_server_addr",
        "to_regproc",
        "to_regrole",
        "pg_get_function_arg_default",
    ];
    let mut functions: Vec<ScalarUDF> =
        visible.map(|name| Fixed::function(name, 1, yes.clone())).into_iter().collect();
    functions.extend(absent.map(|name| Fixed::function(name, 16, nothing.clone())));
    functions.extend([
        Fixed::function("pg_relation_is_publishable", 1, no.clone()),
        Fixed::function("pg_is_in_recovery", 0, no.clone()),
        Fixed::function("pg_is_wal_replay_paused", 0, no),
        // The owner of everything, see `pg_catalog`.
        Fixed::function("pg_get_userbyid", 1, text("bailiwick")),
        Fixed::function("current_database", 0, text("bailiwick")),
        Fixed::function("pg_encoding_to_char", 1, text("UTF8")),
        Fixed::function("pg_get_function_result", 1, text("")),
        Fixed::function("pg_get_function_arguments", 1, text("")),
        Fixed::function("pg_get_function_identity_arguments", 1, text("")),
        // Sizes in the bucket are not known here; null is honest, zero would not be.
        Fixed::function("pg_size_pretty", 1, nothing),
        Fixed::function("pg_table_size", 1, ScalarValue::Int64(None)),
        Fixed::function("pg_relation_size", 2, ScalarValue::Int64(None)),
        Fixed::function("pg_total_relation_size", 1, ScalarValue::Int64(None)),
        Fixed::function("pg_indexes_size", 1, ScalarValue::Int64(None)),
        Fixed::function("pg_database_size", 1, ScalarValue::Int64(None)),
        Fixed::function("pg_tablespace_size", 1, ScalarValue::Int64(None)),
        Fixed::function("pg_column_size", 1, ScalarValue::Int32(None)),
        // UTF-8, in PostgreSQL's numbering of encodings.
        Fixed::function("pg_char_to_encoding", 1, ScalarValue::Int32(Some(6))),
        Fixed::function("pg_client_encoding", 0, text("UTF8")),
        Fixed::function("getdatabaseencoding", 0, text("UTF8")),
        Fixed::function("pg_stat_get_numscans", 1, ScalarValue::Int64(None)),
        Fixed::function("txid_current", 0, ScalarValue::Int64(Some(1))),
        Fixed::function("pg_backend_pid", 0, ScalarValue::Int32(Some(0))),
        Fixed::function("pg_my_temp_schema", 0, ScalarValue::Int32(Some(0))),
        Fixed::function("pg_is_other_temp_schema", 1, ScalarValue::Boolean(Some(false))),
    ]);
    functions
}
