//! Rows to a batch of a table's wire schema, column by column.
//!
//! ```text
//!   text ─▶ Texts: a dictionary, and a key a row     int, time, bool ─▶ Numbers
//!   pairs, processes, texts ─▶ Lists
//!
//!   shared columns:  0 ▓▓▓▓▓▓  ◀── rows 0, 1, 3      written once, and spread over
//!                    1 ▓▓▓▓▓▓  ◀── rows 2, 4         their rows when the batch ends
//! ```
//!
//! Much of a row is what an earlier row of the same process had. Such columns
//! are shared: a row only says whose cells it has. Shared lists stay so on the
//! wire, see [`bailiwick_proto::wire::packed`]; the others are spread.

mod gaps;
mod lists;
mod places;
mod texts;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch,
    TimestampMicrosecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use bailiwick_proto::schema::{pair_fields, process_fields};
use bailiwick_proto::{Kind, Origin, Table, wire};

use gaps::Gaps;
use lists::Lists;
use places::Places;
use texts::Texts;

/// One process in a list of processes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ProcessCells<'a> {
    pub(crate) pid: i64,
    pub(crate) name: Option<&'a str>,
    pub(crate) exe: Option<&'a str>,
    pub(crate) exepath: Option<&'a str>,
    pub(crate) cmdline: Option<&'a str>,
}

/// A column's place, found once by [`Columns::place`], for rows written often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(usize);

/// Names a column: a [`Place`], or its name where speed does not matter.
pub(crate) trait At {
    /// The column's index in the wire schema.
    fn index(self, columns: &Columns) -> Option<usize>;
}

/// The shared cells of a row: see [`Columns::share`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shared(u32);

/// A row without shared cells.
const NOTHING: Shared = Shared(u32::MAX);

/// Builders for every column of one table. A column that a row does not set is
/// null there; only what is set costs anything.
pub(crate) struct Columns {
    schema: SchemaRef,
    names: HashMap<&'static str, usize>,
    cells: Vec<Cells>,
    rows: usize,
    /// Bytes of texts and lists so far.
    bytes: usize,
    finished: u64,
    /// By column, whether its cells are shared.
    is_shared: Vec<bool>,
    /// Bytes of the lists in each set of shared cells; the last is being written.
    shared_bytes: Vec<usize>,
    /// Each row's.
    shared: Vec<Shared>,
    row_shared: Shared,
}

enum Cells {
    Text(Texts),
    Int(Numbers<i64>),
    Float(Numbers<f64>),
    Bool(Numbers<bool>),
    Time(Numbers<i64>),
    List(Lists),
}

/// Values of fixed width, and which of them are missing.
struct Numbers<T> {
    values: Vec<T>,
    gaps: Gaps,
}

// === impl Columns ===

impl Columns {
    /// An empty batch of `table`'s wire schema.
    pub(crate) fn new(table: Table) -> Self {
        let sent: Vec<_> = table.columns().filter(|column| column.origin == Origin::Sender).collect();
        let names = sent.iter().enumerate().map(|(index, column)| (column.name, index)).collect();
        let cells = sent.iter().map(|column| Cells::new(column.kind)).collect();
        Self {
            schema: table.wire_schema(),
            names,
            is_shared: vec![false; sent.len()],
            cells,
            rows: 0,
            bytes: 0,
            finished: 0,
            shared_bytes: vec![0],
            shared: Vec::new(),
            row_shared: NOTHING,
        }
    }

    /// Lets rows have the cells of these columns from an earlier row. Each row
    /// then sets them and calls [`Columns::shared`], or calls
    /// [`Columns::shared_again`].
    pub(crate) fn share(&mut self, places: &[Place]) {
        for Place(index) in places {
            if let Some(is_shared) = self.is_shared.get_mut(*index) {
                *is_shared = true;
            }
        }
        let fields = self.schema.fields().iter().zip(&self.is_shared).map(|(field, is_shared)| {
            match field.data_type() {
                list @ DataType::List(_) if *is_shared => {
                    Arc::new(Field::new(field.name(), wire::packed(list), true))
                }
                _ => Arc::clone(field),
            }
        });
        self.schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    }

