//! `information_schema`, with PostgreSQL's names of types.
//!
//! DataFusion has one of its own, which names types in Arrow's words and shows
//! the server's settings; Grafana's query builder finds no time column by it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bailiwick_proto::{Column, Kind};
use datafusion::arrow::datatypes::DataType::{Int32, Utf8};
use datafusion::catalog::TableProvider;
use datafusion::error::Result;

use super::sheet::{self, Row, number, text};
use super::{DATABASE, empty};
use crate::catalog::Relation;

/// Every table of the schema.
pub(super) fn tables() -> Result<BTreeMap<&'static str, Arc<dyn TableProvider>>> {
    let mut tables = empty::tables("information_schema")?;
    tables.extend([
        ("schemata", schemata()?),
        ("tables", list_of_tables()?),
        ("columns", list_of_columns()?),
        ("views", list_of_views()?),
        ("information_schema_catalog_name", name_of_catalog()?),
    ]);
    Ok(tables)
}

fn name_of_catalog() -> Result<Arc<dyn TableProvider>> {
    sheet::table(sheet::columns([("catalog_name", Utf8)]), &[vec![("catalog_name", text(DATABASE))]])
}

fn schemata() -> Result<Arc<dyn TableProvider>> {
    let schema = sheet::columns(["catalog_name", "schema_name", "schema_owner"].map(|name| (name, Utf8)));
    let row = |name| {
        vec![("catalog_name", text(DATABASE)), ("schema_name", text(name)), ("schema_owner", text(DATABASE))]
    };
    sheet::table(schema, &["public", "pg_catalog", "information_schema"].map(row))
}

fn list_of_tables() -> Result<Arc<dyn TableProvider>> {
    let names =
        ["table_catalog", "table_schema", "table_name", "table_type", "is_insertable_into", "is_typed"];
    let row = |relation: Relation| {
        let mut row = place(relation);
        row.extend([
            ("table_type", text(if relation.is_view() { "VIEW" } else { "BASE TABLE" })),
            ("is_insertable_into", text("NO")),
            ("is_typed", text("NO")),
        ]);
        row
    };
    let rows: Vec<_> = Relation::all().map(row).collect();
    sheet::table(sheet::columns(names.map(|name| (name, Utf8))), &rows)
}

/// Views are made of plans, so they have no definition in SQL.
fn list_of_views() -> Result<Arc<dyn TableProvider>> {
    let names =
        ["table_catalog", "table_schema", "table_name", "view_definition", "check_option", "is_updatable"];
    let row = |relation: Relation| {
        let mut row = place(relation);
        row.extend([("check_option", text("NONE")), ("is_updatable", text("NO"))]);
        row
    };
    let rows: Vec<_> = Relation::all().filter(|relation| relation.is_view()).map(row).collect();
    sheet::table(sheet::columns(names.map(|name| (name, Utf8))), &rows)
}

fn list_of_columns() -> Result<Arc<dyn TableProvider>> {
    let schema = sheet::columns([
        ("table_catalog", Utf8),
        ("table_schema", Utf8),
        ("table_name", Utf8),
        ("column_name", Utf8),
        ("ordinal_position", Int32),
        ("column_default", Utf8),
        ("is_nullable", Utf8),
        ("data_type", Utf8),
        ("character_maximum_length", Int32),
        ("character_octet_length", Int32),
        ("numeric_precision", Int32),
        ("numeric_precision_radix", Int32),
        ("numeric_scale", Int32),
        ("datetime_precision", Int32),
        ("interval_type", Utf8),
        ("character_set_name", Utf8),
        ("collation_name", Utf8),
        ("domain_name", Utf8),
        ("udt_catalog", Utf8),
        ("udt_schema", Utf8),
        ("udt_name", Utf8),
        ("is_identity", Utf8),
        ("is_generated", Utf8),
        ("generation_expression", Utf8),
        ("is_updatable", Utf8),
    ]);
    let rows = Relation::all().flat_map(|relation| {
        relation.columns().zip(1..).map(move |(column, ordinal)| column_row(relation, column, ordinal))
    });
    sheet::table(schema, &rows.collect::<Vec<_>>())
}

fn column_row(relation: Relation, column: &'static Column, ordinal: i32) -> Row<'static> {
    let (data_type, udt_name) = names_of(column.kind);
    let mut row = place(relation);
    row.extend([
        ("column_name", text(column.name)),
        ("ordinal_position", number(ordinal)),
        ("is_nullable", text("YES")),
        ("data_type", text(data_type)),
        ("udt_catalog", text(DATABASE)),
        ("udt_schema", text("pg_catalog")),
        ("udt_name", text(udt_name)),
        ("is_identity", text("NO")),
        ("is_generated", text("NEVER")),
        ("is_updatable", text("NO")),
    ]);
    match column.kind {
        Kind::Int => {
            row.extend([
                ("numeric_precision", number(64)),
                ("numeric_precision_radix", number(2)),
                ("numeric_scale", number(0)),
            ]);
        }
        Kind::Float => {
            row.extend([("numeric_precision", number(53)), ("numeric_precision_radix", number(2))])
        }
        Kind::Time => row.push(("datetime_precision", number(6))),
        Kind::Date => row.push(("datetime_precision", number(0))),
        _ => {}
    }
    row
}

fn place(relation: Relation) -> Row<'static> {
    vec![
        ("table_catalog", text(DATABASE)),
        ("table_schema", text("public")),
        ("table_name", text(relation.name())),
    ]
}

/// The SQL name of a type, and the name it has in `pg_type`.
fn names_of(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Text => ("text", "text"),
        Kind::Int => ("bigint", "int8"),
        Kind::Float => ("double precision", "float8"),
        Kind::Bool => ("boolean", "bool"),
        Kind::Time => ("timestamp with time zone", "timestamptz"),
        Kind::Date => ("date", "date"),
        Kind::TextList => ("ARRAY", "_text"),
        Kind::PairList | Kind::ProcessList => ("ARRAY", "_record"),
    }
}
