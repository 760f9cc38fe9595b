//! Queries that are under way: one's own, to look at and to cancel.

use ::http::StatusCode;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::caller::Caller;
use super::{App, Failed};
use crate::{Code, QueryError};

pub(super) async fn list(State(app): State<App>, Caller(principal): Caller) -> Response {
    Json(json!({ "queries": app.engine.under_way(&principal) })).into_response()
}

/// Whether a query that may not be cancelled exists is nobody's business.
pub(super) async fn cancel(
    State(app): State<App>,
    Caller(principal): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Failed> {
    match app.engine.cancel(&principal, &id) {
        true => Ok(StatusCode::NO_CONTENT),
        false => {
            let error = QueryError::new(Code::BadRequest, "there is no such query that you may cancel");
            Err(Failed::with_status(error, StatusCode::NOT_FOUND))
        }
    }
}