    /// Ends the row's shared cells; rows of the same batch may have them too.
    pub(crate) fn shared(&mut self) -> Shared {
        let shared = u32::try_from(self.shared_bytes.len() - 1).map_or(NOTHING, Shared);
        self.shared_bytes.push(0);
        self.row_shared = shared;
        shared
    }

    /// Gives the row shared cells that there are already.
    pub(crate) fn shared_again(&mut self, shared: Shared) {
        self.row_shared = shared;
        self.bytes += self.shared_bytes.get(shared.0 as usize).copied().unwrap_or(0);
    }

    /// Where the column of this name is. A name that the table does not have is
    /// a mistake of the caller: debug builds panic, others leave it out.
    pub(crate) fn place(&self, name: &str) -> Place {
        let found = self.names.get(name).copied();
        debug_assert!(found.is_some(), "the table has no column {name:?}");
        Place(found.unwrap_or(usize::MAX))
    }

    /// Rows ended so far.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of texts and lists so far; what has fixed width does not count.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether no row was ended.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Batches finished before this one: rows of the same number share a batch.
    pub(crate) fn finished(&self) -> u64 {
        self.finished
    }

    /// Sets a text.
    pub(crate) fn text<T: AsRef<str>>(&mut self, at: impl At, value: Option<T>) {
        let Some(value) = value else { return };
        let mut added = 0;
        if let Some(Cells::Text(cells)) = self.open(at) {
            added = cells.push(value.as_ref());
        }
        self.bytes += added;
    }

    /// Sets an integer.
    pub(crate) fn int(&mut self, at: impl At, value: Option<i64>) {
        let Some(value) = value else { return };
        if let Some(Cells::Int(cells)) = self.open(at) {
            cells.push(value);
        }
    }

    /// Sets a float.
    pub(crate) fn float(&mut self, at: impl At, value: Option<f64>) {
        let Some(value) = value else { return };
        if let Some(Cells::Float(cells)) = self.open(at) {
            cells.push(value);
        }
    }

    /// Sets a truth value.
    pub(crate) fn boolean(&mut self, at: impl At, value: Option<bool>) {
        let Some(value) = value else { return };
        if let Some(Cells::Bool(cells)) = self.open(at) {
            cells.push(value);
        }
    }

    /// Sets a time, microseconds since 1970.
    pub(crate) fn time(&mut self, at: impl At, micros: Option<i64>) {
        let Some(value) = micros else { return };
        if let Some(Cells::Time(cells)) = self.open(at) {
            cells.push(value);
        }
    }

    /// Sets a list of texts.
    pub(crate) fn texts<T: AsRef<str>>(&mut self, at: impl At, values: impl IntoIterator<Item = T>) {
        self.list(at, |list| values.into_iter().for_each(|value| list.texts([Some(value.as_ref())])));
    }

    /// Sets a list of names with values.
    pub(crate) fn pairs<N: AsRef<str>, V: AsRef<str>>(
        &mut self,
        at: impl At,
        pairs: impl IntoIterator<Item = (N, V)>,
    ) {
        self.list(at, |list| {
            for (name, value) in pairs {
                list.texts([Some(name.as_ref()), Some(value.as_ref())]);
            }
        });
    }

