//! Why detection cannot start or go on.

use std::path::PathBuf;

use bailiwick_lake::LakeError;
use bailiwick_proto::Action;

/// Why detection cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// A configured file cannot be read.
    #[error("{}: cannot be read, correct its path in [detect] or its permissions", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A detections file is not one.
    #[error("{file}: {message}")]
    Detections {
        /// The file.
        file: String,
        /// What is wrong and where.
        message: String,
    },
    /// No rule of the configured files loads.
    #[error("no rule loads from {files}; first error: {first}")]
    NoRules {
        /// The files.
        files: String,
        /// The first diagnostic.
        first: String,
    },
    /// The webhook's URL is not one.
    #[error("detect.webhook_url {url:?}: {message}")]
    Webhook {
        /// As configured.
        url: String,
        /// What is wrong.
        message: String,
    },
    /// The alert file cannot be opened.
    #[error("{}: cannot be appended to, correct detect.alert_file", path.display())]
    AlertFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The place reached cannot be read from the bucket.
    #[error("the place that detection had reached cannot be read")]
    Checkpoint(#[from] LakeError),
    /// A task of detection ended by panic.
    #[error("the {task} task of detection failed")]
    Task {
        /// Which.
        task: &'static str,
        /// How.
        source: tokio::task::JoinError,
    },
}

impl DetectError {
    /// What the caller should do.
    pub fn action(&self) -> Action {
        match self {
            Self::Checkpoint(error) => error.action(),
            Self::Task { .. } => Action::Stop,
            _ => Action::Fix,
        }
    }
}
