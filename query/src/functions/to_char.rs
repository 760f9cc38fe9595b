//! `to_char(time, pattern)` with PostgreSQL's patterns, beside those with `%` of the engine.

use std::fmt::Write;

use chrono::{DateTime, Datelike, NaiveDateTime, Offset, TimeZone, Timelike};
use datafusion::arrow::array::timezone::Tz;
use datafusion::arrow::array::types::TimestampMicrosecondType;
use datafusion::arrow::array::{AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions::datetime::to_char;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Width that names of months and days are filled up to.
const NAME_WIDTH: usize = 9;

/// Longer words first where one begins with another.
const WORDS: &[(&str, Word)] = &[
    ("Y,YYY", Word::YearWithComma),
    ("YYYY", Word::Year(4)),
    ("YYY", Word::Year(3)),
    ("YY", Word::Year(2)),
    ("Y", Word::Year(1)),
    ("IYYY", Word::IsoYear),
    ("IW", Word::IsoWeek),
    ("IDDD", Word::Other),
    ("ID", Word::IsoDay),
    ("HH24", Word::Hour24),
    ("HH12", Word::Hour12),
    ("HH", Word::Hour12),
    ("MI", Word::Minute),
    ("SSSSS", Word::SecondOfDay),
    ("SSSS", Word::SecondOfDay),
    ("SS", Word::Second),
    ("MS", Word::Millisecond),
    ("US", Word::Microsecond),
    ("FF3", Word::Millisecond),
    ("FF6", Word::Microsecond),
    ("MONTH", Word::Month),
    ("MON", Word::Mon),
    ("MM", Word::MonthNumber),
    ("DAY", Word::Day),
    ("DY", Word::Dy),
    ("DDD", Word::DayOfYear),
    ("DD", Word::DayOfMonth),
    ("D", Word::DayOfWeek),
    ("WW", Word::Week),
    ("W", Word::WeekOfMonth),
    ("Q", Word::Quarter),
    ("CC", Word::Century),
    ("J", Word::Other),
    ("RM", Word::Other),
    ("AM", Word::Half),
    ("PM", Word::Half),
    ("A.M.", Word::HalfWithDots),
    ("P.M.", Word::HalfWithDots),
    ("BC", Word::Other),
    ("AD", Word::Other),
    ("TZH", Word::ZoneHours),
    ("TZM", Word::ZoneMinutes),
    ("TZ", Word::Zone),
    ("OF", Word::ZoneHours),
];

/// What a word of a pattern stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    YearWithComma,
    Year(usize),
    IsoYear,
    IsoWeek,
    IsoDay,
    Hour24,
    Hour12,
    Minute,
    SecondOfDay,
    Second,
    Millisecond,
    Microsecond,
    Month,
    Mon,
    MonthNumber,
    Day,
    Dy,
    DayOfYear,
    DayOfMonth,
    DayOfWeek,
    Week,
    WeekOfMonth,
    Quarter,
    Century,
    Half,
    HalfWithDots,
    ZoneHours,
    ZoneMinutes,
    Zone,
    /// PostgreSQL's, and not made here.
    Other,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ToChar {
    signature: Signature,
    aliases: Vec<String>,
}

/// A time as clocks show it, and their zone if it has one.
struct Moment {
    time: NaiveDateTime,
    zone: Option<(String, i32)>,
}

/// The function.
pub(super) fn function() -> ScalarUDF {
    let signature = Signature::user_defined(Volatility::Immutable);
    ScalarUDF::new_from_impl(ToChar { signature, aliases: to_char().aliases().to_vec() })
}

// === impl ToChar ===

impl ScalarUDFImpl for ToChar {
    fn name(&self) -> &str {
        "to_char"
    }

    /// All of the engine's names: under one that is left the engine's function would
    /// come back when its session is copied.
    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [time, _] = types else {
            return Err(DataFusionError::Plan("to_char takes a time and a pattern".to_owned()));
        };
        let time = match time {
            DataType::Null => DataType::Timestamp(TimeUnit::Microsecond, None),
            kind if kind.is_string() => DataType::Timestamp(TimeUnit::Microsecond, None),
            kind if kind.is_temporal() => kind.clone(),
            other => return Err(DataFusionError::Plan(format!("to_char needs a time, got {other}"))),
        };
        Ok(vec![time, DataType::Utf8])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [time, pattern] = arguments.args.as_slice() else {
            return Err(DataFusionError::Plan("to_char takes a time and a pattern".to_owned()));
        };
        let rows = super::rows(&arguments.args);
        let patterns = pattern.to_array(rows)?;
        let patterns = patterns.as_string::<i32>();
        if patterns.iter().flatten().any(|pattern| pattern.contains('%')) {
            return to_char().invoke_with_args(arguments);
        }
        let zone = match time.data_type() {
            DataType::Timestamp(_, zone) => zone,
            DataType::Date32 | DataType::Date64 => None,
            other => {
                let message = format!("to_char takes a pattern with % for {other}, e.g. '%H:%M'");
                return Err(DataFusionError::Execution(message));
            }
        };
        let kind = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
        let times = cast(&time.to_array(rows)?, &kind)?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let zone = zone.map(|zone| zone.parse::<Tz>()).transpose()?;
        let written = times.iter().zip(patterns).map(|(time, pattern)| match (time, pattern) {
            (Some(time), Some(pattern)) => {
                Moment::new(time, zone).map(|moment| moment.written(pattern)).transpose()
            }
            _ => Ok(None),
        });
        let written = written.collect::<Result<StringArray>>()?;
        super::answer(&arguments.args, written)
    }
}

