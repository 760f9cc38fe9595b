//! Terms over a batch: what a field or transformer yields for each row.

use std::hash::{Hash, Hasher};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use chrono::DateTime;

use super::options::Options;
use super::{derived, json};
use crate::fields::{Access, Part, TimeForm, Type};
use crate::filter::Transformer;

/// Something that a row has a value of: a field, or a computation over some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Term {
    Field(Access),
    Literal(String),
    Transformed(Transformer, Box<Self>),
    Joined(String, Vec<Self>),
    /// The options among these texts, or among those of a list.
    Options(Options, Vec<Self>),
}

/// A term's values for all rows of a batch.
#[derive(Debug)]
pub(crate) enum Column {
    /// The batch has no such column: every value is null.
    Missing,
    /// Texts, and which of them each row has.
    Text {
        values: StringArray,
        keys: Keys,
    },
    Int(Int64Array),
    Bool(BooleanArray),
    /// Texts, and each row's share of them; an empty share is no value.
    List {
        values: StringArray,
        shares: Vec<(u32, u32)>,
    },
}

/// Which value a row has.
#[derive(Debug)]
pub(crate) enum Keys {
    /// The n-th row has the n-th value.
    Rows,
    /// A dictionary's keys.
    Dictionary(arrow::array::Int32Array),
    /// Found by search; negative for none.
    Found(Vec<i32>),
}

// === impl Term ===

impl Term {
    /// The columns that it reads.
    pub(crate) fn columns(&self) -> Vec<&'static str> {
        match self {
            Self::Field(access) => access.columns(),
            Self::Literal(_) => Vec::new(),
            Self::Transformed(_, inner) => inner.columns(),
            Self::Joined(_, parts) | Self::Options(_, parts) => {
                parts.iter().flat_map(Self::columns).collect()
            }
        }
    }

    pub(crate) fn value_type(&self) -> Type {
        match self {
            Self::Field(access) => access.value_type(),
            Self::Transformed(Transformer::Len, _) => Type::Int,
            Self::Transformed(_, inner) if inner.value_type() == Type::List => Type::List,
            Self::Options(Options { only: None, .. }, _) => Type::List,
            Self::Options(..) | Self::Literal(_) | Self::Transformed(..) | Self::Joined(..) => Type::Text,
        }
    }
}

impl Hash for Term {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Self::Field(access) => access.hash(state),
            Self::Literal(text) => text.hash(state),
            Self::Transformed(transformer, inner) => (transformer, inner).hash(state),
            Self::Joined(separator, parts) => (separator, parts).hash(state),
            Self::Options(options, parts) => (options, parts).hash(state),
        }
    }
}

// === impl Column: building ===

impl Column {
    /// A term's values in a batch.
    pub(crate) fn of(term: &Term, batch: &RecordBatch) -> Self {
        match term {
            Term::Field(access) => Self::of_field(access, batch).unwrap_or(Self::Missing),
            Term::Literal(text) => constant(text, batch.num_rows()),
            Term::Transformed(transformer, inner) => {
                transformed(*transformer, &Self::of(inner, batch), batch)
            }
            Term::Joined(separator, parts) => {
                let parts: Vec<Self> = parts.iter().map(|part| Self::of(part, batch)).collect();
                joined(separator, &parts, batch.num_rows())
            }
            Term::Options(options, parts) => {
                let parts: Vec<Self> = parts.iter().map(|part| Self::of(part, batch)).collect();
                options_of(options, &parts, batch.num_rows())
            }
        }
    }

