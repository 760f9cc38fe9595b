//! Rows that are computed when a plan runs, not when it is made.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::stream::once;

use super::planner::{Planner, Values};
use crate::{QueryError, text};

/// Something that takes more than one statement.
#[async_trait]
pub(super) trait Compute: Debug + Send + Sync {
    /// The rows. Whatever is read or held is the query's own, by `context`.
    async fn rows(&self, context: Arc<TaskContext>) -> DfResult<RecordBatch>;
}

/// A table that has these rows.
pub(super) fn table<C: Compute + Clone + 'static>(
    schema: SchemaRef,
    compute: C,
) -> DfResult<Arc<dyn TableProvider>> {
    let computed = Arc::new(Computed { schema: SchemaRef::clone(&schema), compute });
    Ok(Arc::new(StreamingTable::try_new(schema, vec![computed])?))
}

/// The rows of a statement of ours, as part of the query that `context` is.
pub(super) async fn answer(
    planner: &Planner,
    sql: &str,
    values: Values,
    context: &Arc<TaskContext>,
) -> DfResult<SendableRecordBatchStream> {
    let plan = planner.plan(sql, values)?;
    let physical = planner.state()?.create_physical_plan(&plan).await?;
    Ok(text::plain_stream(execute_stream(physical, Arc::clone(context))?))
}

/// An error of ours, as the engine carries it.
pub(super) fn carried(error: QueryError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

#[derive(Debug)]
struct Computed<C> {
    schema: SchemaRef,
    compute: C,
}

// === impl Computed ===

impl<C: Compute + Clone + 'static> PartitionStream for Computed<C> {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let compute = self.compute.clone();
        let rows = once(async move { compute.rows(context).await });
        Box::pin(RecordBatchStreamAdapter::new(SchemaRef::clone(&self.schema), rows))
    }
}
