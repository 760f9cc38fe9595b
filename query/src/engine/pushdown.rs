//! Filters pushed down in physical plans, unless columns could be confused.
//!
//! The engine (DataFusion 55.2) finds a filter's columns in an input by their
//! names. Where an input has two of one name, as a join of two tables often has,
//! it can take the wrong one, and rows are missing from the answer. Such plans
//! keep their filters where the logical optimizer has put them, which knows
//! columns by their tables.
//!
//! A scan is given its conditions when it is made, which leaves out files, and
//! in most plans once more by the filter above it, which says the same. It
//! evaluates what it is given, so what it has twice is taken away.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, FileSource, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::{conjunction, split_conjunction};
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

/// Leaves a scan each of its conditions once.
#[derive(Debug)]
struct SaidOnce;

/// The engine's rules, with care.
pub(super) fn rules() -> Vec<Rule> {
    let pushes = [FilterPushdown::new(), FilterPushdown::new_post_optimization()];
    let careful = |rule: Rule| -> Rule {
        match pushes.iter().any(|push| push.name() == rule.name()) {
            true => Arc::new(Unambiguous { rule }),
            false => rule,
        }
    };
    PhysicalOptimizer::new().rules.into_iter().map(careful).chain([Arc::new(SaidOnce) as Rule]).collect()
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

// === impl SaidOnce ===

impl PhysicalOptimizerRule for SaidOnce {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let scan = |node: Arc<dyn ExecutionPlan>| {
            Ok(match said_once(&node) {
                Some(scan) => Transformed::yes(scan),
                None => Transformed::no(node),
            })
        };
        Ok(plan.transform_up(scan)?.data)
    }

    fn name(&self) -> &'static str {
        "SaidOnce"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The same scan, if it was given a condition more than once.
fn said_once(node: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let (config, source) =
        node.downcast_ref::<DataSourceExec>()?.downcast_to_file_source::<ParquetSource>()?;
    let conditions = source.filter()?;
    let given = split_conjunction(&conditions);
    let mut once: Vec<Arc<dyn PhysicalExpr>> = Vec::with_capacity(given.len());
    for condition in &given {
        if !once.contains(condition) {
            once.push(Arc::clone(condition));
        }
    }
    if once.len() == given.len() {
        return None;
    }
    let source = Arc::new(source.with_predicate(conjunction(once)));
    let config = FileScanConfigBuilder::from(config.clone()).with_source(source).build();
    Some(DataSourceExec::from_data_source(config))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::execution::object_store::ObjectStoreUrl;
    use datafusion::logical_expr::Operator;
    use datafusion::physical_expr::expressions::{binary, col, lit};

    use super::*;

    fn scan(conditions: &[(&str, i64)]) -> Arc<dyn ExecutionPlan> {
        let fields = ["a", "b"].map(|name| Field::new(name, DataType::Int64, true));
        let schema = Arc::new(Schema::new(fields.to_vec()));
        let condition = |(name, value): &(&str, i64)| {
            binary(col(name, &schema).unwrap(), Operator::Eq, lit(*value), &schema).unwrap()
        };
        let source = ParquetSource::new(Arc::clone(&schema));
        let source = Arc::new(source.with_predicate(conjunction(conditions.iter().map(condition))));
        let url = ObjectStoreUrl::parse("memory://").unwrap();
        DataSourceExec::from_data_source(FileScanConfigBuilder::new(url, source).build())
    }

    fn conditions(plan: &Arc<dyn ExecutionPlan>) -> String {
        let scan = plan.downcast_ref::<DataSourceExec>().unwrap();
        scan.downcast_to_file_source::<ParquetSource>().unwrap().1.filter().unwrap().to_string()
    }

    #[test]
    fn a_scan_evaluates_no_condition_twice() {
        let once = |given: &[(&str, i64)]| {
            conditions(&SaidOnce.optimize(scan(given), &ConfigOptions::default()).unwrap())
        };
        assert_eq!(once(&[("a", 1), ("b", 2), ("a", 1), ("b", 2)]), conditions(&scan(&[("a", 1), ("b", 2)])));
        assert_eq!(once(&[("a", 1), ("b", 1), ("a", 2)]), conditions(&scan(&[("a", 1), ("b", 1), ("a", 2)])));
    }
}
