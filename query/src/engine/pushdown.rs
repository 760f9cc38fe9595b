//! Filters pushed down in physical plans, unless columns could be confused.
//!
//! The engine (DataFusion 55.2) finds a filter's columns in an input by their
//! names. Where an input has two of one name, as a join of two tables often has,
//! it can take the wrong one, and rows are missing from the answer. Such plans
//! keep their filters where the logical optimizer has put them, which knows
//! columns by their tables.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// A rule that is left out where two columns have one name.
#[derive(Debug)]
struct Unambiguous {
    rule: Rule,
}

/// The engine's rules, with care.
pub(super) fn rules() -> Vec<Rule> {
    let pushes = [FilterPushdown::new(), FilterPushdown::new_post_optimization()];
    let careful = |rule: Rule| -> Rule {
        match pushes.iter().any(|push| push.name() == rule.name()) {
            true => Arc::new(Unambiguous { rule }),
            false => rule,
        }
    };
    PhysicalOptimizer::new().rules.into_iter().map(careful).collect()
}

// === impl Unambiguous ===

impl PhysicalOptimizerRule for Unambiguous {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match plan.exists(|node| Ok(has_namesakes(node)))? {
            true => Ok(plan),
            false => self.rule.optimize(plan, config),
        }
    }

    fn name(&self) -> &str {
        self.rule.name()
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}

fn has_namesakes(node: &Arc<dyn ExecutionPlan>) -> bool {
    let schema = node.schema();
    let mut names = HashSet::with_capacity(schema.fields().len());
    !schema.fields().iter().all(|field| names.insert(field.name()))
}
