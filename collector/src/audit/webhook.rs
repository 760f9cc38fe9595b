//! The API server's audit webhook, `POST /k8s-audit` with an `EventList`, and at
//! the same door Falco's alerts, `POST /falco` with one alert each.
//!
//! ```text
//!   200  every item that is an event is in the spool; malformed ones are named
//!   400  nothing in the body is an event; the first problems are named
//!   401  a token is configured, and another one or none came
//!   413  the body is larger than allowed
//!   503  the spool did not take the rows in time: send again
//! ```
//!
//! The API server repeats a batch after **any** other answer than 2xx, five
//! times, and then drops it. So one malformed item must not refuse its
//! neighbours: it is counted and named in an answer of 200. What is repeated
//! all the same, because an answer came too late, is recognised byte for byte.

mod repeats;
mod serve;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bailiwick_proto::Table;
use chrono::Utc;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::config::{Enabled, Webhook};
use crate::falco;
use crate::metrics::Metrics;
use crate::outlet::{Lane, Outlet};
use crate::{CollectorError, Config, SourceState, SourceStatus, Started};

use super::rows::{Origin, Pushed, Rows};
use repeats::{Print, Repeats};

const NAME: &str = "audit webhook";
/// The API server gives up after 30 s; an answer must be there before.
const SPOOL_PATIENCE: Duration = Duration::from_secs(20);
/// How many malformed items an answer names.
const MAX_NAMED: usize = 16;

/// Listens where `webhook.listen` says.
pub(crate) async fn start(
    config: &Config,
    outlet: Outlet,
    _metrics: Metrics,
    stop: CancellationToken,
) -> Result<Started, CollectorError> {
    let section = &config.webhook;
    if section.enabled == Enabled::Off {
        let detail = "collector.webhook.enabled is off".to_owned();
        return Ok(Started { status: status(SourceState::Off { detail }), task: None, addr: None });
    }
    let door = serve::Door::of(section)?;
    let listener = match tokio::net::TcpListener::bind(door.addr).await {
        Ok(listener) => listener,
        Err(source) if section.enabled == Enabled::Auto => return Ok(cannot_listen(section, &source)),
        Err(source) => {
            let addr = section.listen.clone();
            return Err(CollectorError::Listen { field: "webhook.listen", addr, source });
        }
    };
    let addr = listener.local_addr().map_err(|source| CollectorError::Listen {
        field: "webhook.listen",
        addr: section.listen.clone(),
        source,
    })?;
    let detail = format!("listens on {}://{addr}/k8s-audit", door.scheme());
    let router = router(Hook::new(outlet, door.token.clone()), section.max_body_bytes);
    let task = tokio::spawn(serve::run(listener, door, router, stop));
    Ok(Started { status: status(SourceState::Running { detail }), task: Some(task), addr: Some(addr) })
}

fn status(state: SourceState) -> SourceStatus {
    SourceStatus { name: NAME, state }
}

fn cannot_listen(section: &Webhook, error: &std::io::Error) -> Started {
    let state = SourceState::Missing {
        what: format!("cannot listen on {}: {error}", section.listen),
        how_to_get_it:
            "set collector.webhook.listen to a free address, or collector.webhook.enabled = \"off\""
                .to_owned(),
    };
    Started { status: status(state), task: None, addr: None }
}

fn router(hook: Hook, max_body_bytes: usize) -> Router {
    Router::new()
        .route("/k8s-audit", post(receive))
        .route("/falco", post(receive_falco))
        .layer(DefaultBodyLimit::max(max_body_bytes))
        .with_state(hook)
}

/// What every request needs.
#[derive(Clone)]
struct Hook {
    outlet: Outlet,
    token: Option<serve::Token>,
    repeats: Arc<Mutex<Repeats>>,
}

/// What an `EventList` is, as far as it concerns us. Items stay text, so that a
/// malformed one cannot spoil the others.
#[derive(Deserialize)]
struct EventList<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

/// The answer to every request that was read.
#[derive(Debug, Default, Serialize)]
struct Answer {
    /// Events now in the spool.
    accepted: usize,
    /// Events that were there already, from an earlier try of the same batch.
    repeated: usize,
    /// The first items that are no events.
    malformed: Vec<Malformed>,
    /// How many items are none.
    malformed_count: usize,
}

#[derive(Debug, Serialize)]
struct Malformed {
    /// The item's place in the list, from 0.
    item: usize,
    error: String,
}

async fn receive(State(hook): State<Hook>, headers: HeaderMap, body: Bytes) -> Response {
    if !hook.admits(&headers) {
        let told = "send the token of collector.webhook.token_file as authorization: Bearer";
        return (StatusCode::UNAUTHORIZED, told).into_response();
    }
    match hook.take(&body).await {
        Ok(answer) if answer.accepted + answer.repeated == 0 && answer.malformed_count > 0 => {
            (StatusCode::BAD_REQUEST, Json(answer)).into_response()
        }
        Ok(answer) => Json(answer).into_response(),
        Err(Refusal::Busy) => {
            (StatusCode::SERVICE_UNAVAILABLE, "the spool takes nothing now, send again").into_response()
        }
        Err(Refusal::NotAList(error)) => {
            hook.outlet.lost("audit", "batch", "malformed", 1, &format!("webhook: {error}"));
            (StatusCode::BAD_REQUEST, error).into_response()
        }
    }
}

