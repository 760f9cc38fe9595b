//! `event_argument(evt_arg, name, …)`: the argument of a system call that is called so.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, StringArray, StringBuilder};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::plan_datafusion_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

const NAME: &str = "event_argument";

/// The value of the first pair whose name is one of those given; names that
/// come first are preferred.
#[derive(Debug, PartialEq, Eq, Hash)]
struct EventArgument {
    signature: Signature,
}

/// The function.
pub(super) fn function() -> ScalarUDF {
    ScalarUDF::new_from_impl(EventArgument { signature: Signature::variadic_any(Volatility::Immutable) })
}

// === impl EventArgument ===

impl ScalarUDFImpl for EventArgument {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let is_pairs = |kind: &DataType| match kind {
            DataType::List(item) => {
                matches!(item.data_type(), DataType::Struct(fields) if fields.len() == 2
                    && fields.iter().all(|field| *field.data_type() == DataType::Utf8))
            }
            kind => kind.is_null(),
        };
        match types {
            [pairs, names @ ..] if is_pairs(pairs) && !names.is_empty() => Ok(DataType::Utf8),
            _ => Err(plan_datafusion_err!(
                "{NAME} takes the column evt_arg and the names of arguments, e.g. {NAME}(evt_arg, 'flags')"
            )),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let mut names = Vec::new();
        for argument in arguments.args.iter().skip(1) {
            let ColumnarValue::Scalar(name) = argument.cast_to(&DataType::Utf8, None)? else {
                return Err(plan_datafusion_err!("{NAME} takes names that are constants"));
            };
            names.extend(name.try_as_str().flatten().map(str::to_owned));
        }
        let Some(pairs) = arguments.args.first() else {
            return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(None)));
        };
        let pairs = pairs.to_array(rows)?;
        Ok(ColumnarValue::Array(Arc::new(found(pairs.as_ref(), &names))))
    }
}

/// The value in each row; null where there is none.
fn found(pairs: &dyn Array, names: &[String]) -> StringArray {
    let mut found = StringBuilder::new();
    let Some(lists) = pairs.as_list_opt::<i32>() else {
        return StringArray::new_null(pairs.len());
    };
    let texts = |index: usize| lists.values().as_struct_opt()?.columns().get(index)?.as_string_opt::<i32>();
    let (Some(keys), Some(values)) = (texts(0), texts(1)) else {
        return StringArray::new_null(pairs.len());
    };
    let offsets = lists.value_offsets();
    for row in 0..lists.len() {
        let place = lists.is_valid(row).then(|| offsets[row] as usize..offsets[row + 1] as usize);
        let named = |name: &String| {
            let mut places = place.clone()?;
            places.find(|at| keys.is_valid(*at) && keys.value(*at) == name)
        };
        let at = names.iter().find_map(named).filter(|at| values.is_valid(*at));
        found.append_option(at.map(|at| values.value(at)));
    }
    found.finish()
}