// === impl Moment ===

impl Moment {
    fn new(microseconds: i64, zone: Option<Tz>) -> Option<Self> {
        let time = DateTime::from_timestamp_micros(microseconds)?.naive_utc();
        Some(match zone {
            None => Self { time, zone: None },
            Some(zone) => {
                let time = zone.from_utc_datetime(&time);
                let offset = time.offset().fix().local_minus_utc();
                let name = time.offset().to_string();
                let name = if offset == 0 && name.starts_with('+') { "UTC".to_owned() } else { name };
                Self { time: time.naive_local(), zone: Some((name, offset)) }
            }
        })
    }

    fn written(&self, pattern: &str) -> Result<String> {
        let (mut text, mut rest) = (String::with_capacity(pattern.len() + 8), pattern);
        let mut fills = true;
        while let Some(letter) = rest.chars().next() {
            if letter == '"' {
                rest = quoted(&rest[1..], &mut text);
                continue;
            }
            if starts_with(rest, "FM") || starts_with(rest, "TM") {
                fills &= !starts_with(rest, "FM");
                rest = &rest[2..];
                continue;
            }
            let Some((name, word)) = WORDS.iter().find(|(name, _)| starts_with(rest, name)) else {
                text.push(letter);
                rest = &rest[letter.len_utf8()..];
                continue;
            };
            let (written, after) = rest.split_at(name.len());
            let value = self.word(*word, written, std::mem::replace(&mut fills, true))?;
            rest = after;
            let is_number = value.bytes().all(|digit| digit.is_ascii_digit()) && !value.is_empty();
            let is_ordinal = is_number && starts_with(rest, "TH");
            text.push_str(&value);
            if is_ordinal {
                let ending = ordinal(&value);
                let is_upper = rest.starts_with("TH");
                text.push_str(&if is_upper { ending.to_uppercase() } else { ending.to_owned() });
                rest = &rest[2..];
            }
        }
        Ok(text)
    }

