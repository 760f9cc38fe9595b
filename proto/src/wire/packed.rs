//! Lists that many rows have in common, sent once: a dictionary of lists.
//!
//! Who started a process is a list that every event of it has, and longer than all
//! the rest of a row. A batch names few processes, so their lists are few.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, ListArray, RecordBatch};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use arrow::error::ArrowError;

use super::{MAX_LIST_BYTES, WireError, within};

/// The type of a packed column of lists of this type.
pub fn packed(list: &DataType) -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(list.clone()))
}

/// The batch with a list a row where lists are packed. Few bytes can ask for many
/// here, so what it will take is added up before.
pub fn plain(batch: &RecordBatch) -> Result<RecordBatch, WireError> {
    if !batch.schema_ref().fields().iter().any(|field| lists_in(field.data_type()).is_some()) {
        return Ok(batch.clone());
    }
    let mut bytes = 0_usize;
    for column in batch.columns().iter().filter_map(dictionary) {
        bytes = bytes.saturating_add(plain_bytes(column)?);
        within("bytes of lists", bytes, MAX_LIST_BYTES)?;
    }
    let columns = batch.columns().iter().map(unpacked).collect::<Result<_, _>>()?;
    let fields: Vec<_> = batch.schema_ref().fields().iter().map(|field| plain_field(field)).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// Whether this is the type of packed lists of that type.
pub(super) fn is_packed(of: &DataType, list: &DataType) -> bool {
    lists_in(of) == Some(list)
}

/// The type of the lists, if they are packed.
fn lists_in(of: &DataType) -> Option<&DataType> {
    match of {
        DataType::Dictionary(keys, values)
            if **keys == DataType::Int32 && matches!(**values, DataType::List(_)) =>
        {
            Some(values)
        }
        _ => None,
    }
}

fn dictionary(column: &ArrayRef) -> Option<&DictionaryArray<Int32Type>> {
    lists_in(column.data_type()).and_then(|_| column.as_dictionary_opt())
}

fn plain_field(field: &Field) -> Field {
    match lists_in(field.data_type()) {
        Some(list) => Field::new(field.name(), list.clone(), field.is_nullable()),
        None => field.clone(),
    }
}

fn unpacked(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match dictionary(column) {
        Some(column) => take(column.values(), column.keys(), None),
        None => Ok(Arc::clone(column)),
    }
}

/// What the lists of all rows take, when each row has its own.
fn plain_bytes(column: &DictionaryArray<Int32Type>) -> Result<usize, ArrowError> {
    let Some(lists) = column.values().as_list_opt::<i32>() else { return Ok(0) };
    let sizes = (0..lists.len()).map(|at| bytes_of(lists, at)).collect::<Result<Vec<_>, _>>()?;
    let size = |key: i32| usize::try_from(key).ok().and_then(|key| sizes.get(key)).copied().unwrap_or(0);
    Ok(column.keys().iter().flatten().fold(0, |sum, key| sum.saturating_add(size(key))))
}

fn bytes_of(lists: &ListArray, at: usize) -> Result<usize, ArrowError> {
    let Range { start, end } = bounds(lists, at);
    lists.values().slice(start, end - start).to_data().get_slice_memory_size()
}

fn bounds(lists: &ListArray, at: usize) -> Range<usize> {
    let bound = |at: usize| {
        let bound = lists.value_offsets().get(at).copied().unwrap_or(0);
        usize::try_from(bound).unwrap_or(0).min(lists.values().len())
    };
    let start = bound(at);
    start..bound(at + 1).max(start)
}
