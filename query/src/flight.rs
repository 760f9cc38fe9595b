//! Arrow Flight SQL: ADBC, JDBC and what is built on them, on the port of the HTTP API.
//!
//! ```text
//!   gRPC ─▶ login ─▶ wire ─▶ service ─┬ Handshake      Basic: a token as the password ─▶ the same as Bearer
//!           token            commands ├ GetFlightInfo  described, not run ─▶ ticket: signed, its asker's alone
//!                                     ├ DoGet          ticket or handle ─▶ Engine ─▶ answer: batches
//!                                     ├ DoPut          values for a prepared statement; nothing else
//!                                     └ DoAction       prepare, close, cancel, session
//! ```
//!
//! `arrow-flight` brings the messages and takes commands apart; who may do what
//! is decided here and in the engine. Nothing writes: updates, ingestion,
//! transactions and Substrait plans are refused by name.

mod answer;
mod info;
mod metadata;
mod placeholders;
mod prepared;
mod service;
mod session;
mod status;
mod tickets;
mod values;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;
use tonic::Status;

use crate::http::App;
use crate::{Code, QueryError};
use service::Service;
use status::told;
use wire::Wire;

/// Every method of the protocol.
const METHODS: &str = "/arrow.flight.protocol.FlightService/{method}";
/// The one that comes before it is known who calls.
const HANDSHAKE: &str = "/arrow.flight.protocol.FlightService/Handshake";
/// Room in a message beside the statement: values for parameters.
const MESSAGE_EXTRA_BYTES: usize = 4 << 20;
/// How long a call may take to begin with its answer, beyond a query's own time.
const PATIENCE: Duration = Duration::from_secs(30);

/// The protocol's methods, for the server that answers HTTP.
pub(crate) fn router(app: &App) -> Result<Router, QueryError> {
    let config = app.engine().config();
    let message_limit = config.max_sql_bytes.saturating_mul(2).saturating_add(MESSAGE_EXTRA_BYTES);
    let service = Service::new(Arc::clone(app.engine()), app.stop().clone())?;
    let flight = FlightServiceServer::new(Wire::new(service)).max_decoding_message_size(message_limit);
    Ok(Router::new().route_service(METHODS, flight).route_layer(from_fn_with_state(app.clone(), login)))
}

/// Finds out who calls, before anything that was sent is read.
async fn login(State(app): State<App>, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    if head.uri.path() != HANDSHAKE {
        match app.login_of(&mut head).await {
            Ok(principal) => drop(head.extensions.insert(principal)),
            Err(error) => return refused(told(&error)),
        }
    }
    let request = Request::from_parts(head, body);
    let patience = Duration::from_millis(app.engine().config().query_timeout_ms).saturating_add(PATIENCE);
    match timeout(patience, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refused(told(&QueryError::new(Code::Timeout, "the request did not arrive in time"))),
    }
}

fn refused(status: Status) -> Response {
    status.into_http::<axum::body::Body>().into_response()
}

#[cfg(test)]
pub(crate) mod tests;