/// Falco posts an alert once and again only after a time-out, so it is answered
/// when the alert is in the spool.
async fn receive_falco(State(hook): State<Hook>, headers: HeaderMap, body: Bytes) -> Response {
    if !hook.admits(&headers) {
        let told =
            "put the token of collector.webhook.token_file into http_output.url as https://falco:TOKEN@host";
        return (StatusCode::UNAUTHORIZED, told).into_response();
    }
    let row = match falco::row(&body, hook.outlet.node(), hook.outlet.cluster()) {
        Ok(row) => row,
        Err(error) => {
            let error = error.to_string();
            hook.outlet.lost("audit", "alert", "malformed", 1, &format!("falco: {error}"));
            return (StatusCode::BAD_REQUEST, error).into_response();
        }
    };
    let kept = hook.outlet.keep(Table::Alerts, Lane::Audit, row, None);
    match tokio::time::timeout(SPOOL_PATIENCE, kept).await {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        _ => {
            hook.outlet.lost("audit", "alert", "spool_full", 1, "falco");
            (StatusCode::SERVICE_UNAVAILABLE, "the spool takes nothing now").into_response()
        }
    }
}

/// Why a whole body is not taken.
enum Refusal {
    Busy,
    NotAList(String),
}

// === impl Hook ===

impl Hook {
    fn new(outlet: Outlet, token: Option<serve::Token>) -> Self {
        Self { outlet, token, repeats: Arc::default() }
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        sent.is_some_and(|sent| token.is_sent_as(sent))
    }

    /// Spools every event of a body.
    async fn take(&self, body: &[u8]) -> Result<Answer, Refusal> {
        let items = items(body)?;
        let mut rows = Rows::new(Origin {
            source: "webhook",
            node: self.outlet.node().to_owned(),
            cluster: self.outlet.cluster().to_owned(),
        });
        let now_us = Utc::now().timestamp_micros();
        let mut answer = Answer::default();
        let mut prints = HashSet::new();
        for (index, item) in items.iter().enumerate() {
            let print = self.repeats(|repeats| repeats.print(item));
            if self.repeats(|repeats| repeats.knows(print)) || prints.contains(&print) {
                answer.repeated += 1;
                continue;
            }
            match rows.push(item, now_us) {
                Ok(pushed) => {
                    prints.insert(print);
                    if pushed == Pushed::BodyUnread {
                        let detail =
                            format!("webhook: items[{index}]: the request's body is nested too deep");
                        self.outlet.lost("audit", "body", "too_deep", 1, &detail);
                    }
                }
                Err(error) => self.malformed(&mut answer, index, error.to_string()),
            }
            if rows.is_full() {
                answer.accepted += self.spool(&mut rows, &mut prints).await?;
            }
        }
        answer.accepted += self.spool(&mut rows, &mut prints).await?;
        Ok(answer)
    }

    /// Gives the rows to the spool and answers how many they were; only then
    /// may they be recognised as repeated.
    async fn spool(&self, rows: &mut Rows, prints: &mut HashSet<Print>) -> Result<usize, Refusal> {
        if rows.is_empty() {
            return Ok(0);
        }
        let batch = rows.finish().map_err(|error| {
            tracing::error!(%error, "audit rows cannot be built");
            Refusal::Busy
        })?;
        let count = batch.num_rows();
        let kept = self.outlet.keep(Table::ApiAccess, Lane::Audit, batch, None);
        if !tokio::time::timeout(SPOOL_PATIENCE, kept).await.unwrap_or(false) {
            return Err(Refusal::Busy);
        }
        self.repeats(|repeats| prints.drain().for_each(|print| repeats.learn(print)));
        Ok(count)
    }

    fn malformed(&self, answer: &mut Answer, item: usize, error: String) {
        answer.malformed_count += 1;
        let detail = format!("webhook: items[{item}]: {error}");
        let named = answer.malformed.len() < MAX_NAMED;
        self.outlet.lost("audit", "request", "malformed", 1, if named { &detail } else { "webhook" });
        if named {
            tracing::warn!(detail, "audit event not kept");
            answer.malformed.push(Malformed { item, error });
        }
    }

    fn repeats<T>(&self, work: impl FnOnce(&mut Repeats) -> T) -> T {
        work(&mut self.repeats.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The items of an `EventList`, or the one event that the body is.
fn items(body: &[u8]) -> Result<Vec<&[u8]>, Refusal> {
    #[derive(Deserialize)]
    struct Kind {
        kind: Option<String>,
    }
    let not_a_list =
        |error: serde_json::Error| Refusal::NotAList(format!("body is not an EventList: {error}"));
    let Kind { kind } = serde_json::from_slice(body).map_err(not_a_list)?;
    match kind.as_deref() {
        Some("Event") => Ok(vec![body]),
        None | Some("EventList") => {
            let list: EventList<'_> = serde_json::from_slice(body).map_err(not_a_list)?;
            Ok(list.items.iter().map(|item| item.get().as_bytes()).collect())
        }
        Some(other) => {
            let other: String = other.chars().take(80).collect();
            Err(Refusal::NotAList(format!("body is of kind {other:?}, not EventList or Event")))
        }
    }
}

#[cfg(test)]
mod tests;
