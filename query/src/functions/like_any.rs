//! `like_any(text, patterns, is_insensitive)`, which `text LIKE ANY (patterns)` is written as.

use datafusion::arrow::array::{Array, AsArray, BooleanArray, Scalar};
use datafusion::arrow::compute::kernels::comparison::{ilike, like};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct LikeAny {
    signature: Signature,
}

/// The function.
pub(super) fn function() -> ScalarUDF {
    ScalarUDF::new_from_impl(LikeAny { signature: Signature::user_defined(Volatility::Immutable) })
}

// === impl LikeAny ===

impl ScalarUDFImpl for LikeAny {
    fn name(&self) -> &str {
        "like_any"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [_, patterns, _] if patterns.is_list() || patterns.is_null() => {
                Ok(vec![DataType::Utf8, DataType::new_list(DataType::Utf8, true), DataType::Boolean])
            }
            _ => Err(DataFusionError::Plan("LIKE ANY takes a text and an array of patterns".to_owned())),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = super::rows(&arguments.args);
        let columns = arguments.args.iter().map(|argument| argument.to_array(rows));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let [texts, lists, flags] = columns.as_slice() else {
            return Err(DataFusionError::Plan("LIKE ANY takes a text and an array of patterns".to_owned()));
        };
        let (lists, flags) = (lists.as_list::<i32>(), flags.as_boolean());
        let found = (0..rows).map(|row| -> Result<Option<bool>> {
            if texts.is_null(row) || lists.is_null(row) {
                return Ok(None);
            }
            let text = Scalar::new(texts.slice(row, 1));
            let patterns = lists.value(row);
            let matches = match flags.value(row) {
                true => ilike(&text, &patterns)?,
                false => like(&text, &patterns)?,
            };
            // A null pattern leaves it open, unless another one fits.
            let open = (matches.null_count() > 0).then_some(None);
            Ok(if matches.true_count() > 0 { Some(true) } else { open.unwrap_or(Some(false)) })
        });
        let found = found.collect::<Result<BooleanArray>>()?;
        super::answer(&arguments.args, found)
    }
}
