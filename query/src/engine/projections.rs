//! Keeps like projections on top of each other apart.
//!
//! DataFusion 55 takes the upper of two projections away where both have the same
//! expressions, which is right of `x AS x` and wrong of `x + 1 AS x`: a step that is
//! taken twice counts once. Here the lower one's columns get names of their own first.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};
use datafusion::optimizer::AnalyzerRule;

#[derive(Debug)]
pub(super) struct KeptApart;

// === impl KeptApart ===

impl AnalyzerRule for KeptApart {
    fn name(&self) -> &'static str {
        "kept_apart"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let apart = plan.transform_up_with_subqueries(|node| match &node {
            LogicalPlan::Projection(upper) => match upper.input.as_ref() {
                LogicalPlan::Projection(lower) if computes_the_same(upper, lower) => {
                    Ok(Transformed::yes(LogicalPlan::Projection(renamed(upper, lower)?)))
                }
                _ => Ok(Transformed::no(node)),
            },
            _ => Ok(Transformed::no(node)),
        });
        Ok(apart?.data)
    }
}

fn computes_the_same(upper: &Projection, lower: &Projection) -> bool {
    let computes = |expression: &Expr| {
        let mut inside = expression;
        while let Expr::Alias(alias) = inside {
            inside = &alias.expr;
        }
        !matches!(inside, Expr::Column(_) | Expr::Literal(..))
    };
    upper.expr == lower.expr && upper.expr.iter().any(computes)
}

fn renamed(upper: &Projection, lower: &Projection) -> Result<Projection> {
    let name = |index: usize| format!("__step_{index}");
    let steps = lower.expr.iter().enumerate().map(|(index, step)| step.clone().unalias().alias(name(index)));
    let below = Projection::try_new(steps.collect(), Arc::clone(&lower.input))?;
    let own = |expression: Expr| {
        expression.transform(|part| match &part {
            Expr::Column(column) => match lower.schema.maybe_index_of_column(column) {
                Some(index) => Ok(Transformed::yes(Expr::Column(Column::new_unqualified(name(index))))),
                None => Ok(Transformed::no(part)),
            },
            _ => Ok(Transformed::no(part)),
        })
    };
    let named = upper.expr.iter().zip(upper.schema.iter()).map(|(expression, (qualifier, field))| {
        let computed = own(expression.clone().unalias())?.data;
        Ok(computed.alias_qualified(qualifier.cloned(), field.name()))
    });
    Projection::try_new(named.collect::<Result<_>>()?, Arc::new(LogicalPlan::Projection(below)))
}
