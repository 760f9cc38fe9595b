//! Values for parameters, as JSON has them.
//!
//! ```text
//!   1  0.5  "x"  true  null                              bigint, double precision, text, boolean, unknown
//!   {"type": "timestamptz", "value": "2026-11-24 12:00"}  the type by its PostgreSQL name
//!   {"type": "bigint[]", "value": [1, 2]}                 arrays always with their type
//! ```

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BinaryArray, StringArray};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::request::bad;
use crate::QueryError;
use crate::engine::{MAX_PARAMS, Params};

/// Elements that an array may have.
const MAX_ELEMENTS: usize = 10_000;

/// `params`: a list for `$1`, `$2`; an object for `$name`.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged, expecting = "field params: give a list of values, or an object of names and values")]
pub(super) enum JsonParams {
    #[default]
    None,
    Numbered(Vec<Value>),
    Named(Map<String, Value>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed {
    #[serde(rename = "type")]
    kind: String,
    value: Value,
}

// === impl JsonParams ===

impl JsonParams {
    /// Refuses values in a list that no `$1` of the statement asks for: whoever sends
    /// them means another statement, or a parameter that stands within quotes.
    pub(super) fn fit(&self, sql: &str) -> Result<(), QueryError> {
        let Self::Numbered(values) = self else { return Ok(()) };
        // What cannot be read as SQL is told as that.
        let Some(highest) = highest(sql).filter(|highest| *highest < values.len()) else { return Ok(()) };
        let (count, first) = (values.len(), highest + 1);
        Err(bad(format!(
            "field params: there are {count} values, and the statement has no parameter ${first}"
        )))
    }

    pub(super) fn read(&self) -> Result<Params, QueryError> {
        match self {
            Self::None => Ok(Params::default()),
            Self::Numbered(values) => {
                few(values.len())?;
                let values =
                    values.iter().zip(1..).map(|(value, number)| param(&format!("${number}"), value));
                Ok(Params::Numbered(values.collect::<Result<_, _>>()?))
            }
            Self::Named(values) => {
                few(values.len())?;
                let named = |(name, value): (&String, &Value)| {
                    // Written as in the statement or without the dollar.
                    let name = name.strip_prefix('$').unwrap_or(name);
                    Ok((name.to_owned(), param(&short(name), value)?))
                };
                Ok(Params::Named(values.iter().map(named).collect::<Result<_, QueryError>>()?))
            }
        }
    }
}

/// The highest number of a statement's parameters, 0 if it has none. `None` if its text cannot be read.
fn highest(sql: &str) -> Option<usize> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize().ok()?;
    let number = |token: &Token| match token {
        Token::Placeholder(name) => name.strip_prefix('$')?.parse().ok(),
        _ => None,
    };
    Some(tokens.iter().filter_map(number).max().unwrap_or(0))
}

fn few(count: usize) -> Result<(), QueryError> {
    match count <= MAX_PARAMS {
        true => Ok(()),
        false => Err(bad(format!("field params: there may be {MAX_PARAMS}"))),
    }
}

fn param(name: &str, value: &Value) -> Result<ScalarValue, QueryError> {
    match value {
        Value::Null => Ok(ScalarValue::Null),
        Value::Bool(value) => Ok(ScalarValue::Boolean(Some(*value))),
        Value::String(text) => Ok(ScalarValue::Utf8(Some(text.clone()))),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Ok(ScalarValue::Int64(Some(whole))),
            (None, Some(real)) => Ok(ScalarValue::Float64(Some(real))),
            (None, None) => Err(bad(format!("parameter {name}: {number} is no number"))),
        },
        Value::Array(_) => Err(bad(format!(
            "parameter {name}: write an array with its type, as {{\"type\": \"bigint[]\", \"value\": [1, 2]}}"
        ))),
        Value::Object(_) => {
            let typed = Typed::deserialize(value).map_err(|error| {
                bad(format!("parameter {name}: {error}; write {{\"type\": …, \"value\": …}}"))
            })?;
            typed.read(name)
        }
    }
}

// === impl Typed ===

impl Typed {
    fn read(&self, name: &str) -> Result<ScalarValue, QueryError> {
        let kind = self.kind.trim().to_ascii_lowercase();
        match kind.strip_suffix("[]") {
            Some(element) => self.array(name, element),
            None => scalar(name, &kind, &self.value),
        }
    }

