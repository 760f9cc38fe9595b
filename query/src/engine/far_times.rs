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
            node.map_expressions(|expression| expression.transform_up(|part| of(part, &schema)))?
                .map_data(LogicalPlan::recompute_schema)
        });
        Ok(read?.data)
    }
}

fn of(expression: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let beside = |sides: &[&Expr]| {
        let kinds = sides.iter().filter_map(|side| side.get_type(schema).ok());
        kinds.into_iter().find(|kind| matches!(kind, DataType::Timestamp(TimeUnit::Microsecond, _)))
    };
    Ok(match expression {
        Expr::Cast(Cast { expr, field }) => match (field.data_type(), far(&expr, field.data_type())) {
            (DataType::Timestamp(..), Some(time)) => Transformed::yes(time),
            _ => Transformed::no(Expr::Cast(Cast { expr, field })),
        },
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(op) => {
            let kind = beside(&[&left, &right]);
            let read = |side: Box<Expr>| far_beside(side, kind.as_ref());
            Transformed::yes(Expr::BinaryExpr(BinaryExpr { left: read(left), op, right: read(right) }))
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            let kind = beside(&[&expr]);
            let read = |side: Box<Expr>| far_beside(side, kind.as_ref());
            Transformed::yes(Expr::Between(Between { expr, negated, low: read(low), high: read(high) }))
        }
        Expr::InList(InList { expr, list, negated }) => {
            let kind = beside(&[&expr]);
            let list = list.into_iter().map(|one| *far_beside(Box::new(one), kind.as_ref())).collect();
            Transformed::yes(Expr::InList(InList { expr, list, negated }))
        }
        other => Transformed::no(other),
    })
}

fn compares(operator: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(operator, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

fn far_beside(side: Box<Expr>, kind: Option<&DataType>) -> Box<Expr> {
    match kind.and_then(|kind| far(&side, kind)) {
        Some(time) => Box::new(time),
        None => side,
    }
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
