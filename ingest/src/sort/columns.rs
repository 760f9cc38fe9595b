//! One column of many batches, put together so that it can be ordered and taken.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, StringArray, UInt32Array,
    new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{concat, interleave, take};
use arrow::datatypes::{DataType, Date32Type, Field, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;

use super::key::Source;

/// The rank of a row without a text.
pub(super) const NONE: i32 = -1;

/// A column of all batches, one after the other.
pub(super) enum Joined {
    /// Null in every row, as every third column is: costs next to nothing.
    Nulls(DataType),
    /// Text as ranks.
    Text(Text),
    /// Numbers, times and the like.
    Plain(ArrayRef),
    /// Lists, by batch: putting them together first would copy every text in
    /// them twice.
    Lists(Vec<ArrayRef>),
}

/// A text column over one dictionary.
pub(super) struct Text {
    /// The distinct texts, ascending by bytes.
    values: Arc<StringArray>,
    /// Each row's place in `values`, [`NONE`] for a null.
    ranks: Vec<i32>,
}

/// A batch's keys and its dictionary.
type Dictionary<'a> = (&'a Int32Array, &'a StringArray);

// === impl Joined ===

impl Joined {
    /// Puts a column together: `batches` are of the schema whose column number
    /// `index` is `field`.
    pub(super) fn of(field: &Field, index: usize, batches: &[RecordBatch]) -> Result<Self, ArrowError> {
        let columns: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(index).as_ref()).collect();
        if columns.iter().all(|column| column.null_count() == column.len()) {
            return Ok(Self::Nulls(field.data_type().clone()));
        }
        match field.data_type() {
            DataType::Dictionary(..) => Text::of(field.name(), &columns).map(Self::Text),
            DataType::List(_) => {
                Ok(Self::Lists(batches.iter().map(|batch| Arc::clone(batch.column(index))).collect()))
            }
            _ => concat(&columns).map(Self::Plain),
        }
    }

    /// How rows compare by this column; `None` where they are all equal.
    pub(super) fn source(&self) -> Result<Option<Source<'_>>, ArrowError> {
        let column = match self {
            Self::Nulls(_) => return Ok(None),
            Self::Text(text) => return Ok(Some(Source::Ranks(&text.ranks))),
            Self::Plain(column) => column,
            Self::Lists(_) => return Err(ArrowError::SchemaError("no table is sorted by lists".into())),
        };
        let nulls = column.nulls();
        let source = match column.data_type() {
            DataType::Date32 => Source::Days(column.as_primitive::<Date32Type>().values(), nulls),
            DataType::Int64 => Source::Ints(column.as_primitive::<Int64Type>().values(), nulls),
            DataType::Timestamp(..) => {
                let times = column.as_primitive_opt::<TimestampMicrosecondType>();
                let times = times.ok_or_else(|| ArrowError::SchemaError("a time is not in us".into()))?;
                Source::Ints(times.values(), nulls)
            }
            other => return Err(ArrowError::SchemaError(format!("no table is sorted by {other}"))),
        };
        Ok(Some(source))
    }

    /// The rows at these places.
    pub(super) fn take(self, order: &UInt32Array) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Nulls(data_type) => Ok(new_null_array(&data_type, order.len())),
            Self::Text(text) => text.take(order),
            Self::Plain(column) => take(&column, order, None),
            Self::Lists(batches) => {
                let batches: Vec<&dyn Array> = batches.iter().map(AsRef::as_ref).collect();
                interleave(&batches, &places(&batches, order))
            }
        }
    }
}

/// Which row of which batch is meant by each place in all of them.
fn places(batches: &[&dyn Array], order: &UInt32Array) -> Vec<(usize, usize)> {
    let all: Vec<(usize, usize)> = batches
        .iter()
        .enumerate()
        .flat_map(|(batch, rows)| (0..rows.len()).map(move |row| (batch, row)))
        .collect();
    order.values().iter().map(|place| all[*place as usize]).collect()
}

// === impl Text ===

impl Text {
    fn of(name: &str, columns: &[&dyn Array]) -> Result<Self, ArrowError> {
        let mismatch = || ArrowError::SchemaError(format!("column {name} is not text"));
        let columns = columns.iter().map(|column| {
            let column = column.as_dictionary_opt::<Int32Type>().ok_or_else(mismatch)?;
            Ok((column.keys(), column.values().as_string_opt::<i32>().ok_or_else(mismatch)?))
        });
        let columns: Vec<Dictionary<'_>> = columns.collect::<Result<_, ArrowError>>()?;
        let (numbered, texts) = number(&columns);
        let mut by_text: Vec<i32> = (0..texts.len() as i32).collect();
        by_text.sort_unstable_by_key(|number| texts[*number as usize]);
        let mut rank_of = vec![NONE; texts.len()];
        by_text.iter().zip(0..).for_each(|(number, rank)| rank_of[*number as usize] = rank);
        let mut ranks = Vec::with_capacity(columns.iter().map(|(keys, _)| keys.len()).sum());
        for ((keys, _), numbers) in columns.iter().zip(&numbered) {
            let rank = |number: &i32| usize::try_from(*number).map_or(NONE, |number| rank_of[number]);
            push_ranks(&mut ranks, keys, &numbers.iter().map(rank).collect::<Vec<_>>());
        }
        let values = by_text.iter().map(|number| Some(texts[*number as usize])).collect();
        Ok(Self { values: Arc::new(values), ranks })
    }

    fn take(self, order: &UInt32Array) -> Result<ArrayRef, ArrowError> {
        let taken: Vec<i32> = order.values().iter().map(|row| self.ranks[*row as usize]).collect();
        let nulls = taken.contains(&NONE).then(|| taken.iter().map(|rank| *rank != NONE).collect());
        // What lies under a null must still be a key.
        let keys = taken.into_iter().map(|rank| rank.max(0)).collect();
        let keys = Int32Array::new(keys, nulls.map(|valid: Vec<bool>| NullBuffer::from(valid)));
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, self.values)?))
    }
}

/// Numbers distinct texts as they come. Returns each batch's dictionary as
/// numbers, [`NONE`] for a null in it, and the texts by number.
fn number<'a>(columns: &[Dictionary<'a>]) -> (Vec<Vec<i32>>, Vec<&'a str>) {
    let (mut known, mut texts) = (HashMap::<&str, i32>::new(), Vec::new());
    let mut number = |text: Option<&'a str>| {
        let Some(text) = text else { return NONE };
        *known.entry(text).or_insert_with(|| {
            texts.push(text);
            texts.len() as i32 - 1
        })
    };
    let numbered = columns.iter().map(|(_, values)| values.iter().map(&mut number).collect()).collect();
    (numbered, texts)
}

fn push_ranks(ranks: &mut Vec<i32>, keys: &Int32Array, rank_of: &[i32]) {
    let rank = |key: &i32| rank_of[*key as usize];
    match keys.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => ranks.extend(keys.values().iter().map(rank)),
        Some(nulls) => {
            // What lies under a null may be anything.
            let row = |(key, valid)| if valid { rank(key) } else { NONE };
            ranks.extend(keys.values().iter().zip(nulls).map(row));
        }
    }
}
