//! Rule files tried on history: progress while it runs, then the report.
//!
//! ```text
//!   {"progress":{"done":3,"total":30,"events":81234,"matches":17}}      a line each
//!   {"report":{…}}   or   {"error":{"code","message"}}                  the last one
//! ```
//!
//! A client that goes away ends the trial.

use ::http::{HeaderValue, header};
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use bailiwick_rules::{RuleSet, RuleText, load};
use chrono::{DateTime, Utc};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::{Code, Engine, Principal, QueryError, Trial};

/// Lines that wait for a slow client. Progress that finds no place is left out.
const LINES_AHEAD: usize = 8;
/// How many problems of rule files an answer names.
const MAX_NAMED: usize = 10;

/// Which rules to try, on what.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrialRequest {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    /// Rule files in order; the rules in use where there are none.
    #[serde(default)]
    rules: Vec<RuleFile>,
    /// Rule files to compare with.
    #[serde(default)]
    old: Vec<RuleFile>,
    /// Only these tenants' events.
    #[serde(default)]
    tenants: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    name: String,
    text: String,
}

// === impl TrialRequest ===

impl TrialRequest {
    /// The trial that is asked for, its rules loaded. Takes as long as the rule
    /// files are large.
    fn trial(self, engine: &Engine) -> Result<Trial, QueryError> {
        let rules = match self.rules.is_empty() {
            true => engine.rules().get(),
            false => loaded("rules", self.rules)?,
        };
        let old = match self.old.is_empty() {
            true => None,
            false => Some(loaded("old", self.old)?),
        };
        Ok(Trial { rules, old, from: self.from, to: self.to, tenants: self.tenants })
    }
}

/// A rule that is wrong would be missing from the report, so none is tried.
fn loaded(field: &str, files: Vec<RuleFile>) -> Result<Arc<RuleSet>, QueryError> {
    let texts: Vec<RuleText> =
        files.into_iter().map(|file| RuleText { name: file.name, text: file.text }).collect();
    let loaded = load(&texts);
    let errors: Vec<String> =
        loaded.diagnostics.iter().filter(|found| found.is_error()).map(ToString::to_string).collect();
    match errors.is_empty() {
        true => Ok(Arc::new(loaded.rules)),
        false => {
            let named = errors.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join("\n");
            Err(QueryError::new(
                Code::BadRequest,
                format!("field {field}: {} errors in rule files\n{named}", errors.len()),
            ))
        }
    }
}

/// Starts a trial and answers with its lines.
pub(super) async fn stream(
    engine: Arc<Engine>,
    principal: Principal,
    request: TrialRequest,
    stop: CancellationToken,
) -> Result<Response, QueryError> {
    let with_rules = Arc::clone(&engine);
    let trial = tokio::task::spawn_blocking(move || request.trial(&with_rules));
    let trial = trial.await.map_err(QueryError::internal)??;
    let (lines, written) = mpsc::channel(LINES_AHEAD);
    tokio::spawn(run(engine, principal, trial, lines, stop));
    let body = ReceiverStream::new(written).map(Ok::<Bytes, Infallible>);
    let kind = HeaderValue::from_static("application/x-ndjson");
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(body)).into_response())
}

async fn run(
    engine: Arc<Engine>,
    principal: Principal,
    trial: Trial,
    lines: mpsc::Sender<Bytes>,
    stop: CancellationToken,
) {
    let progress = lines.clone();
    let told = move |at| drop(progress.try_send(line(&json!({ "progress": at }))));
    let ended = tokio::select! {
        ended = engine.try_rules(&principal, trial, told) => ended,
        // Nobody listens any more.
        () = lines.closed() => return,
        () = stop.cancelled() => Err(QueryError::new(Code::Cancelled, "the server stops")),
    };
    let last = match ended {
        Ok(report) => json!({ "report": report }),
        Err(error) => json!({ "error": { "code": error.code().as_str(), "message": error.to_string() } }),
    };
    let _ = lines.send(line(&last)).await;
}

fn line(value: &Value) -> Bytes {
    format!("{value}\n").into()
}
