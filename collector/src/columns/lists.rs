//! A column of lists: of texts, or of structs of texts and numbers.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, ListArray, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use arrow::error::ArrowError;

use super::gaps::Gaps;

/// A list column as it grows.
pub(super) struct Lists {
    /// The type of an element.
    element: FieldRef,
    fields: Fields,
    /// Where each row's list begins, in elements; last, where they end.
    bounds: Vec<i32>,
    gaps: Gaps,
    numbers: Vec<i64>,
    texts: Vec<Strings>,
}

/// One text field of all elements, one after the other.
struct Strings {
    bytes: Vec<u8>,
    /// Where each begins; last, where they end.
    bounds: Vec<i32>,
    gaps: Gaps,
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
            bounds: vec![0],
            gaps: Gaps::default(),
            numbers: Vec::new(),
            texts: (0..texts).map(|_| Strings::new()).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bounds.len() - 1
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
        self.bounds.push(self.elements());
    }

    pub(super) fn nulls(&mut self, count: usize) {
        self.gaps.add(self.len(), count);
        self.bounds.resize(self.bounds.len() + count, self.elements());
    }

    pub(super) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let nulls = self.gaps.take(self.len());
        let bounds = OffsetBuffer::new(begin_anew(&mut self.bounds).into());
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
        Ok(Arc::new(ListArray::try_new(Arc::clone(&self.element), bounds, elements, nulls)?))
    }

    fn elements(&self) -> i32 {
        let count = self.texts.first().map_or(0, Strings::len);
        i32::try_from(count).unwrap_or(i32::MAX)
    }
}

// === impl Strings ===

impl Strings {
    fn new() -> Self {
        Self { bytes: Vec::new(), bounds: vec![0], gaps: Gaps::default() }
    }

    fn len(&self) -> usize {
        self.bounds.len() - 1
    }

    fn size(&self) -> usize {
        self.bytes.len() + self.len() * size_of::<i32>()
    }

    fn push(&mut self, text: Option<&[u8]>) {
        let end = text.and_then(|text| i32::try_from(self.bytes.len() + text.len()).ok());
        match (text, end) {
            (Some(text), Some(end)) => {
                self.bytes.extend_from_slice(text);
                self.bounds.push(end);
            }
            // None, or two gigabytes: batches are closed long before.
            _ => {
                self.gaps.add(self.len(), 1);
                self.bounds.push(self.bounds.last().copied().unwrap_or(0));
            }
        }
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let nulls = self.gaps.take(self.len());
        let bounds = OffsetBuffer::new(begin_anew(&mut self.bounds).into());
        let next = Vec::with_capacity(self.bytes.len());
        let bytes = std::mem::replace(&mut self.bytes, next);
        Ok(Arc::new(StringArray::try_new(bounds, bytes.into(), nulls)?))
    }
}

/// The bounds so far; then there is nothing but room for as many.
fn begin_anew(bounds: &mut Vec<i32>) -> Vec<i32> {
    let mut next = Vec::with_capacity(bounds.len());
    next.push(0);
    std::mem::replace(bounds, next)
}
