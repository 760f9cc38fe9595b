//! Why a query, or the query server, did not do what was asked.
//!
//! A client is told a stable code and a message that speaks of its own
//! statement only. What the engine said about files, other queries or itself
//! is logged with the query's id and not sent.

mod pattern;

use std::fmt;

use bailiwick_lake::LakeError;
use bailiwick_proto::Action;
use datafusion::arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

/// What went wrong, as clients may rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The text is not SQL.
    Syntax,
    /// It is SQL, but names or types in it do not fit.
    InvalidQuery,
    /// It could be planned, but a value made it fail.
    ExecutionFailed,
    /// The engine does not have this part of SQL.
    NotSupported,
    /// This kind of statement is not for this principal, or for nobody.
    NotAllowed,
    /// The request around the statement is malformed.
    BadRequest,
    /// No valid token came with it.
    Unauthenticated,
    /// It took longer than a query may.
    Timeout,
    /// Its client is gone, cancelled it, or the server stops.
    Cancelled,
    /// It needs more memory, disk or text than a query may.
    TooLarge,
    /// Too many queries run and wait.
    TooBusy,
    /// The bucket does not answer now.
    Unavailable,
    /// A configuration must be changed.
    Config,
    /// It is not the statement's fault.
    Internal,
}

/// Why a query, or the query server, did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    code: Code,
    message: String,
    /// PostgreSQL's code where it is finer than that of [`Code`].
    sqlstate: Option<&'static str>,
    /// As `queries` names the query, once it has a name.
    query_id: Option<String>,
    /// For the server's log, never for a client.
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What is said instead of what only operators may read.
const WITHHELD: &str = "the query failed on the server's side; its log has the reason under the query's id";

/// How the engine begins to tell of a format of EXPLAIN that it does not have.
const EXPLAIN_FORMAT: &str = "Invalid explain format";

// === impl Code ===

impl Code {
    /// Every one.
    pub const ALL: [Self; 14] = [
        Self::Syntax,
        Self::InvalidQuery,
        Self::ExecutionFailed,
        Self::NotSupported,
        Self::NotAllowed,
        Self::BadRequest,
        Self::Unauthenticated,
        Self::Timeout,
        Self::Cancelled,
        Self::TooLarge,
        Self::TooBusy,
        Self::Unavailable,
        Self::Config,
        Self::Internal,
    ];

    /// The code as it is sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::InvalidQuery => "invalid_query",
            Self::ExecutionFailed => "execution_failed",
            Self::NotSupported => "not_supported",
            Self::NotAllowed => "not_allowed",
            Self::BadRequest => "bad_request",
            Self::Unauthenticated => "unauthenticated",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::TooLarge => "too_large",
            Self::TooBusy => "too_busy",
            Self::Unavailable => "unavailable",
            Self::Config => "config",
            Self::Internal => "internal",
        }
    }

    /// PostgreSQL's SQLSTATE for it.
    pub const fn sqlstate(self) -> &'static str {
        match self {
            Self::Syntax => "42601",
            Self::InvalidQuery => "42000",
            Self::ExecutionFailed => "22000",
            Self::NotSupported => "0A000",
            Self::NotAllowed => "42501",
            Self::BadRequest => "08P01",
            Self::Unauthenticated => "28000",
            Self::Timeout | Self::Cancelled => "57014",
            Self::TooLarge => "53200",
            Self::TooBusy => "53300",
            Self::Unavailable => "57P03",
            Self::Config => "F0000",
            Self::Internal => "XX000",
        }
    }

    /// The HTTP status for it.
    pub const fn http_status(self) -> http::StatusCode {
        use http::StatusCode;
        match self {
            Self::Syntax
            | Self::InvalidQuery
            | Self::ExecutionFailed
            | Self::NotSupported
            | Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::NotAllowed => StatusCode::FORBIDDEN,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooBusy => StatusCode::TOO_MANY_REQUESTS,
            Self::Cancelled | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Config | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl QueryError ===

impl QueryError {
    /// An error whose message a client may read.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), sqlstate: None, query_id: None, source: None }
    }

    /// A configuration that must be changed; the message names file and field.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Code::Config, message)
    }

    /// It took longer than its client said that it may.
    pub(crate) fn statement_timeout(limit: std::time::Duration) -> Self {
        let limit_ms = limit.as_millis();
        Self::new(Code::Timeout, format!("canceling statement due to statement timeout of {limit_ms} ms"))
    }

    /// A failure of ours: the client is told only that there was one.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            code: Code::Internal,
            message: WITHHELD.to_owned(),
            sqlstate: None,
            query_id: None,
            source: Some(source.into()),
        }
    }

    /// The same with a cause for the log.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// PostgreSQL's code for it, by which drivers choose an exception's class.
    pub fn sqlstate(&self) -> &'static str {
        self.sqlstate.unwrap_or(self.code.sqlstate())
    }

    /// The query that failed, if it came as far as being recorded.
    pub fn query_id(&self) -> Option<&str> {
        self.query_id.as_deref()
    }

    pub(crate) fn of_query(mut self, query_id: &str) -> Self {
        self.query_id = Some(query_id.to_owned());
        self
    }

    /// Logs what was withheld from the client.
    pub(crate) fn log(&self, query_id: &str, principal: &str) {
        let cause = self.source.as_ref().map(ToString::to_string);
        match self.code {
            Code::Internal | Code::Unavailable => {
                tracing::error!(
                    query_id,
                    principal,
                    cause,
                    code = self.code.as_str(),
                    "query failed: {self}"
                );
            }
            _ => {
                tracing::debug!(query_id, principal, cause, code = self.code.as_str(), "query failed: {self}")
            }
        }
    }

    /// What the caller should do.
    pub fn action(&self) -> Action {
        match self.code {
            Code::Timeout | Code::Cancelled | Code::TooBusy | Code::TooLarge | Code::Unavailable => {
                Action::Retry
            }
            Code::Internal => Action::Stop,
            _ => Action::Fix,
        }
    }
}

