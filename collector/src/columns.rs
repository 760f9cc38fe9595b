//! Rows to a batch of a table's wire schema, column by column.

use std::collections::HashMap;

use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, RecordBatch,
    StringBuilder, StringDictionaryBuilder, StructBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{Field, Int32Type, SchemaRef};
use arrow::error::ArrowError;
use bailiwick_proto::schema::{pair_fields, process_fields};
use bailiwick_proto::{Kind, Origin, Table};
use std::sync::Arc;

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

/// Builders for every column of one table. A column that a row does not set is
/// null there; only what is set costs anything.
pub(crate) struct Columns {
    schema: SchemaRef,
    names: HashMap<&'static str, usize>,
    cells: Vec<Cells>,
    rows: usize,
}

enum Cells {
    Text(StringDictionaryBuilder<Int32Type>),
    Int(Int64Builder),
    Float(Float64Builder),
    Bool(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
    Texts(ListBuilder<StringBuilder>),
    Structs(ListBuilder<StructBuilder>),
}

// === impl Columns ===

impl Columns {
    /// An empty batch of `table`'s wire schema.
    pub(crate) fn new(table: Table) -> Self {
        let sent: Vec<_> = table.columns().filter(|column| column.origin == Origin::Sender).collect();
        let names = sent.iter().enumerate().map(|(index, column)| (column.name, index)).collect();
        let cells = sent.iter().map(|column| Cells::new(column.kind)).collect();
        Self { schema: table.wire_schema(), names, cells, rows: 0 }
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

    /// Whether no row was ended.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Sets a text.
    pub(crate) fn text<T: AsRef<str>>(&mut self, at: impl At, value: Option<T>) {
        let Some(value) = value else { return };
        if let Some(Cells::Text(cells)) = self.open(at) {
            cells.append_value(value);
        }
    }

    /// Sets an integer.
    pub(crate) fn int(&mut self, at: impl At, value: Option<i64>) {
        let Some(value) = value else { return };
        if let Some(Cells::Int(cells)) = self.open(at) {
            cells.append_value(value);
        }
    }

    /// Sets a float.
    pub(crate) fn float(&mut self, at: impl At, value: Option<f64>) {
        let Some(value) = value else { return };
        if let Some(Cells::Float(cells)) = self.open(at) {
            cells.append_value(value);
        }
    }

    /// Sets a truth value.
    pub(crate) fn boolean(&mut self, at: impl At, value: Option<bool>) {
        let Some(value) = value else { return };
        if let Some(Cells::Bool(cells)) = self.open(at) {
            cells.append_value(value);
        }
    }

    /// Sets a time, microseconds since 1970.
    pub(crate) fn time(&mut self, at: impl At, micros: Option<i64>) {
        let Some(value) = micros else { return };
        if let Some(Cells::Time(cells)) = self.open(at) {
            cells.append_value(value);
        }
    }

    /// Sets a list of texts.
    pub(crate) fn texts<T: AsRef<str>>(&mut self, at: impl At, values: impl IntoIterator<Item = T>) {
        if let Some(Cells::Texts(cells)) = self.open(at) {
            for value in values {
                cells.values().append_value(value);
            }
            cells.append(true);
        }
    }

    /// Sets a list of names with values.
    pub(crate) fn pairs<N: AsRef<str>, V: AsRef<str>>(
        &mut self,
        at: impl At,
        pairs: impl IntoIterator<Item = (N, V)>,
    ) {
        if let Some(Cells::Structs(cells)) = self.open(at) {
            for (name, value) in pairs {
                let pair = cells.values();
                append_text(pair, 0, Some(name.as_ref()));
                append_text(pair, 1, Some(value.as_ref()));
                pair.append(true);
            }
            cells.append(true);
        }
    }

    /// Sets a list of processes.
    pub(crate) fn processes<'a>(&mut self, at: impl At, list: impl IntoIterator<Item = ProcessCells<'a>>) {
        if let Some(Cells::Structs(cells)) = self.open(at) {
            for process in list {
                let row = cells.values();
                if let Some(pid) = row.field_builder::<Int64Builder>(0) {
                    pid.append_value(process.pid);
                }
                append_text(row, 1, process.name);
                append_text(row, 2, process.exe);
                append_text(row, 3, process.exepath);
                append_text(row, 4, process.cmdline);
                row.append(true);
            }
            cells.append(true);
        }
    }

    /// Ends the row; what was not set is null.
    pub(crate) fn end_row(&mut self) {
        self.rows += 1;
    }

    /// The rows so far; the builder is empty again and keeps its places.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let rows = std::mem::take(&mut self.rows);
        let column = |cells: &mut Cells| {
            cells.fill(rows);
            cells.finish()
        };
        RecordBatch::try_new(self.schema.clone(), self.cells.iter_mut().map(column).collect())
    }

    /// The column's builder, with nulls for the rows that left it out. `None`
    /// when the row has set it already: the first value stays.
    fn open(&mut self, at: impl At) -> Option<&mut Cells> {
        let index = at.index(self)?;
        let cells = self.cells.get_mut(index)?;
        cells.fill(self.rows);
        (cells.len() == self.rows).then_some(cells)
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
        let list = |fields: arrow::datatypes::Fields| {
            let item = Field::new_struct("element", fields.clone(), true);
            Self::Structs(ListBuilder::new(StructBuilder::from_fields(fields, 0)).with_field(item))
        };
        match kind {
            Kind::Text => Self::Text(StringDictionaryBuilder::new()),
            // No sender fills a date; it is stamped.
            Kind::Int | Kind::Date => Self::Int(Int64Builder::new()),
            Kind::Float => Self::Float(Float64Builder::new()),
            Kind::Bool => Self::Bool(BooleanBuilder::new()),
            Kind::Time => Self::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            Kind::TextList => {
                let item = Arc::new(Field::new("element", arrow::datatypes::DataType::Utf8, true));
                Self::Texts(ListBuilder::new(StringBuilder::new()).with_field(item))
            }
            Kind::PairList => list(pair_fields()),
            Kind::ProcessList => list(process_fields()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Text(cells) => cells.len(),
            Self::Int(cells) => cells.len(),
            Self::Float(cells) => cells.len(),
            Self::Bool(cells) => cells.len(),
            Self::Time(cells) => cells.len(),
            Self::Texts(cells) => cells.len(),
            Self::Structs(cells) => cells.len(),
        }
    }

    /// Appends nulls up to `rows`.
    fn fill(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.len());
        if missing == 0 {
            return;
        }
        match self {
            Self::Text(cells) => cells.append_nulls(missing),
            Self::Int(cells) => cells.append_nulls(missing),
            Self::Float(cells) => cells.append_nulls(missing),
            Self::Bool(cells) => cells.append_nulls(missing),
            Self::Time(cells) => cells.append_nulls(missing),
            Self::Texts(cells) => cells.append_nulls(missing),
            Self::Structs(cells) => cells.append_nulls(missing),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(cells) => Arc::new(cells.finish()),
            Self::Int(cells) => Arc::new(cells.finish()),
            Self::Float(cells) => Arc::new(cells.finish()),
            Self::Bool(cells) => Arc::new(cells.finish()),
            Self::Time(cells) => Arc::new(cells.finish()),
            Self::Texts(cells) => Arc::new(cells.finish()),
            Self::Structs(cells) => Arc::new(cells.finish()),
        }
    }
}

fn append_text(row: &mut StructBuilder, field: usize, value: Option<&str>) {
    if let Some(cells) = row.field_builder::<StringBuilder>(field) {
        cells.append_option(value);
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
}