    fn of_field(access: &Access, batch: &RecordBatch) -> Option<Self> {
        let column = |name: &str| batch.column_by_name(name);
        let rows = batch.num_rows();
        Some(match access {
            Access::Text(name) | Access::Ip(name) | Access::Net(name) | Access::Domain(name) => {
                text_column(column(name)?)?
            }
            Access::Int(name) => Self::Int(column(name)?.as_primitive_opt::<Int64Type>()?.clone()),
            Access::Bool(name) => Self::Bool(column(name)?.as_boolean_opt()?.clone()),
            Access::IntText(name) => {
                let numbers = column(name)?.as_primitive_opt::<Int64Type>()?;
                texts(numbers.iter().map(|number| number.map(|number| number.to_string())))
            }
            Access::TimeNs(name) => Self::Int(times(column(name)?)?.iter().map(ns).collect()),
            Access::TimeText(name, form) => {
                texts(times(column(name)?)?.iter().map(|time| time.and_then(|time| form.print(time))))
            }
            Access::DurationNs(from, to) => {
                let (from, to) = (times(column(from)?)?, times(column(to)?)?);
                let between =
                    |(from, to): (Option<i64>, Option<i64>)| Some((to? - from?).saturating_mul(1000));
                Self::Int(from.iter().zip(to.iter()).map(between).collect())
            }
            Access::EventNumber => {
                let numbers = column("seq")?.as_primitive_opt::<Int64Type>()?;
                Self::Int(
                    numbers.iter().map(|number| number.map(|number| number.saturating_add(1))).collect(),
                )
            }
            Access::Constant(text) => constant(text, rows),
            Access::Number(number) => Self::Int(Int64Array::from(vec![*number; rows])),
            Access::Truth(truth) => Self::Bool(BooleanArray::from(vec![*truth; rows])),
            Access::Nothing => Self::Missing,
            // Comparisons name the ends one by one; printing shows the first known.
            Access::AnyIp | Access::AnyNet => Self::of_field(&Access::Text("fd_sip"), batch)?,
            Access::AnyPort => Self::of_field(&Access::Int("fd_sport"), batch)?,
            Access::PairInt(name, wanted) => {
                let pairs = pair(column(name)?.as_list_opt()?, wanted)?;
                Self::Int((0..rows).map(|row| pairs.text(row)?.parse().ok()).collect())
            }
            Access::Pair(name, wanted) => pair(column(name)?.as_list_opt()?, wanted)?,
            Access::PairAt(name, index) => pair_at(column(name)?.as_list_opt()?, *index)?,
            Access::Pairs(name, inside, between) => pairs(column(name)?.as_list_opt()?, inside, between)?,
            Access::Ancestor(level, part) => {
                ancestor(column("proc_ancestors")?.as_list_opt()?, *level, *part)?
            }
            Access::AnyAncestor(part) => all_ancestors(column("proc_ancestors")?.as_list_opt()?, *part)?,
            Access::List(name) => list(column(name)?.as_list_opt()?)?,
            Access::Element(name, index) => element(column(name)?.as_list_opt()?, *index)?,
            Access::Joined(name) => {
                let list = list(column(name)?.as_list_opt()?)?;
                let join = |row| list.is_present(row).then(|| list.texts(row).collect::<Vec<_>>().join(" "));
                texts((0..rows).map(join))
            }
            Access::Variable(name, wanted) => {
                let list = list(column(name)?.as_list_opt()?)?;
                let prefix = format!("{wanted}=");
                let value =
                    |row| list.texts(row).find_map(|text| text.strip_prefix(&prefix)).map(str::to_owned);
                texts((0..rows).map(value))
            }
            Access::UriParam(..)
            | Access::Json(_)
            | Access::JsonAny(_)
            | Access::JsonHas(..)
            | Access::JsonList(_) => Self::of_body(access, batch)?,
            other => derived::of(other, batch)?,
        })
    }

    /// What stands in a URI or in a body.
    fn of_body(access: &Access, batch: &RecordBatch) -> Option<Self> {
        let column = |name: &str| batch.column_by_name(name);
        let rows = batch.num_rows();
        Some(match access {
            Access::UriParam(name, param) => {
                text_column(column(name)?)?.map_texts(rows, |uri| json::uri_param(uri, param))
            }
            Access::Json(path) => text_column(column(path.column)?)?
                .map_texts(rows, |body| json::values(body, path).into_iter().next()),
            Access::JsonAny(path) => {
                text_column(column(path.column)?)?.map_texts(rows, |body| json::any_true(body, path))
            }
            Access::JsonHas(path, wanted) => {
                text_column(column(path.column)?)?.map_texts(rows, |body| json::has(body, path, wanted))
            }
            Access::JsonList(path) => {
                let bodies = text_column(column(path.column)?)?;
                lists(
                    (0..rows)
                        .map(|row| bodies.text(row).map(|body| json::values(body, path)).unwrap_or_default()),
                )
            }
            _ => return None,
        })
    }

