//! Lengths of time as people write them: `90s`, `30m`, `1h`, `30d`.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::failure::Failure;

const UNITS: [(char, u64); 5] = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400), ('w', 604_800)];

/// Reads one number and one unit.
pub(crate) fn parse(text: &str) -> Result<Duration, Failure> {
    let unreadable = || {
        Failure::config(format!(
            "{text:?} is not a length of time; write a number and s, m, h, d or w, e.g. 30m"
        ))
    };
    let unit = text.chars().last().ok_or_else(unreadable)?;
    let (_, seconds) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(unreadable)?;
    let count: u64 = text[..text.len() - unit.len_utf8()].trim().parse().map_err(|_| unreadable())?;
    count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(unreadable)
}

/// The moment that far after `now`.
pub(crate) fn after(now: DateTime<Utc>, text: &str) -> Result<DateTime<Utc>, Failure> {
    shifted(now, text, DateTime::checked_add_signed)
}

/// The moment that far before `now`.
pub(crate) fn before(now: DateTime<Utc>, text: &str) -> Result<DateTime<Utc>, Failure> {
    shifted(now, text, DateTime::checked_sub_signed)
}

/// The period that flags name: from one moment to another, or so long until now.
pub(crate) fn period(
    since: &str,
    from: Option<&String>,
    to: Option<&String>,
) -> Result<(DateTime<Utc>, DateTime<Utc>), Failure> {
    let now = Utc::now();
    match (from, to) {
        (Some(from), Some(to)) => Ok((moment("--from", from)?, moment("--to", to)?)),
        _ => Ok((before(now, since)?, now)),
    }
}

fn moment(flag: &str, text: &str) -> Result<DateTime<Utc>, Failure> {
    let time = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc());
    time.map_err(|error| {
        Failure::config(format!("{flag} {text:?}: {error}; write e.g. 2026-11-01T00:00:00Z"))
    })
}

fn shifted(
    now: DateTime<Utc>,
    text: &str,
    by: impl Fn(DateTime<Utc>, chrono::TimeDelta) -> Option<DateTime<Utc>>,
) -> Result<DateTime<Utc>, Failure> {
    let span = chrono::TimeDelta::from_std(parse(text)?).ok();
    span.and_then(|span| by(now, span)).ok_or_else(|| Failure::config(format!("{text:?} is too long a time")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_unit() {
        assert_eq!(parse("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(parse("2w").unwrap(), Duration::from_secs(1_209_600));
        for text in ["", "h", "1", "1.5h", "-1h", "1 hour", "99999999999999999999d", "1é"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
