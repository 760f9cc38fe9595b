//! Operators and casts of PostgreSQL that the engine has functions for, or understands otherwise.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_nested::expr_fn::array_has_any;
use datafusion::logical_expr::expr::{BinaryExpr, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, Operator, lit};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::texts;

/// `document -> 'key'`, `document ->> 'key'` and `array && array`.
#[derive(Debug)]
pub(super) struct Operators;

/// `SIMILAR TO` is about the whole text, and `\x` before a `bytea`'s digits is no part of it.
#[derive(Debug)]
pub(super) struct Meanings;

// === impl Operators ===

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let is_list = |side: &Expr| side.get_type(schema).is_ok_and(|kind| kind.is_list());
        let RawBinaryExpr { op, left, right } = expr;
        Ok(match op {
            BinaryOperator::Arrow => planned(texts::Work::JsonPath, vec![left, right]),
            BinaryOperator::LongArrow => planned(texts::Work::JsonPathText, vec![left, right]),
            BinaryOperator::PGOverlap if is_list(&left) || is_list(&right) => {
                PlannerResult::Planned(array_has_any(left, right))
            }
            op => PlannerResult::Original(RawBinaryExpr { op, left, right }),
        })
    }
}

fn planned(work: texts::Work, arguments: Vec<Expr>) -> PlannerResult<RawBinaryExpr> {
    PlannerResult::Planned(called(work, arguments))
}

fn called(work: texts::Work, arguments: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(texts::function(work).into(), arguments))
}

// === impl Meanings ===

impl FunctionRewrite for Meanings {
    fn name(&self) -> &str {
        "meanings of PostgreSQL"
    }

    fn rewrite(&self, expr: Expr, _: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        match expr {
            Expr::SimilarTo(like) => {
                let op = if like.negated { Operator::RegexNotMatch } else { Operator::RegexMatch };
                let mut arguments = vec![*like.pattern];
                arguments.extend(like.escape_char.map(|escape| lit(escape.to_string())));
                let pattern = called(texts::Work::SimilarTo, arguments);
                Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(like.expr, op, Box::new(pattern)))))
            }
            Expr::Cast(Cast { expr, field }) if *field.data_type() == DataType::Binary => {
                match expr.as_ref() {
                    Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _)
                        if text.contains('\\') =>
                    {
                        let bytes = crate::text::bytea(text).ok_or_else(|| {
                            let message = "invalid input syntax for type bytea: write e.g. '\\x00ff'";
                            DataFusionError::Plan(message.to_owned())
                        })?;
                        Ok(Transformed::yes(lit(ScalarValue::Binary(Some(bytes)))))
                    }
                    _ => Ok(Transformed::no(Expr::Cast(Cast { expr, field }))),
                }
            }
            other => Ok(Transformed::no(other)),
        }
    }
}
