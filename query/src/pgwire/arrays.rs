//! Arrays as parameters: the types that `arrow-pg` does not read.

use bytes::{Buf, Bytes};
use datafusion::arrow::array::{
    Array, ArrayRef, Date32Array, Int32Array, ListArray, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use pgwire::api::Type;
use std::sync::Arc;

use super::failure::Failure;

/// PostgreSQL counts from 2000, everybody else from 1970.
const DAYS_TO_2000: i32 = 10_957;
const MICROSECONDS_TO_2000: i64 = 946_684_800_000_000;

/// Whether an array of this type is read here.
pub(super) fn reads(kind: &Type, is_binary: bool) -> bool {
    let times = [Type::TIMESTAMPTZ_ARRAY, Type::TIMESTAMP_ARRAY, Type::DATE_ARRAY, Type::OID_ARRAY];
    times.contains(kind) || (!is_binary && *kind == Type::NUMERIC_ARRAY)
}

/// An array as the engine takes it. `expected` is its type, if that is known.
pub(super) fn read(
    kind: &Type,
    is_binary: bool,
    bytes: &Bytes,
    expected: Option<&DataType>,
) -> Result<ScalarValue, Failure> {
    let items = match is_binary {
        true => binary(kind, bytes.clone()).ok_or_else(malformed)?,
        false => text(kind, bytes)?,
    };
    let items = match expected {
        Some(DataType::List(item)) => cast(&items, item.data_type()).map_err(|_| malformed())?,
        _ => items,
    };
    let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
    let list = ListArray::try_new(field, OffsetBuffer::from_lengths([items.len()]), items, None);
    Ok(ScalarValue::List(Arc::new(list.map_err(|_| malformed())?)))
}

fn malformed() -> Failure {
    Failure::new("22P02", "malformed array: it must have one dimension, and items of its type")
}

fn text(kind: &Type, bytes: &[u8]) -> Result<ArrayRef, Failure> {
    let text = std::str::from_utf8(bytes).map_err(|_| malformed())?;
    let items: StringArray = items(text).ok_or_else(malformed)?.into_iter().collect();
    let item = match *kind {
        Type::TIMESTAMPTZ_ARRAY => utc(),
        Type::TIMESTAMP_ARRAY => local(),
        Type::DATE_ARRAY => DataType::Date32,
        Type::OID_ARRAY => DataType::Int32,
        _ => DataType::Decimal128(38, 10),
    };
    let options = datafusion::arrow::compute::CastOptions { safe: false, ..Default::default() };
    datafusion::arrow::compute::cast_with_options(&items, &item, &options).map_err(|_| malformed())
}

fn utc() -> DataType {
    DataType::Timestamp(datafusion::arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()))
}

fn local() -> DataType {
    DataType::Timestamp(datafusion::arrow::datatypes::TimeUnit::Microsecond, None)
}

/// The items of an array of one dimension; `None` if it is not one.
pub(super) fn items(text: &str) -> Option<Vec<Option<String>>> {
    let inside = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    if inside.trim().is_empty() {
        return Some(Vec::new());
    }
    let (mut items, mut item, mut quoted, mut was_quoted) = (Vec::new(), String::new(), false, false);
    let mut letters = inside.chars();
    let end = |item: &mut String, was_quoted: bool| {
        let text = std::mem::take(item);
        match was_quoted {
            true => Some(text),
            false => Some(text.trim().to_owned()).filter(|text| !text.eq_ignore_ascii_case("null")),
        }
    };
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => item.push(letters.next()?),
            '"' => {
                quoted = !quoted;
                was_quoted = true;
            }
            ',' if !quoted => items.push(end(&mut item, std::mem::take(&mut was_quoted))),
            '{' | '}' if !quoted => return None,
            letter => item.push(letter),
        }
    }
    items.push(end(&mut item, was_quoted));
    (!quoted).then_some(items)
}

