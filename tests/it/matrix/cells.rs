//! When two clients' cells are the same.
//!
//! What is expected is JSON of HTTP's answer, which has types; what is found is
//! null, a text or a list of such. A client that knows no type of a list or a
//! struct gives PostgreSQL's literal, which is taken apart here.

use chrono::{DateTime, NaiveDateTime};
use serde_json::Value;

/// Whether a client's cell is what is expected.
pub(super) fn same(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Null, found) => found.is_null(),
        (Value::Array(items), Value::Array(found)) => all(items.iter(), found),
        (Value::Array(items), Value::String(literal)) => {
            parts(literal, '{', '}').is_some_and(|found| all(items.iter(), &found))
        }
        (Value::Object(fields), Value::Array(found)) => all(fields.values(), found),
        (Value::Object(fields), Value::String(literal)) => {
            parts(literal, '(', ')').is_some_and(|found| all(fields.values(), &found))
        }
        (Value::Bool(flag), Value::String(found)) => {
            let words = if *flag { ["t", "true"] } else { ["f", "false"] };
            words.contains(&found.as_str())
        }
        (Value::Number(number), Value::String(found)) => same_number(&number.to_string(), found),
        (Value::String(text), Value::String(found)) => same_text(text, found),
        _ => false,
    }
}

fn all<'a>(expected: impl ExactSizeIterator<Item = &'a Value>, found: &[Value]) -> bool {
    expected.len() == found.len() && expected.zip(found).all(|(expected, found)| same(expected, found))
}

/// Whole numbers digit by digit; others as the numbers that they are.
fn same_number(expected: &str, found: &str) -> bool {
    let whole = |text: &str| text.parse::<i128>().ok();
    match (whole(expected), whole(found)) {
        (Some(expected), Some(found)) => expected == found,
        _ => expected.parse::<f64>().ok() == found.parse::<f64>().ok(),
    }
}

/// Texts as they are; bytes and times in the ways that clients write them.
fn same_text(expected: &str, found: &str) -> bool {
    let same_time = || Some(time(expected)? == time(found)?);
    let same_bytes = || found.strip_prefix("\\x").is_some_and(|found| found == expected);
    expected == found || same_bytes() || same_time().unwrap_or(false) || same_decimal(expected, found)
}

/// Decimals may come as texts; their digits after the point count.
fn same_decimal(expected: &str, found: &str) -> bool {
    let digits = |text: &str| {
        !text.is_empty() && text.trim_start_matches('-').chars().all(|c| c == '.' || c.is_ascii_digit())
    };
    digits(expected)
        && digits(found)
        && expected.trim_start_matches('-').starts_with('.')
        && same_number(expected, found)
}

/// Microseconds of a time with its zone, or of one without.
fn time(text: &str) -> Option<(bool, i64)> {
    let zoned = ["%Y-%m-%dT%H:%M:%S%.f%:z", "%Y-%m-%d %H:%M:%S%.f%#z"];
    let parse = |text: &str| {
        let utc = text.replace('Z', "+00:00");
        zoned.iter().find_map(|format| DateTime::parse_from_str(&utc, format).ok())
    };
    if let Some(time) = parse(text) {
        return Some((true, time.timestamp_micros()));
    }
    let local = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
    let time = local.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())?;
    Some((false, time.and_utc().timestamp_micros()))
}

/// The items of an array's literal or the fields of a record's; `None` if it is neither.
fn parts(literal: &str, open: char, close: char) -> Option<Vec<Value>> {
    let inside = literal.strip_prefix(open)?.strip_suffix(close)?;
    let is_array = open == '{';
    if inside.is_empty() && is_array {
        return Some(Vec::new());
    }
    let (mut parts, mut part, mut quoted, mut was_quoted) = (Vec::new(), String::new(), false, false);
    let mut letters = inside.chars().peekable();
    let end = |part: &mut String, was_quoted: &mut bool| {
        let text = std::mem::take(part);
        let is_null = !std::mem::take(was_quoted) && if is_array { text == "NULL" } else { text.is_empty() };
        if is_null { Value::Null } else { Value::String(text) }
    };
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => part.push(letters.next()?),
            '"' if quoted && letters.next_if_eq(&'"').is_some() => part.push('"'),
            '"' => {
                quoted = !quoted;
                was_quoted = true;
            }
            ',' if !quoted => parts.push(end(&mut part, &mut was_quoted)),
            letter => part.push(letter),
        }
    }
    parts.push(end(&mut part, &mut was_quoted));
    Some(parts)
}

#[test]
fn cells_are_the_same_only_if_they_say_the_same() {
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    for (expected, found) in [
        ("null", "null"),
        ("true", "\"t\""),
        ("9223372036854775807", "\"9223372036854775807\""),
        ("1.5", "\"1.50\""),
        ("\"2026-11-24T10:00:00.000001Z\"", "\"2026-11-24 10:00:00.000001+00\""),
        ("\"00ff\"", "\"\\\\x00ff\""),
        ("[\"a,b\", null, \"NULL\", \"\"]", "\"{\\\"a,b\\\",NULL,\\\"NULL\\\",\\\"\\\"}\""),
        ("[{\"a\": \"x\", \"b\": null}]", "[\"(x,)\"]"),
        ("[{\"a\": \"x\", \"b\": null}]", "\"{\\\"(x,)\\\"}\""),
        ("[]", "\"{}\""),
    ] {
        assert!(same(&json(expected), &json(found)), "{expected} {found}");
    }
    for (expected, found) in [
        ("null", "\"\""),
        ("true", "\"f\""),
        ("9223372036854775807", "\"9223372036854775806\""),
        ("\"a\"", "null"),
        ("\"10\"", "\"10.0\""),
        ("\"2026-11-24T10:00:00Z\"", "\"2026-11-24 10:00:00\""),
        ("[\"a\", null]", "\"{a,\\\"NULL\\\"}\""),
        ("[\"a\"]", "\"{a,b}\""),
    ] {
        assert!(!same(&json(expected), &json(found)), "{expected} {found}");
    }
}