    fn array(&self, name: &str, element: &str) -> Result<ScalarValue, QueryError> {
        let values = match &self.value {
            Value::Null => None,
            Value::Array(values) if values.len() <= MAX_ELEMENTS => Some(values),
            Value::Array(_) => {
                return Err(bad(format!("parameter {name}: an array may have {MAX_ELEMENTS} elements")));
            }
            _ => return Err(bad(format!("parameter {name}: the value of an array is a list"))),
        };
        let texts = values.map(|values| values.iter().map(|value| text(name, element, value)).collect());
        let texts: Option<Vec<Option<String>>> = texts.transpose()?;
        let widest = texts.iter().flatten().flatten().max_by_key(|text| scale_of(text));
        let kind = type_of(name, element, widest.map(String::as_str))?;
        match texts {
            Some(texts) => Ok(SingleRowListArrayBuilder::new(cast(name, texts, &kind)?).build_list_scalar()),
            None => {
                let item = Arc::new(Field::new_list_field(kind, true));
                Ok(ScalarValue::try_from(DataType::List(item))?)
            }
        }
    }
}

/// A value of a named type, by way of its text.
fn scalar(name: &str, kind: &str, value: &Value) -> Result<ScalarValue, QueryError> {
    let text = text(name, kind, value)?;
    let kind = type_of(name, kind, text.as_deref())?;
    Ok(ScalarValue::try_from_array(&cast(name, vec![text], &kind)?, 0)?)
}

fn text(name: &str, kind: &str, value: &Value) -> Result<Option<String>, QueryError> {
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => {
            let kind = short(kind);
            return Err(bad(format!("parameter {name}: a {kind} is text, a number, true, false or null")));
        }
    }))
}

fn cast(name: &str, texts: Vec<Option<String>>, kind: &DataType) -> Result<ArrayRef, QueryError> {
    if *kind == DataType::Binary {
        let bytes = texts.iter().map(|text| text.as_deref().map(|text| bytes(name, text)).transpose());
        let bytes: Vec<Option<Vec<u8>>> = bytes.collect::<Result<_, _>>()?;
        return Ok(Arc::new(BinaryArray::from_iter(bytes)));
    }
    if matches!(kind, DataType::Interval(_)) && !texts.iter().flatten().all(|text| has_units(text)) {
        return Err(bad(format!("parameter {name}: write an interval with its units, as 1 day 2 hours")));
    }
    let texts: ArrayRef = Arc::new(StringArray::from(texts));
    let exact = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&texts, kind, &exact)
        .map_err(|_| bad(format!("parameter {name}: its value is not one of its type")))
}

/// Whether each number of an interval has a unit. The engine takes one without for
/// months, PostgreSQL for seconds.
fn has_units(interval: &str) -> bool {
    let mut words = interval.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let follows = |next: &&str| next.starts_with(|first: char| first.is_ascii_alphabetic());
        if word.ends_with(|last: char| !last.is_ascii_alphabetic()) && !words.peek().is_some_and(follows) {
            return false;
        }
    }
    true
}

/// Bytes as PostgreSQL writes them.
fn bytes(name: &str, text: &str) -> Result<Vec<u8>, QueryError> {
    let digits = text.strip_prefix("\\x").and_then(|digits| hex::decode(digits).ok());
    digits.ok_or_else(|| bad(format!("parameter {name}: write bytea as \\x and pairs of hexadecimal digits")))
}

/// Digits after the point.
fn scale_of(text: &str) -> usize {
    text.split_once('.').map_or(0, |(_, fraction)| fraction.len())
}

/// The type that PostgreSQL has by a name. A `numeric` is as exact as its text.
fn type_of(name: &str, kind: &str, text: Option<&str>) -> Result<DataType, QueryError> {
    Ok(match kind {
        "text" | "varchar" | "character varying" | "uuid" | "json" => DataType::Utf8,
        "smallint" | "int2" => DataType::Int16,
        "integer" | "int" | "int4" => DataType::Int32,
        "bigint" | "int8" => DataType::Int64,
        "real" | "float4" => DataType::Float32,
        "double precision" | "double" | "float8" | "float" => DataType::Float64,
        "boolean" | "bool" => DataType::Boolean,
        "bytea" => DataType::Binary,
        "interval" => DataType::Interval(IntervalUnit::MonthDayNano),
        "date" => DataType::Date32,
        "time" => DataType::Time64(TimeUnit::Microsecond),
        "timestamp" | "timestamp without time zone" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" | "timestamp with time zone" => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        "numeric" | "decimal" => {
            let scale = i8::try_from(text.map_or(0, scale_of)).ok().filter(|scale| *scale <= 38);
            DataType::Decimal128(
                38,
                scale.ok_or_else(|| bad(format!("parameter {name}: it has too many digits")))?,
            )
        }
        other => {
            let other = short(other);
            return Err(bad(format!(
                "parameter {name}: there is no type {other:?}; use text, bigint, integer, smallint, double precision, \
                 real, numeric, boolean, date, time, timestamp, timestamptz, interval or bytea, with [] behind it for an array"
            )));
        }
    })
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests;
