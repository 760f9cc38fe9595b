//! The seven tables: their columns, what each means, and their Arrow types.
//!
//! A table has three schemas, and a column appears in all that it belongs to:
//!
//! ```text
//!            wire                     stamped                    public
//!   sender ───────▶ ingest: + tenant, date, ingest_time ───▶ what SQL and Delta show
//!   text as dictionary               text as dictionary          text as Utf8
//!   (spool, Ship)                    (WAL, Tail)                 (Parquet, queries)
//! ```
//!
//! Text travels as dictionaries because a batch names the same few processes,
//! paths and pods again and again, and because rules are evaluated on the
//! distinct values. Lists that rows have in common may travel as dictionaries too
//! ([`crate::wire::packed`]); whoever receives them has plain ones. Public columns use only types that every client reads: no
//! unsigned integer, no Int8, no map.

mod api_access;
mod containers;
mod ledger;
mod syscalls;
mod usage;

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

/// A table of the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// One system call or process event a row.
    Syscalls,
    /// One API request a row.
    ApiAccess,
    /// One container (or other cgroup) and interval a row.
    Usage,
    /// One finding a row.
    Alerts,
    /// What was not captured, or not kept, a row a reason and interval.
    Losses,
    /// One query that somebody ran, or was refused, a row.
    Queries,
    /// One thing learnt of a container a row; what events did not know yet.
    Containers,
}

/// One column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// The column's name in every schema.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Who fills it.
    pub origin: Origin,
    /// One sentence: meaning and unit.
    pub doc: &'static str,
}

/// The types that columns have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 text. Bytes that are not UTF-8 are written as `\xNN` before.
    Text,
    /// A signed 64-bit integer.
    Int,
    /// A 64-bit float.
    Float,
    /// True or false.
    Bool,
    /// Microseconds since 1970, UTC.
    Time,
    /// A calendar day, UTC.
    Date,
    /// A list of texts.
    TextList,
    /// A list of `(name, value)` pairs of text, in order.
    PairList,
    /// A list of processes, nearest first: `(pid, name, exe, exepath, cmdline)`.
    ProcessList,
}

/// Who fills a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The sender; it travels on the wire.
    Sender,
    /// Ingest stamps it on arrival; it is not on the wire.
    Ingest,
    /// Ingest stamps it and every table is partitioned by it.
    Partition,
}

/// No table has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown table {0:?}; the tables are syscalls, api_access, usage, alerts, losses, queries, containers"
)]
pub struct UnknownTable(pub String);

/// Columns that every table has, before its own.
const STAMPED: &[Column] = &[
    Column::stamped(
        "tenant",
        Kind::Text,
        Origin::Partition,
        "who answers for this row; `_host`, `_cluster` and `_unassigned` are reserved",
    ),
    Column::stamped("date", Kind::Date, Origin::Partition, "the UTC day of `time`"),
    Column::stamped("ingest_time", Kind::Time, Origin::Ingest, "when an ingester received this row"),
];

// === impl Table ===

impl Table {
    /// All tables, in the order in which a flush commits them.
    pub const ALL: [Self; 7] = [
        Self::Syscalls,
        Self::ApiAccess,
        Self::Usage,
        Self::Alerts,
        Self::Losses,
        Self::Queries,
        Self::Containers,
    ];

