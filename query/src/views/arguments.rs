//! What functions are called with.

use chrono::{DateTime, Utc};
use datafusion::common::{ScalarValue, plan_datafusion_err};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::Expr;

use super::bounded::{Period, time_type};

/// A call's arguments, one after the other; errors tell how it is to be called.
pub(super) struct Arguments<'a> {
    usage: &'static str,
    left: &'a [Expr],
}

// === impl Arguments ===

impl<'a> Arguments<'a> {
    /// These, between `least` and `most` of them.
    pub(super) fn new(usage: &'static str, given: &'a [Expr], least: usize, most: usize) -> DfResult<Self> {
        let arguments = Self { usage, left: given };
        match (least..=most).contains(&given.len()) {
            true => Ok(arguments),
            false => Err(arguments.wrong(&format!("it was given {} arguments", given.len()))),
        }
    }

    /// The next one, a text or null.
    pub(super) fn text(&mut self, name: &str) -> DfResult<Option<String>> {
        match self.next(name)? {
            None => Ok(None),
            Some(value) if value.is_null() => Ok(None),
            Some(value) => match value.try_as_str().flatten() {
                Some(text) => Ok(Some(text.to_owned())),
                None => Err(self.wrong(&format!("{name} is no text"))),
            },
        }
    }

    /// The next two, from one moment to a later one.
    pub(super) fn period(&mut self) -> DfResult<Period> {
        let (from_us, to_us) = (self.moment("from")?, self.moment("to")?);
        let Some((from_us, to_us)) = from_us.zip(to_us) else { return Ok(Period::ALL) };
        match from_us < to_us {
            true => Ok(Period { from_us, to_us }),
            false => Err(self.wrong("from must lie before to")),
        }
    }

    /// The period, where it is given.
    pub(super) fn optional_period(&mut self) -> DfResult<Option<Period>> {
        if self.left.is_empty() { Ok(None) } else { self.period().map(Some) }
    }

    fn moment(&mut self, name: &str) -> DfResult<Option<i64>> {
        let Some(value) = self.next(name)? else { return Ok(None) };
        let time = value.cast_to(&time_type()).ok();
        match time.filter(|_| !value.data_type().is_numeric()) {
            Some(ScalarValue::TimestampMicrosecond(Some(us), _)) => Ok(Some(us)),
            _ => Err(self.wrong(&format!("{name} is no time; write e.g. '2026-11-24T10:00:00Z'"))),
        }
    }

    /// A constant; `None` for a parameter, which only a call that is described has.
    fn next(&mut self, name: &str) -> DfResult<Option<ScalarValue>> {
        let Some((first, rest)) = self.left.split_first() else {
            return Err(self.wrong(&format!("{name} is missing")));
        };
        self.left = rest;
        self.constant(name, first)
    }

    fn constant(&self, name: &str, given: &Expr) -> DfResult<Option<ScalarValue>> {
        match given {
            Expr::Literal(value, _) => Ok(Some(value.clone())),
            Expr::Placeholder(_) => Ok(None),
            Expr::Cast(cast) => match self.constant(name, &cast.expr)? {
                Some(value) => value.cast_to(cast.field.data_type()).map(Some),
                None => Ok(None),
            },
            _ => Err(self.wrong(&format!("{name} must be a constant or a parameter"))),
        }
    }

    fn wrong(&self, what: &str) -> datafusion::error::DataFusionError {
        plan_datafusion_err!("{what}; it is called as {}", self.usage)
    }
}

/// A moment as people's libraries have it.
pub(super) fn utc(us: i64) -> DfResult<DateTime<Utc>> {
    DateTime::from_timestamp_micros(us)
        .ok_or_else(|| plan_datafusion_err!("a time lies too far away to be written"))
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::lit;

    use super::*;

    fn period(from: Expr, to: Expr) -> Result<Period, String> {
        let given = [from, to];
        let mut arguments = Arguments::new("f(from, to)", &given, 2, 2).unwrap();
        arguments.period().map_err(|error| error.to_string())
    }

    #[test]
    fn times_may_be_written_in_several_ways() {
        let day = lit(ScalarValue::Date32(Some(1)));
        let later = lit(ScalarValue::TimestampNanosecond(Some(200_000_000_000_000), None));
        let wanted = Period { from_us: 86_400_000_000, to_us: 200_000_000_000 };
        assert_eq!(period(day, later.clone()).unwrap(), wanted);
        assert_eq!(period(lit("1970-01-02T00:00:00Z"), later).unwrap(), wanted);
        assert_eq!(period(lit("1970-01-02"), lit("1970-01-02 02:00:00+02")).ok(), None);
    }

    #[test]
    fn what_is_wrong_with_a_call_is_told_with_its_form() {
        let null = || lit(ScalarValue::Utf8(None));
        for (from, to, told) in [
            (lit("yesterday"), lit("2026-01-01"), "from is no time"),
            (lit("2026-01-01"), lit(5), "to is no time"),
            (null(), lit("2026-01-01"), "from is no time"),
            (lit("2026-01-02"), lit("2026-01-01"), "from must lie before to"),
            (lit("2026-01-02"), datafusion::logical_expr::col("a"), "to must be a constant or a parameter"),
        ] {
            let error = period(from, to).unwrap_err();
            assert!(error.contains(told) && error.contains("f(from, to)"), "{error}");
        }
        assert!(Arguments::new("f(a)", &[], 1, 1).is_err());
    }
}