fn binary(kind: &Type, mut bytes: Bytes) -> Option<ArrayRef> {
    let dimensions = bytes.try_get_i32().ok()?;
    bytes.try_get_i32().ok()?;
    bytes.try_get_u32().ok()?;
    let count = match dimensions {
        0 => 0,
        1 => {
            let count = usize::try_from(bytes.try_get_i32().ok()?).ok()?;
            bytes.try_get_i32().ok()?;
            count
        }
        _ => return None,
    };
    // An item has four bytes at least, whatever the count says.
    let mut values: Vec<Option<i64>> = Vec::with_capacity(count.min(bytes.len() / 4));
    for _ in 0..count {
        values.push(match bytes.try_get_i32().ok()? {
            -1 => None,
            4 => Some(i64::from(bytes.try_get_i32().ok()?)),
            8 => Some(bytes.try_get_i64().ok()?),
            _ => return None,
        });
    }
    let small = |value: Option<i64>, from: i32| {
        value.map(|value| i32::try_from(value).unwrap_or(i32::MAX).saturating_add(from))
    };
    let times = || values.iter().map(|value| value.map(|value| value.saturating_add(MICROSECONDS_TO_2000)));
    Some(match *kind {
        Type::DATE_ARRAY => {
            Arc::new(values.iter().map(|value| small(*value, DAYS_TO_2000)).collect::<Date32Array>())
        }
        Type::OID_ARRAY => Arc::new(values.iter().map(|value| small(*value, 0)).collect::<Int32Array>()),
        Type::TIMESTAMPTZ_ARRAY => {
            Arc::new(times().collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        }
        _ => Arc::new(times().collect::<TimestampMicrosecondArray>()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(kind: &Type, text: &str) -> Option<String> {
        let value = read(kind, false, &Bytes::copy_from_slice(text.as_bytes()), None).ok()?;
        Some(value.to_string())
    }

    #[test]
    fn literals_are_read_and_nonsense_is_not() {
        assert_eq!(shown(&Type::DATE_ARRAY, "{2026-11-24,NULL}").as_deref(), Some("[2026-11-24, ]"));
        assert_eq!(
            shown(&Type::TIMESTAMPTZ_ARRAY, "{\"2026-11-24 10:00:00.5+01\"}").as_deref(),
            Some("[2026-11-24T09:00:00.500Z]")
        );
        assert_eq!(shown(&Type::OID_ARRAY, "{}").as_deref(), Some("[]"));
        for text in ["", "{", "{1", "{{1}}", "{x}", "1,2", "{\"1}"] {
            assert_eq!(shown(&Type::OID_ARRAY, text), None, "{text}");
        }
    }

    #[test]
    fn binary_counts_from_2000() {
        let bytes = |item: &[u8]| {
            let mut bytes = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1];
            bytes.extend_from_slice(&i32::try_from(item.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(item);
            Bytes::from(bytes)
        };
        let read = |kind: &Type, item: &[u8]| {
            super::read(kind, true, &bytes(item), None).map(|value| value.to_string())
        };
        assert_eq!(read(&Type::DATE_ARRAY, &1_i32.to_be_bytes()).unwrap(), "[2000-01-02]");
        assert_eq!(
            read(&Type::TIMESTAMPTZ_ARRAY, &1_i64.to_be_bytes()).unwrap(),
            "[2000-01-01T00:00:00.000001Z]"
        );
        assert_eq!(read(&Type::OID_ARRAY, &7_i32.to_be_bytes()).unwrap(), "[7]");
        assert!(read(&Type::OID_ARRAY, &[1, 2]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_array_or_an_error(bytes: Vec<u8>, is_binary: bool) {
            for kind in [Type::DATE_ARRAY, Type::TIMESTAMPTZ_ARRAY, Type::OID_ARRAY, Type::NUMERIC_ARRAY] {
                let _ = read(&kind, is_binary && kind != Type::NUMERIC_ARRAY, &Bytes::from(bytes.clone()), None);
            }
        }
    }
}