    /// The name in SQL, on the wire and in the bucket.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Syscalls => "syscalls",
            Self::ApiAccess => "api_access",
            Self::Usage => "usage",
            Self::Alerts => "alerts",
            Self::Losses => "losses",
            Self::Queries => "queries",
            Self::Containers => "containers",
        }
    }

    /// One sentence for people: what a row is.
    pub const fn doc(self) -> &'static str {
        match self {
            Self::Syscalls => "system calls and process events",
            Self::ApiAccess => "Kubernetes API requests",
            Self::Usage => "resource use, one container and interval a row",
            Self::Alerts => "findings of rules and scheduled detections",
            Self::Losses => "what was not captured or not kept, with counts",
            Self::Queries => "every query that anyone ran or was refused",
            Self::Containers => "names of containers, a row whenever something new was learnt of one",
        }
    }

    /// Every column: the stamped ones, then the table's own.
    pub fn columns(self) -> impl Iterator<Item = &'static Column> {
        let own = match self {
            Self::Syscalls => syscalls::COLUMNS,
            Self::ApiAccess => api_access::COLUMNS,
            Self::Usage => usage::COLUMNS,
            Self::Alerts => ledger::ALERTS,
            Self::Losses => ledger::LOSSES,
            Self::Queries => ledger::QUERIES,
            Self::Containers => containers::COLUMNS,
        };
        STAMPED.iter().chain(own)
    }

    /// The column of this name, if the table has it.
    pub fn column(self, name: &str) -> Option<&'static Column> {
        self.columns().find(|column| column.name == name)
    }

    /// What a sender sends: no stamped columns, text as dictionaries.
    pub fn wire_schema(self) -> SchemaRef {
        SCHEMAS[self as usize].wire.clone()
    }

    /// What the WAL holds and Tail streams: all columns, text as dictionaries.
    pub fn stamped_schema(self) -> SchemaRef {
        SCHEMAS[self as usize].stamped.clone()
    }

    /// What SQL and the Delta table show: all columns, plain text.
    pub fn public_schema(self) -> SchemaRef {
        SCHEMAS[self as usize].public.clone()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Table {
    type Err = UnknownTable;

    fn from_str(name: &str) -> Result<Self, UnknownTable> {
        let cut = || UnknownTable(name.chars().take(100).collect());
        Self::ALL.into_iter().find(|table| table.name() == name).ok_or_else(cut)
    }
}

// === impl Column ===

impl Column {
    /// A column that a sender fills, or a view computes.
    pub const fn new(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { name, kind, origin: Origin::Sender, doc }
    }

    const fn stamped(name: &'static str, kind: Kind, origin: Origin, doc: &'static str) -> Self {
        Self { name, kind, origin, doc }
    }
}

// === impl Kind ===

impl Kind {
    /// The Arrow type that SQL and the Delta table show.
    pub fn public_type(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Date => DataType::Date32,
            Self::TextList => list_of(DataType::Utf8),
            Self::PairList => list_of(DataType::Struct(pair_fields())),
            Self::ProcessList => list_of(DataType::Struct(process_fields())),
        }
    }

    /// The Arrow type on the wire and in the WAL: text is a dictionary.
    pub fn wire_type(self) -> DataType {
        match self {
            Self::Text => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            other => other.public_type(),
        }
    }
}

/// The fields of a [`Kind::PairList`] element: `name`, `value`.
pub fn pair_fields() -> Fields {
    Fields::from(vec![text_field("name"), text_field("value")])
}

/// The fields of a [`Kind::ProcessList`] element: `pid`, `name`, `exe`, `exepath`, `cmdline`.
pub fn process_fields() -> Fields {
    let pid = Field::new("pid", DataType::Int64, true);
    let texts = ["name", "exe", "exepath", "cmdline"].map(text_field);
    Fields::from_iter(std::iter::once(pid).chain(texts))
}

fn text_field(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

/// `element` is the name that Delta gives to a list's items; another name
/// would make every reader cast.
fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("element", item, true)))
}

// === the schemas, built once ===

struct TableSchemas {
    wire: SchemaRef,
    stamped: SchemaRef,
    public: SchemaRef,
}

static SCHEMAS: LazyLock<[TableSchemas; Table::ALL.len()]> =
    LazyLock::new(|| Table::ALL.map(TableSchemas::of));

impl TableSchemas {
    fn of(table: Table) -> Self {
        let build = |typed: fn(Kind) -> DataType, keep: fn(&&Column) -> bool| {
            let field = |column: &Column| Field::new(column.name, typed(column.kind), true);
            Arc::new(Schema::new(table.columns().filter(keep).map(field).collect::<Vec<_>>()))
        };
        Self {
            wire: build(Kind::wire_type, |column| column.origin == Origin::Sender),
            stamped: build(Kind::wire_type, |_| true),
            public: build(Kind::public_type, |_| true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_found_by_its_name() {
        for table in Table::ALL {
            assert_eq!(table.name().parse::<Table>(), Ok(table));
        }
        assert!("Syscalls".parse::<Table>().is_err());
    }

    #[test]
    fn a_column_is_named_once_and_documented() {
        for table in Table::ALL {
            let mut names: Vec<_> = table.columns().map(|column| column.name).collect();
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "{table}");
            assert!(table.columns().all(|column| !column.doc.is_empty()), "{table}");
        }
    }

    #[test]
    fn every_table_has_a_time_and_says_where_it_came_from() {
        for table in Table::ALL {
            for (name, kind) in [("time", Kind::Time), ("node", Kind::Text), ("cluster", Kind::Text)] {
                assert_eq!(table.column(name).map(|column| column.kind), Some(kind), "{table}.{name}");
            }
        }
    }

    #[test]
    fn the_tables_are_what_they_were() {
        let mut text = String::new();
        for table in Table::ALL {
            text += &format!("{table}: {}\n", table.doc());
            for column in table.columns() {
                let Column { name, kind, origin, doc } = column;
                text += &format!("  {name} {kind:?} {origin:?}: {doc}\n");
            }
        }
        insta::assert_snapshot!(text);
    }
}
