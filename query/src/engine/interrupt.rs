//! Planning that ends when nobody waits for its query any more.
//!
//! Planning does not pause, so that it cannot be ended from outside. Before each rule
//! of the engine's stands one that looks up whether the query has ended:
//!
//! ```text
//!   look ─▶ analyzer's rule ─▶ look ─▶ optimizer's rule ─▶ look ─▶ physical rule ─▶ …
//!    └ has ended: an error, which nobody reads; the place is the next query's
//! ```
//!
//! One rule over the largest statement that the gate lets in still takes its time.

use std::future::Future;
use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{AnalyzerRule, OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use tokio_util::sync::CancellationToken;

use crate::{Code, QueryError};

tokio::task_local! {
    static ENDED: CancellationToken;
}

/// Changes nothing.
#[derive(Debug)]
struct Look;

/// Plans, as long as the query has not ended.
pub(super) async fn unless_ended<T>(ended: &CancellationToken, planning: impl Future<Output = T>) -> T {
    ENDED.scope(ended.clone(), planning).await
}

/// Before each of the analyzer's rules a look.
pub(super) fn analyzer(
    rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>>,
) -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    rules.into_iter().flat_map(|rule| [Arc::new(Look) as _, rule]).collect()
}

/// Before each of the optimizer's rules a look.
pub(super) fn optimizer(
    rules: Vec<Arc<dyn OptimizerRule + Send + Sync>>,
) -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    rules.into_iter().flat_map(|rule| [Arc::new(Look) as _, rule]).collect()
}

/// Before each of the rules for physical plans a look.
pub(super) fn physical(
    rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>>,
) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    rules.into_iter().flat_map(|rule| [Arc::new(Look) as _, rule]).collect()
}

/// An error if the query that is being planned has ended.
fn look() -> Result<()> {
    // Statements of the server's own are planned outside of any query.
    match ENDED.try_with(CancellationToken::is_cancelled) {
        Ok(true) => {
            let ended = QueryError::new(Code::Cancelled, "the query has ended");
            Err(DataFusionError::External(Box::new(ended)))
        }
        Ok(false) | Err(_) => Ok(()),
    }
}

// === impl Look ===

impl AnalyzerRule for Look {
    fn name(&self) -> &'static str {
        "look"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        look().map(|()| plan)
    }
}

impl OptimizerRule for Look {
    fn name(&self) -> &'static str {
        "look"
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        look().map(|()| Transformed::no(plan))
    }
}

impl PhysicalOptimizerRule for Look {
    fn name(&self) -> &'static str {
        "look"
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        look().map(|()| plan)
    }

    fn schema_check(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
    use datafusion::optimizer::{Analyzer, Optimizer};
    use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;

    use super::*;

    /// Only these rules look.
    fn sessions() -> [SessionState; 3] {
        let plain = || SessionStateBuilder::new().with_default_features();
        [
            plain().with_analyzer_rules(analyzer(Analyzer::new().rules)).build(),
            plain().with_optimizer_rules(optimizer(Optimizer::new().rules)).build(),
            plain().with_physical_optimizer_rules(physical(PhysicalOptimizer::new().rules)).build(),
        ]
    }

    #[tokio::test]
    async fn planning_ends_before_the_next_rule_of_every_kind() {
        for state in sessions() {
            let ended = CancellationToken::new();
            let plan = state.create_logical_plan("SELECT 1 + 1 AS n").await.unwrap();
            unless_ended(&ended, state.create_physical_plan(&plan)).await.unwrap();
            state.create_physical_plan(&plan).await.unwrap();
            ended.cancel();
            let error = unless_ended(&ended, state.create_physical_plan(&plan)).await.unwrap_err();
            assert_eq!(QueryError::from(error).code(), Code::Cancelled);
            state.create_physical_plan(&plan).await.unwrap();
        }
    }
}
