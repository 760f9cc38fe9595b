//! A query's rows as the protocol's messages.

use std::pin::Pin;

use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use futures::stream::{iter, unfold};
use futures::{Stream, StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::{Response, Status};

use super::status::{QUERY_ID, broken, told};
use crate::columns::{public_rows, public_schema};
use crate::{Code, QueryError, Running};

/// What DoGet answers with.
pub(super) type Messages = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send>>;

/// An answer on its way.
struct Sending {
    running: Running,
    schema: SchemaRef,
    stop: CancellationToken,
    done: bool,
}

/// A query's rows. A client that goes away drops the stream, and so ends the query.
pub(super) fn rows(running: Running, stop: CancellationToken) -> Response<Messages> {
    let query_id = MetadataValue::try_from(running.query_id());
    let schema = public_schema(&running.schema());
    let sending = Sending { running, schema: SchemaRef::clone(&schema), stop, done: false };
    let batches = unfold(sending, |mut sending| async move {
        let batch = sending.next().await?;
        sending.done = batch.is_err();
        Some((batch.map_err(|error| FlightError::from(told(&error))), sending))
    });
    let messages = FlightDataEncoderBuilder::new().with_schema(schema).build(batches).map_err(broken);
    let mut response = Response::new(messages.boxed() as Messages);
    if let Ok(query_id) = query_id {
        response.metadata_mut().insert(QUERY_ID, query_id);
    }
    response
}

/// Rows that are there already.
pub(super) fn batch(batch: RecordBatch) -> Response<Messages> {
    let messages = FlightDataEncoderBuilder::new().with_schema(batch.schema()).build(iter([Ok(batch)]));
    Response::new(messages.map_err(broken).boxed())
}

// === impl Sending ===

impl Sending {
    /// The next batch. The protocol has no place to say that rows were left
    /// out, so an answer that the server cuts ends with an error.
    async fn next(&mut self) -> Option<Result<RecordBatch, QueryError>> {
        if self.done {
            return None;
        }
        let next = tokio::select! {
            batch = self.running.next() => batch,
            () = self.stop.cancelled() => Some(Err(QueryError::new(Code::Cancelled, "the server stops"))),
        };
        let shown = match next {
            Some(batch) => batch.and_then(|batch| public_rows(&batch, &self.schema)),
            None if self.running.cut_short() => Err(self.cut()),
            None => return None,
        };
        Some(shown.map_err(|error| {
            let error = error.of_query(self.running.query_id());
            self.running.stop(&error);
            error
        }))
    }

    fn cut(&self) -> QueryError {
        let rows = self.running.rows();
        let message = format!(
            "the answer was cut after {rows} rows, the server's limit: group or limit it, or raise query.max_rows \
             and query.max_bytes"
        );
        QueryError::new(Code::TooLarge, message)
    }
}
