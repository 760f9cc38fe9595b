//! Errors as clients of the API see them.

use ::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::answer::QUERY_ID;
use crate::{Code, QueryError};

/// Seconds after which it is worth asking again.
const AGAIN_AFTER: HeaderValue = HeaderValue::from_static("1");

/// A request that was not answered, and with which status.
#[derive(Debug)]
pub(super) struct Failed {
    error: QueryError,
    status: StatusCode,
}

// === impl Failed ===

impl Failed {
    pub(super) fn with_status(error: QueryError, status: StatusCode) -> Self {
        Self { error, status }
    }
}

impl From<QueryError> for Failed {
    fn from(error: QueryError) -> Self {
        Self { status: error.code().http_status(), error }
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let Self { error, status } = self;
        let mut told = json!({ "code": error.code().as_str(), "message": error.to_string() });
        let id = error.query_id().and_then(|id| HeaderValue::from_str(id).ok());
        if let Some(query_id) = error.query_id() {
            told["query_id"] = query_id.into();
        }
        // The end of the line keeps a terminal's prompt off the message.
        let mut response = (status, format!("{}\n", json!({ "error": told }))).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(id) = id {
            headers.insert(QUERY_ID, id);
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(error.code(), Code::TooBusy | Code::Unavailable) {
            headers.insert(header::RETRY_AFTER, AGAIN_AFTER);
        }
        response
    }
}
