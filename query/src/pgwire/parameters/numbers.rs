//! `numeric`: decimal digits, as PostgreSQL sends them and as the engine keeps them.

use datafusion::arrow::datatypes::i256;
use datafusion::common::ScalarValue;

use crate::pgwire::failure::Failure;

/// Most digits that the engine's decimals have.
const MOST_DIGITS: usize = 76;

/// Digits of the smaller one.
const FEWER_DIGITS: usize = 38;

/// PostgreSQL's signs; all others are no numbers.
const POSITIVE: u16 = 0;
const NEGATIVE: u16 = 0x4000;

/// A decimal from its digits, with as many behind the point as are written; `None` if it is none.
pub(super) fn decimal(text: &str) -> Result<Option<ScalarValue>, Failure> {
    let (is_negative, number) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if ["nan", "inf", "infinity"].contains(&number.to_ascii_lowercase().as_str()) {
        return Err(Failure::new("22003", "a numeric parameter must be finite"));
    }
    let (number, exponent) = match number.split_once(['e', 'E']) {
        Some((number, exponent)) => match exponent.parse::<i32>() {
            Ok(exponent) => (number, exponent),
            Err(_) => return Ok(None),
        },
        None => (number, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = [whole, fraction].concat();
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Ok(None);
    }
    let mut digits = digits.trim_start_matches('0').to_owned();
    let most = i64::try_from(MOST_DIGITS).unwrap_or(i64::MAX);
    let mut scale = i64::try_from(fraction.len()).unwrap_or(i64::MAX) - i64::from(exponent);
    if scale < 0 {
        let missing = usize::try_from(-scale).unwrap_or(usize::MAX).min(MOST_DIGITS + 1);
        digits.push_str(&"0".repeat(if digits.is_empty() { 0 } else { missing }));
        scale = 0;
    }
    let precision = digits.len().max(usize::try_from(scale).unwrap_or(usize::MAX)).max(1);
    if precision > MOST_DIGITS || scale > most {
        let message = format!("a numeric parameter has at most {MOST_DIGITS} digits");
        return Err(Failure::new("22003", message));
    }
    let scale = i8::try_from(scale).unwrap_or(i8::MAX);
    let digits = format!("{}{digits}", if is_negative { "-0" } else { "0" });
    let precision = |most: usize| u8::try_from(precision.min(most)).unwrap_or(u8::MAX);
    Ok(match precision(MOST_DIGITS) > precision(FEWER_DIGITS) {
        false => digits
            .parse()
            .ok()
            .map(|value| ScalarValue::Decimal128(Some(value), precision(FEWER_DIGITS), scale)),
        true => i256::from_string(&digits)
            .map(|value| ScalarValue::Decimal256(Some(value), precision(MOST_DIGITS), scale)),
    })
}

/// A decimal from PostgreSQL's binary form: groups of four digits.
pub(super) fn read(bytes: &[u8]) -> Result<Option<ScalarValue>, Failure> {
    let (words, rest) = bytes.as_chunks::<2>();
    let words: Vec<u16> = words.iter().map(|word| u16::from_be_bytes(*word)).collect();
    let [count, weight, sign, scale, groups @ ..] = words.as_slice() else { return Ok(None) };
    if !rest.is_empty() || usize::from(*count) != groups.len() || groups.iter().any(|group| *group > 9_999) {
        return Ok(None);
    }
    let sign = match *sign {
        POSITIVE => "",
        NEGATIVE => "-",
        _ => return Err(Failure::new("22003", "a numeric parameter must be finite")),
    };
    let (weight, scale) = (i32::from(weight.cast_signed()), usize::from(*scale));
    // What is too long is refused with the rest, without being written out.
    if weight > 20 || scale > 4 * MOST_DIGITS {
        return decimal(&"9".repeat(MOST_DIGITS + 1));
    }
    let group = |place: i32| {
        let index = usize::try_from(weight - place).ok();
        index.and_then(|index| groups.get(index)).copied().unwrap_or(0)
    };
    let mut text = format!("{sign}0");
    for place in (0..=weight.max(0)).rev() {
        text.push_str(&format!("{:04}", group(place)));
    }
    let mut fraction = String::new();
    for place in 1..=i32::try_from(scale.div_ceil(4)).unwrap_or(0) {
        fraction.push_str(&format!("{:04}", group(-place)));
    }
    fraction.truncate(scale);
    decimal(&format!("{text}.{fraction}"))
}

/// PostgreSQL's binary form of a decimal's text.
pub(in crate::pgwire) fn write(text: &str) -> Option<Vec<u8>> {
    let (sign, number) = match text.strip_prefix('-') {
        Some(rest) => (NEGATIVE, rest),
        None => (POSITIVE, text),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let digits = format!("{whole}{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
    let (fours, _) = digits.as_bytes().as_chunks::<4>();
    let mut groups = Vec::with_capacity(fours.len());
    for four in fours {
        groups.push(std::str::from_utf8(four).ok()?.parse::<u16>().ok()?);
    }
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let last = groups.iter().rposition(|group| *group != 0).map_or(leading, |last| last + 1);
    let weight = match leading < last {
        true => i16::try_from(whole.len() / 4).ok()? - 1 - i16::try_from(leading).ok()?,
        false => 0,
    };
    let groups = groups.get(leading..last).unwrap_or_default();
    let mut bytes = Vec::with_capacity(8 + 2 * groups.len());
    bytes.extend(u16::try_from(groups.len()).ok()?.to_be_bytes());
    bytes.extend(weight.to_be_bytes());
    bytes.extend(sign.to_be_bytes());
    bytes.extend(u16::try_from(fraction.len()).ok()?.to_be_bytes());
    groups.iter().for_each(|group| bytes.extend(group.to_be_bytes()));
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_keep_their_digits() {
        for (text, expected) in [
            ("1.50", ScalarValue::Decimal128(Some(150), 3, 2)),
            ("-0.001", ScalarValue::Decimal128(Some(-1), 3, 3)),
            ("0", ScalarValue::Decimal128(Some(0), 1, 0)),
            ("1.5e3", ScalarValue::Decimal128(Some(1_500), 4, 0)),
            ("1e-2", ScalarValue::Decimal128(Some(1), 2, 2)),
        ] {
            assert_eq!(decimal(text).unwrap(), Some(expected), "{text}");
        }
        let long = "9".repeat(38);
        assert_eq!(decimal(&long).unwrap().unwrap().to_string(), long);
        assert!(decimal(&"9".repeat(76)).unwrap().is_some() && decimal(&"9".repeat(77)).is_err());
        assert!(
            decimal("NaN").is_err() && decimal("1e999999999").is_err() && decimal("x").unwrap().is_none()
        );
        assert_eq!(write("1.50").unwrap(), [0, 2, 0, 0, 0, 0, 0, 2, 0, 1, 0x13, 0x88]);
        assert_eq!(write("0").unwrap(), [0; 8]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(text in "-?[1-9][0-9]{0,20}(\\.[0-9]{1,20})?") {
            prop_assert_eq!(read(&write(&text).unwrap()).unwrap(), decimal(&text).unwrap());
        }
    }
}
