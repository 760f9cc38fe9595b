//! Functions whose answers are longer than what they are given.
//!
//! A value is computed at once, where no budget of memory is asked. One call makes
//! a text many times as long, nested ones do so again and again, so that a short
//! statement would fill the machine's memory. Here each call is told beforehand how
//! long its answers can become:
//!
//! ```text
//!   arguments ─▶ the most that each row can make ─▶ rows in parts of MOST_BYTES ─▶ the function
//!                └ one row alone makes more: refused        └ answers make more: refused
//! ```

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::concat;
use datafusion::arrow::compute::kernels::concat_elements::concat_elements_utf8;
use datafusion::arrow::datatypes::{DataType, FieldRef, Int32Type};
use datafusion::common::cast::as_string_array;
use datafusion::common::{DFSchema, ScalarValue, resources_datafusion_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::SessionStateDefaults;
use datafusion::execution::session_state::SessionState;
use datafusion::functions::core::{named_struct, overlay, r#struct};
use datafusion::functions_nested::concat::array_concat_udf;
use datafusion::functions_nested::make_array::make_array_udf;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::narrow;

/// What one call may answer for one batch, bytes.
const MOST_BYTES: u64 = 128 << 20;

/// How long an answer can become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Growth {
    /// As long as all arguments.
    Sum,
    /// As `Sum`, with the first argument between any two.
    Between,
    /// The third argument for every character of the first, and around it.
    Replace,
    /// Twice as long.
    Double,
    /// A list's texts with the second argument between any two.
    List,
    /// As long as all arguments, which are lists; told afterwards.
    Lists,
}

/// The engine's functions that are bounded.
const BOUNDED: [(&str, Growth); 13] = [
    ("array_concat", Growth::Lists),
    ("array_to_string", Growth::List),
    ("arrays_zip", Growth::Lists),
    ("concat", Growth::Sum),
    ("concat_ws", Growth::Between),
    ("encode", Growth::Double),
    ("make_array", Growth::Lists),
    ("map", Growth::Lists),
    ("named_struct", Growth::Lists),
    ("overlay", Growth::Sum),
    ("regexp_replace", Growth::Replace),
    ("replace", Growth::Replace),
    ("struct", Growth::Lists),
];

/// Puts bounded functions in the places of the engine's.
pub(crate) fn bound(state: &mut SessionState) -> Result<()> {
    for (name, growth) in BOUNDED {
        let function = bounded(state.udf(name)?, growth);
        state.register_udf(Arc::new(function))?;
    }
    Ok(())
}

/// The engine's own planners, after one that plans what makes longer texts and lists.
pub(crate) fn planners() -> Vec<Arc<dyn ExprPlanner>> {
    let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(Longer)];
    planners.extend(SessionStateDefaults::default_expr_planners());
    planners
}

/// A function whose answers grow so, bounded.
pub(super) fn bounded(function: impl Into<Arc<ScalarUDF>>, growth: Growth) -> ScalarUDF {
    ScalarUDF::new_from_impl(Bounded { inner: function.into(), growth })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    growth: Growth,
}

// === impl Bounded ===

/// What the engine makes of a function before it runs is left out: it would put the
/// unbounded one back in its place.
impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let kind = self.inner.return_type(types)?;
        narrow::check(&kind)?;
        Ok(kind)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let field = self.inner.return_field_from_args(args)?;
        narrow::check(field.data_type())?;
        Ok(field)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let most = |row| self.growth.most_bytes(&args.args, row);
        let all_alike = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        if all_alike {
            within(most(0))?;
            return checked(self.inner.invoke_with_args(args)?);
        }
        if self.growth.is_close() {
            within((0..args.number_rows).map(most).fold(0, u64::saturating_add))?;
            return checked(self.inner.invoke_with_args(args)?);
        }
        let parts = parts(args.number_rows, most)?;
        if parts.len() <= 1 {
            return checked(self.inner.invoke_with_args(args)?);
        }
        let (mut answers, mut bytes) = (Vec::<ArrayRef>::new(), 0_u64);
        for part in parts {
            let answer = self.inner.invoke_with_args(of_part(&args, &part))?.into_array(part.len())?;
            bytes = bytes.saturating_add(size(answer.get_array_memory_size()));
            within(bytes)?;
            answers.push(answer);
        }
        let answers: Vec<&dyn Array> = answers.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(concat(&answers)?))
    }
}

