//! Alerts as lines at the end of a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::AlertFormat;
use crate::DetectError;
use crate::metrics::Metrics;
use bailiwick_rules::Alert;

pub(super) const NAME: &str = "file";

/// A file that is appended to, open or to be opened anew.
pub(super) struct AlertFile {
    file: Option<tokio::fs::File>,
    path: PathBuf,
    format: AlertFormat,
    metrics: Metrics,
}

// === impl AlertFile ===

impl AlertFile {
    /// Opens the file for appending, creating it where there is none.
    pub(super) fn open(path: &Path, format: AlertFormat, metrics: Metrics) -> Result<Self, DetectError> {
        let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let file = opened.map_err(|source| DetectError::AlertFile { path: path.to_owned(), source })?;
        Ok(Self { file: Some(tokio::fs::File::from_std(file)), path: path.to_owned(), format, metrics })
    }

    /// Appends until the queue closes. A line that cannot be written is counted,
    /// and the file is opened anew for the next: it may have been rotated away.
    pub(super) async fn run(mut self, mut alerts: mpsc::Receiver<Arc<Alert>>) {
        while let Some(alert) = alerts.recv().await {
            let line = format!("{}\n", self.format.write(&alert));
            if let Err(error) = self.append(line.as_bytes()).await {
                tracing::warn!(%error, path = %self.path.display(), "alert not written");
                self.metrics.sink_failed(NAME, "write");
                self.file = None;
            }
        }
    }

    async fn append(&mut self, line: &[u8]) -> std::io::Result<()> {
        // A rotated file has another name; the alerts belong into the one of this name.
        if self.file.is_none() || !tokio::fs::try_exists(&self.path).await.unwrap_or(true) {
            let anew = tokio::fs::OpenOptions::new().create(true).append(true).open(&self.path).await?;
            self.file = Some(anew);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(line).await?;
        file.flush().await
    }
}
