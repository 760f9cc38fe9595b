//! Arrays as parameters, and as texts.

use std::collections::BTreeSet;

use bytes::Buf;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use pgwire::api::Type;

use super::failure::Failure;
use super::parameters::values;

/// Reads an array of one dimension, whose items are of type `item`.
pub(super) fn read(item: &Type, is_binary: bool, bytes: &[u8]) -> Result<ScalarValue, Failure> {
    let items: Vec<Option<ScalarValue>> = match is_binary {
        true => {
            let one = |bytes: Option<&[u8]>| bytes.map(|bytes| values::read(item, true, bytes)).transpose();
            binary(bytes).ok_or_else(malformed)?.into_iter().map(one).collect::<Result<_, _>>()?
        }
        false => {
            let text = std::str::from_utf8(bytes).map_err(|_| malformed())?;
            let read = |text: String| values::read(item, false, text.as_bytes());
            let one = |text: Option<String>| text.map(read).transpose();
            self::items(text).ok_or_else(malformed)?.into_iter().map(one).collect::<Result<_, _>>()?
        }
    };
    let kind = kind(item, &items);
    let null = ScalarValue::try_from(&kind).map_err(|_| malformed())?;
    let item = |value: Option<ScalarValue>| match value {
        None => Ok(null.clone()),
        Some(value) => value.cast_to(&kind).map_err(|_| malformed()),
    };
    let items = items.into_iter().map(item).collect::<Result<Vec<_>, _>>()?;
    Ok(ScalarValue::List(ScalarValue::new_list_nullable(&items, &kind)))
}

/// The type that holds all items: decimals come with as many digits as each needs.
fn kind(item: &Type, items: &[Option<ScalarValue>]) -> DataType {
    let kinds: BTreeSet<(u8, i8)> = items
        .iter()
        .flatten()
        .filter_map(|value| match value.data_type() {
            DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
                Some((precision.saturating_sub(scale.unsigned_abs()), scale))
            }
            _ => None,
        })
        .collect();
    let whole = kinds.iter().map(|(whole, _)| *whole).max();
    let scale = kinds.iter().map(|(_, scale)| *scale).max();
    match (whole, scale) {
        (Some(whole), Some(scale)) => match whole.saturating_add(scale.unsigned_abs()).max(1) {
            precision @ ..=38 => DataType::Decimal128(precision, scale),
            precision => DataType::Decimal256(precision.min(76), scale),
        },
        _ => values::arrow_type(item),
    }
}

fn malformed() -> Failure {
    Failure::new("22P02", "malformed array: it must have one dimension, and items of its type")
}

/// The items of an array of one dimension; `None` if it is not one.
pub(crate) fn items(text: &str) -> Option<Vec<Option<String>>> {
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

fn binary(mut bytes: &[u8]) -> Option<Vec<Option<&[u8]>>> {
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
    let mut items = Vec::with_capacity(count.min(bytes.len() / 4));
    for _ in 0..count {
        items.push(match bytes.try_get_i32().ok()? {
            -1 => None,
            length => {
                let (item, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
                bytes = rest;
                Some(item)
            }
        });
    }
    Some(items)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(kind: &Type, text: &str) -> Option<String> {
        read(kind, false, text.as_bytes()).ok().map(|value| value.to_string())
    }

    #[test]
    fn literals_are_read_and_nonsense_is_not() {
        assert_eq!(shown(&Type::DATE, "{2026-11-24,NULL}").as_deref(), Some("[2026-11-24, ]"));
        assert_eq!(
            shown(&Type::TIMESTAMPTZ, "{\"2026-11-24 10:00:00.5+01\"}").as_deref(),
            Some("[2026-11-24T09:00:00.500Z]")
        );
        assert_eq!(shown(&Type::OID, "{}").as_deref(), Some("[]"));
        for text in ["", "{", "{1", "{{1}}", "{x}", "1,2", "{\"1}"] {
            assert_eq!(shown(&Type::OID, text), None, "{text}");
        }
        assert_eq!(shown(&Type::NUMERIC, "{1.5,20,NULL}").as_deref(), Some("[1.5, 20.0, ]"));
        assert_eq!(shown(&Type::BYTEA, "{\"\\\\x00ff\"}").as_deref(), Some("[00ff]"));
    }

    #[test]
    fn binary_counts_from_2000() {
        let bytes = |item: &[u8]| {
            let mut bytes = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1];
            bytes.extend_from_slice(&i32::try_from(item.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(item);
            bytes
        };
        let read =
            |kind: &Type, item: &[u8]| super::read(kind, true, &bytes(item)).map(|value| value.to_string());
        assert_eq!(read(&Type::DATE, &1_i32.to_be_bytes()).unwrap(), "[2000-01-02]");
        assert_eq!(read(&Type::TIMESTAMPTZ, &1_i64.to_be_bytes()).unwrap(), "[2000-01-01T00:00:00.000001Z]");
        assert_eq!(read(&Type::OID, &7_i32.to_be_bytes()).unwrap(), "[7]");
        assert!(read(&Type::OID, &[1, 2]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_array_or_an_error(bytes: Vec<u8>, is_binary: bool) {
            for kind in [Type::DATE, Type::TIMESTAMPTZ, Type::OID, Type::NUMERIC, Type::TEXT] {
                let _ = read(&kind, is_binary, &bytes);
            }
        }
    }
}
