//! Why the collector cannot start or go on.

use std::io;
use std::path::PathBuf;

use bailiwick_proto::Action;

/// The collector's outer error; [`CollectorError::action`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// A configured value that cannot be meant.
    #[error("collector.{field}: {message}")]
    Config {
        /// The field's name below `collector`.
        field: &'static str,
        /// What is wrong and what to write instead.
        message: String,
    },
    /// A file that the configuration names cannot be used.
    #[error("collector.{field} {}: {message}", path.display())]
    File {
        /// The field that names it.
        field: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        message: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A source that must run cannot.
    #[error("{name} cannot be captured: {what}; {how_to_get_it}")]
    Source {
        /// The source's name.
        name: &'static str,
        /// What is missing.
        what: String,
        /// The next step.
        how_to_get_it: String,
    },
    /// The folder of the spool is another collector's.
    #[error("collector.spool_dir {}: another process uses this spool; give each collector a folder of its own", path.display())]
    SpoolInUse {
        /// The folder.
        path: PathBuf,
    },
    /// A listener could not be bound.
    #[error("collector.{field} {addr}: cannot listen")]
    Listen {
        /// The field that names the address.
        field: &'static str,
        /// The address.
        addr: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A thread or task could not be started, or ended by a panic.
    #[error("{name} stopped unexpectedly: {message}")]
    Internal {
        /// Which part.
        name: &'static str,
        /// What is known.
        message: String,
    },
}

// === impl CollectorError ===

impl CollectorError {
    /// What the caller should do about it.
    pub fn action(&self) -> Action {
        match self {
            Self::Internal { .. } => Action::Stop,
            _ => Action::Fix,
        }
    }

    pub(crate) fn config(field: &'static str, message: impl Into<String>) -> Self {
        Self::Config { field, message: message.into() }
    }
}
