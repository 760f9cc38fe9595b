//! A query that runs: its rows, within its limits, recorded at its end.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use futures::{FutureExt, Stream};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::watch::Watched;
use super::work::Work;
use super::{Ask, Endpoint};
use crate::record::Entry;
use crate::{Code, Config, QueryError};

/// The rows of a query, batch by batch. An error ends it. Dropping it before
/// its end cancels the query.
pub struct Running {
    schema: SchemaRef,
    query_id: String,
    batches: mpsc::Receiver<Result<RecordBatch, QueryError>>,
    work: Work,
    limits: Limits,
    deadline: Pin<Box<Sleep>>,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    rows: u64,
    bytes: u64,
    truncated: bool,
    /// Taken when the query ends.
    entry: Option<Entry>,
    watched: Option<Watched>,
}

/// What one query may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    rows: u64,
    bytes: u64,
    timeout_ms: u64,
    /// Whether the asker gave it less time than the server would.
    own_timeout: bool,
    /// Whether the asker wanted fewer rows than the server would send.
    own_rows: bool,
    pub(super) deadline: Instant,
}

// === impl Limits ===

impl Limits {
    /// The server's, or the asker's own where those are less. Time runs from now on.
    pub(super) fn of(config: &Config, endpoint: Endpoint, ask: &Ask) -> Self {
        let (rows, bytes) = match endpoint {
            Endpoint::Http | Endpoint::Pgwire | Endpoint::Flight => (config.max_rows, config.max_bytes),
            Endpoint::Scheduled | Endpoint::Report => (u64::MAX, u64::MAX),
        };
        let wanted_ms =
            ask.timeout.map_or(u64::MAX, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let timeout_ms = wanted_ms.min(config.query_timeout_ms);
        Self {
            rows: ask.max_rows.map_or(rows, |wanted| wanted.min(rows)),
            bytes,
            timeout_ms,
            own_timeout: wanted_ms < config.query_timeout_ms,
            own_rows: ask.max_rows.is_some_and(|wanted| wanted <= rows),
            deadline: Instant::now() + Duration::from_millis(timeout_ms),
        }
    }

    /// The plan, told of how many rows its asker wants. One more is asked for, to
    /// know whether there are more.
    pub(super) fn applied(&self, plan: LogicalPlan) -> Result<LogicalPlan, QueryError> {
        let more = usize::try_from(self.rows.saturating_add(1)).unwrap_or(usize::MAX);
        match plan {
            // These are not rows of tables: nothing may stand above them.
            LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_) => Ok(plan),
            plan if self.own_rows => Ok(LogicalPlanBuilder::from(plan).limit(0, Some(more))?.build()?),
            plan => Ok(plan),
        }
    }

    pub(super) fn too_slow(&self) -> QueryError {
        let next = match self.own_timeout {
            true => "its request allows no more",
            false => "narrow it by time, or raise query.query_timeout_ms",
        };
        QueryError::new(Code::Timeout, format!("the query took longer than {} ms; {next}", self.timeout_ms))
    }
}

// === impl Running ===

impl Running {
    pub(super) fn new(
        schema: SchemaRef,
        batches: mpsc::Receiver<Result<RecordBatch, QueryError>>,
        work: Work,
        limits: Limits,
        entry: Entry,
        watched: Watched,
    ) -> Self {
        let deadline = Box::pin(sleep_until(limits.deadline));
        let query_id = entry.query_id().to_owned();
        Self {
            schema,
            query_id,
            batches,
            work,
            limits,
            deadline,
            cancelled: watched.cancelled(),
            rows: 0,
            bytes: 0,
            truncated: false,
            entry: Some(entry),
            watched: Some(watched),
        }
    }

    /// The query's id, as it stands in `queries`.
    pub fn query_id(&self) -> &str {
        &self.query_id
    }

    /// The answer's columns.
    pub fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    /// Whether rows were left out because of a limit; final at the stream's end.
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// Whether rows were left out that the asker did want.
    pub(crate) fn cut_short(&self) -> bool {
        self.truncated && !(self.limits.own_rows && self.rows == self.limits.rows)
    }

    /// Rows passed on so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Ends it before its end for a reason of its client's; it is recorded with that.
    pub(crate) fn stop(&mut self, reason: &QueryError) {
        self.end(Err(reason));
    }

    /// Takes from a batch what the limits leave, `None` when that is nothing.
    fn cut(&mut self, batch: RecordBatch) -> Option<RecordBatch> {
        let left = self.limits.rows - self.rows;
        let whole = batch.num_rows() as u64;
        let batch = match whole > left {
            true => {
                self.truncated = true;
                batch.slice(0, usize::try_from(left).unwrap_or(usize::MAX))
            }
            false => batch,
        };
        let bytes = sent_bytes(&batch);
        if self.bytes.saturating_add(bytes) > self.limits.bytes && self.rows > 0 {
            self.truncated = true;
            return None;
        }
        self.rows += batch.num_rows() as u64;
        self.bytes += bytes;
        if let Some(watched) = &self.watched {
            watched.passed_on(self.rows);
        }
        (batch.num_rows() > 0 || whole == 0).then_some(batch)
    }

    fn end(&mut self, outcome: Result<(), &QueryError>) {
        self.work.end();
        self.batches.close();
        self.watched = None;
        if let Some(entry) = self.entry.take() {
            entry.ended(outcome, self.rows, self.bytes);
        }
    }

    fn fail(&mut self, error: QueryError) -> Poll<Option<Result<RecordBatch, QueryError>>> {
        let error = error.of_query(&self.query_id);
        self.end(Err(&error));
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Running {
    type Item = Result<RecordBatch, QueryError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.entry.is_none() {
            return Poll::Ready(None);
        }
        if self.truncated {
            self.end(Ok(()));
            return Poll::Ready(None);
        }
        if self.deadline.poll_unpin(context).is_ready() {
            let error = self.limits.too_slow();
            return self.fail(error);
        }
        if self.cancelled.poll_unpin(context).is_ready() {
            return self.fail(Watched::reason());
        }
        match self.batches.poll_recv(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(batch))) => match self.cut(batch) {
                Some(batch) => Poll::Ready(Some(Ok(batch))),
                None => {
                    self.end(Ok(()));
                    Poll::Ready(None)
                }
            },
            Poll::Ready(Some(Err(error))) => self.fail(error),
            Poll::Ready(None) => match self.work.poll_unpin(context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(Ok(()))) => {
                    self.end(Ok(()));
                    Poll::Ready(None)
                }
                Poll::Ready(Ok(Err(error))) => self.fail(error),
                // A panic must not look like the end of the rows.
                Poll::Ready(Err(panic)) => self.fail(QueryError::internal(panic)),
            },
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            entry.cancelled(self.rows, self.bytes);
        }
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("query_id", &self.query_id).finish_non_exhaustive()
    }
}

/// A batch's own bytes: a slice counts as what it shows, not what it holds.
fn sent_bytes(batch: &RecordBatch) -> u64 {
    let bytes = |column: &datafusion::arrow::array::ArrayRef| {
        column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
    };
    batch.columns().iter().map(bytes).sum::<usize>() as u64
}
