//! One value as a client sent it, in text or in binary, with the type that it was announced with.
//!
//! A value keeps its own type where the engine's expectation would change it: `1.5` compared
//! with whole numbers is not made one of them.

use datafusion::arrow::array::types::IntervalMonthDayNano;
use datafusion::arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::ScalarValue;
use pgwire::api::Type;
use uuid::Uuid;

use super::numbers;
use crate::pgwire::failure::Failure;

/// PostgreSQL counts from 2000, everybody else from 1970.
const DAYS_TO_2000: i32 = 10_957;
const MICROSECONDS_TO_2000: i64 = 946_684_800_000_000;

/// Reads one value; what stands for a null is not a value.
pub(in crate::pgwire) fn read(kind: &Type, is_binary: bool, bytes: &[u8]) -> Result<ScalarValue, Failure> {
    let value = match is_binary {
        true => binary(kind, bytes)?,
        false => text(kind, bytes)?,
    };
    value.ok_or_else(|| malformed(kind))
}

/// A null as the engine takes it. `expected` is its type there, if that is known.
pub(in crate::pgwire) fn null(kind: &Type, expected: Option<&DataType>) -> Result<ScalarValue, Failure> {
    let own = arrow_type(kind);
    let kind = expected.unwrap_or(&own);
    ScalarValue::try_from(kind).map_err(|_| Failure::new("0A000", "a null of this type is not supported"))
}

/// The value in the engine's type, if it is the same value there.
pub(in crate::pgwire) fn coerced(value: ScalarValue, expected: Option<&DataType>) -> ScalarValue {
    let own = value.data_type();
    match expected {
        Some(expected) if own != *expected && alike(&own, expected) => match value.cast_to(expected) {
            Ok(cast) if cast.cast_to(&own).is_ok_and(|back| back == value) => cast,
            _ => value,
        },
        _ => value,
    }
}

/// The engine's type of a parameter's.
pub(in crate::pgwire) fn arrow_type(kind: &Type) -> DataType {
    if let Some(item) = super::item_of(kind) {
        return DataType::new_list(arrow_type(&item), true);
    }
    match *kind {
        Type::BOOL => DataType::Boolean,
        Type::INT2 => DataType::Int16,
        Type::INT4 | Type::OID => DataType::Int32,
        Type::INT8 => DataType::Int64,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        Type::NUMERIC => DataType::Decimal128(38, 10),
        Type::BYTEA => DataType::Binary,
        Type::DATE => DataType::Date32,
        Type::TIME => DataType::Time64(TimeUnit::Nanosecond),
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Type::INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
        _ => DataType::Utf8,
    }
}

/// The error that bytes are no value of a type; they are not repeated.
pub(in crate::pgwire) fn malformed(kind: &Type) -> Failure {
    Failure::new("22P02", format!("invalid input syntax for a parameter of type {}", kind.name()))
}

/// Types between which a value can be the same one.
fn alike(one: &DataType, other: &DataType) -> bool {
    use DataType::{Date32, LargeUtf8, List, Time32, Time64, Timestamp, Utf8, Utf8View};
    match (one, other) {
        (List(one), List(other)) => {
            one.data_type() == other.data_type() || alike(one.data_type(), other.data_type())
        }
        (Utf8, LargeUtf8 | Utf8View)
        | (Date32 | Timestamp(..), Timestamp(..))
        | (Time64(_), Time32(_) | Time64(_)) => true,
        (one, other) => one.is_numeric() && other.is_numeric(),
    }
}

fn text(kind: &Type, bytes: &[u8]) -> Result<Option<ScalarValue>, Failure> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Failure::new("22021", "a parameter's text is not valid UTF-8"))?;
    Ok(match *kind {
        Type::UUID => Uuid::try_parse(text.trim()).ok().map(|uuid| uuid.to_string().into()),
        Type::NUMERIC => return numbers::decimal(text.trim()),
        // Infinity and what is no number have the same names there.
        Type::FLOAT8 => text.trim().parse::<f64>().ok().map(ScalarValue::from),
        Type::FLOAT4 => text.trim().parse::<f32>().ok().map(ScalarValue::from),
        Type::BYTEA => crate::text::bytea(text).map(|bytes| ScalarValue::Binary(Some(bytes))),
        Type::INTERVAL => interval(text.trim()),
        Type::OID => text.trim().parse().ok().map(|oid: u32| ScalarValue::Int32(Some(oid.cast_signed()))),
        _ => match arrow_type(kind) {
            DataType::Utf8 => Some(text.into()),
            kind => ScalarValue::try_from_string(text.trim().to_owned(), &kind).ok(),
        }
        .filter(|value| !value.is_null()),
    })
}

