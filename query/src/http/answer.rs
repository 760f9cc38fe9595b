//! A query's rows as the body of an answer, batch by batch.

use ::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use datafusion::arrow::array::RecordBatch;
use futures::StreamExt;
use futures::stream::unfold;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio_util::sync::CancellationToken;

use super::format::Format;
use super::write::{Ending, Writer};
use crate::{Code, QueryError, Running};

/// Tells which row of `queries` an answer belongs to.
pub(super) const QUERY_ID: HeaderName = HeaderName::from_static("x-bailiwick-query-id");
/// After the body: how many rows it has.
const ROWS: HeaderName = HeaderName::from_static("x-bailiwick-rows");
/// After the body: whether rows were left out because of a limit.
const TRUNCATED: HeaderName = HeaderName::from_static("x-bailiwick-truncated");

/// An answer on its way.
struct Writing {
    running: Running,
    writer: Writer,
    stop: CancellationToken,
    step: Step,
}

enum Step {
    Rows,
    /// The next thing to do is to break off.
    Broken,
    /// What is left is what comes after the body.
    Trailers,
    Done,
}

/// Breaks the connection off: the only failure that every client sees.
#[derive(Debug, thiserror::Error)]
#[error("the query failed after its first rows")]
struct BrokenOff;

/// An answer that begins once the first rows are there, so that whatever fails
/// before them has its own status.
pub(super) async fn stream(
    running: Running,
    format: Format,
    stop: CancellationToken,
) -> Result<Response, QueryError> {
    let query_id = HeaderValue::from_str(running.query_id()).map_err(QueryError::internal)?;
    let writer = Writer::new(format, &running.schema())?;
    let mut writing = Writing { running, writer, stop, step: Step::Rows };
    let head = Ok(Frame::data(Bytes::from(writing.begin().await?)));
    let rest = unfold(writing, |mut writing| async move {
        let frame = writing.frame().await?;
        Some((frame, writing))
    });
    let body = futures::stream::iter([head]).chain(rest);
    let mut response = Body::new(StreamBody::new(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, format.content_type());
    headers.insert(header::TRAILER, HeaderValue::from_static("x-bailiwick-rows, x-bailiwick-truncated"));
    headers.insert(QUERY_ID, query_id);
    Ok(response)
}

// === impl Writing ===

impl Writing {
    /// The next batch; an error once the server stops.
    async fn next(&mut self) -> Option<Result<RecordBatch, QueryError>> {
        tokio::select! {
            batch = self.running.next() => batch,
            () = self.stop.cancelled() => Some(Err(QueryError::new(Code::Cancelled, "the server stops"))),
        }
    }

    /// Waits for the first rows and writes them.
    async fn begin(&mut self) -> Result<Vec<u8>, QueryError> {
        let first = self.next().await;
        let mut out = Vec::new();
        let head = self.writer.head(self.running.query_id(), &self.running.schema(), &mut out);
        match head.and_then(|()| self.add(first, &mut out)) {
            Ok(()) => Ok(out),
            Err(error) => Err(self.gives_up(error)),
        }
    }

    /// The next part of the body that has any bytes.
    async fn frame(&mut self) -> Option<Result<Frame<Bytes>, BrokenOff>> {
        let mut out = Vec::new();
        while out.is_empty() {
            match std::mem::replace(&mut self.step, Step::Rows) {
                Step::Rows => {
                    let next = self.next().await;
                    if let Err(error) = self.add(next, &mut out) {
                        let error = self.gives_up(error);
                        self.writer.failed(&error, &mut out);
                        self.step = Step::Broken;
                    }
                }
                Step::Broken => {
                    // What was written last should go out before the connection breaks off.
                    tokio::task::yield_now().await;
                    return Some(Err(BrokenOff));
                }
                Step::Trailers => {
                    self.step = Step::Done;
                    return Some(Ok(Frame::trailers(self.trailers())));
                }
                Step::Done => {
                    self.step = Step::Done;
                    return None;
                }
            }
        }
        Some(Ok(Frame::data(out.into())))
    }

    /// Writes a batch, or the end.
    fn add(
        &mut self,
        next: Option<Result<RecordBatch, QueryError>>,
        out: &mut Vec<u8>,
    ) -> Result<(), QueryError> {
        let Some(batch) = next else {
            self.step = Step::Trailers;
            let ending = Ending {
                query_id: self.running.query_id(),
                truncated: self.running.truncated(),
                cut_short: self.running.cut_short(),
            };
            return self.writer.tail(ending, out);
        };
        self.writer.rows(&batch?, out)
    }

    fn gives_up(&mut self, error: QueryError) -> QueryError {
        let error = error.of_query(self.running.query_id());
        self.running.stop(&error);
        error
    }

    fn trailers(&self) -> HeaderMap {
        let truncated = HeaderValue::from_static(if self.running.truncated() { "true" } else { "false" });
        HeaderMap::from_iter([(ROWS, HeaderValue::from(self.running.rows())), (TRUNCATED, truncated)])
    }
}
