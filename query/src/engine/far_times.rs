//! Times that nanoseconds do not reach.
//!
//! The engine reads a text beside a time as nanoseconds, which end in 2262, though
//! every time in the tables has microseconds. Clients write `9999-12-31` for "without
//! an end", so a text that only microseconds reach is read as such.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr::{Between, InList};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::optimizer::AnalyzerRule;

/// Comes before types are made to agree.
#[derive(Debug)]
pub(super) struct FarTimes;

// === impl FarTimes ===

impl AnalyzerRule for FarTimes {
    fn name(&self) -> &'static str {
        "far_times"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let read = plan.transform_up_with_subqueries(|node| {
            let mut schema = DFSchema::empty();
            node.inputs().iter().for_each(|input| schema.merge(input.schema()));
            let read =
                node.map_expressions(|expression| expression.transform_up(|part| of(part, &schema)))?;
            // To work a schema out is dear, and hardly a statement has such a time.
            if read.transformed { read.map_data(LogicalPlan::recompute_schema) } else { Ok(read) }
        });
        Ok(read?.data)
    }
}

fn of(mut expression: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if let Expr::Cast(Cast { expr, field }) = &expression
        && let Some(time) = far(expr, field.data_type())
    {
        return Ok(Transformed::yes(time));
    }
    let beside = |side: &Expr| match side.get_type(schema) {
        Ok(kind @ DataType::Timestamp(TimeUnit::Microsecond, _)) => Some(kind),
        _ => None,
    };
    let changed = match &mut expression {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(*op) => {
            beside(left).is_some_and(|kind| read(right, &kind))
                || beside(right).is_some_and(|kind| read(left, &kind))
        }
        Expr::Between(Between { expr, low, high, .. }) => {
            beside(expr).is_some_and(|kind| read(low, &kind) | read(high, &kind))
        }
        Expr::InList(InList { expr, list, .. }) => beside(expr)
            .is_some_and(|kind| list.iter_mut().fold(false, |changed, text| read(text, &kind) | changed)),
        _ => false,
    };
    Ok(Transformed::new_transformed(expression, changed))
}

fn compares(operator: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(operator, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// Puts a far time in the place of its text; whether it is one.
fn read(text: &mut Expr, kind: &DataType) -> bool {
    let time = far(text, kind);
    time.map(|time| *text = time).is_some()
}

/// A text as a time of microseconds, if nanoseconds do not reach it.
fn far(text: &Expr, kind: &DataType) -> Option<Expr> {
    let (Expr::Literal(value, None), DataType::Timestamp(_, zone)) = (text, kind) else { return None };
    value.try_as_str().flatten()?;
    let read = |unit| value.cast_to(&DataType::Timestamp(unit, zone.clone()));
    match (read(TimeUnit::Nanosecond), read(TimeUnit::Microsecond)) {
        (Err(_), Ok(time @ ScalarValue::TimestampMicrosecond(Some(_), _))) => Some(Expr::Literal(time, None)),
        _ => None,
    }
}
