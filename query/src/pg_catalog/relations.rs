//! The tables of `pg_catalog` that speak of what is in this database.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_pg::datatypes::into_pg_type;
use bailiwick_proto::{Column, Kind};
use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use pgwire::api::Type;

use super::sheet::{self, Row, number, text};
use super::{DATABASE, Shared, Upstream, oid_of, upstream_schema};
use crate::catalog::Relation;
use crate::functions;

/// Ids as PostgreSQL has them: `public`, `pg_catalog`, the first superuser, the
/// heap access method, the default tablespace and collation, and `pg_class` itself.
const PUBLIC_OID: i32 = 2200;
const PG_CATALOG_OID: i32 = 11;
const OWNER_OID: i32 = 10;
const HEAP_OID: i32 = 2;
const TABLESPACE_OID: i32 = 1663;
const COLLATION_OID: i32 = 100;
const PG_CLASS_OID: i32 = 1259;

/// Ids that PostgreSQL gives out itself.
const INFORMATION_SCHEMA_OID: i32 = 13_000;
const DATABASE_OID: i32 = 16_384;
const PRINCIPAL_OID: i32 = 16_390;

/// The schemas.
pub(super) const NAMESPACES: [(&str, i32); 3] =
    [("public", PUBLIC_OID), ("pg_catalog", PG_CATALOG_OID), ("information_schema", INFORMATION_SCHEMA_OID)];

/// UTF-8, in PostgreSQL's numbering of encodings.
const UTF8: i32 = 6;

/// Every table that takes the place of one of upstream's.
pub(super) fn tables(upstream: &Upstream) -> Result<BTreeMap<&'static str, Arc<dyn TableProvider>>> {
    let sheets: [(&'static str, Vec<Row<'_>>); 7] = [
        ("pg_class", Relation::all().map(class).collect()),
        ("pg_attribute", attributes()?),
        ("pg_namespace", namespaces()),
        ("pg_database", vec![database()]),
        ("pg_tables", Relation::all().filter(|relation| !relation.is_view()).map(listed).collect()),
        ("pg_description", descriptions()),
        ("pg_views", Relation::all().filter(|relation| relation.is_view()).map(listed_view).collect()),
    ];
    let table = |(name, rows): (&'static str, Vec<Row<'_>>)| {
        Ok((name, sheet::table(upstream_schema(upstream, name)?, &rows)?))
    };
    let mut tables: BTreeMap<_, _> = sheets.into_iter().map(table).collect::<Result<_>>()?;
    tables.insert("pg_settings", settings()?);
    tables.insert("pg_timezone_names", zones()?);
    Ok(tables)
}

/// `pg_roles`: the owner of the tables, who cannot log in, and whoever asks.
pub(super) fn roles(shared: &Shared, principal: &str) -> Result<Arc<dyn TableProvider>> {
    let role = |name: &str, oid: i32, logs_in: bool| {
        let flag = |value: bool| ScalarValue::from(value);
        vec![
            ("rolname", text(name)),
            ("oid", number(oid)),
            ("rolinherit", flag(true)),
            ("rolsuper", flag(false)),
            ("rolcreaterole", flag(false)),
            ("rolcreatedb", flag(false)),
            ("rolcanlogin", flag(logs_in)),
            ("rolreplication", flag(false)),
            ("rolbypassrls", flag(false)),
            ("rolconnlimit", number(-1)),
        ]
    };
    let rows = [role(DATABASE, OWNER_OID, false), role(principal, PRINCIPAL_OID, true)];
    sheet::table(upstream_schema(&shared.upstream, "pg_roles")?, &rows)
}

/// `pg_user`: whoever asks.
pub(super) fn user(principal: &str) -> Result<Arc<dyn TableProvider>> {
    let flags = ["usecreatedb", "usesuper", "userepl", "usebypassrls"];
    let columns = [("usename", DataType::Utf8), ("usesysid", DataType::Int32)].into_iter();
    let columns = columns.chain(flags.map(|name| (name, DataType::Boolean)));
    let columns = columns.chain(["passwd", "valuntil", "useconfig"].map(|name| (name, DataType::Utf8)));
    let mut row = vec![("usename", text(principal)), ("usesysid", number(PRINCIPAL_OID))];
    row.extend(flags.map(|name| (name, ScalarValue::from(false))));
    sheet::table(sheet::columns(columns), &[row])
}

/// The one time zone.
fn zones() -> Result<Arc<dyn TableProvider>> {
    let columns = ["name", "abbrev", "utc_offset"].map(|name| (name, DataType::Utf8));
    let columns = columns.into_iter().chain([("is_dst", DataType::Boolean)]);
    let row = vec![
        ("name", text("UTC")),
        ("abbrev", text("UTC")),
        ("utc_offset", text("00:00:00")),
        ("is_dst", ScalarValue::from(false)),
    ];
    sheet::table(sheet::columns(columns), &[row])
}