    /// Another text for each distinct text; for each row's where those are fewer.
    pub(super) fn map_texts(&self, rows: usize, map: impl Fn(&str) -> Option<String>) -> Self {
        match self {
            Self::Text { values, keys: Keys::Dictionary(keys) } if values.len() <= keys.len() => {
                let values = values.iter().map(|value| value.and_then(&map)).collect();
                Self::Text { values, keys: Keys::Dictionary(keys.clone()) }
            }
            other => texts((0..rows).map(|row| other.text(row).and_then(&map))),
        }
    }
}

// === impl Column: reading ===

impl Column {
    /// The row's text; numbers and lists have none.
    pub(crate) fn text(&self, row: usize) -> Option<&str> {
        let Self::Text { values, keys } = self else { return None };
        let key = keys.key(row).filter(|key| *key < values.len() && values.is_valid(*key))?;
        Some(values.value(key))
    }

    pub(crate) fn int(&self, row: usize) -> Option<i64> {
        match self {
            Self::Int(numbers) if numbers.is_valid(row) => Some(numbers.value(row)),
            _ => None,
        }
    }

    pub(crate) fn bool(&self, row: usize) -> Option<bool> {
        match self {
            Self::Bool(truths) if truths.is_valid(row) => Some(truths.value(row)),
            _ => None,
        }
    }

    /// The row's list.
    pub(crate) fn texts(&self, row: usize) -> impl Iterator<Item = &str> {
        let (values, share) = match self {
            Self::List { values, shares } => (Some(values), shares.get(row).copied().unwrap_or_default()),
            _ => (None, (0, 0)),
        };
        (share.0..share.1).filter_map(move |at| {
            let (values, at) = (values?, at as usize);
            values.is_valid(at).then(|| values.value(at))
        })
    }

    pub(crate) fn is_present(&self, row: usize) -> bool {
        match self {
            Self::Missing => false,
            Self::Text { .. } => self.text(row).is_some(),
            Self::Int(numbers) => numbers.is_valid(row),
            Self::Bool(truths) => truths.is_valid(row),
            Self::List { .. } => self.texts(row).next().is_some(),
        }
    }

    /// Distinct values and keys, if the column is made of them.
    pub(super) fn dictionary(&self) -> Option<(&StringArray, &Keys)> {
        match self {
            Self::Text { values, keys: keys @ Keys::Dictionary(_) } => Some((values, keys)),
            _ => None,
        }
    }
}

// === impl Keys ===

impl Keys {
    #[inline]
    pub(super) fn key(&self, row: usize) -> Option<usize> {
        match self {
            Self::Rows => Some(row),
            Self::Dictionary(keys) => {
                keys.is_valid(row).then(|| keys.value(row)).and_then(|key| key.try_into().ok())
            }
            Self::Found(keys) => keys.get(row).and_then(|key| (*key).try_into().ok()),
        }
    }
}

// === building from arrays ===

pub(super) fn text_column(column: &ArrayRef) -> Option<Column> {
    if let Some(dictionary) = column.as_dictionary_opt::<Int32Type>() {
        let values = dictionary.values().as_string_opt::<i32>()?.clone();
        return Some(Column::Text { values, keys: Keys::Dictionary(dictionary.keys().clone()) });
    }
    Some(Column::Text { values: column.as_string_opt::<i32>()?.clone(), keys: Keys::Rows })
}

pub(super) fn times(column: &ArrayRef) -> Option<&TimestampMicrosecondArray> {
    column.as_primitive_opt::<TimestampMicrosecondType>()
}

