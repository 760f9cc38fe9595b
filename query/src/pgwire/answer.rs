//! The rows of one query, encoded as they are asked for, never collected.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arrow_pg::datatypes::arrow_schema_to_pg_fields;
use arrow_pg::row_encoder::RowEncoder;
use datafusion::arrow::datatypes::Schema;
use futures::StreamExt;
use pgwire::api::portal::Format;
use pgwire::api::results::FieldInfo;
use pgwire::messages::data::{DataRow, RowDescription};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::connection::{Socket, hung_up};
use super::failure::{Failure, stopping};
use crate::Running;

/// What ends a query before its rows do: a cancel request, the client's own
/// time limit, the client's leaving, or the server's end. The engine's limits
/// hold besides.
#[derive(Debug)]
pub(super) struct Interrupt {
    cancelled: CancellationToken,
    stop: CancellationToken,
    limit: Option<(Instant, Duration)>,
}

/// Rows as they come. Dropping it cancels the query.
pub(super) struct Answer {
    running: Running,
    fields: Arc<Vec<FieldInfo>>,
    batch: Option<RowEncoder>,
    interrupt: Interrupt,
}

// === impl Interrupt ===

impl Interrupt {
    /// From now on, within `limit` if there is one.
    pub(super) fn new(
        cancelled: CancellationToken,
        stop: CancellationToken,
        limit: Option<Duration>,
    ) -> Self {
        Self { cancelled, stop, limit: limit.map(|limit| (Instant::now() + limit, limit)) }
    }

    /// Waits for work unless it is interrupted.
    pub(super) async fn guard<T>(
        &self,
        socket: &Socket,
        work: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let too_late = async {
            match self.limit {
                Some((deadline, _)) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.cancelled.cancelled() => Err(Failure::new("57014", "canceling statement due to user request")),
            () = too_late => Err(self.timed_out()),
            () = self.stop.cancelled() => Err(stopping()),
            gone = hung_up(socket) => Err(Failure::Gone(gone)),
            done = work => Ok(done),
        }
    }

    fn timed_out(&self) -> Failure {
        let after_ms = self.limit.map_or(0, |(_, limit)| limit.as_millis());
        let message = format!("canceling statement due to statement timeout of {after_ms} ms");
        Failure::new("57014", message)
    }
}

// === impl Answer ===

impl Answer {
    /// Rows in the formats that the client asked for.
    pub(super) fn new(running: Running, format: &Format, interrupt: Interrupt) -> Result<Self, Failure> {
        let fields = Arc::new(fields(&running.schema(), format)?);
        Ok(Self { running, fields, batch: None, interrupt })
    }

    /// The columns.
    pub(super) fn description(&self) -> RowDescription {
        description(&self.fields)
    }

    /// Whether the columns are those that the client was told of when it prepared the statement.
    pub(super) fn has_types_of(&self, described: &[FieldInfo]) -> bool {
        let kinds =
            |fields: &[FieldInfo]| fields.iter().map(|field| field.datatype().clone()).collect::<Vec<_>>();
        kinds(&self.fields) == kinds(described)
    }

    /// The next row, `None` after the last.
    pub(super) async fn next(&mut self, socket: &Socket) -> Result<Option<DataRow>, Failure> {
        loop {
            if let Some(row) = self.batch.as_mut().and_then(RowEncoder::next_row) {
                return Ok(Some(row?));
            }
            match self.interrupt.guard(socket, self.running.next()).await? {
                Some(batch) => self.batch = Some(RowEncoder::new(batch?, Arc::clone(&self.fields))),
                None => return Ok(None),
            }
        }
    }

    /// Whether the server's limits cut rows off.
    pub(super) fn truncated(&self) -> bool {
        self.running.truncated()
    }
}

/// PostgreSQL's fields for columns. A list of formats must have as many as there are columns.
pub(super) fn fields(schema: &Schema, format: &Format) -> Result<Vec<FieldInfo>, Failure> {
    if let Format::Individual(codes) = format
        && codes.len() != schema.fields().len()
    {
        let (given, needed) = (codes.len(), schema.fields().len());
        return Err(Failure::new("08P01", format!("bind gives {given} result formats for {needed} columns")));
    }
    Ok(arrow_schema_to_pg_fields(schema, format, None)?)
}

/// What a client is told of fields.
pub(super) fn description(fields: &[FieldInfo]) -> RowDescription {
    RowDescription::new(fields.iter().map(Into::into).collect())
}