impl From<LakeError> for QueryError {
    fn from(error: LakeError) -> Self {
        match error.action() {
            Action::Retry => {
                Self::new(Code::Unavailable, "the bucket does not answer, try again").because(error)
            }
            _ => Self::internal(error),
        }
    }
}

impl From<ArrowError> for QueryError {
    fn from(error: ArrowError) -> Self {
        DataFusionError::from(error).into()
    }
}

/// What a client may know of the engine's own error.
impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        if let Some(own) = own_cause(&error) {
            return own;
        }
        // A pattern is the statement's, or a value that its principal can read.
        if let Some(message) = pattern::wrong(error.find_root()) {
            let sqlstate = Some(pattern::SQLSTATE);
            return Self { sqlstate, ..Self::new(Code::ExecutionFailed, message) }.because(error);
        }
        let Some((code, message)) = told(error.find_root()) else { return Self::internal(error) };
        // The statement's own text may name such things; what ran may not.
        let from_the_statement = matches!(code, Code::Syntax | Code::InvalidQuery);
        match mentions_storage(&message) && !from_the_statement {
            true => Self::internal(error),
            false => Self { sqlstate: sqlstate(error.find_root(), &message), ..Self::new(code, message) }
                .because(error),
        }
    }
}

/// Code and text of errors that speak of the statement or of values the
/// principal can read; `None` for everything else.
fn told(root: &DataFusionError) -> Option<(Code, String)> {
    let text = |message: &String| message.lines().next().unwrap_or_default().to_owned();
    Some(match root {
        DataFusionError::SQL(error, _) => (Code::Syntax, error.to_string()),
        DataFusionError::Plan(message) if shows_a_plan(message) => return None,
        DataFusionError::Plan(message) => (Code::InvalidQuery, text(message)),
        DataFusionError::SchemaError(error, _) => (Code::InvalidQuery, error.to_string()),
        DataFusionError::NotImplemented(message) => (Code::NotSupported, text(message)),
        DataFusionError::Execution(message) => (Code::ExecutionFailed, text(message)),
        DataFusionError::Configuration(message) if message.starts_with(EXPLAIN_FORMAT) => {
            (Code::NotSupported, text(message))
        }
        // The engine's text names the biggest consumers, which are other people's queries.
        DataFusionError::ResourcesExhausted(_) => too_much(),
        DataFusionError::ArrowError(error, _) if is_spill_limit(error) => too_much(),
        DataFusionError::ArrowError(error, _) => (Code::ExecutionFailed, arrow_told(error)?),
        _ => return None,
    })
}

