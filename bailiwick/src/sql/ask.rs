//! One question to the server: how far it is, and its end by Ctrl-C.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::amount;
use crate::client::{Api, Written};
use crate::failure::Failure;

/// What takes longer shows how far it is.
const SHOWN_AFTER: Duration = Duration::from_secs(2);
/// How often that is written anew.
const SHOWN_EVERY: Duration = Duration::from_millis(200);

/// A statement and the values of its parameters.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    pub(super) sql: String,
    pub(super) params: Vec<Value>,
}

/// Asks one question after the other.
pub(super) struct Asker {
    api: Api,
    /// Listened for from the first question on: the line editor sets up signals
    /// of its own when it is made, and would take this one away.
    interrupt: Option<Signal>,
}

// === impl Question ===

impl Question {
    pub(super) fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), params: Vec::new() }
    }
}

// === impl Asker ===

impl Asker {
    pub(super) fn new(api: Api) -> Self {
        Self { api, interrupt: None }
    }

    /// The answer in a format of the server's; nothing if a person ended it.
    pub(super) async fn ask(
        &mut self,
        question: &Question,
        format: &str,
    ) -> Result<Option<Written>, Failure> {
        let interrupt = interrupts(&mut self.interrupt)?;
        // What was pressed while nothing ran does not end what runs next.
        while let Some(Some(())) = interrupt.recv().now_or_never() {}
        let (began, rows) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let seen = Arc::clone(&rows);
        let asked = self.api.sql_body(&question.sql, &question.params, format, move |chunk| {
            // Line breaks inside of values are escaped, or at least as rare.
            let lines = chunk.iter().filter(|byte| **byte == b'\n').count();
            seen.fetch_add(lines as u64, Ordering::Relaxed);
        });
        tokio::pin!(asked);
        let mut tick = tokio::time::interval(SHOWN_EVERY);
        let mut bar = None;
        let answer = loop {
            tokio::select! {
                answer = &mut asked => break answer.map(Some),
                // The connection goes with the request, and the server's work with it.
                _ = interrupt.recv() => break Ok(None),
                _ = tick.tick() => {
                    if began.elapsed() >= SHOWN_AFTER {
                        let bar = bar.get_or_insert_with(|| spinner(began.elapsed()));
                        bar.set_message(amount::of(rows.load(Ordering::Relaxed), "row"));
                    }
                }
            }
        };
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        answer
    }

    /// Waits, and answers whether a person ended it.
    pub(super) async fn wait(&mut self, time: Duration) -> Result<bool, Failure> {
        let interrupt = interrupts(&mut self.interrupt)?;
        tokio::select! {
            _ = interrupt.recv() => Ok(true),
            () = tokio::time::sleep(time) => Ok(false),
        }
    }
}

/// Ctrl-C, which from now on ends a question, not the program.
fn interrupts(listened: &mut Option<Signal>) -> Result<&mut Signal, Failure> {
    let cannot = |error| Failure::failed(format!("cannot listen for signals: {error}"));
    if listened.is_none() {
        *listened = Some(signal(SignalKind::interrupt()).map_err(cannot)?);
    }
    listened.as_mut().ok_or_else(|| Failure::failed("cannot listen for signals"))
}

/// A line on standard error, where a person looks at it.
fn spinner(elapsed: Duration) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_elapsed(elapsed);
    bar.enable_steady_tick(SHOWN_EVERY);
    match ProgressStyle::with_template("{spinner} {elapsed} {msg} so far, Ctrl-C ends it") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
