//! What every request of the API begins with: who sends it, and its body.

use std::time::Duration;

use ::http::StatusCode;
use ::http::request::Parts;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use tokio::time::timeout;

use super::{App, Failed};
use crate::{Code, Principal, QueryError};

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who sent a request. Stands before [`Whole`] in a handler: a stranger's body is not read.
pub(super) struct Caller(pub(super) Principal);

/// A body that came whole, in time and within its limit.
pub(super) struct Whole(pub(super) Bytes);

// === impl Caller ===

impl FromRequestParts<App> for Caller {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failed> {
        Ok(Self(app.login_of(parts).await?))
    }
}

// === impl Whole ===

impl FromRequest<App> for Whole {
    type Rejection = Failed;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failed> {
        match timeout(PATIENCE, Bytes::from_request(request, app)).await {
            Ok(Ok(bytes)) => Ok(Self(bytes)),
            Ok(Err(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(QueryError::new(Code::TooLarge, "the request's body is too large").into())
            }
            Ok(Err(_)) => {
                Err(QueryError::new(Code::BadRequest, "the request's body did not arrive whole").into())
            }
            Err(_) => Err(QueryError::new(Code::Timeout, "the request's body did not arrive in time").into()),
        }
    }
}
