//! What a client is told when something fails, and when there is nobody left to tell.

use std::io;

use pgwire::error::{ErrorInfo, PgWireError};
use pgwire::messages::PgWireBackendMessage;

use crate::QueryError;

/// Why a message was not answered as asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// The client is told; a `FATAL` one ends the connection.
    Told(Box<ErrorInfo>),
    /// The connection is gone.
    Gone(io::Error),
}

// === impl Failure ===

impl Failure {
    /// An error with PostgreSQL's code for it.
    pub(super) fn new(sqlstate: &str, message: impl Into<String>) -> Self {
        Self::Told(Box::new(ErrorInfo::new("ERROR".to_owned(), sqlstate.to_owned(), message.into())))
    }

    /// An error after which the connection ends.
    pub(super) fn fatal(sqlstate: &str, message: impl Into<String>) -> Self {
        Self::Told(Box::new(ErrorInfo::new("FATAL".to_owned(), sqlstate.to_owned(), message.into())))
    }

    /// The same with a next step.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Told(info) = &mut self {
            info.hint = Some(hint.into());
        }
        self
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self::new(error.sqlstate(), error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

impl From<PgWireError> for Failure {
    fn from(error: PgWireError) -> Self {
        match error {
            PgWireError::IoError(error) => Self::Gone(error),
            other => Self::Told(Box::new(other.into())),
        }
    }
}

/// The server ends, and this connection with it.
pub(super) fn stopping() -> Failure {
    Failure::fatal("57P01", "terminating connection because the server stops")
}

/// A notice: it informs and changes nothing.
pub(super) fn notice(severity: &str, sqlstate: &str, message: &str) -> PgWireBackendMessage {
    let info = ErrorInfo::new(severity.to_owned(), sqlstate.to_owned(), message.to_owned());
    PgWireBackendMessage::NoticeResponse(info.into())
}