fn binary(kind: &Type, bytes: &[u8]) -> Result<Option<ScalarValue>, Failure> {
    use ScalarValue as Value;
    Ok(match *kind {
        Type::BOOL => fixed(bytes).map(|[byte]| Value::from(byte != 0)),
        Type::INT2 => fixed(bytes).map(|bytes| Value::from(i16::from_be_bytes(bytes))),
        Type::INT4 | Type::OID => fixed(bytes).map(|bytes| Value::from(i32::from_be_bytes(bytes))),
        Type::INT8 => long(bytes).map(Value::from),
        Type::FLOAT4 => fixed(bytes).map(|bytes| Value::from(f32::from_be_bytes(bytes))),
        Type::FLOAT8 => fixed(bytes).map(|bytes| Value::from(f64::from_be_bytes(bytes))),
        Type::NUMERIC => return numbers::read(bytes),
        Type::BYTEA => Some(Value::Binary(Some(bytes.to_vec()))),
        Type::DATE => fixed(bytes)
            .and_then(|bytes| i32::from_be_bytes(bytes).checked_add(DAYS_TO_2000))
            .map(|days| Value::Date32(Some(days))),
        Type::TIME => {
            long(bytes).and_then(|time| time.checked_mul(1_000)).map(|ns| Value::Time64Nanosecond(Some(ns)))
        }
        Type::TIMESTAMP => since_1970(bytes).map(|time| Value::TimestampMicrosecond(Some(time), None)),
        Type::TIMESTAMPTZ => {
            since_1970(bytes).map(|time| Value::TimestampMicrosecond(Some(time), Some("UTC".into())))
        }
        Type::INTERVAL => binary_interval(bytes),
        Type::UUID => Uuid::from_slice(bytes).ok().map(|uuid| uuid.to_string().into()),
        // The version of its format comes first.
        Type::JSONB => return bytes.strip_prefix(&[1]).map_or(Ok(None), |text| self::text(kind, text)),
        Type::TEXT
        | Type::VARCHAR
        | Type::BPCHAR
        | Type::NAME
        | Type::CHAR
        | Type::UNKNOWN
        | Type::JSON
        | Type::XML => {
            return text(kind, bytes);
        }
        _ => {
            let message = format!("parameters of type {} are read as text only", kind.name());
            return Err(Failure::new("0A000", message));
        }
    })
}

fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

fn long(bytes: &[u8]) -> Option<i64> {
    fixed(bytes).map(i64::from_be_bytes)
}

fn since_1970(bytes: &[u8]) -> Option<i64> {
    long(bytes)?.checked_add(MICROSECONDS_TO_2000)
}

fn span(months: i32, days: i32, microseconds: i64) -> Option<ScalarValue> {
    let span = IntervalMonthDayNano::new(months, days, microseconds.checked_mul(1_000)?);
    Some(ScalarValue::IntervalMonthDayNano(Some(span)))
}

fn binary_interval(bytes: &[u8]) -> Option<ScalarValue> {
    let (time, date) = bytes.split_first_chunk::<8>()?;
    let (days, months) = date.split_first_chunk::<4>()?;
    let months = i32::from_be_bytes(fixed(months)?);
    span(months, i32::from_be_bytes(*days), i64::from_be_bytes(*time))
}

/// `1 day 02:03:04.5`, `-1 day, 1:00:00`, `90 s`; ISO 8601 is read by the engine.
fn interval(text: &str) -> Option<ScalarValue> {
    let (mut months, mut days, mut microseconds) = (0_i64, 0_i64, 0_i64);
    if text.starts_with(['P', 'p']) {
        let kind = DataType::Interval(IntervalUnit::MonthDayNano);
        return ScalarValue::try_from_string(text.to_owned(), &kind).ok();
    }
    let mut words = text.split(|letter: char| letter == ',' || letter.is_whitespace());
    let mut words = words.by_ref().filter(|word| !word.is_empty());
    let mut any = false;
    while let Some(word) = words.next() {
        any = true;
        if word.contains(':') {
            microseconds = microseconds.checked_add(clock(word)?)?;
            continue;
        }
        let end = word.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let unit = if end.len() < word.len() { &word[end.len()..] } else { words.next()? };
        match unit.to_ascii_lowercase().trim_end_matches('s') {
            "year" | "y" | "yr" => months = months.checked_add(end.parse::<i64>().ok()?.checked_mul(12)?)?,
            "month" | "mon" => months = months.checked_add(end.parse().ok()?)?,
            "week" | "w" => days = days.checked_add(end.parse::<i64>().ok()?.checked_mul(7)?)?,
            "day" | "d" => days = days.checked_add(end.parse().ok()?)?,
            "hour" | "h" | "hr" => microseconds = microseconds.checked_add(parts(end, 3_600_000_000)?)?,
            "minute" | "min" | "m" => microseconds = microseconds.checked_add(parts(end, 60_000_000)?)?,
            "second" | "sec" | "" => microseconds = microseconds.checked_add(parts(end, 1_000_000)?)?,
            "millisecond" => microseconds = microseconds.checked_add(parts(end, 1_000)?)?,
            "microsecond" | "u" => microseconds = microseconds.checked_add(parts(end, 1)?)?,
            _ => return None,
        }
    }
    if !any {
        return None;
    }
    span(months.try_into().ok()?, days.try_into().ok()?, microseconds)
}