    /// Sets a list of processes.
    pub(crate) fn processes<'a>(&mut self, at: impl At, list: impl IntoIterator<Item = ProcessCells<'a>>) {
        self.list(at, |cells| {
            for process in list {
                cells.number(process.pid);
                cells.texts([process.name, process.exe, process.exepath, process.cmdline]);
            }
        });
    }

    /// Ends the row; what was not set is null.
    pub(crate) fn end_row(&mut self) {
        self.rows += 1;
        self.shared.push(std::mem::replace(&mut self.row_shared, NOTHING));
    }

    /// The rows so far; the builder is empty again and keeps its places.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let rows = std::mem::take(&mut self.rows);
        let sets = self.shared_bytes.len() - 1;
        self.shared_bytes.clear();
        self.shared_bytes.push(0);
        self.bytes = 0;
        self.finished += 1;
        let rows_sets =
            self.shared.drain(..).map(|Shared(set)| if (set as usize) < sets { set } else { u32::MAX });
        let places = Places::new(rows_sets.collect());
        let column = |(cells, is_shared): (&mut Cells, &bool)| {
            if !*is_shared {
                cells.fill(rows);
                return cells.finish();
            }
            cells.fill(sets);
            match cells {
                Cells::List(lists) => packed(&lists.finish()?, &places),
                cells => {
                    cells.spread(&places);
                    cells.finish()
                }
            }
        };
        let columns = self.cells.iter_mut().zip(&self.is_shared).map(column).collect::<Result<_, _>>()?;
        RecordBatch::try_new(self.schema.clone(), columns)
    }

    fn list(&mut self, at: impl At, write: impl FnOnce(&mut Lists)) {
        let Some(index) = at.index(self) else { return };
        let mut added = 0;
        if let Some(Cells::List(cells)) = self.open(Place(index)) {
            let before = cells.bytes();
            write(cells);
            cells.end();
            added = cells.bytes().saturating_sub(before);
        }
        self.bytes += added;
        if self.is_shared.get(index) == Some(&true)
            && let Some(bytes) = self.shared_bytes.last_mut()
        {
            *bytes += added;
        }
    }

    /// The column's builder, with nulls for the rows that left it out. `None`
    /// when the row has set it already: the first value stays.
    fn open(&mut self, at: impl At) -> Option<&mut Cells> {
        let index = at.index(self)?;
        let is_shared = self.is_shared.get(index) == Some(&true);
        let rows = if is_shared { self.shared_bytes.len() - 1 } else { self.rows };
        let cells = self.cells.get_mut(index)?;
        cells.fill(rows);
        (cells.len() == rows).then_some(cells)
    }
}

impl std::fmt::Debug for Columns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Columns").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl At for Place {
    fn index(self, _: &Columns) -> Option<usize> {
        Some(self.0)
    }
}

impl At for &str {
    fn index(self, columns: &Columns) -> Option<usize> {
        Some(columns.place(self).0)
    }
}

// === impl Cells ===

impl Cells {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text(Texts::new()),
            // No sender fills a date; it is stamped.
            Kind::Int | Kind::Date => Self::Int(Numbers::new()),
            Kind::Float => Self::Float(Numbers::new()),
            Kind::Bool => Self::Bool(Numbers::new()),
            Kind::Time => Self::Time(Numbers::new()),
            Kind::TextList => Self::List(Lists::of_texts()),
            Kind::PairList => Self::List(Lists::of_structs(pair_fields())),
            Kind::ProcessList => Self::List(Lists::of_structs(process_fields())),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Text(cells) => cells.len(),
            Self::Int(cells) | Self::Time(cells) => cells.values.len(),
            Self::Float(cells) => cells.values.len(),
            Self::Bool(cells) => cells.values.len(),
            Self::List(cells) => cells.len(),
        }
    }

    /// Appends nulls up to `rows`.
    fn fill(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.len());
        if missing == 0 {
            return;
        }
        match self {
            Self::Text(cells) => cells.nulls(missing),
            Self::Int(cells) | Self::Time(cells) => cells.nulls(missing),
            Self::Float(cells) => cells.nulls(missing),
            Self::Bool(cells) => cells.nulls(missing),
            Self::List(cells) => cells.nulls(missing),
        }
    }

    /// Puts the cells at these places, one after the other, instead of what
    /// there is.
    fn spread(&mut self, places: &Places) {
        match self {
            Self::Text(cells) => cells.spread(places),
            Self::Int(cells) | Self::Time(cells) => cells.spread(places),
            Self::Float(cells) => cells.spread(places),
            Self::Bool(cells) => cells.spread(places),
            Self::List(_) => {}
        }
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::Text(cells) => cells.finish()?,
            Self::Int(cells) => {
                let (values, nulls) = cells.finish();
                Arc::new(Int64Array::try_new(values.into(), nulls)?)
            }
            Self::Float(cells) => {
                let (values, nulls) = cells.finish();
                Arc::new(Float64Array::try_new(values.into(), nulls)?)
            }
            Self::Bool(cells) => {
                let (values, nulls) = cells.finish();
                Arc::new(BooleanArray::new(values.into(), nulls))
            }
            Self::Time(cells) => {
                let (values, nulls) = cells.finish();
                Arc::new(TimestampMicrosecondArray::try_new(values.into(), nulls)?.with_timezone("UTC"))
            }
            Self::List(cells) => cells.finish()?,
        })
    }
}

