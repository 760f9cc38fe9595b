//! The HTTP API.
//!
//! ```text
//!   POST /api/v1/sql                 SQL text, or {"sql", "params"}     token or certificate
//!   POST /api/v1/reports/chargeback  {"from", "to", "prices"}           token
//!   POST /api/v1/rules/test          {"rules", "old", "from", "to"}     token
//!   GET  /metrics                    Prometheus text                    token, open on loopback
//!   GET  /healthz, /readyz           the process lives; the bucket answers
//! ```
//!
//! An error is `{"error": {"code", "message", "query_id"}}` with a status that
//! fits the code. One that comes after the first rows breaks the answer off, so
//! that no client takes a part for the whole.

mod answer;
mod render;
mod request;
mod serve;
mod trial;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::http::request::Parts;
use ::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::report::ServerPrices;
use crate::{Code, Endpoint, Engine, MetricsText, Principal, QueryError, Role};
use answer::Format;
use request::{ChargebackRequest, SqlQuery, SqlRequest};

pub(crate) use serve::serve;

/// Room in a body beside the statement, for parameters and price files.
const BODY_EXTRA_BYTES: usize = 1 << 20;
/// How long an answer of `/readyz` counts, so that strangers cannot keep the bucket busy.
const READY_FOR: Duration = Duration::from_secs(1);

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
struct Peer(SocketAddr);

/// The certificate that a connection's other end has shown, DER; its chain was checked.
#[derive(Debug, Clone)]
struct Shown(Arc<[u8]>);

/// What a request says about who sent it.
#[derive(Debug)]
struct Credentials {
    authorization: Option<HeaderValue>,
    certificate: Option<Arc<[u8]>>,
}

#[derive(Clone)]
struct App {
    engine: Arc<Engine>,
    prices: ServerPrices,
    metrics_text: MetricsText,
    stop: CancellationToken,
    ready: Arc<Mutex<Option<(Instant, bool)>>>,
}

/// All routes.
pub(crate) fn router(
    engine: Arc<Engine>,
    prices: ServerPrices,
    metrics_text: MetricsText,
    stop: CancellationToken,
) -> Router {
    let body_limit = engine.config().max_sql_bytes.saturating_mul(2).saturating_add(BODY_EXTRA_BYTES);
    let app = App { engine, prices, metrics_text, stop, ready: Arc::default() };
    Router::new()
        .route("/api/v1/sql", post(sql))
        .route("/api/v1/reports/chargeback", post(chargeback))
        .route("/api/v1/rules/test", post(try_rules))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .fallback(|| async {
            QueryError::new(Code::BadRequest, "there is no such path; see /api/v1/sql")
                .with_status(StatusCode::NOT_FOUND)
        })
        .layer(DefaultBodyLimit::max(body_limit))
        .with_state(app)
}

async fn sql(
    State(app): State<App>,
    query: Result<Query<SqlQuery>, axum::extract::rejection::QueryRejection>,
    who: Credentials,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, QueryError> {
    let principal = app.login(&who).await?;
    let Query(query) = query.map_err(|error| QueryError::new(Code::BadRequest, error.body_text()))?;
    let format = Format::wanted(query.format.as_deref(), &headers)?;
    let SqlRequest { sql, params } = SqlRequest::read(&headers, &whole(body)?)?;
    let running = app.engine.run_with(&principal, Endpoint::Http, &sql, params).await?;
    answer::stream(running, format, app.stop.clone()).await
}

async fn chargeback(
    State(app): State<App>,
    who: Credentials,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, QueryError> {
    let principal = app.login(&who).await?;
    let request = ChargebackRequest::read(&whole(body)?)?;
    let prices = request.prices(&app.prices)?;
    let report = app.engine.chargeback(&principal, &prices, request.from, request.to).await?;
    Ok(Json(report).into_response())
}

async fn try_rules(
    State(app): State<App>,
    who: Credentials,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, QueryError> {
    let principal = app.login(&who).await?;
    let request = request::json(&whole(body)?)?;
    trial::stream(app.engine, principal, request, app.stop).await
}

async fn metrics(
    State(app): State<App>,
    peer: Option<Extension<Peer>>,
    who: Credentials,
) -> Result<Response, QueryError> {
    let local = peer.is_some_and(|Extension(Peer(addr))| addr.ip().is_loopback());
    if !local && app.login(&who).await?.role() == Role::Tenant {
        return Err(QueryError::new(Code::NotAllowed, "metrics are for auditors and admins"));
    }
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], (app.metrics_text)()).into_response())
}

async fn ready(State(app): State<App>) -> Response {
    match app.is_ready().await {
        true => "ready\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "the bucket does not answer\n").into_response(),
    }
}

fn whole(body: Result<Bytes, BytesRejection>) -> Result<Bytes, QueryError> {
    body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => QueryError::new(Code::TooLarge, "the request's body is too large"),
        _ => QueryError::new(Code::BadRequest, "the request's body did not arrive whole"),
    })
}

fn bearer(authorization: &HeaderValue) -> Option<&str> {
    let (scheme, token) = authorization.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

// === impl Credentials ===

impl<S: Send + Sync> FromRequestParts<S> for Credentials {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let authorization = parts.headers.get(header::AUTHORIZATION).cloned();
        let certificate = parts.extensions.get::<Shown>().map(|shown| Arc::clone(&shown.0));
        Ok(Self { authorization, certificate })
    }
}

// === impl App ===

impl App {
    /// Who sent this request. A token decides where there is one; without, a
    /// certificate may; without either it is nobody.
    async fn login(&self, who: &Credentials) -> Result<Principal, QueryError> {
        let refused = |message: &str| QueryError::new(Code::Unauthenticated, message);
        let missing = "send a token as `Authorization: Bearer <token>`";
        if let Some(authorization) = &who.authorization {
            let token = bearer(authorization).ok_or_else(|| refused(missing))?;
            let principal = self.engine.authenticate(token).await;
            return principal.ok_or_else(|| refused("the token is not known or has expired"));
        }
        let Some(certificate) = &who.certificate else { return Err(refused(missing)) };
        let principal = self.engine.authenticate_certificate(certificate).await;
        principal.ok_or_else(|| {
            refused("the certificate lets nobody in; send a token as `Authorization: Bearer <token>`")
        })
    }

    async fn is_ready(&self) -> bool {
        let known = *self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, ready)) = known
            && at.elapsed() < READY_FOR
        {
            return ready;
        }
        let ready = self.engine.is_ready().await;
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), ready));
        ready
    }
}

// === impl QueryError ===

impl QueryError {
    fn with_status(&self, status: StatusCode) -> Response {
        let code = self.code().as_str();
        let mut error = json!({ "code": code, "message": self.to_string() });
        if let Some(query_id) = self.query_id() {
            error["query_id"] = query_id.into();
        }
        let mut response = (status, Json(json!({ "error": error }))).into_response();
        if self.code() == Code::Unauthenticated {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.code() == Code::TooBusy {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl IntoResponse for QueryError {
    fn into_response(self) -> Response {
        self.with_status(self.code().http_status())
    }
}

#[cfg(test)]
mod tests;
