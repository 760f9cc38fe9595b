//! Alerts as lines of JSON at the end of a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::DetectError;
use crate::metrics::Metrics;
use bailiwick_rules::Alert;

pub(super) const NAME: &str = "file";

/// Opens the file for appending, creating it where there is none.
pub(super) fn open(path: &Path) -> Result<std::fs::File, DetectError> {
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|source| DetectError::AlertFile { path: path.to_owned(), source })
}

/// Appends until the queue closes. A line that cannot be written is counted,
/// and the file is opened anew for the next: it may have been rotated away.
pub(super) async fn run(
    file: std::fs::File,
    path: PathBuf,
    mut alerts: mpsc::Receiver<Arc<Alert>>,
    metrics: Metrics,
) {
    let mut file = Some(tokio::fs::File::from_std(file));
    while let Some(alert) = alerts.recv().await {
        let line = format!("{}\n", alert.falco_json());
        if let Err(error) = append(&mut file, &path, line.as_bytes()).await {
            tracing::warn!(%error, path = %path.display(), "alert not written");
            metrics.sink_failed(NAME, "write");
            file = None;
        }
    }
}

async fn append(file: &mut Option<tokio::fs::File>, path: &Path, line: &[u8]) -> std::io::Result<()> {
    // A rotated file has another name; the alerts belong into the one of this name.
    if file.is_none() || !tokio::fs::try_exists(path).await.unwrap_or(true) {
        *file = Some(tokio::fs::OpenOptions::new().create(true).append(true).open(path).await?);
    }
    let Some(file) = file else { return Ok(()) };
    file.write_all(line).await?;
    file.flush().await
}
