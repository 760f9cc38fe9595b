//! A query that runs: its rows, within its limits, recorded at its end.

use std::pin::Pin;
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use futures::{FutureExt, Stream};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Endpoint;
use super::work::Work;
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
    rows: u64,
    bytes: u64,
    truncated: bool,
    /// Taken when the query ends.
    entry: Option<Entry>,
}

/// What one query may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    rows: u64,
    bytes: u64,
    timeout_ms: u64,
    deadline: Instant,
}

pub(super) fn too_slow(timeout_ms: u64) -> QueryError {
    QueryError::new(
        Code::Timeout,
        format!(
            "the query took longer than {timeout_ms} ms; narrow it by time, or raise query.query_timeout_ms"
        ),
    )
}

// === impl Limits ===

impl Limits {
    pub(super) fn of(config: &Config, endpoint: Endpoint, deadline: Instant) -> Self {
        let (rows, bytes) = match endpoint {
            Endpoint::Http | Endpoint::Pgwire => (config.max_rows, config.max_bytes),
            Endpoint::Scheduled | Endpoint::Report => (u64::MAX, u64::MAX),
        };
        Self { rows, bytes, timeout_ms: config.query_timeout_ms, deadline }
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
            rows: 0,
            bytes: 0,
            truncated: false,
            entry: Some(entry),
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
        (batch.num_rows() > 0 || whole == 0).then_some(batch)
    }

    fn end(&mut self, outcome: Result<(), &QueryError>) {
        self.work.end();
        self.batches.close();
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
            let timeout_ms = self.limits.timeout_ms;
            return self.fail(too_slow(timeout_ms));
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
                Poll::Ready(Ok(())) => {
                    self.end(Ok(()));
                    Poll::Ready(None)
                }
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
