//! Prices, each from a time on, read from YAML.
//!
//! ```yaml
//! currency: USD
//! prices:
//!   - from: 2026-01-01T00:00:00Z
//!     cpu_core_hour: 0.031611
//!     memory_gib_hour: 0.004237
//!     io_read_gib: 0              # optional
//!     io_write_gib: 0             # optional
//! ```

use chrono::{DateTime, NaiveDate, NaiveTime};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{Span, decimal};

/// Prices have so many digits after the point at most.
const DIGITS: usize = 9;
/// A price above a million a unit is a mistake, and would overflow some day.
const HIGHEST_NANO: i128 = 1_000_000_000_000_000;
const MAX_ENTRIES: usize = 10_000;

/// What is charged when nobody says otherwise: OpenCost's default rates for
/// on-demand CPU and memory, in US dollars.
const BUILT_IN: &str = "currency: USD\nprices:\n  - from: 1970-01-01T00:00:00Z\n    cpu_core_hour: 0.031611\n    memory_gib_hour: 0.004237\n";

/// A price list, in order of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prices {
    source: String,
    currency: String,
    pub(super) list: Vec<Price>,
}

/// What is in force from a time on, until the next. Billionths of the currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// The first moment, microseconds.
    pub from_us: i64,
    /// One core for one hour.
    pub cpu_core_hour_nano: i128,
    /// One GiB of memory for one hour.
    pub memory_gib_hour_nano: i128,
    /// One GiB read from block devices.
    pub io_read_gib_nano: i128,
    /// One GiB written to block devices.
    pub io_write_gib_nano: i128,
}

/// A price list cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// The file cannot be read.
    #[error("price file {file} cannot be read: {reason}")]
    Read {
        /// The file.
        file: String,
        /// The system's error.
        reason: String,
    },
    /// It is no YAML, not of this shape, or a field has a value that cannot be.
    #[error("price file {file}:{line}: {reason}")]
    Shape {
        /// The file.
        file: String,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong; names the field.
        reason: String,
    },
    /// The period begins before the first price.
    #[error("price file {file}: no price is in force at {at}; add an entry with an earlier `from`")]
    NoPrice {
        /// The file.
        file: String,
        /// Where the period begins.
        at: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrices {
    currency: Spanned<String>,
    prices: Spanned<Vec<RawPrice>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrice {
    from: Spanned<String>,
    cpu_core_hour: Spanned<String>,
    memory_gib_hour: Spanned<String>,
    io_read_gib: Option<Spanned<String>>,
    io_write_gib: Option<Spanned<String>>,
}

/// Reads values of one file, so that errors can name it.
struct Reader<'a> {
    file: &'a str,
}

// === impl Prices ===

impl Prices {
    /// The prices that count when no file is configured.
    pub fn built_in() -> Result<Self, PriceError> {
        Self::parse("built-in", BUILT_IN)
    }

    /// Reads a list, YAML or JSON; `file` is named in errors and in the report.
    pub fn parse(file: &str, text: &str) -> Result<Self, PriceError> {
        let reader = Reader { file };
        let raw: RawPrices = serde_saphyr::from_str(text).map_err(|error| PriceError::Shape {
            file: file.to_owned(),
            line: error.location().map_or(1, |location| location.line()),
            reason: error.without_snippet().to_string(),
        })?;
        if raw.currency.value.is_empty() || raw.currency.value.len() > 16 {
            return Err(reader.wrong(&raw.currency, "currency", "write e.g. USD"));
        }
        if raw.prices.value.is_empty() || raw.prices.value.len() > MAX_ENTRIES {
            return Err(reader.wrong(&raw.prices, "prices", "list between 1 and 10000 prices"));
        }
        let mut list: Vec<Price> = Vec::new();
        for entry in &raw.prices.value {
            let price = reader.price(entry)?;
            if list.last().is_some_and(|last| last.from_us >= price.from_us) {
                return Err(reader.wrong(
                    &entry.from,
                    "from",
                    "list prices in order of time, each from another",
                ));
            }
            list.push(price);
        }
        Ok(Self { source: file.to_owned(), currency: raw.currency.value, list })
    }

    /// Where they came from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// In which they are.
    pub fn currency(&self) -> &str {
        &self.currency
    }

    /// The period cut where prices change, in order of time.
    pub fn spans(&self, from_us: i64, to_us: i64) -> Result<Vec<Span<'_>>, PriceError> {
        if self.list.first().is_none_or(|first| first.from_us > from_us) {
            let at = DateTime::from_timestamp_micros(from_us)
                .map_or_else(|| from_us.to_string(), |at| at.to_rfc3339());
            return Err(PriceError::NoPrice { file: self.source.clone(), at });
        }
        let ends = self.list.iter().skip(1).map(|next| next.from_us).chain([i64::MAX]);
        let spans = self.list.iter().zip(ends).map(|(price, end_us)| Span {
            start_us: price.from_us.max(from_us),
            end_us: end_us.min(to_us),
            price,
        });
        Ok(spans.filter(|span| span.start_us < span.end_us).collect())
    }
}

// === impl Reader ===

impl Reader<'_> {
    fn price(&self, raw: &RawPrice) -> Result<Price, PriceError> {
        let optional = |field, raw: Option<&Spanned<String>>| raw.map_or(Ok(0), |raw| self.nano(field, raw));
        Ok(Price {
            from_us: self.time("from", &raw.from)?,
            cpu_core_hour_nano: self.nano("cpu_core_hour", &raw.cpu_core_hour)?,
            memory_gib_hour_nano: self.nano("memory_gib_hour", &raw.memory_gib_hour)?,
            io_read_gib_nano: optional("io_read_gib", raw.io_read_gib.as_ref())?,
            io_write_gib_nano: optional("io_write_gib", raw.io_write_gib.as_ref())?,
        })
    }

    fn nano(&self, field: &str, raw: &Spanned<String>) -> Result<i128, PriceError> {
        let nano =
            decimal::read(&raw.value, DIGITS).map_err(|error| self.wrong(raw, field, &error.to_string()))?;
        match nano <= HIGHEST_NANO {
            true => Ok(nano),
            false => Err(self.wrong(raw, field, "no unit costs more than a million")),
        }
    }

    fn time(&self, field: &str, raw: &Spanned<String>) -> Result<i64, PriceError> {
        let day = raw.value.parse::<NaiveDate>().map(|day| day.and_time(NaiveTime::MIN).and_utc());
        let time = day.or_else(|_| DateTime::parse_from_rfc3339(&raw.value).map(|time| time.to_utc()));
        time.map(|time| time.timestamp_micros())
            .map_err(|_| self.wrong(raw, field, "write a day or a time as 2026-01-01T00:00:00Z"))
    }

    fn wrong<T>(&self, at: &Spanned<T>, field: &str, reason: &str) -> PriceError {
        let line = at.referenced.line();
        PriceError::Shape { file: self.file.to_owned(), line, reason: format!("field {field}: {reason}") }
    }
}
