//! The rows of one query, encoded as they are asked for, never collected.

mod kinds;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arrow_pg::datatypes::{arrow_schema_to_pg_fields, into_pg_type};
use arrow_pg::row_encoder::RowEncoder;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Schema};
use futures::StreamExt;
use pgwire::api::Type;
use pgwire::api::portal::Format;
use pgwire::api::results::FieldInfo;
use pgwire::messages::data::{DataRow, RowDescription};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::connection::{Socket, hung_up, send};
use super::failure::{Failure, notice, stopping};
use super::records;
use crate::{Code, QueryError, Running};

/// What ends a query before its rows do: a cancel request, the client's own
/// time limit, the client's leaving, or the server's end. The engine's limits
/// hold besides. Each statement has one of its own, also one that reads on
/// what an earlier one began.
#[derive(Debug)]
pub(super) struct Interrupt {
    cancelled: CancellationToken,
    stop: CancellationToken,
    limit: Option<(Instant, Duration)>,
}

/// What it was.
#[derive(Debug)]
pub(super) enum Interrupted {
    Cancelled,
    TimedOut(Duration),
    Stopping,
    Gone(io::Error),
}

/// Rows as they come. Dropping it cancels the query.
pub(super) struct Answer {
    running: Running,
    fields: Arc<Vec<FieldInfo>>,
    batch: Option<Batch>,
}

/// Rows that came together, and how many of them were sent.
struct Batch {
    rows: RecordBatch,
    sent: usize,
    encoder: RowEncoder,
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

    /// How much of the client's own time limit is left, if there is one.
    pub(super) fn limit(&self) -> Option<Duration> {
        self.limit.map(|(_, limit)| limit)
    }

    /// Waits for work unless it is interrupted.
    pub(super) async fn guard<T>(
        &self,
        socket: &Socket,
        work: impl Future<Output = T>,
    ) -> Result<T, Interrupted> {
        let too_late = async {
            match self.limit {
                Some((deadline, limit)) => {
                    sleep_until(deadline).await;
                    limit
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            limit = too_late => Err(Interrupted::TimedOut(limit)),
            done = self.watch(socket, work) => done,
        }
    }

    /// The same for work that keeps the client's time limit itself.
    pub(super) async fn watch<T>(
        &self,
        socket: &Socket,
        work: impl Future<Output = T>,
    ) -> Result<T, Interrupted> {
        tokio::select! {
            biased;
            () = self.cancelled.cancelled() => Err(Interrupted::Cancelled),
            () = self.stop.cancelled() => Err(Interrupted::Stopping),
            gone = hung_up(socket) => Err(Interrupted::Gone(gone)),
            done = work => Ok(done),
        }
    }
}

// === impl Interrupted ===

impl Interrupted {
    /// As `queries` records it.
    fn error(&self) -> QueryError {
        match self {
            Self::Cancelled => QueryError::new(Code::Cancelled, "canceling statement due to user request"),
            Self::TimedOut(limit) => QueryError::statement_timeout(*limit),
            Self::Stopping => QueryError::new(Code::Cancelled, "the server stops"),
            Self::Gone(_) => QueryError::new(Code::Cancelled, "the client is gone"),
        }
    }
}

impl From<Interrupted> for Failure {
    fn from(interrupted: Interrupted) -> Self {
        match interrupted {
            Interrupted::Stopping => stopping(),
            Interrupted::Gone(error) => Self::Gone(error),
            told => told.error().into(),
        }
    }
}

// === impl Answer ===

impl Answer {
    /// Rows in the formats that the client asked for.
    pub(super) fn new(running: Running, format: &Format) -> Result<Self, Failure> {
        let fields = Arc::new(fields(&running.schema(), format)?);
        Ok(Self { running, fields, batch: None })
    }

    /// The columns.
    pub(super) fn description(&self) -> RowDescription {
        description(&self.fields)
    }

    /// The columns' names.
    pub(super) fn names(&self) -> Vec<String> {
        self.fields.iter().map(|field| field.name().to_owned()).collect()
    }

    /// Whether the columns are those that the client was told of when it prepared the statement.
    pub(super) fn has_types_of(&self, described: &[FieldInfo]) -> bool {
        let kinds =
            |fields: &[FieldInfo]| fields.iter().map(|field| field.datatype().clone()).collect::<Vec<_>>();
        kinds(&self.fields) == kinds(described)
    }

    /// From the next row on in another format: whoever fetches says which.
    pub(super) fn reformat(&mut self, format: &Format) -> Result<(), Failure> {
        self.fields = Arc::new(fields(&self.running.schema(), format)?);
        if let Some(Batch { rows, sent, .. }) = self.batch.take() {
            self.batch = Some(self.encoded(rows.slice(sent, rows.num_rows() - sent))?);
        }
        Ok(())
    }

    /// The next row, `None` after the last.
    pub(super) async fn next(
        &mut self,
        socket: &Socket,
        interrupt: &Interrupt,
    ) -> Result<Option<DataRow>, Failure> {
        loop {
            if let Some(batch) = &mut self.batch
                && let Some(row) = batch.encoder.next_row()
            {
                batch.sent += 1;
                return Ok(Some(row?));
            }
            match interrupt.guard(socket, self.running.next()).await {
                Ok(Some(rows)) => self.batch = Some(self.encoded(rows?)?),
                Ok(None) => return Ok(None),
                Err(interrupted) => {
                    self.running.stop(&interrupted.error());
                    return Err(interrupted.into());
                }
            }
        }
    }

    fn encoded(&self, rows: RecordBatch) -> Result<Batch, Failure> {
        let (written, encoded) = records::written(kinds::plain(&rows)?, &self.fields)?;
        Ok(Batch { encoder: RowEncoder::new(written, encoded), rows, sent: 0 })
    }

    /// Tells the client if the server's limits cut rows off.
    pub(super) async fn warn_if_truncated(&self, socket: &mut Socket) -> Result<(), Failure> {
        if self.running.truncated() {
            let message = "the answer was cut off at the server's limit of rows or bytes";
            send(socket, notice("WARNING", "01004", message)).await?;
        }
        Ok(())
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
    Ok(arrow_schema_to_pg_fields(&kinds::announced(schema)?, format, None)?)
}

/// PostgreSQL's type for one of the engine's.
pub(super) fn kind_of(kind: &DataType) -> Result<Type, Failure> {
    Ok(into_pg_type(&kinds::flat(kind)?)?)
}

/// What a client is told of fields.
pub(super) fn description(fields: &[FieldInfo]) -> RowDescription {
    RowDescription::new(fields.iter().map(Into::into).collect())
}