fn ns(time_us: Option<i64>) -> Option<i64> {
    time_us.map(|time| time.saturating_mul(1000))
}

pub(super) fn texts(texts: impl Iterator<Item = Option<String>>) -> Column {
    Column::Text { values: texts.collect(), keys: Keys::Rows }
}

fn constant(text: &str, rows: usize) -> Column {
    let keys = arrow::array::Int32Array::from(vec![0; rows]);
    Column::Text { values: StringArray::from(vec![text]), keys: Keys::Dictionary(keys) }
}

fn lists(rows: impl Iterator<Item = Vec<String>>) -> Column {
    let mut values = StringBuilder::new();
    let mut shares = Vec::new();
    let mut end = 0_u32;
    for row in rows {
        let start = end;
        for text in &row {
            values.append_value(text);
            end += 1;
        }
        shares.push((start, end));
    }
    Column::List { values: values.finish(), shares }
}

pub(super) fn share(list: &ListArray, row: usize) -> (usize, usize) {
    if list.is_null(row) {
        return (0, 0);
    }
    let offsets = list.value_offsets();
    (offsets[row] as usize, offsets[row + 1] as usize)
}

fn shares(list: &ListArray) -> Vec<(u32, u32)> {
    (0..list.len()).map(|row| share(list, row)).map(|(start, end)| (start as u32, end as u32)).collect()
}

pub(super) fn list(list: &ListArray) -> Option<Column> {
    Some(Column::List { values: list.values().as_string_opt::<i32>()?.clone(), shares: shares(list) })
}

fn element(list: &ListArray, index: usize) -> Option<Column> {
    let values = list.values().as_string_opt::<i32>()?.clone();
    Some(Column::Text { values, keys: Keys::Found(nth(list, index)) })
}

/// Where in the list's values each row's `index`-th is.
fn nth(list: &ListArray, index: usize) -> Vec<i32> {
    let at = |(start, end): (usize, usize)| if start + index < end { key(start + index) } else { -1 };
    (0..list.len()).map(|row| at(share(list, row))).collect()
}

fn key(at: usize) -> i32 {
    i32::try_from(at).unwrap_or(-1)
}

/// The value beside the first pair of this name.
fn pair(list: &ListArray, wanted: &str) -> Option<Column> {
    let (names, values) = pair_columns(list)?;
    let find = |(start, end): (usize, usize)| {
        (start..end).find(|&at| names.is_valid(at) && names.value(at) == wanted).map_or(-1, key)
    };
    let found = (0..list.len()).map(|row| find(share(list, row))).collect();
    Some(Column::Text { values: values.clone(), keys: Keys::Found(found) })
}

/// The value of each row's `index`-th pair.
fn pair_at(list: &ListArray, index: usize) -> Option<Column> {
    let (_, values) = pair_columns(list)?;
    Some(Column::Text { values: values.clone(), keys: Keys::Found(nth(list, index)) })
}

pub(super) fn pair_columns(list: &ListArray) -> Option<(&StringArray, &StringArray)> {
    let pairs = list.values().as_struct_opt()?;
    let column = |name| pairs.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
    Some((column("name")?, column("value")?))
}

fn pairs(list: &ListArray, inside: &str, between: &str) -> Option<Column> {
    let (names, values) = pair_columns(list)?;
    let get =
        |array: &StringArray, at| if array.is_valid(at) { array.value(at).to_owned() } else { String::new() };
    let text = |row| {
        let (start, end) = share(list, row);
        let pairs = (start..end).map(|at| format!("{}{inside}{}", get(names, at), get(values, at)));
        (start < end).then(|| pairs.collect::<Vec<_>>().join(between))
    };
    Some(texts((0..list.len()).map(text)))
}

fn ancestor(list: &ListArray, level: usize, part: Part) -> Option<Column> {
    let column = list.values().as_struct_opt()?.column_by_name(part.column())?;
    if part == Part::Pid {
        let pids = column.as_primitive_opt::<Int64Type>()?;
        let pid = |at: i32| usize::try_from(at).ok().filter(|at| pids.is_valid(*at)).map(|at| pids.value(at));
        return Some(Column::Int(nth(list, level).into_iter().map(pid).collect()));
    }
    let values = column.as_string_opt::<i32>()?.clone();
    Some(Column::Text { values, keys: Keys::Found(nth(list, level)) })
}