/// Rows that together make no more than they may.
fn parts(rows: usize, most: impl Fn(usize) -> u64) -> Result<Vec<Range<usize>>> {
    let (mut parts, mut from, mut bytes) = (Vec::new(), 0, 0_u64);
    for row in 0..rows {
        let most = most(row);
        within(most)?;
        if bytes + most > MOST_BYTES {
            parts.push(from..row);
            (from, bytes) = (row, 0);
        }
        bytes += most;
    }
    if from < rows {
        parts.push(from..rows);
    }
    Ok(parts)
}

fn of_part(args: &ScalarFunctionArgs, part: &Range<usize>) -> ScalarFunctionArgs {
    let slice = |value: &ColumnarValue| match value {
        ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(part.start, part.len())),
        scalar => scalar.clone(),
    };
    ScalarFunctionArgs {
        args: args.args.iter().map(slice).collect(),
        arg_fields: args.arg_fields.clone(),
        number_rows: part.len(),
        return_field: Arc::clone(&args.return_field),
        config_options: Arc::clone(&args.config_options),
    }
}

fn checked(answer: ColumnarValue) -> Result<ColumnarValue> {
    within(match &answer {
        ColumnarValue::Array(array) => size(array.get_array_memory_size()),
        ColumnarValue::Scalar(value) => size(value.size()),
    })?;
    Ok(answer)
}

fn within(bytes: u64) -> Result<()> {
    match bytes <= MOST_BYTES {
        true => Ok(()),
        false => {
            Err(resources_datafusion_err!("a text or a list would become longer than {MOST_BYTES} bytes"))
        }
    }
}

fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

// === impl Growth ===

impl Growth {
    /// Whether the most that rows can make is about what they make.
    fn is_close(self) -> bool {
        matches!(self, Self::Sum | Self::Between | Self::Double)
    }

    /// The most that one row can make, bytes.
    fn most_bytes(self, args: &[ColumnarValue], row: usize) -> u64 {
        let length = |at: usize| args.get(at).map_or(0, |value| length(value, row));
        let sum = || (0..args.len()).map(length).fold(0, u64::saturating_add);
        match self {
            Self::Sum => sum(),
            Self::Between => sum().saturating_add(length(0).saturating_mul(size(args.len()))),
            // What a replacement takes over of the text is at most all of it, each time
            // that it is named.
            Self::Replace => {
                let named = args.get(2).map_or(0, |value| backslashes(value, row));
                let inserted = (length(0) + 1).saturating_mul(length(2));
                inserted.saturating_add(length(0).saturating_mul(named + 1))
            }
            Self::Double => length(0).saturating_mul(2),
            Self::List => {
                let elements = args.first().map_or(0, |value| elements(value, row));
                length(0).saturating_add(elements.saturating_mul(length(1).saturating_add(length(2))))
            }
            Self::Lists => 0,
        }
    }
}

/// The row's text, in an array or the one of all rows.
fn text_of<T>(value: &ColumnarValue, row: usize, read: impl Fn(&str) -> T) -> Option<T> {
    let array = match value {
        ColumnarValue::Scalar(scalar) => return scalar.try_as_str().flatten().map(read),
        ColumnarValue::Array(array) if array.is_valid(row) => array,
        ColumnarValue::Array(_) => return None,
    };
    match array.data_type() {
        DataType::Utf8 => Some(read(array.as_string::<i32>().value(row))),
        DataType::LargeUtf8 => Some(read(array.as_string::<i64>().value(row))),
        DataType::Utf8View => Some(read(array.as_string_view().value(row))),
        DataType::Dictionary(..) => {
            let dictionary = array.as_dictionary_opt::<Int32Type>()?;
            let texts = dictionary.values().as_string_opt::<i32>()?;
            Some(read(texts.value(dictionary.key(row)?)))
        }
        _ => None,
    }
}

/// What a number or a time takes as a text, at most.
const SHORT_BYTES: u64 = 64;

/// How long the row's value is, bytes.
fn length(value: &ColumnarValue, row: usize) -> u64 {
    if let Some(length) = text_of(value, row, |text| size(text.len())) {
        return length;
    }
    match value {
        ColumnarValue::Scalar(scalar) => size(scalar.size()),
        ColumnarValue::Array(array) => match array.as_list_opt::<i32>() {
            // A list's share of all texts.
            Some(list) => {
                let all = size(list.values().get_array_memory_size());
                let count = size(list.values().len()).max(1);
                size(list.value_length(row).try_into().unwrap_or(0)).saturating_mul(all / count + 1)
            }
            None => SHORT_BYTES,
        },
    }
}

