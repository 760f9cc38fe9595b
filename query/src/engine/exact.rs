//! Puts exact arithmetic in the place of the engine's, which goes round at the ends.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::AnalyzerRule;

use crate::functions::exact;

/// Comes after types were made to agree.
#[derive(Debug)]
pub(super) struct ExactNumbers;

// === impl ExactNumbers ===

impl AnalyzerRule for ExactNumbers {
    fn name(&self) -> &'static str {
        "exact_numbers"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let exact = plan.transform_up_with_subqueries(|node| {
            // To work a schema out is dear, and most nodes compute nothing.
            if !computes(&node)? {
                return Ok(Transformed::no(node));
            }
            let mut schema = DFSchema::empty();
            node.inputs().iter().for_each(|input| schema.merge(input.schema()));
            let one = |part| match exact::of(&part, &schema) {
                Some(exact) => Ok(Transformed::yes(exact)),
                None => Ok(Transformed::no(part)),
            };
            // Names, types and nulls are as before, and so is the node's schema.
            node.map_expressions(|expression| expression.transform_up(one))
        });
        Ok(exact?.data)
    }
}

fn computes(node: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    node.apply_expressions(|expression| {
        found = found || expression.exists(|part| Ok(exact::is_meant(part)))?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}
