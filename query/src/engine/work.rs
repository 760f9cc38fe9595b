//! A query's work on its threads, and how it ends when nobody wants it any more.
//!
//! A task can be ended only where it waits. The engine makes its scans pause now
//! and then, but a join may compute for hours on what one pause of its scans
//! gave it. So what multiplies rows pauses by itself here, and a join's filter,
//! which is evaluated where the join does not pause at all, looks up whether its
//! query has ended.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::lane::Lane;
use crate::{Code, QueryError};

/// Operators that make more rows than they read.
const MULTIPLY: [&str; 7] = [
    "CrossJoinExec",
    "HashJoinExec",
    "NestedLoopJoinExec",
    "PiecewiseMergeJoinExec",
    "RecursiveQueryExec",
    "SortMergeJoinExec",
    "UnnestExec",
];

/// Work that ends when it is dropped. Its error, if it has one, comes after what it passed on.
#[derive(Debug)]
pub(super) struct Work {
    task: AbortOnDropHandle<Result<(), QueryError>>,
    ended: CancellationToken,
}

/// An expression that fails once its query has ended.
#[derive(Debug)]
struct UnlessEnded {
    inner: Arc<dyn PhysicalExpr>,
    ended: CancellationToken,
}

// === impl Work ===

impl Work {
    /// Starts work on a lane; it looks at `ended`.
    pub(super) fn start(
        lane: &Lane,
        ended: CancellationToken,
        work: impl Future<Output = Result<(), QueryError>> + Send + 'static,
    ) -> Self {
        Self { task: AbortOnDropHandle::new(lane.handle().spawn(work)), ended }
    }

    /// Ends it as soon as it can be.
    pub(super) fn end(&self) {
        self.ended.cancel();
        self.task.abort();
    }
}

impl Future for Work {
    type Output = Result<Result<(), QueryError>, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.task).poll(context)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// The same plan, which ends when its query does.
pub(super) fn endable(
    plan: Arc<dyn ExecutionPlan>,
    ended: &CancellationToken,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let pausing = |node: Arc<dyn ExecutionPlan>| {
        if !MULTIPLY.contains(&node.name()) {
            return Ok(Transformed::no(node));
        }
        let node = with_filter(node, ended)?;
        Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>))
    };
    Ok(plan.transform_up(pausing)?.data)
}

/// A join whose filter looks up; anything else as it is.
fn with_filter(node: Arc<dyn ExecutionPlan>, ended: &CancellationToken) -> DfResult<Arc<dyn ExecutionPlan>> {
    let looking_up = |filter: &JoinFilter| {
        let expression = UnlessEnded { inner: Arc::clone(filter.expression()), ended: ended.clone() };
        let indices = filter.column_indices().to_vec();
        Some(JoinFilter::new(Arc::new(expression), indices, Arc::clone(filter.schema())))
    };
    if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>()
        && let Some(filter) = join.filter()
    {
        let (left, right) = (Arc::clone(join.left()), Arc::clone(join.right()));
        let join = NestedLoopJoinExecBuilder::new(left, right, *join.join_type())
            .with_filter(looking_up(filter))
            .with_projection_ref(join.projection().clone());
        return Ok(Arc::new(join.build()?));
    }
    if let Some(join) = node.downcast_ref::<HashJoinExec>()
        && let Some(filter) = join.filter()
    {
        return join.builder().with_filter(looking_up(filter)).build_exec();
    }
    Ok(node)
}

// === impl UnlessEnded ===

impl fmt::Display for UnlessEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PartialEq for UnlessEnded {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for UnlessEnded {}

impl std::hash::Hash for UnlessEnded {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl PhysicalExpr for UnlessEnded {
    fn return_field(&self, schema: &Schema) -> DfResult<FieldRef> {
        self.inner.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> DfResult<ColumnarValue> {
        if self.ended.is_cancelled() {
            let ended = QueryError::new(Code::Cancelled, "the query has ended");
            return Err(DataFusionError::External(Box::new(ended)));
        }
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> DfResult<Arc<dyn PhysicalExpr>> {
        let inner = children.into_iter().next().unwrap_or_else(|| Arc::clone(&self.inner));
        Ok(Arc::new(Self { inner, ended: self.ended.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}