fn class(relation: Relation) -> Row<'static> {
    let columns = i32::try_from(relation.columns().count()).unwrap_or(i32::MAX);
    vec![
        ("oid", number(oid_of(relation))),
        ("relname", text(relation.name())),
        ("relnamespace", number(PUBLIC_OID)),
        ("reloftype", number(0)),
        ("relowner", number(OWNER_OID)),
        ("relam", number(if relation.is_view() { 0 } else { HEAP_OID })),
        ("relfilenode", number(if relation.is_view() { 0 } else { oid_of(relation) })),
        // Never counted, as PostgreSQL says it.
        ("reltuples", ScalarValue::from(-1.0)),
        ("relpersistence", text("p")),
        ("relkind", text(if relation.is_view() { "v" } else { "r" })),
        ("relnatts", number(columns)),
        ("relispopulated", ScalarValue::from(true)),
        ("relreplident", text("n")),
    ]
}

fn attributes() -> Result<Vec<Row<'static>>> {
    let rows = Relation::all().flat_map(|relation| {
        relation.columns().zip(1..).map(move |(column, place)| attribute(relation, column, place))
    });
    rows.collect()
}

fn attribute(relation: Relation, column: &'static Column, place: i32) -> Result<Row<'static>> {
    let kind = into_pg_type(&column.kind.public_type())
        .map_err(|e| DataFusionError::External(e.to_string().into()))?;
    let oid = i32::try_from(kind.oid()).unwrap_or_default();
    let (length, alignment, storage) = match kind {
        Type::BOOL => (1, "c", "p"),
        Type::DATE => (4, "i", "p"),
        Type::INT8 | Type::FLOAT8 | Type::TIMESTAMPTZ => (8, "d", "p"),
        _ => (-1, "i", "x"),
    };
    let collation = if matches!(kind, Type::TEXT | Type::TEXT_ARRAY) { COLLATION_OID } else { 0 };
    Ok(vec![
        ("attrelid", number(oid_of(relation))),
        ("attname", text(column.name)),
        ("atttypid", number(oid)),
        ("attstattarget", number(-1)),
        ("attlen", number(length)),
        ("attnum", number(place)),
        (
            "attndims",
            number(i32::from(matches!(column.kind, Kind::TextList | Kind::PairList | Kind::ProcessList))),
        ),
        ("attcacheoff", number(-1)),
        ("atttypmod", number(-1)),
        ("attbyval", ScalarValue::from(length > 0)),
        ("attalign", text(alignment)),
        ("attstorage", text(storage)),
        ("attcompression", text("")),
        ("attidentity", text("")),
        ("attgenerated", text("")),
        ("attislocal", ScalarValue::from(true)),
        ("attcollation", number(collation)),
    ])
}

fn namespaces() -> Vec<Row<'static>> {
    let row =
        |(name, oid)| vec![("oid", number(oid)), ("nspname", text(name)), ("nspowner", number(OWNER_OID))];
    NAMESPACES.iter().copied().map(row).collect()
}

fn database() -> Row<'static> {
    vec![
        ("oid", number(DATABASE_OID)),
        ("datname", text(DATABASE)),
        ("datdba", number(OWNER_OID)),
        ("encoding", number(UTF8)),
        ("datlocprovider", text("c")),
        ("datcollate", text("C")),
        ("datctype", text("C.UTF-8")),
        ("datallowconn", ScalarValue::from(true)),
        ("datconnlimit", number(-1)),
        ("dattablespace", number(TABLESPACE_OID)),
    ]
}

fn listed(relation: Relation) -> Row<'static> {
    vec![("schemaname", text("public")), ("tablename", text(relation.name())), ("tableowner", text(DATABASE))]
}

/// Views are made of plans, so they have no definition in SQL.
fn listed_view(relation: Relation) -> Row<'static> {
    vec![("schemaname", text("public")), ("viewname", text(relation.name())), ("viewowner", text(DATABASE))]
}

fn descriptions() -> Vec<Row<'static>> {
    let row = |relation: Relation, place: i32, doc: &str| {
        vec![
            ("objoid", number(oid_of(relation))),
            ("classoid", number(PG_CLASS_OID)),
            ("objsubid", number(place)),
            ("description", text(doc)),
        ]
    };
    let rows = Relation::all().flat_map(|relation| {
        let columns =
            relation.columns().zip(1..).map(move |(column, place)| row(relation, place, column.doc));
        std::iter::once(row(relation, 0, relation.doc())).chain(columns)
    });
    rows.collect()
}

/// Settings as a connection starts with them.
fn settings() -> Result<Arc<dyn TableProvider>> {
    let texts = ["name", "setting", "unit", "category", "short_desc", "extra_desc", "context", "vartype"];
    let more = ["source", "min_val", "max_val", "boot_val", "reset_val", "sourcefile"];
    let columns = texts.into_iter().chain(more).map(|name| (name, DataType::Utf8));
    let last = [
        ("enumvals", DataType::new_list(DataType::Utf8, true)),
        ("sourceline", DataType::Int32),
        ("pending_restart", DataType::Boolean),
    ];
    let row = |(name, value)| {
        let same = ["setting", "boot_val", "reset_val"].map(|column| (column, text(value)));
        let fixed = [("context", text("user")), ("vartype", text("string")), ("source", text("default"))];
        let mut row = vec![("name", text(name)), ("pending_restart", ScalarValue::from(false))];
        row.extend(same.into_iter().chain(fixed));
        row
    };
    let rows: Vec<_> = functions::settings().map(row).collect();
    sheet::table(sheet::columns(columns.chain(last)), &rows)
}
