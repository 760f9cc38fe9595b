//! What clients send.

use ::http::{HeaderMap, header};
use chrono::{DateTime, Utc};
use datafusion::common::ScalarValue;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::report::ServerPrices;
use crate::{Code, Prices, QueryError};

const MAX_PARAMS: usize = 1_000;

/// `?format=`.
#[derive(Debug, Deserialize)]
pub(super) struct SqlQuery {
    pub(super) format: Option<String>,
}

/// A statement and its parameters.
#[derive(Debug)]
pub(super) struct SqlRequest {
    pub(super) sql: String,
    pub(super) params: Vec<ScalarValue>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SqlJson {
    sql: String,
    #[serde(default)]
    params: Vec<Value>,
}

/// Which period to charge, at which prices.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChargebackRequest {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
    /// A price file's text, or the same as an object. Kept as it came, since
    /// prices must not pass through floating point.
    prices: Option<Box<RawValue>>,
}

// === impl SqlRequest ===

impl SqlRequest {
    /// The body is the statement, unless its type says that it is JSON.
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, QueryError> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.trim_start().to_ascii_lowercase().starts_with("application/json") {
            let text = std::str::from_utf8(body).map_err(|_| bad("the statement is not UTF-8"))?;
            return Ok(Self { sql: text.to_owned(), params: Vec::new() });
        }
        let SqlJson { sql, params } = json(body)?;
        if params.len() > MAX_PARAMS {
            return Err(bad("field params: there may be 1000"));
        }
        Ok(Self { sql, params: params.iter().map(param).collect::<Result<_, _>>()? })
    }
}

// === impl ChargebackRequest ===

impl ChargebackRequest {
    pub(super) fn read(body: &[u8]) -> Result<Self, QueryError> {
        json(body)
    }

    /// The request's own prices, or the server's.
    pub(super) fn prices(&self, server: &ServerPrices) -> Result<Prices, QueryError> {
        let wrong = |error: crate::PriceError| bad(&format!("field prices: {error}"));
        let Some(raw) = &self.prices else {
            return server.read().map_err(|error| {
                // Whose file it is and where it lies is not the client's business.
                QueryError::new(Code::Unavailable, "the server's price file cannot be used, ask its operator")
                    .because(error)
            });
        };
        match serde_json::from_str::<Option<Value>>(raw.get()) {
            Ok(Some(Value::String(text))) => Prices::parse("request", &text).map_err(wrong),
            Ok(None) => server.read().map_err(wrong),
            _ => Prices::parse("request", raw.get()).map_err(wrong),
        }
    }
}

/// Reads a body.
pub(super) fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, QueryError> {
    serde_json::from_slice(body)
        .map_err(|error| bad(&format!("the body is not the JSON it should be: {error}")))
}

fn param(value: &Value) -> Result<ScalarValue, QueryError> {
    match value {
        Value::Null => Ok(ScalarValue::Null),
        Value::Bool(value) => Ok(ScalarValue::Boolean(Some(*value))),
        Value::String(text) => Ok(ScalarValue::Utf8(Some(text.clone()))),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Ok(ScalarValue::Int64(Some(whole))),
            (None, Some(real)) => Ok(ScalarValue::Float64(Some(real))),
            (None, None) => Err(bad(&format!("field params: {number} is no number"))),
        },
        Value::Array(_) | Value::Object(_) => {
            Err(bad("field params: use text, numbers, true, false or null"))
        }
    }
}

fn bad(message: &str) -> QueryError {
    QueryError::new(Code::BadRequest, message)
}