    fn word(&self, word: Word, written: &str, fills: bool) -> Result<String> {
        let time = &self.time;
        let number = |value: u32, width: usize| match fills {
            true => format!("{value:0width$}"),
            false => value.to_string(),
        };
        let name = |name: &str, fills: bool| {
            let name = cased(name, written);
            if fills { format!("{name:<NAME_WIDTH$}") } else { name }
        };
        let month = MONTHS[time.month0() as usize % MONTHS.len()];
        let day = DAYS[time.weekday().num_days_from_sunday() as usize % DAYS.len()];
        let year = time.year().unsigned_abs();
        let micros = time.nanosecond() % 1_000_000_000 / 1_000;
        let half = if time.hour() < 12 { "am" } else { "pm" };
        Ok(match word {
            Word::YearWithComma => format!("{},{:03}", year / 1_000, year % 1_000),
            Word::Year(4) => number(year, 4),
            Word::Year(width) => number(year % 10_u32.pow(u32::try_from(width).unwrap_or(4)), width),
            Word::IsoYear => number(time.iso_week().year().unsigned_abs(), 4),
            Word::IsoWeek => number(time.iso_week().week(), 2),
            Word::IsoDay => time.weekday().number_from_monday().to_string(),
            Word::Hour24 => number(time.hour(), 2),
            Word::Hour12 => number(time.hour12().1, 2),
            Word::Minute => number(time.minute(), 2),
            Word::SecondOfDay => time.num_seconds_from_midnight().to_string(),
            Word::Second => number(time.second(), 2),
            Word::Millisecond => number(micros / 1_000, 3),
            Word::Microsecond => number(micros, 6),
            Word::Month => name(month, fills),
            Word::Mon => name(&month[..3], false),
            Word::MonthNumber => number(time.month(), 2),
            Word::Day => name(day, fills),
            Word::Dy => name(&day[..3], false),
            Word::DayOfYear => number(time.ordinal(), 3),
            Word::DayOfMonth => number(time.day(), 2),
            Word::DayOfWeek => (time.weekday().num_days_from_sunday() + 1).to_string(),
            Word::Week => number(time.ordinal0() / 7 + 1, 2),
            Word::WeekOfMonth => (time.day0() / 7 + 1).to_string(),
            Word::Quarter => (time.month0() / 3 + 1).to_string(),
            Word::Century => number(year.div_ceil(100), 2),
            Word::Half => cased(half, written),
            Word::HalfWithDots => cased(&format!("{}.m.", &half[..1]), written),
            Word::ZoneHours => {
                let offset = self.zone.as_ref().map_or(0, |(_, offset)| *offset);
                let sign = if offset < 0 { '-' } else { '+' };
                let mut text = format!("{sign}{:02}", offset.abs() / 3_600);
                if written.eq_ignore_ascii_case("OF") && offset % 3_600 != 0 {
                    let _ = write!(text, ":{:02}", offset.abs() % 3_600 / 60);
                }
                text
            }
            Word::ZoneMinutes => {
                let offset = self.zone.as_ref().map_or(0, |(_, offset)| *offset);
                format!("{:02}", offset.abs() % 3_600 / 60)
            }
            Word::Zone => self.zone.as_ref().map(|(name, _)| cased(name, written)).unwrap_or_default(),
            Word::Other => {
                let message = format!("to_char does not know {written}; put text into \"double quotes\"");
                return Err(DataFusionError::Execution(message));
            }
        })
    }
}

/// Whatever the case; what decides it for names is [`cased`].
fn starts_with(text: &str, word: &str) -> bool {
    text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// Takes the text in quotes over, and answers what comes behind them.
fn quoted<'a>(rest: &'a str, text: &mut String) -> &'a str {
    let mut letters = rest.char_indices();
    while let Some((place, letter)) = letters.next() {
        match letter {
            '"' => return &rest[place + 1..],
            '\\' => text.extend(letters.next().map(|(_, letter)| letter)),
            letter => text.push(letter),
        }
    }
    ""
}

/// In the case that the pattern has: `MONTH`, `Month` or `month`.
fn cased(name: &str, written: &str) -> String {
    let mut letters = written.chars().filter(|letter| letter.is_alphabetic());
    let (first, second) = (letters.next(), letters.next());
    let is_upper = |letter: Option<char>| letter.is_some_and(char::is_uppercase);
    match (is_upper(first), is_upper(second)) {
        (true, true) => name.to_uppercase(),
        (true, false) => {
            let (first, rest) = name.split_at(name.len().min(1));
            first.to_uppercase() + &rest.to_lowercase()
        }
        (false, _) => name.to_lowercase(),
    }
}

fn ordinal(number: &str) -> &'static str {
    let number = number.as_bytes();
    let is_teen = number.len() > 1 && number[number.len() - 2] == b'1';
    match number.last() {
        Some(b'1') if !is_teen => "st",
        Some(b'2') if !is_teen => "nd",
        Some(b'3') if !is_teen => "rd",
        _ => "th",
    }
}