/// How many elements the row's list has.
fn elements(value: &ColumnarValue, row: usize) -> u64 {
    match value {
        ColumnarValue::Scalar(ScalarValue::List(list)) => size(list.values().len()),
        ColumnarValue::Scalar(scalar) => size(scalar.size()),
        ColumnarValue::Array(array) => match array.as_list_opt::<i32>() {
            Some(list) => size(list.value_length(row).try_into().unwrap_or(0)),
            None => size(array.len()),
        },
    }
}

fn backslashes(value: &ColumnarValue, row: usize) -> u64 {
    text_of(value, row, |text| size(text.matches(['\\', '$']).count())).unwrap_or(0)
}

// === || ===

/// Plans `||`, `[…]`, structs and `OVERLAY` as functions that are bounded.
#[derive(Debug)]
struct Longer;

impl ExprPlanner for Longer {
    fn plan_struct_literal(&self, parts: Vec<Expr>, is_named: bool) -> Result<PlannerResult<Vec<Expr>>> {
        let function = if is_named { named_struct() } else { r#struct() };
        Ok(PlannerResult::Planned(called(bounded(function, Growth::Lists), parts)))
    }

    fn plan_overlay(&self, arguments: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        let function = bounded(overlay(), Growth::Sum);
        Ok(PlannerResult::Planned(called(function, arguments)))
    }

    fn plan_array_literal(&self, items: Vec<Expr>, _: &DFSchema) -> Result<PlannerResult<Vec<Expr>>> {
        let function = bounded(make_array_udf(), Growth::Lists);
        Ok(PlannerResult::Planned(called(function, items)))
    }

    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        if expr.op != BinaryOperator::StringConcat {
            return Ok(PlannerResult::Original(expr));
        }
        let is_list = |side: &Expr| side.get_type(schema).is_ok_and(|kind| kind.is_list());
        if is_list(&expr.left) && is_list(&expr.right) {
            let function = bounded(array_concat_udf(), Growth::Lists);
            return Ok(PlannerResult::Planned(called(function, vec![expr.left, expr.right])));
        }
        // A parameter gets its type from the operator.
        let is_text = |side: &Expr| match side {
            Expr::Placeholder(_) => false,
            side => is_joined(side) || side.get_type(schema).is_ok_and(|kind| kind.is_string()),
        };
        if !is_text(&expr.left) || !is_text(&expr.right) {
            return Ok(PlannerResult::Original(expr));
        }
        // A chain is one call, however long it is.
        let mut sides = match expr.left {
            Expr::ScalarFunction(call) if call.func.name() == BARS => call.args,
            one => vec![one],
        };
        sides.push(expr.right);
        let joined = Joined { signature: Signature::user_defined(Volatility::Immutable) };
        let function = bounded(ScalarUDF::new_from_impl(joined), Growth::Sum);
        Ok(PlannerResult::Planned(called(function, sides)))
    }
}

fn called(function: ScalarUDF, arguments: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function), arguments))
}

fn is_joined(side: &Expr) -> bool {
    matches!(side, Expr::ScalarFunction(call) if call.func.name() == BARS)
}

/// The name of what `||` is planned as.
const BARS: &str = "||";

/// One text after the other; null as soon as one is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Joined {
    signature: Signature,
}

// === impl Joined ===

impl ScalarUDFImpl for Joined {
    fn name(&self) -> &'static str {
        BARS
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        self.schema_name(args)
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let sides: Vec<String> = args.iter().map(|side| side.schema_name().to_string()).collect();
        Ok(sides.join(" || "))
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(vec![DataType::Utf8; types.len()])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = |value: &ColumnarValue| match value {
            ColumnarValue::Scalar(text) => Some(text.try_as_str().flatten().map(str::to_owned)),
            ColumnarValue::Array(_) => None,
        };
        if let Some(texts) = args.args.iter().map(scalar).collect::<Option<Option<Vec<String>>>>() {
            return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(texts.map(|texts| texts.concat()))));
        }
        let mut sides = args.args.iter().map(|side| side.to_array(args.number_rows));
        let first = sides.next().ok_or_else(|| DataFusionError::Internal("|| joins texts".to_owned()))??;
        let mut joined = as_string_array(&first)?.clone();
        for side in sides {
            joined = concat_elements_utf8(&joined, as_string_array(&side?)?)?;
        }
        Ok(ColumnarValue::Array(Arc::new(joined)))
    }
}
