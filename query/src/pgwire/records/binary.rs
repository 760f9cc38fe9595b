//! The same values in PostgreSQL's binary form.

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::DataType;
use pgwire::api::portal::Format;

use crate::pgwire::answer::kind_of;
use crate::pgwire::failure::Failure;
use crate::pgwire::parameters::numbers;

/// Most dimensions of an array, as in PostgreSQL.
const MOST_DIMENSIONS: usize = 6;

/// An array on its way: how long it is in each dimension, and its items one after the other.
#[derive(Default)]
struct Items {
    lengths: Vec<usize>,
    has_null: bool,
    bytes: Vec<u8>,
}

/// One value; `None` for a null.
pub(super) fn value(array: &ArrayRef, row: usize) -> Result<Option<Vec<u8>>, Failure> {
    if array.is_null(row) {
        return Ok(None);
    }
    match array.data_type() {
        DataType::List(_) => list(&array.as_list::<i32>().value(row)).map(Some),
        kind if kind.is_decimal() => {
            let text = super::literal(array, row)?.unwrap_or_default();
            numbers::write(&text).map(Some).ok_or_else(|| super::internal("a decimal is too long"))
        }
        _ => Ok(super::cell(array, row, &Format::UnifiedBinary)?.map(|cell| cell.to_vec())),
    }
}

fn list(values: &ArrayRef) -> Result<Vec<u8>, Failure> {
    let mut items = Items::default();
    items.add(values, 0)?;
    let mut item = values.data_type();
    while let DataType::List(inner) = item {
        item = inner.data_type();
    }
    // An array without items has no dimensions.
    let lengths = if items.bytes.is_empty() { &[][..] } else { &items.lengths };
    let mut bytes = Vec::with_capacity(items.bytes.len() + 32);
    bytes.extend(number(lengths.len())?);
    bytes.extend(i32::from(items.has_null).to_be_bytes());
    bytes.extend(kind_of(item)?.oid().to_be_bytes());
    for length in lengths {
        bytes.extend(number(*length)?);
        bytes.extend(1_i32.to_be_bytes());
    }
    bytes.extend(items.bytes);
    Ok(bytes)
}

// === impl Items ===

impl Items {
    /// Adds what is in one dimension.
    fn add(&mut self, values: &ArrayRef, depth: usize) -> Result<(), Failure> {
        match self.lengths.get(depth) {
            Some(length) if *length != values.len() => return Err(uneven()),
            Some(_) => {}
            None if depth < MOST_DIMENSIONS => self.lengths.push(values.len()),
            None => return Err(uneven()),
        }
        let is_list = matches!(values.data_type(), DataType::List(_));
        for row in 0..values.len() {
            if is_list && values.is_null(row) {
                return Err(uneven());
            }
            if is_list {
                self.add(&values.as_list::<i32>().value(row), depth + 1)?;
                continue;
            }
            match value(values, row)? {
                Some(item) => {
                    self.bytes.extend(number(item.len())?);
                    self.bytes.extend(item);
                }
                None => {
                    self.has_null = true;
                    self.bytes.extend((-1_i32).to_be_bytes());
                }
            }
        }
        Ok(())
    }
}

fn number(length: usize) -> Result<[u8; 4], Failure> {
    i32::try_from(length).map(i32::to_be_bytes).map_err(super::internal)
}

fn uneven() -> Failure {
    Failure::new("0A000", "an array whose rows differ in length cannot be sent in binary")
        .hint("ask for text, or cast it to text")
}
