//! `+`, `-` and `*` of whole numbers that are right or refused.
//!
//! The engine goes on at the other end of the range where a result does not fit, so
//! that a total turns negative in silence. PostgreSQL's answer is the error 22003, and
//! so it is here, also within views and reports.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, Datum};
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{DFSchema, Result, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;

/// Of each operator the function that computes it.
static FUNCTIONS: LazyLock<[(Operator, Arc<ScalarUDF>); 3]> = LazyLock::new(|| {
    [Operator::Plus, Operator::Minus, Operator::Multiply].map(|operator| {
        let signature = Signature::any(2, Volatility::Immutable);
        (operator, Arc::new(ScalarUDF::new_from_impl(Exact { operator, signature })))
    })
});

#[derive(Debug, PartialEq, Eq, Hash)]
struct Exact {
    operator: Operator,
    signature: Signature,
}

/// Whether it is computed here, if its sides are whole numbers.
pub(crate) fn is_meant(expression: &Expr) -> bool {
    matches!(expression, Expr::BinaryExpr(sides) if FUNCTIONS.iter().any(|(operator, _)| *operator == sides.op))
}

/// The exact function in the place of an operator between two whole numbers of one type.
pub(crate) fn of(expression: &Expr, schema: &DFSchema) -> Option<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expression else { return None };
    let (_, function) = FUNCTIONS.iter().find(|(operator, _)| operator == op)?;
    let kind = left.get_type(schema).ok().filter(DataType::is_integer)?;
    if right.get_type(schema).ok()? != kind {
        return None;
    }
    let args = vec![left.as_ref().clone(), right.as_ref().clone()];
    Some(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), args)))
}

// === impl Exact ===

impl Exact {
    fn computed(&self, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
        match self.operator {
            Operator::Plus => numeric::add(left, right),
            Operator::Minus => numeric::sub(left, right),
            _ => numeric::mul(left, right),
        }
    }
}

impl ScalarUDFImpl for Exact {
    fn name(&self) -> &'static str {
        match self.operator {
            Operator::Plus => "exact_plus",
            Operator::Minus => "exact_minus",
            _ => "exact_times",
        }
    }

    /// As the operator is written, so that columns keep their names.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let sides: Vec<String> = args.iter().map(|side| side.schema_name().to_string()).collect();
        Ok(sides.join(&format!(" {} ", self.operator)))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [left, right] if left == right && left.is_integer() => Ok(left.clone()),
            _ => internal_err!("{} of {types:?}", self.name()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<_> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, nullable)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [left, right] => apply(left, right, |left, right| self.computed(left, right)),
            other => internal_err!("{} of {} values", self.name(), other.len()),
        }
    }
}
