//! A query's rows as the body of an answer, batch by batch.

use ::http::{HeaderMap, HeaderValue, header};
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use datafusion::arrow::array::RecordBatch;
use futures::StreamExt;
use futures::stream::unfold;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::render;
use crate::{Code, QueryError, Running};

/// Tells which row of `queries` an answer belongs to.
const QUERY_ID: &str = "x-bailiwick-query-id";

/// What an answer is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One document.
    Json,
    /// A line of names, then lines of values.
    Csv,
}

/// An answer on its way.
struct Writing {
    running: Running,
    format: Format,
    stop: CancellationToken,
    step: Step,
    rows_written: bool,
}

enum Step {
    /// Nothing is written; the first batch is there already.
    Head(Option<RecordBatch>),
    Rows,
    /// The next thing to do is to break off.
    Broken,
    Done,
}

/// Breaks the connection off: the only failure that every client sees.
#[derive(Debug, thiserror::Error)]
#[error("the query failed after its first rows")]
struct BrokenOff;

// === impl Format ===

impl Format {
    /// What the client asked for, by parameter or by header; JSON if it does not say.
    pub(super) fn wanted(parameter: Option<&str>, headers: &HeaderMap) -> Result<Self, QueryError> {
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        match parameter {
            Some("json") => Ok(Self::Json),
            Some("csv") => Ok(Self::Csv),
            Some(_) => Err(QueryError::new(Code::BadRequest, "parameter format: use json or csv")),
            None if accept.contains("text/csv") => Ok(Self::Csv),
            None => Ok(Self::Json),
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        })
    }
}

/// An answer that begins once the first rows are there, so that whatever fails
/// before them has its own status.
pub(super) async fn stream(
    running: Running,
    format: Format,
    stop: CancellationToken,
) -> Result<Response, QueryError> {
    let query_id = HeaderValue::from_str(running.query_id()).map_err(QueryError::internal)?;
    let mut writing = Writing { running, format, stop, step: Step::Rows, rows_written: false };
    let first = writing.next().await.transpose()?;
    writing.step = Step::Head(first);
    let body = unfold(writing, |mut writing| async move {
        let chunk = writing.chunk().await?;
        Some((chunk, writing))
    });
    let headers = [(header::CONTENT_TYPE, format.content_type())];
    let mut response = (headers, Body::from_stream(body)).into_response();
    response.headers_mut().insert(QUERY_ID, query_id);
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

    async fn chunk(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        let mut out = Vec::new();
        match std::mem::replace(&mut self.step, Step::Rows) {
            Step::Head(first) => {
                let first = first.map(Ok);
                let done = self.head(&mut out);
                self.continued(done, first, &mut out);
            }
            Step::Rows => {
                let next = self.next().await;
                self.continued(Ok(()), next, &mut out);
            }
            Step::Broken => return Some(Err(BrokenOff)),
            Step::Done => return None,
        }
        Some(Ok(out.into()))
    }

    fn continued(
        &mut self,
        so_far: Result<(), QueryError>,
        next: Option<Result<RecordBatch, QueryError>>,
        out: &mut Vec<u8>,
    ) {
        let written = so_far.and_then(|()| match next {
            Some(batch) => self.rows(&batch?, out),
            None => {
                self.tail(out);
                self.step = Step::Done;
                Ok(())
            }
        });
        if let Err(error) = written {
            self.failed(&error, out);
            self.step = Step::Broken;
        }
    }

    fn head(&self, out: &mut Vec<u8>) -> Result<(), QueryError> {
        let schema = self.running.schema();
        match self.format {
            Format::Json => {
                let query_id = json!(self.running.query_id());
                let columns = render::columns(&schema);
                out.extend_from_slice(
                    format!("{{\"query_id\":{query_id},\"columns\":{columns},\"rows\":[").as_bytes(),
                );
            }
            Format::Csv => out.extend(render::csv_head(&schema)?),
        }
        Ok(())
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), QueryError> {
        match self.format {
            Format::Json => render::json_rows(batch, !self.rows_written, out)?,
            Format::Csv => out.extend(render::csv_rows(batch)?),
        }
        self.rows_written |= batch.num_rows() > 0;
        Ok(())
    }

    fn tail(&self, out: &mut Vec<u8>) {
        if self.format == Format::Json {
            let truncated = self.running.truncated();
            out.extend_from_slice(format!("],\"truncated\":{truncated}}}\n").as_bytes());
        }
    }

    /// What a person sees of a failure before the answer breaks off. The JSON
    /// is left open on purpose.
    fn failed(&self, error: &QueryError, out: &mut Vec<u8>) {
        if self.format == Format::Json {
            let error = json!({ "code": error.code().as_str(), "message": error.to_string() });
            out.extend_from_slice(format!("],\"error\":{error}\n").as_bytes());
        }
    }
}