/// `[-]hours:minutes[:seconds]` in microseconds.
fn clock(word: &str) -> Option<i64> {
    let (sign, word) = match word.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, word.trim_start_matches('+')),
    };
    let mut fields = word.split(':');
    let hours = parts(fields.next()?, 3_600_000_000)?;
    let minutes = parts(fields.next()?, 60_000_000)?;
    let seconds = fields.next().map_or(Some(0), |seconds| parts(seconds, 1_000_000))?;
    let whole = hours.checked_add(minutes)?.checked_add(seconds)?;
    fields.next().is_none().then_some(sign * whole)
}

/// A number with at most six digits behind its point, in parts of `unit`.
fn parts(number: &str, unit: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let is_negative = whole.starts_with('-');
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut part: i128 = 0;
    for digit in format!("{fraction:0<9}").bytes() {
        part = part * 10 + i128::from(digit - b'0');
    }
    let part = i64::try_from(part * i128::from(unit) / 1_000_000_000).ok()?;
    whole.checked_mul(unit)?.checked_add(if is_negative { -part } else { part })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(kind: &Type, text: &str) -> Option<String> {
        read(kind, false, text.as_bytes()).ok().map(|value| format!("{value:?}"))
    }

    #[test]
    fn texts_are_values_of_their_types() {
        for (kind, text, expected) in [
            (
                Type::UUID,
                "00000000000000000000000000000001",
                "Utf8(\"00000000-0000-0000-0000-000000000001\")",
            ),
            (Type::BYTEA, "\\x00ff", "Binary(\"0,255\")"),
            (Type::BYTEA, "a\\\\\\001", "Binary(\"97,92,1\")"),
            (Type::JSONB, "{\"a\": 1}", "Utf8(\"{\"a\": 1}\")"),
            (
                Type::TIMESTAMPTZ,
                "9999-12-31 00:00:00+00",
                "TimestampMicrosecond(253402214400000000, Some(\"UTC\"))",
            ),
            (Type::INT2, " 7", "Int16(7)"),
            (Type::FLOAT8, "-Infinity", "Float64(-inf)"),
            (Type::BOOL, "t", "Boolean(true)"),
        ] {
            assert_eq!(shown(&kind, text).as_deref(), Some(expected), "{text}");
        }
        for (text, expected) in [
            ("1 day, 1:00:00.5", span(0, 1, 3_600_500_000)),
            ("-90 s", span(0, 0, -90_000_000)),
            ("1 year 2 mons -3 days -00:00:01", span(14, -3, -1_000_000)),
            ("2w 1h30m", None),
            ("2w 1h 30m", span(0, 14, 5_400_000_000)),
        ] {
            assert_eq!(interval(text), expected, "{text}");
        }
        for (kind, text) in [
            (Type::INTERVAL, "soon"),
            (Type::INTERVAL, ""),
            (Type::UUID, "x"),
            (Type::BYTEA, "\\x0"),
            (Type::INT4, "1.5"),
            (Type::NUMERIC, "1,5"),
            (Type::DATE, "yesterday"),
        ] {
            assert_eq!(shown(&kind, text), None, "{text}");
        }
    }

    #[test]
    fn a_value_becomes_what_is_expected_only_if_it_stays_the_same() {
        let half = read(&Type::NUMERIC, false, b"1.5").unwrap();
        assert_eq!(coerced(half.clone(), Some(&DataType::Int64)), half);
        let two = read(&Type::NUMERIC, false, b"2.0").unwrap();
        assert_eq!(coerced(two, Some(&DataType::Int64)), ScalarValue::Int64(Some(2)));
        let seven = ScalarValue::Int16(Some(7));
        assert_eq!(coerced(seven, Some(&DataType::Int64)), ScalarValue::Int64(Some(7)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_value_or_an_error(bytes: Vec<u8>, is_binary: bool) {
            for kind in [
                Type::BOOL, Type::INT2, Type::OID, Type::NUMERIC, Type::BYTEA, Type::DATE, Type::TIME,
                Type::TIMESTAMPTZ, Type::INTERVAL, Type::UUID, Type::JSONB, Type::TEXT, Type::INET,
            ] {
                let _ = read(&kind, is_binary, &bytes);
            }
        }

        #[test]
        fn any_text_is_a_span_or_an_error(text in "[-+0-9.: a-z,]{0,24}") {
            let _ = read(&Type::INTERVAL, false, text.as_bytes());
        }
    }
}
