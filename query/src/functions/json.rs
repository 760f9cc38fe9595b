//! Documents of JSON, which are texts here: what is in one, and how one is made.

use std::fmt::Write;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use serde_json::Value;

/// What a path leads to in a document, as JSON or as the text that it is; `None` where
/// there is nothing, and where there is no document.
pub(super) fn at_path(document: &str, path: &[Option<&str>], as_text: bool) -> Option<String> {
    let mut value: Value = serde_json::from_str(document).ok()?;
    for key in path {
        let key = (*key)?;
        value = match value {
            Value::Object(mut fields) => fields.remove(key)?,
            Value::Array(mut items) => {
                let place: i64 = key.parse().ok()?;
                let length = i64::try_from(items.len()).ok()?;
                let place = if place < 0 { place.checked_add(length)? } else { place };
                let place = usize::try_from(place).ok().filter(|place| *place < items.len())?;
                items.swap_remove(place)
            }
            _ => return None,
        };
    }
    match value {
        Value::Null if as_text => None,
        Value::String(text) if as_text => Some(text),
        other => Some(other.to_string()),
    }
}

/// `json_build_object('a', 1, …)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct BuildObject {
    signature: Signature,
}

/// The function.
pub(super) fn build_object() -> ScalarUDF {
    let shapes = vec![TypeSignature::Nullary, TypeSignature::VariadicAny];
    ScalarUDF::new_from_impl(BuildObject { signature: Signature::one_of(shapes, Volatility::Stable) })
}

// === impl BuildObject ===

impl ScalarUDFImpl for BuildObject {
    fn name(&self) -> &str {
        "json_build_object"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if arguments.args.len() % 2 == 1 {
            let message = "json_build_object takes names and values in turn";
            return Err(DataFusionError::Plan(message.to_owned()));
        }
        let rows = super::rows(&arguments.args);
        let columns = arguments.args.iter().map(|argument| argument.to_array(rows));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let made = (0..rows).map(|row| object(&columns, row).map(Some)).collect::<Result<StringArray>>()?;
        super::answer(&arguments.args, made)
    }
}

/// One row's document, spaced as PostgreSQL does.
fn object(columns: &[ArrayRef], row: usize) -> Result<String> {
    let mut text = String::from("{");
    for pair in columns.chunks_exact(2) {
        let [name, value] = pair else { continue };
        if name.is_null(row) || name.data_type().is_null() {
            return Err(DataFusionError::Execution("a name in json_build_object is null".to_owned()));
        }
        let name = cast(&name.slice(row, 1), &DataType::Utf8)?;
        let name = Value::from(name.as_string::<i32>().value(0));
        let separator = if text.len() > 1 { ", " } else { "" };
        let _ = write!(text, "{separator}{name} : {}", json(value, row)?);
    }
    Ok(text + "}")
}

fn json(array: &ArrayRef, row: usize) -> Result<String> {
    if array.is_null(row) || array.data_type().is_null() {
        return Ok("null".to_owned());
    }
    Ok(match array.data_type() {
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            let items = (0..items.len()).map(|place| json(&items, place)).collect::<Result<Vec<_>>>()?;
            format!("[{}]", items.join(","))
        }
        DataType::Dictionary(_, value) => json(&cast(&array.slice(row, 1), value)?, 0)?,
        DataType::Struct(_) => {
            let record = array.as_struct();
            let mut fields = Vec::with_capacity(record.num_columns());
            for (name, column) in record.column_names().into_iter().zip(record.columns()) {
                fields.push(format!("{}:{}", Value::from(name), json(column, row)?));
            }
            format!("{{{}}}", fields.join(","))
        }
        kind => {
            let texts = cast(&array.slice(row, 1), &DataType::Utf8)?;
            let text = texts.as_string::<i32>().value(0);
            // Not a number has none in JSON.
            let is_bare = *kind == DataType::Boolean || kind.is_numeric();
            match is_bare && serde_json::from_str::<Value>(text).is_ok() {
                true => text.to_owned(),
                false => Value::from(text).to_string(),
            }
        }
    })
}