fn all_ancestors(list: &ListArray, part: Part) -> Option<Column> {
    let column = list.values().as_struct_opt()?.column_by_name(part.column())?;
    let values = match column.as_primitive_opt::<Int64Type>() {
        Some(pids) => pids.iter().map(|pid| pid.map(|pid| pid.to_string())).collect(),
        None => column.as_string_opt::<i32>()?.clone(),
    };
    Some(Column::List { values, shares: shares(list) })
}

// === transformers ===

fn transformed(transformer: Transformer, inner: &Column, batch: &RecordBatch) -> Column {
    let rows = batch.num_rows();
    if matches!(inner, Column::List { .. }) && transformer != Transformer::Len {
        let each = |row| inner.texts(row).filter_map(|text| transformed_text(transformer, text)).collect();
        return lists((0..rows).map(each));
    }
    match transformer {
        Transformer::Len => {
            let len = |row| match inner {
                Column::List { .. } => Some(inner.texts(row).count()),
                _ => inner.text(row).map(str::len),
            };
            let number = |len: Option<usize>| len.and_then(|len| i64::try_from(len).ok());
            Column::Int((0..rows).map(len).map(number).collect())
        }
        text => inner.map_texts(rows, |value| transformed_text(text, value)),
    }
}

fn transformed_text(transformer: Transformer, text: &str) -> Option<String> {
    match transformer {
        Transformer::ToLower => Some(text.to_ascii_lowercase()),
        Transformer::ToUpper => Some(text.to_ascii_uppercase()),
        Transformer::B64 => json::base64(text),
        Transformer::Basename => text.rsplit('/').next().map(str::to_owned),
        // A number is none of a text; the compiler puts an operand in the place of its val().
        Transformer::Len | Transformer::Val => None,
    }
}

/// Null as soon as one part is; a list is its texts.
fn joined(separator: &str, parts: &[Column], rows: usize) -> Column {
    let of = |part: &Column, row| -> Option<String> {
        let number = || part.int(row).map(|number| number.to_string());
        let truth = || part.bool(row).map(|truth| truth.to_string());
        let list = || part.is_present(row).then(|| part.texts(row).collect::<Vec<_>>().join(separator));
        part.text(row).map(str::to_owned).or_else(number).or_else(truth).or_else(list)
    };
    texts((0..rows).map(|row| {
        let parts: Option<Vec<String>> = parts.iter().map(|part| of(part, row)).collect();
        parts.map(|parts| parts.join(separator))
    }))
}

/// Of one option a text, else a list; none as soon as an argument is null.
fn options_of(options: &Options, parts: &[Column], rows: usize) -> Column {
    let read = |row| -> Option<Vec<String>> {
        let mut arguments = Vec::new();
        for part in parts {
            match part {
                Column::List { .. } => arguments.extend(part.texts(row)),
                one => arguments.push(one.text(row)?),
            }
        }
        Some(options.read(&arguments))
    };
    let rows = (0..rows).map(read);
    match options.only {
        Some(_) => texts(rows.map(|found| found?.pop())),
        None => lists(rows.map(Option::unwrap_or_default)),
    }
}

// === impl TimeForm ===

impl TimeForm {
    pub(crate) fn print(self, time_us: i64) -> Option<String> {
        let time = DateTime::from_timestamp_micros(time_us)?;
        let format = match self {
            Self::Clock => "%H:%M:%S%.9f",
            Self::ClockSeconds => "%H:%M:%S",
            Self::DateTime => "%Y-%m-%d %H:%M:%S%.9f",
            Self::DateTimeSeconds => "%Y-%m-%d %H:%M:%S",
            Self::Iso8601 => "%Y-%m-%dT%H:%M:%S%.9f+0000",
        };
        Some(time.format(format).to_string())
    }
}
