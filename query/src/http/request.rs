//! What clients send.

use std::time::Duration;

use ::http::{HeaderMap, header};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::params::JsonParams;
use crate::report::ServerPrices;
use crate::{Ask, Code, Prices, QueryError};

/// What a bigint can hold; it is kept as one.
const MAX_TIMEOUT_MS: u64 = i64::MAX.unsigned_abs();

/// What may be said behind the path's `?`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SqlQuery {
    format: Option<String>,
    limit: Option<u64>,
    timeout_ms: Option<u64>,
}

/// A statement, and how it is to be answered.
#[derive(Debug)]
pub(super) struct SqlRequest {
    pub(super) ask: Ask,
    /// The format's name, if there is one.
    pub(super) format: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SqlJson {
    sql: String,
    #[serde(default)]
    params: JsonParams,
    format: Option<String>,
    limit: Option<u64>,
    timeout_ms: Option<u64>,
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
    /// The body is the statement, unless its type says that it is JSON. What
    /// stands in the path counts before what stands in the body.
    pub(super) fn read(query: SqlQuery, headers: &HeaderMap, body: &[u8]) -> Result<Self, QueryError> {
        let SqlJson { sql, params, format, limit, timeout_ms } = match is_json(headers) {
            true => json(body, r#"{"sql": "SELECT $1", "params": [1]}"#)?,
            false => SqlJson::of_text(body)?,
        };
        let timeout_ms = query.timeout_ms.or(timeout_ms);
        if timeout_ms.is_some_and(|timeout_ms| timeout_ms == 0 || timeout_ms > MAX_TIMEOUT_MS) {
            return Err(bad(format!("field timeout_ms: give milliseconds, from 1 to {MAX_TIMEOUT_MS}")));
        }
        params.fit(&sql)?;
        let ask = Ask {
            sql,
            params: params.read()?,
            timeout: timeout_ms.map(Duration::from_millis),
            max_rows: query.limit.or(limit),
            ..Ask::default()
        };
        Ok(Self { ask, format: query.format.or(format) })
    }
}

// === impl SqlJson ===

impl SqlJson {
    fn of_text(body: &[u8]) -> Result<Self, QueryError> {
        let sql = std::str::from_utf8(body).map_err(|_| bad("the statement is not UTF-8"))?.to_owned();
        Ok(Self { sql, params: JsonParams::None, format: None, limit: None, timeout_ms: None })
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("application/json")
}

// === impl ChargebackRequest ===

impl ChargebackRequest {
    pub(super) fn read(body: &[u8]) -> Result<Self, QueryError> {
        json(body, r#"{"from": "2026-11-01T00:00:00Z", "to": "2026-12-01T00:00:00Z"}"#)
    }

    /// The request's own prices, or the server's.
    pub(super) fn prices(&self, server: &ServerPrices) -> Result<Prices, QueryError> {
        let wrong = |error: crate::PriceError| bad(format!("field prices: {error}"));
        let Some(raw) = &self.prices else {
            return server.for_clients();
        };
        match serde_json::from_str::<Option<Value>>(raw.get()) {
            Ok(Some(Value::String(text))) => Prices::parse("request", &text).map_err(wrong),
            Ok(None) => server.read().map_err(wrong),
            _ => Prices::parse("request", raw.get()).map_err(wrong),
        }
    }
}

/// Reads a body, which is an object such as the one that is shown. A list is none,
/// though serde would take its elements for the fields.
pub(super) fn json<'a, T: Deserialize<'a>>(body: &'a [u8], such_as: &str) -> Result<T, QueryError> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(bad(format!("the body is not the JSON it should be: send an object such as {such_as}")));
    }
    serde_json::from_slice(body)
        .map_err(|error| bad(format!("the body is not the JSON it should be: {error}")))
}

pub(super) fn bad(message: impl Into<String>) -> QueryError {
    QueryError::new(Code::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Goal: no body and no path breaks the decoders, whatever it calls itself.
        #[test]
        fn no_request_breaks_it(
            body in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                r#"\{"sql":"[^"]{0,20}","(params|limit|format|timeout_ms)":[-0-9\[\]{}a-z":,]{0,30}\}"#.prop_map(String::into_bytes),
            ],
            kind in prop_oneof![Just("application/json"), Just("text/plain"), Just("")],
            limit: Option<u64>, timeout_ms: Option<u64>,
        ) {
            let query = SqlQuery { format: None, limit, timeout_ms };
            let kind = ::http::HeaderValue::from_static(kind);
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]);
            if let Err(error) = SqlRequest::read(query, &headers, &body) {
                prop_assert_eq!(error.code(), Code::BadRequest);
            }
            if let Err(error) = ChargebackRequest::read(&body) {
                prop_assert_eq!(error.code(), Code::BadRequest);
            }
        }
    }
}
