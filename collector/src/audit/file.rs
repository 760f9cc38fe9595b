//! The API server's audit log, followed as it grows.
//!
//! A log that was never followed is read from its start. A place goes into the
//! spool together with the rows before it, and from there to a bookmark: after
//! a kill at whatever moment the place is the one behind what is durable, so
//! that each event of the log is delivered once. Lost lines are counted from
//! memory; a kill may count those of the last look twice, or not at all.

use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::RecordBatch;
use bailiwick_proto::Table;
use bytes::Bytes;
use chrono::Utc;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::outlet::{Lane, Outlet};
use crate::{CollectorError, Config, SourceState, SourceStatus, Started};

use super::bookmark::{Bookmark, Shelf};
use super::follow::{Follower, Found, Progress};
use super::rows::{Origin, Pushed, Rows};

const NAME: &str = "audit log";
/// After an error the log is looked at this seldom, so that a broken disk does
/// not fill the program's own log.
const AFTER_ERROR: Duration = Duration::from_secs(2);
/// How many lost lines of one look are named one by one.
const MAX_NAMED: usize = 16;
/// A line that is longer cannot be told from a file that is not a log.
const MAX_LINE_BYTES: usize = 4 << 20;

/// Starts to follow `audit_file.path`, whether or not it is there yet.
pub(crate) async fn start(
    config: &Config,
    outlet: Outlet,
    _metrics: Metrics,
    stop: CancellationToken,
) -> Result<Started, CollectorError> {
    let section = &config.audit_file;
    let shelf = Shelf::new(&config.spool_dir);
    let (noted, ahead) = shelf.newest(outlet.mark().as_deref());
    let unsaved = noted.clone().filter(|_| ahead);
    if !ahead {
        outlet.mark_noted();
    }
    if section.path.as_os_str().is_empty() {
        // Nobody will save it later, and without it the worst is a repetition.
        let saved = unsaved.map_or(Ok(()), |bookmark| shelf.save(&bookmark));
        outlet.mark_noted();
        if let Err(error) = saved {
            tracing::warn!(%error, "bookmark of the audit log cannot be written");
        }
        let detail = "give collector.audit_file.path, or --audit-log FILE".to_owned();
        return Ok(Started { status: status(SourceState::Off { detail }), task: None, addr: None });
    }
    if section.path.exists() && !section.path.is_file() {
        let message = format!("{} is not a regular file; name the log itself", section.path.display());
        return Err(CollectorError::config("audit_file.path", message));
    }
    if section.max_line_bytes == 0 || section.max_line_bytes > MAX_LINE_BYTES {
        let message = format!("{} is not between 1 and {MAX_LINE_BYTES}", section.max_line_bytes);
        return Err(CollectorError::config("audit_file.max_line_bytes", message));
    }
    let taken = noted.as_ref().map_or(0, |bookmark| bookmark.taken);
    let resume = noted.filter(|bookmark| bookmark.path == section.path);
    let origin =
        Origin { source: "file", node: outlet.node().to_owned(), cluster: outlet.cluster().to_owned() };
    let reader = Reader {
        follower: Follower::new(&section.path, section.max_line_bytes, resume),
        rows: Rows::new(origin),
        path: section.path.clone(),
    };
    let every = Duration::from_millis(section.poll_every_ms.max(10));
    let task = tokio::spawn(Task { reader: Some(reader), shelf, unsaved, taken, outlet, every, stop }.run());
    Ok(Started { status: status(state_of(&section.path)), task: Some(task), addr: None })
}

fn status(state: SourceState) -> SourceStatus {
    SourceStatus { name: NAME, state }
}

fn state_of(path: &Path) -> SourceState {
    match std::fs::File::open(path) {
        Ok(_) => SourceState::Running { detail: format!("follows {}", path.display()) },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            SourceState::Running { detail: format!("waits for {} to appear", path.display()) }
        }
        Err(error) => SourceState::Missing {
            what: format!("{}: {error}", path.display()),
            how_to_get_it: "let this user read the file; it is tried again and again".to_owned(),
        },
    }
}

struct Task {
    reader: Option<Reader>,
    shelf: Shelf,
    /// A place that could not be saved yet.
    unsaved: Option<Bookmark>,
    /// How many places were noted.
    taken: u64,
    outlet: Outlet,
    every: Duration,
    stop: CancellationToken,
}

/// What reads and parses, on a thread that may wait for a disk.
struct Reader {
    follower: Follower,
    rows: Rows,
    path: PathBuf,
}

/// What one look found.
struct Look {
    rows: Option<RecordBatch>,
    lost: Vec<Lost>,
    progress: Progress,
}

/// A line that is no row, for the table `losses`.
struct Lost {
    class: &'static str,
    reason: &'static str,
    detail: String,
}

