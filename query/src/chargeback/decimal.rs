//! Decimal numbers with six digits after the point, exact.

use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const MICROS: i128 = 1_000_000;

/// A number exact to a millionth. In JSON and text it is e.g. `"12.345678"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal {
    micros: i128,
}

/// A text is no such number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a number with at most {digits} digits after the point, e.g. 0.0316")]
pub struct NotDecimal {
    digits: usize,
}

/// Divides and rounds half away from zero. `by` is positive.
pub(super) fn rounded(number: i128, by: i128) -> i128 {
    let (quotient, rest) = (number / by, number % by);
    match rest.abs() >= by - rest.abs() {
        true => quotient + number.signum(),
        false => quotient,
    }
}

/// Reads `12.345` as a whole number of units of 10⁻ⁿ, with n the most digits
/// that may follow the point. No sign, no exponent.
pub(super) fn read(text: &str, digits: usize) -> Result<i128, NotDecimal> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number =
        |text: &str| !text.is_empty() && text.len() <= 24 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.trim_end_matches('0').len() > digits {
        return Err(NotDecimal { digits });
    }
    let part = part.trim_end_matches('0');
    format!("{whole}{part:0<digits$}").parse().map_err(|_| NotDecimal { digits })
}

// === impl Decimal ===

impl Decimal {
    /// So many millionths.
    pub const fn from_micros(micros: i128) -> Self {
        Self { micros }
    }

    /// How many millionths it is.
    pub const fn micros(self) -> i128 {
        self.micros
    }

    /// `amount / unit`, rounded half away from zero. `unit` is positive.
    pub fn ratio(amount: i128, unit: i128) -> Self {
        let (whole, rest) = (amount / unit, amount % unit);
        Self { micros: whole * MICROS + rounded(rest * MICROS, unit) }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.micros < 0 { "-" } else { "" };
        let micros = self.micros.unsigned_abs();
        let unit = MICROS.unsigned_abs();
        f.pad(&format!("{sign}{}.{:06}", micros / unit, micros % unit))
    }
}

impl FromStr for Decimal {
    type Err = NotDecimal;

    fn from_str(text: &str) -> Result<Self, NotDecimal> {
        match text.strip_prefix('-') {
            Some(text) => read(text, 6).map(|micros| Self { micros: -micros }),
            None => read(text, 6).map(|micros| Self { micros }),
        }
    }
}

impl Sum for Decimal {
    fn sum<I: Iterator<Item = Self>>(numbers: I) -> Self {
        Self { micros: numbers.map(|number| number.micros).sum() }
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_half_is_rounded_away_from_zero() {
        for (number, by, expected) in
            [(5, 10, 1), (4, 10, 0), (-5, 10, -1), (-4, 10, 0), (15, 10, 2), (7, 1, 7), (1, 3, 0), (2, 3, 1)]
        {
            assert_eq!(rounded(number, by), expected, "{number}/{by}");
        }
    }

    #[test]
    fn what_is_no_plain_number_is_refused() {
        for text in ["", ".", "1.", ".5", "-1", "+1", "1e3", "1.0000000001", "0x1", "1,5", " 1", "nan"] {
            assert!(read(text, 9).is_err(), "{text:?}");
        }
        assert_eq!(
            (read("0.031611", 9), read("7", 9), read("1.500", 1)),
            (Ok(31_611_000), Ok(7_000_000_000), Ok(15))
        );
    }

    proptest! {
        #[test]
        fn a_number_reads_as_it_prints(micros in -1_000_000_000_000_000_000i128..1_000_000_000_000_000_000) {
            let number = Decimal::from_micros(micros);
            prop_assert_eq!(number.to_string().parse(), Ok(number));
            let json = serde_json::to_string(&number).unwrap();
            prop_assert_eq!(serde_json::from_str::<Decimal>(&json).unwrap(), number);
        }
    }
}
