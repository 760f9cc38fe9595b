//! A column of lists: of texts, or of structs of texts and numbers.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, ListArray, StringArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use arrow::error::ArrowError;

/// A list column as it grows.
pub(super) struct Lists {
    /// The type of an element.
    element: FieldRef,
    fields: Fields,
    /// Where each row's list ends, in elements.
    ends: Vec<i32>,
    valid: Vec<bool>,
    numbers: Vec<i64>,
    texts: Vec<Strings>,
}

/// One text field of all elements, one after the other.
#[derive(Default)]
struct Strings {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<i32>,
    valid: Vec<bool>,
}

// === impl Lists ===

impl Lists {
    pub(super) fn of_texts() -> Self {
        Self::new(Field::new("element", DataType::Utf8, true), Fields::empty(), 1)
    }

    /// Of structs whose fields are texts, but for a number that may be the first.
    pub(super) fn of_structs(fields: Fields) -> Self {
        let texts = fields.iter().filter(|field| *field.data_type() == DataType::Utf8).count();
        Self::new(Field::new_struct("element", fields.clone(), true), fields, texts)
    }

    fn new(element: Field, fields: Fields, texts: usize) -> Self {
        Self {
            element: Arc::new(element),
            fields,
            ends: Vec::new(),
            valid: Vec::new(),
            numbers: Vec::new(),
            texts: (0..texts).map(|_| Strings::default()).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> usize {
        self.numbers.len() * size_of::<i64>() + self.texts.iter().map(Strings::size).sum::<usize>()
    }

    /// The number of an element of the list that [`Lists::end`] ends.
    pub(super) fn number(&mut self, number: i64) {
        self.numbers.push(number);
    }

    /// Likewise its texts, one a field.
    pub(super) fn texts<const N: usize>(&mut self, texts: [Option<&str>; N]) {
        for (field, text) in self.texts.iter_mut().zip(texts) {
            field.push(text.map(str::as_bytes));
        }
    }

    /// Ends a row's list.
    pub(super) fn end(&mut self) {
        self.ends.push(self.elements());
        self.valid.push(true);
    }

    pub(super) fn nulls(&mut self, count: usize) {
        self.ends.resize(self.ends.len() + count, self.elements());
        self.valid.resize(self.valid.len() + count, false);
    }

    /// Appends the list of an earlier row; bytes added.
    pub(super) fn again(&mut self, earlier: usize) -> usize {
        if self.valid.get(earlier) != Some(&true) {
            self.nulls(1);
            return 0;
        }
        let before = self.bytes();
        let (start, end) = bounds(&self.ends, earlier);
        if !self.numbers.is_empty() && end <= self.numbers.len() {
            self.numbers.extend_from_within(start..end);
        }
        for field in &mut self.texts {
            field.again(start, end);
        }
        self.end();
        self.bytes() - before
    }

    pub(super) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let offsets = offsets(std::mem::take(&mut self.ends));
        let valid = NullBuffer::from(std::mem::take(&mut self.valid));
        let texts = self.texts.iter_mut().map(Strings::finish).collect::<Result<Vec<_>, _>>()?;
        let numbers = Int64Array::from(std::mem::take(&mut self.numbers));
        let elements: ArrayRef = if self.fields.is_empty() {
            texts.into_iter().next().unwrap_or_else(|| Arc::new(StringArray::new_null(0)))
        } else {
            let number = self.fields.iter().any(|field| *field.data_type() == DataType::Int64);
            let number: Option<ArrayRef> = number.then(|| Arc::new(numbers) as ArrayRef);
            let columns = number.into_iter().chain(texts).collect();
            Arc::new(StructArray::try_new(self.fields.clone(), columns, None)?)
        };
        let nulls = (valid.null_count() > 0).then_some(valid);
        Ok(Arc::new(ListArray::try_new(Arc::clone(&self.element), offsets, elements, nulls)?))
    }

    fn elements(&self) -> i32 {
        let count = self.texts.first().map_or(0, |field| field.ends.len());
        i32::try_from(count).unwrap_or(i32::MAX)
    }
}

// === impl Strings ===

impl Strings {
    fn size(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<i32>()
    }

    fn push(&mut self, text: Option<&[u8]>) {
        let end = text.and_then(|text| i32::try_from(self.bytes.len() + text.len()).ok());
        if let (Some(text), Some(_)) = (text, end) {
            self.bytes.extend_from_slice(text);
        }
        self.valid.push(end.is_some());
        self.ends.push(i32::try_from(self.bytes.len()).unwrap_or(i32::MAX));
    }

    /// Appends these elements once more.
    fn again(&mut self, start: usize, end: usize) {
        let from = start.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0);
        let to = end.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(from);
        let (Ok(first), Ok(last)) = (usize::try_from(from), usize::try_from(to)) else { return };
        let Ok(shift) = i32::try_from(self.bytes.len()) else { return };
        if shift.checked_add(to - from).is_none() {
            // Two gigabytes: batches are closed long before.
            return (start..end).for_each(|_| self.push(None));
        }
        self.bytes.extend_from_within(first..last);
        self.valid.extend_from_within(start..end);
        for element in start..end {
            let end = self.ends.get(element).copied().unwrap_or(from);
            self.ends.push(end - from + shift);
        }
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let valid = NullBuffer::from(std::mem::take(&mut self.valid));
        let nulls = (valid.null_count() > 0).then_some(valid);
        let (offsets, bytes) = (offsets(std::mem::take(&mut self.ends)), std::mem::take(&mut self.bytes));
        Ok(Arc::new(StringArray::try_new(offsets, bytes.into(), nulls)?))
    }
}

/// Where the list of this row begins and ends.
fn bounds(ends: &[i32], row: usize) -> (usize, usize) {
    let end = |row: usize| ends.get(row).and_then(|end| usize::try_from(*end).ok()).unwrap_or(0);
    (row.checked_sub(1).map_or(0, end), end(row))
}

fn offsets(ends: Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(std::iter::once(0).chain(ends).collect::<Vec<_>>().into())
}
