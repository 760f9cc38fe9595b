//! Plays a recording as if it happened now: the same rows, moved in time so that
//! the last of them is from this moment, and marked as a replay.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::array::{DictionaryArray, PrimitiveArray};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use bailiwick_proto::{Kind, Table};
use chrono::Utc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::outlet::{Lane, Outlet};
use crate::recording::{Reader, RecordingError};
use crate::{CollectorError, Config, SourceState, SourceStatus, Started};

const NAME: &str = "replay";
/// A recording can wait, so no row of it is dropped while the spool is full.
const LANE: Lane = Lane::Audit;
/// Batches read ahead of the spool.
const AHEAD: usize = 4;

/// Starts to play `replay.path`, as fast as the spool takes it.
pub(crate) async fn start(
    config: &Config,
    outlet: Outlet,
    _metrics: Metrics,
    stop: CancellationToken,
) -> Result<Started, CollectorError> {
    let path = config.replay.path.clone();
    let status = |state| SourceStatus { name: NAME, state };
    if path.as_os_str().is_empty() {
        let detail = "collector.replay.path is empty".to_owned();
        return Ok(Started { status: status(SourceState::Off { detail }), task: None, addr: None });
    }
    // The whole file is read once before a row of it is played: a damaged
    // recording is an error at the start, not half a replay.
    let examined = path.clone();
    let survey = tokio::task::spawn_blocking(move || survey(&examined)).await;
    let survey =
        survey.map_err(|error| CollectorError::Internal { name: NAME, message: error.to_string() })?;
    let survey = survey.map_err(|error| unusable(&path, &error))?;
    let detail = format!("plays {} rows of {}, made by {}", survey.rows, path.display(), survey.made_by);
    let stage = Stage {
        node: outlet.node().to_owned(),
        cluster: outlet.cluster().to_owned(),
        shift_us: survey.last_us.map_or(0, |last| Utc::now().timestamp_micros().saturating_sub(last)),
    };
    let task = tokio::spawn(play(path, stage, outlet, stop));
    Ok(Started { status: status(SourceState::Running { detail }), task: Some(task), addr: None })
}

fn unusable(path: &Path, error: &PlayError) -> CollectorError {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    CollectorError::config("replay.path", format!("{}: {error}{cause}", path.display()))
}

/// Why a recording cannot be played.
#[derive(Debug, thiserror::Error)]
enum PlayError {
    #[error("cannot be opened")]
    Open(#[source] std::io::Error),
    #[error(transparent)]
    Recording(#[from] RecordingError),
    #[error("row cannot be moved to now")]
    Arrow(#[from] ArrowError),
}

/// What a recording holds.
#[derive(Debug, Default)]
struct Survey {
    made_by: String,
    rows: usize,
    last_us: Option<i64>,
}

/// Where and when a recording is played.
#[derive(Debug, Clone)]
struct Stage {
    node: String,
    cluster: String,
    shift_us: i64,
}

fn open(path: &Path) -> Result<Reader<BufReader<File>>, PlayError> {
    let file = File::open(path).map_err(PlayError::Open)?;
    Ok(Reader::new(BufReader::new(file))?)
}

fn survey(path: &Path) -> Result<Survey, PlayError> {
    let mut reader = open(path)?;
    let mut survey = Survey { made_by: reader.made_by().to_owned(), ..Survey::default() };
    while let Some((_, rows)) = reader.next_batch()? {
        survey.rows += rows.num_rows();
        survey.last_us = survey.last_us.max(last_time(&rows));
    }
    Ok(survey)
}

fn last_time(rows: &RecordBatch) -> Option<i64> {
    let times = rows.column_by_name("time")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    arrow::compute::max(times)
}

async fn play(path: PathBuf, stage: Stage, outlet: Outlet, stop: CancellationToken) {
    let (send, mut batches) = mpsc::channel(AHEAD);
    let reading = tokio::task::spawn_blocking(move || read(&path, &stage, &send));
    loop {
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            next = batches.recv() => next,
        };
        let Some((table, rows)) = next else { break };
        tokio::select! {
            biased;
            () = outlet.send(table, LANE, rows) => {}
            () = stop.cancelled() => break,
        }
    }
    drop(batches);
    match reading.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "replay ended early"),
        Err(error) => tracing::error!(%error, "replay ended by a panic"),
    }
}

/// Gives every batch to the player, until that goes.
fn read(path: &Path, stage: &Stage, send: &mpsc::Sender<(Table, RecordBatch)>) -> Result<(), PlayError> {
    let mut reader = open(path)?;
    while let Some((table, rows)) = reader.next_batch()? {
        if send.blocking_send((table, stage.rows(table, &rows)?)).is_err() {
            break;
        }
    }
    Ok(())
}

// === impl Stage ===

impl Stage {
    /// The rows as if they happened here and now. Ids stay: they tie rows together.
    fn rows(&self, table: Table, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let schema = rows.schema();
        let column = |(field, column): (&Arc<arrow::datatypes::Field>, &ArrayRef)| {
            let all = |value: &str| same_text(value, rows.num_rows());
            match (field.name().as_str(), table.column(field.name()).map(|column| column.kind)) {
                ("node", _) => Ok(all(&self.node)),
                ("cluster", _) => Ok(all(&self.cluster)),
                ("observed", _) => Ok(all("replay")),
                ("source", _) if table == Table::ApiAccess => Ok(all("replay")),
                (_, Some(Kind::Time)) => self.moved(column),
                _ => Ok(Arc::clone(column)),
            }
        };
        let columns = schema.fields().iter().zip(rows.columns()).map(column).collect::<Result<_, _>>()?;
        RecordBatch::try_new(schema, columns)
    }

    fn moved(&self, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        let Some(times) = column.as_primitive_opt::<TimestampMicrosecondType>() else {
            return Ok(Arc::clone(column));
        };
        let moved: PrimitiveArray<TimestampMicrosecondType> =
            times.unary(|time: i64| time.saturating_add(self.shift_us));
        let moved: TimestampMicrosecondArray = moved.with_data_type(column.data_type().clone());
        Ok(Arc::new(moved))
    }
}

/// A dictionary column that says the same in every row.
fn same_text(value: &str, rows: usize) -> ArrayRef {
    let keys = Int32Array::from(vec![0; rows]);
    let values = Arc::new(StringArray::from(vec![value]));
    Arc::new(DictionaryArray::<Int32Type>::new(keys, values))
}

#[cfg(test)]
mod tests;
