//! What detection needs of the query room: rows for a statement, as operator.

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bailiwick_proto::Action;
use bailiwick_query::{Endpoint, Engine, Principal, QueryError};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

/// Answers SQL over everything durable, all tenants.
#[async_trait]
pub trait Ask: Send + Sync {
    /// The rows of one statement, public types, batch by batch.
    async fn ask(&self, sql: &str) -> Result<BoxStream<'static, Result<RecordBatch, AskError>>, AskError>;
}

/// A statement failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct AskError {
    /// The engine's own words.
    pub message: String,
    /// Whether the same statement may work later.
    pub retry: bool,
}

// === impl Ask ===

/// The query room's engine, in the places that it keeps for detection.
#[async_trait]
impl Ask for Engine {
    async fn ask(&self, sql: &str) -> Result<BoxStream<'static, Result<RecordBatch, AskError>>, AskError> {
        let running = self.run(&Principal::operator(), Endpoint::Scheduled, sql).await?;
        Ok(running.map_err(AskError::from).boxed())
    }
}

impl From<QueryError> for AskError {
    fn from(error: QueryError) -> Self {
        // An internal failure may be a damaged file or a restart in between: the
        // window is looked at again rather than skipped.
        let retry = matches!(error.action(), Action::Retry | Action::Stop);
        Self { message: error.to_string(), retry }
    }
}

/// A time as a literal that compares with a time column without any cast of it.
pub(crate) fn time_literal(time_us: i64) -> String {
    format!("arrow_cast({time_us}, 'Timestamp(Microsecond, Some(\"UTC\"))')")
}