/// PostgreSQL's code for what is wrong with a name or a value. Where the engine has
/// no type for it, its words tell.
fn sqlstate(root: &DataFusionError, message: &str) -> Option<&'static str> {
    let starts = |words: &[&str]| words.iter().any(|word| message.starts_with(word));
    Some(match root {
        DataFusionError::SchemaError(error, _) => match error.as_ref() {
            SchemaError::FieldNotFound { .. } => "42703",
            SchemaError::AmbiguousReference { .. } => "42702",
            _ => return None,
        },
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::DivideByZero => "22012",
            ArrowError::ArithmeticOverflow(_) => "22003",
            ArrowError::CastError(_) | ArrowError::ParseError(_) => "22P02",
            _ => return None,
        },
        _ if starts(&["table '", "table not found"]) && message.ends_with("not found") => "42P01",
        _ if starts(&["Invalid function '", "Function '"]) => "42883",
        _ => return None,
    })
}

fn too_much() -> (Code, String) {
    (
        Code::TooLarge,
        "the query needs more memory or disk than is left for it; select or group less".to_owned(),
    )
}

/// Whether spilling stopped at its limit, which the engine tells in words alone.
fn is_spill_limit(error: &ArrowError) -> bool {
    matches!(error, ArrowError::IoError(message, _) if message.contains("max_temp_directory_size"))
}

fn arrow_told(error: &ArrowError) -> Option<String> {
    match error {
        ArrowError::CastError(message)
        | ArrowError::ParseError(message)
        | ArrowError::ComputeError(message)
        | ArrowError::InvalidArgumentError(message)
        | ArrowError::ArithmeticOverflow(message) => Some(message.clone()),
        ArrowError::DivideByZero => Some("division by zero".to_owned()),
        _ => None,
    }
}

/// Whether a text could tell where things lie in the bucket.
fn mentions_storage(text: &str) -> bool {
    text.contains("tenant=") || text.contains(".parquet") || text.contains("tables/")
}

/// Whether a text shows how a query would have been run, as the engine's own
/// check of its plans does: with files and numbers of rows.
fn shows_a_plan(text: &str) -> bool {
    text.starts_with("Plan: [") || text.contains("Exec: ")
}

/// An error of ours that came back through the engine.
fn own_cause(error: &DataFusionError) -> Option<QueryError> {
    let DataFusionError::External(source) = error.find_root() else { return None };
    if let Some(QueryError { code, message, .. }) = source.downcast_ref() {
        return Some(QueryError::new(*code, message.clone()));
    }
    let lake = source.downcast_ref::<LakeError>()?;
    let action = lake.action();
    (action == Action::Retry).then(|| {
        QueryError::new(Code::Unavailable, "the bucket does not answer, try again").because(lake.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_the_bucket_or_other_queries_is_withheld() {
        let hidden = [
            DataFusionError::Execution("cannot open tables/usage/tenant=globex/x.parquet".into()),
            DataFusionError::Internal("globex".into()),
            DataFusionError::External("globex".into()),
            DataFusionError::IoError(std::io::Error::other("globex")),
            DataFusionError::ResourcesExhausted("top consumers: globex".into()),
            DataFusionError::from(ArrowError::ExternalError("globex".into())),
            DataFusionError::Execution("globex.parquet is damaged".into()).context("globex"),
            DataFusionError::Plan("Plan: [\"DataSourceExec: file_groups={globex}\"] does not satisfy".into()),
        ];
        for error in hidden {
            let error = QueryError::from(error);
            assert!(!error.to_string().contains("globex"), "{error}");
        }
    }

    #[test]
    fn what_speaks_of_the_statement_is_told() {
        let error = QueryError::from(DataFusionError::from(ArrowError::DivideByZero));
        assert_eq!((error.code(), error.to_string().as_str()), (Code::ExecutionFailed, "division by zero"));
        let error = QueryError::from(DataFusionError::Plan("no field x".into()).context("while planning"));
        assert_eq!((error.code(), error.to_string().as_str()), (Code::InvalidQuery, "no field x"));
        let format = "Invalid explain format. Expected 'indent' or 'tree'. Got 'JSON'";
        let error = QueryError::from(DataFusionError::Configuration(format.into()));
        assert_eq!((error.sqlstate(), error.to_string().as_str()), ("0A000", format));
        let own = QueryError::new(Code::TooBusy, "later");
        let back = QueryError::from(DataFusionError::External(Box::new(own)));
        assert_eq!((back.code(), back.to_string().as_str()), (Code::TooBusy, "later"));
    }
}
