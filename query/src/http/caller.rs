//! What every request of the API begins with: who sends it, and its body.

use std::time::Duration;

use ::http::request::Parts;
use ::http::{HeaderMap, StatusCode, header};
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
        if let Some(coding) = encoding(request.headers()) {
            let message = format!("header content-encoding: {coding} is not read; send the body as it is");
            let error = QueryError::new(Code::BadRequest, message);
            return Err(Failed::with_status(error, StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
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

/// How a body is packed, if it is.
fn encoding(headers: &HeaderMap) -> Option<String> {
    let coding = headers.get(header::CONTENT_ENCODING)?;
    let coding = String::from_utf8_lossy(coding.as_bytes()).trim().to_owned();
    (!coding.is_empty() && !coding.eq_ignore_ascii_case("identity"))
        .then(|| coding.chars().take(60).collect())
}
