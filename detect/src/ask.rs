//! What detection needs of the query room: rows for a statement, as operator.

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::stream::BoxStream;

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

/// A time as a literal that compares with a time column without any cast of it.
pub(crate) fn time_literal(time_us: i64) -> String {
    format!("arrow_cast({time_us}, 'Timestamp(Microsecond, Some(\"UTC\"))')")
}