/// These lists, the one at each place.
fn packed(lists: &ArrayRef, places: &Places) -> Result<ArrayRef, ArrowError> {
    let keys: Int32Array =
        places.iter().map(|place| place.and_then(|place| i32::try_from(place).ok())).collect();
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::clone(lists))?))
}

// === impl Numbers ===

impl<T: Copy + Default + PartialEq> Numbers<T> {
    fn new() -> Self {
        Self { values: Vec::new(), gaps: Gaps::default() }
    }

    fn push(&mut self, value: T) {
        self.values.push(value);
    }

    fn nulls(&mut self, count: usize) {
        self.gaps.add(self.values.len(), count);
        self.values.resize(self.values.len() + count, T::default());
    }

    fn spread(&mut self, places: &Places) {
        let values = places.spread(&self.values, T::default());
        self.gaps = self.gaps.spread(self.values.len(), places);
        self.values = values;
    }

    fn finish(&mut self) -> (Vec<T>, Option<NullBuffer>) {
        let values = std::mem::take(&mut self.values);
        self.values.reserve(values.len());
        let nulls = self.gaps.take(values.len());
        (values, nulls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_can_be_built_and_unset_columns_are_null() {
        for table in Table::ALL {
            let mut columns = Columns::new(table);
            columns.time("time", Some(7));
            columns.end_row();
            columns.end_row();
            columns.text("node", Some("n1"));
            columns.text("node", Some("only the first value of a row counts"));
            columns.end_row();
            let batch = columns.finish().unwrap();
            assert_eq!(batch.schema(), table.wire_schema());
            assert_eq!(batch.num_rows(), 3);
            assert_eq!(batch.column_by_name("node").unwrap().null_count(), 2);
            assert_eq!(batch.column_by_name("time").unwrap().null_count(), 2);
            assert_eq!(columns.finish().unwrap().num_rows(), 0, "the builder starts anew");
        }
    }

    #[test]
    fn lists_keep_their_order() {
        let mut columns = Columns::new(Table::Syscalls);
        let arguments = columns.place("evt_arg");
        columns.end_row();
        columns.pairs(arguments, [("fd", "3"), ("name", "/x")]);
        columns.texts("proc_env", ["A=1", "B=2"]);
        columns
            .processes("proc_ancestors", [ProcessCells { pid: 1, name: Some("init"), ..Default::default() }]);
        columns.end_row();
        let batch = columns.finish().unwrap();
        let arguments = batch.column_by_name("evt_arg").unwrap();
        let mut json = arrow::json::ArrayWriter::new(Vec::new());
        json.write(&batch.project(&[batch.schema().index_of("evt_arg").unwrap()]).unwrap()).unwrap();
        json.finish().unwrap();
        let json = String::from_utf8(json.into_inner()).unwrap();
        assert!(json.contains(r#"[{"name":"fd","value":"3"},{"name":"name","value":"/x"}]"#), "{json}");
        assert_eq!(arguments.null_count(), 1);
    }

    /// Columns of each kind, as text.
    const MIXED: [&str; 7] =
        ["proc_name", "proc_pid", "evt_failed", "time", "evt_arg", "proc_ancestors", "proc_env"];

    /// Sets a row's cells by a few numbers, some of them not at all.
    fn set(columns: &mut Columns, number: u8) {
        let text = format!("n{}", number % 5);
        let cells = [ProcessCells { pid: number.into(), name: Some(&text), ..Default::default() }; 3];
        columns.text("proc_name", (!number.is_multiple_of(3)).then_some(&text));
        columns.int("proc_pid", (!number.is_multiple_of(4)).then_some(number.into()));
        columns.boolean("evt_failed", (!number.is_multiple_of(2)).then_some(number > 100));
        columns.time("time", (!number.is_multiple_of(7)).then_some(number.into()));
        if !number.is_multiple_of(5) {
            columns.pairs("evt_arg", vec![("name", text.as_str()); usize::from(number % 3)]);
            columns.processes("proc_ancestors", cells.into_iter().take(usize::from(number % 4)));
            columns.texts("proc_env", vec![&text; usize::from(number % 2)]);
        }
    }

    proptest::proptest! {
        /// Goal: cells copied from an earlier row are those that would have been set.
        #[test]
        fn cells_again_are_cells_set_again(numbers in proptest::collection::vec(proptest::prelude::any::<u8>(), 1..60)) {
            let (mut copied, mut written) = (Columns::new(Table::Syscalls), Columns::new(Table::Syscalls));
            let places = MIXED.map(|name| copied.place(name));
            copied.share(&places);
            for _ in 0..2 {
                let mut first = HashMap::new();
                for (row, number) in numbers.iter().enumerate() {
                    match first.get(number) {
                        Some(earlier) => copied.shared_again(*earlier),
                        // A row may have none at all.
                        None if *number == 7 => {}
                        None => {
                            set(&mut copied, *number);
                            first.insert(*number, copied.shared());
                        }
                    }
                    if *number != 7 {
                        set(&mut written, *number);
                    }
                    copied.int("seq", i64::try_from(row).ok());
                    written.int("seq", i64::try_from(row).ok());
                    copied.end_row();
                    written.end_row();
                }
                proptest::prop_assert_eq!(copied.bytes(), written.bytes());
                let packed = copied.finish().unwrap();
                proptest::prop_assert_ne!(packed.schema(), Table::Syscalls.wire_schema());
                let (plain, written) = (wire::plain(&packed).unwrap(), written.finish().unwrap());
                proptest::prop_assert_eq!(&plain, &written);
                let bytes = wire::encode(&packed).unwrap();
                let read = wire::decode(&bytes, crc32c::crc32c(&bytes), &Table::Syscalls.wire_schema());
                proptest::prop_assert_eq!(read.unwrap(), written);
            }
        }

        #[test]
        fn a_dictionary_holds_each_text_once(texts in proptest::collection::vec("[a-c]{0,3}", 0..300)) {
            let mut columns = Columns::new(Table::Syscalls);
            for text in &texts {
                columns.text("proc_name", Some(text));
                columns.end_row();
            }
            let batch = columns.finish().unwrap();
            let column = batch.column_by_name("proc_name").unwrap();
            let column = column.as_any().downcast_ref::<arrow::array::DictionaryArray<arrow::datatypes::Int32Type>>().unwrap();
            let values = column.downcast_dict::<arrow::array::StringArray>().unwrap();
            let read: Vec<_> = values.into_iter().flatten().map(str::to_owned).collect();
            let distinct: std::collections::HashSet<_> = texts.iter().collect();
            proptest::prop_assert_eq!(column.values().len(), distinct.len());
            proptest::prop_assert_eq!(read, texts);
        }
    }
}