// === impl Task ===

impl Task {
    async fn run(mut self) {
        let mut failing = false;
        loop {
            let pause = match self.look().await {
                Ok(Progress::More) => Duration::ZERO,
                Ok(Progress::Idle | Progress::Absent) => self.every,
                Err(error) => {
                    if !failing {
                        tracing::warn!(%error, "audit log cannot be followed, trying again");
                    }
                    failing = true;
                    tokio::select! {
                        () = tokio::time::sleep(AFTER_ERROR) => continue,
                        () = self.stop.cancelled() => return,
                    }
                }
            };
            failing = false;
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One look: rows into the spool with the place behind them, then the bookmark.
    async fn look(&mut self) -> Result<Progress, LookError> {
        let Some(reader) = self.reader.take() else { return Err(LookError::Reader) };
        let (reader, look) = tokio::task::spawn_blocking(|| reader.look()).await?;
        let bookmark = reader.follower.bookmark();
        self.reader = Some(reader);
        let look = look?;
        let found_something = look.rows.is_some() || !look.lost.is_empty();
        let bookmark = bookmark.filter(|_| found_something);
        let bookmark = bookmark.map(|bookmark| Bookmark { taken: self.taken + 1, ..bookmark });
        if let Some(rows) = look.rows {
            // A path that is no text cannot be written down; its bookmark fails too, and says so.
            let mark = bookmark.as_ref().and_then(|bookmark| serde_json::to_vec(bookmark).ok());
            let mark = mark.map(Bytes::from);
            // The place is saved only behind rows that are durable: what a stop
            // or a full spool leaves out is read again.
            while !self.outlet.keep(Table::ApiAccess, Lane::Audit, rows.clone(), mark.clone()).await {
                if self.stop.is_cancelled() {
                    return Ok(Progress::Idle);
                }
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
        report(&self.outlet, &look.lost);
        if let Some(bookmark) = bookmark {
            self.taken = bookmark.taken;
            self.unsaved = Some(bookmark);
        }
        self.save().await?;
        Ok(look.progress)
    }

    /// Saves the place that is not saved yet; after an error the next look does.
    async fn save(&mut self) -> Result<(), LookError> {
        let Some(bookmark) = self.unsaved.clone() else { return Ok(()) };
        let shelf = self.shelf.clone();
        tokio::task::spawn_blocking(move || shelf.save(&bookmark)).await??;
        self.unsaved = None;
        self.outlet.mark_noted();
        Ok(())
    }
}

/// What ends one look; the next one begins where the last row was taken.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Arrow(#[from] arrow::error::ArrowError),
    #[error("reading failed: {0}")]
    Panicked(#[from] JoinError),
    #[error("the reader is gone after a panic")]
    Reader,
}

fn report(outlet: &Outlet, lost: &[Lost]) {
    let (named, others) = lost.split_at(lost.len().min(MAX_NAMED));
    for line in named {
        tracing::warn!(detail = line.detail, "audit event not kept, or not whole");
        outlet.lost("audit", line.class, line.reason, 1, &line.detail);
    }
    for line in others {
        outlet.lost("audit", line.class, line.reason, 1, "more in the same part of the log");
    }
}

// === impl Reader ===

impl Reader {
    fn look(mut self) -> (Self, Result<Look, LookError>) {
        let look = self.read();
        (self, look)
    }

    fn read(&mut self) -> Result<Look, LookError> {
        let now_us = Utc::now().timestamp_micros();
        let mut lost = Vec::new();
        let (rows, path) = (&mut self.rows, self.path.display());
        let progress = self.follower.look(&mut |found| match found {
            Found::Line { number, text } => match rows.push(text, now_us) {
                Ok(Pushed::Whole) => {}
                Ok(Pushed::BodyUnread) => {
                    let detail = format!("{path}:{number}: the request's body is nested too deep");
                    lost.push(Lost { class: "body", reason: "too_deep", detail });
                }
                Err(error) => {
                    let detail = format!("{path}:{number}: {error}");
                    lost.push(Lost { class: "request", reason: "malformed", detail });
                }
            },
            Found::TooLong { number } => {
                let detail = format!("{path}:{number}: line is longer than audit_file.max_line_bytes");
                lost.push(Lost { class: "request", reason: "too_long", detail });
            }
            Found::Gone => {
                let detail = format!("{path}: the file that was read before is gone, with what it had since");
                lost.push(Lost { class: "log", reason: "rotated_away", detail });
            }
        })?;
        let rows = if self.rows.is_empty() { None } else { Some(self.rows.finish()?) };
        Ok(Look { rows, lost, progress })
    }
}

#[cfg(test)]
mod tests;
