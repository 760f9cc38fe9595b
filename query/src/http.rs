//! The HTTP API.
//!
//! ```text
//!   POST   /api/v1/sql                 SQL text, or {"sql", "params", …}    token or certificate
//!   GET    /api/v1/queries             what is under way                    token
//!   DELETE /api/v1/queries/{id}        cancels it                           token
//!   POST   /api/v1/reports/chargeback  {"from", "to", "prices"}             token
//!   POST   /api/v1/rules/test          {"rules", "old", "from", "to"}       token
//!   GET    /api/v1/openapi.json        all of this, for programs
//!   GET    /metrics                    Prometheus text                      token, open on loopback
//!   GET    /healthz, /readyz           the process lives; the bucket answers
//!   POST   /arrow.flight.protocol…     Flight SQL, see [`crate::flight`]    token
//! ```
//!
//! An error is `{"error": {"code", "message", "query_id"}}` with a status that
//! fits the code. One that comes after the first rows breaks the answer off, so
//! that no client takes a part for the whole.

mod answer;
mod caller;
mod failed;
mod format;
mod params;
mod queries;
mod render;
mod request;
mod serve;
mod trial;
mod write;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::http::request::Parts;
use ::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Extension, Json, Router};
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

use crate::places::Place;
use crate::report::ServerPrices;
use crate::{Code, Endpoint, Engine, MetricsText, Principal, QueryError, Role};
use caller::{Caller, Whole};
use failed::Failed;
use format::Format;
use request::{ChargebackRequest, SqlQuery, SqlRequest};

pub(crate) use serve::{Patience, Server, serve};

/// Room in a body beside the statement, for parameters and price files.
const BODY_EXTRA_BYTES: usize = 1 << 20;
/// How long an answer of `/readyz` counts, so that strangers cannot keep the bucket busy.
const READY_FOR: Duration = Duration::from_secs(1);
/// The API's own description.
const OPENAPI: &str = include_str!("http/openapi.json");
/// Answers that are no longer than this are not worth compressing.
const SHORT_BYTES: u64 = 512;

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
struct Peer(SocketAddr);

/// The certificate that a connection's other end has shown, DER; its chain was checked.
#[derive(Debug, Clone)]
struct Shown(Arc<[u8]>);

/// The place that its connection has among all.
#[derive(Debug, Clone)]
struct Seat(Arc<Place>);

/// What a request says about who sent it.
#[derive(Debug)]
struct Credentials {
    authorization: Option<HeaderValue>,
    certificate: Option<Arc<[u8]>>,
    seat: Option<Seat>,
}

#[derive(Clone)]
pub(crate) struct App {
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
) -> Result<Router, QueryError> {
    routes(App { engine, prices, metrics_text, stop, ready: Arc::default() })
}

fn routes(app: App) -> Result<Router, QueryError> {
    let body_limit = app.engine.config().max_sql_bytes.saturating_mul(2).saturating_add(BODY_EXTRA_BYTES);
    let with = |router: Router<App>, (path, route)| router.route(path, route);
    let compressed = CompressionLayer::new().compress_when(
        // Parquet is compressed already; lines of progress must not wait for each other.
        SizeAbove::new(SHORT_BYTES).and(NotForContentType::const_new("application/vnd.apache.parquet")),
    );
    let flight = crate::flight::router(&app)?;
    let api = api().into_iter().fold(Router::new(), with).layer(compressed);
    let router = operations()
        .into_iter()
        .fold(api, with)
        .fallback(|| async { nothing_there(StatusCode::NOT_FOUND) })
        .method_not_allowed_fallback(|| async { nothing_there(StatusCode::METHOD_NOT_ALLOWED) })
        .layer(DefaultBodyLimit::max(body_limit))
        .with_state(app);
    Ok(router.merge(flight))
}

/// Questions and their answers.
fn api() -> Vec<(&'static str, MethodRouter<App>)> {
    vec![
        ("/api/v1/sql", post(sql)),
        ("/api/v1/queries", get(queries::list)),
        ("/api/v1/queries/{id}", delete(queries::cancel)),
        ("/api/v1/reports/chargeback", post(chargeback)),
        ("/api/v1/openapi.json", get(openapi)),
    ]
}

/// What watches the server, and what must come line by line.
fn operations() -> Vec<(&'static str, MethodRouter<App>)> {
    vec![
        ("/api/v1/rules/test", post(try_rules)),
        ("/metrics", get(metrics)),
        ("/healthz", get(|| async { "ok\n" })),
        ("/readyz", get(ready)),
    ]
}

fn nothing_there(status: StatusCode) -> Failed {
    let message = match status {
        StatusCode::METHOD_NOT_ALLOWED => "this path takes another method; see /api/v1/openapi.json",
        _ => "there is no such path; see /api/v1/openapi.json",
    };
    Failed::with_status(QueryError::new(Code::BadRequest, message), status)
}

async fn sql(
    State(app): State<App>,
    Caller(principal): Caller,
    query: Result<Query<SqlQuery>, QueryRejection>,
    headers: HeaderMap,
    Whole(body): Whole,
) -> Result<Response, Failed> {
    let Query(query) = query.map_err(|error| QueryError::new(Code::BadRequest, error.body_text()))?;
    let SqlRequest { ask, format } = SqlRequest::read(query, &headers, &body)?;
    let format = Format::wanted(format.as_deref(), &headers)?;
    let running = app.engine.ask(&principal, Endpoint::Http, ask).await?;
    Ok(answer::stream(running, format, app.stop.clone()).await?)
}

async fn chargeback(
    State(app): State<App>,
    Caller(principal): Caller,
    Whole(body): Whole,
) -> Result<Response, Failed> {
    let request = ChargebackRequest::read(&body)?;
    let prices = request.prices(&app.prices)?;
    let report = app.engine.chargeback(&principal, &prices, request.from, request.to).await?;
    Ok(Json(report).into_response())
}

async fn try_rules(
    State(app): State<App>,
    Caller(principal): Caller,
    Whole(body): Whole,
) -> Result<Response, Failed> {
    let such_as = r#"{"from": "2026-11-01T00:00:00Z", "to": "2026-12-01T00:00:00Z"}"#;
    let request = request::json(&body, such_as)?;
    Ok(trial::stream(app.engine, principal, request, app.stop).await?)
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], OPENAPI).into_response()
}

async fn metrics(
    State(app): State<App>,
    peer: Option<Extension<Peer>>,
    who: Credentials,
) -> Result<Response, Failed> {
    let local = peer.is_some_and(|Extension(Peer(addr))| addr.ip().is_loopback());
    if !local && app.login(&who).await?.role() == Role::Tenant {
        return Err(QueryError::new(Code::NotAllowed, "metrics are for auditors and admins").into());
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
        let seat = parts.extensions.get().cloned();
        Ok(Self { authorization, certificate, seat })
    }
}

// === impl App ===

impl App {
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Who sent a request with this head.
    pub(crate) async fn login_of(&self, head: &mut Parts) -> Result<Principal, QueryError> {
        let Ok(who) = Credentials::from_request_parts(head, &()).await;
        self.login(&who).await
    }

    /// Who sent this request, whose connection is no stranger's then.
    async fn login(&self, who: &Credentials) -> Result<Principal, QueryError> {
        let principal = self.principal(who).await?;
        if let Some(Seat(place)) = &who.seat {
            place.logged_in();
        }
        Ok(principal)
    }

    /// Who sent this request. A token decides where there is one; without, a
    /// certificate may; without either it is nobody.
    async fn principal(&self, who: &Credentials) -> Result<Principal, QueryError> {
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

#[cfg(test)]
pub(crate) mod tests;
