//! Kubernetes quantities: `100m`, `1.5`, `128Mi`, `1e3`.

/// A quantity in thousandths, rounded up as the scheduler does. `None` for text
/// that is none, and for what does not fit.
pub(super) fn thousandths(text: &str) -> Option<i64> {
    let end = text.find(|each: char| !each.is_ascii_digit() && !matches!(each, '.' | '+' | '-'));
    let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
    let number: f64 = number.parse().ok()?;
    let in_thousandths = (number * scale(suffix)? * 1000.0).ceil();
    // Beyond 2^53 a float skips integers; nobody requests a million terabytes.
    in_range(in_thousandths)
}

/// A quantity in whole units, rounded up.
pub(super) fn units(text: &str) -> Option<i64> {
    thousandths(text).map(|value| value.div_euclid(1000) + i64::from(value.rem_euclid(1000) > 0))
}

#[allow(clippy::cast_possible_truncation, reason = "the range is checked before")]
fn in_range(value: f64) -> Option<i64> {
    (value.is_finite() && (0.0..9.0e18).contains(&value)).then_some(value as i64)
}

fn scale(suffix: &str) -> Option<f64> {
    Some(match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0_f64.powi(2),
        "Gi" => 1024.0_f64.powi(3),
        "Ti" => 1024.0_f64.powi(4),
        "Pi" => 1024.0_f64.powi(5),
        "Ei" => 1024.0_f64.powi(6),
        exponent => 10.0_f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_as_people_write_them() {
        for (text, expected) in [
            ("100m", 100),
            ("0.1", 100),
            ("2", 2000),
            ("1.5", 1500),
            ("1u", 1),
            ("1e3", 1_000_000),
            ("1k", 1_000_000),
            ("0", 0),
        ] {
            assert_eq!(thousandths(text), Some(expected), "{text}");
        }
        for (text, expected) in
            [("128Mi", 128 << 20), ("1G", 1_000_000_000), ("1.5Gi", 3 << 29), ("1500m", 2)]
        {
            assert_eq!(units(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity() {
        for text in ["", "m", "1 Gi", "1Zi", "-1", "--1", "1e99", "NaN", "inf", "1e", "1.2.3"] {
            assert_eq!(thousandths(text), None, "{text}");
        }
    }
}
