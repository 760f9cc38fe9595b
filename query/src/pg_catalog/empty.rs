//! Catalogs about what Bailiwick has none of: locks, triggers, foreign servers, and many more.
//!
//! PostgreSQL has a table for each, with columns that clients name. A client
//! that looks into one finds it empty, and not an error that ends its login.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::catalog::TableProvider;
use datafusion::error::{DataFusionError, Result};

use super::sheet;

/// A table a line: its name, then its columns and their types, as PostgreSQL 15 has them.
const TABLES: &str = include_str!("empty.txt");

/// The empty tables of a schema.
pub(super) fn tables(schema: &str) -> Result<BTreeMap<&'static str, Arc<dyn TableProvider>>> {
    let line = |line: &'static str| {
        let (name, columns) = line.split_once(' ')?;
        let (of, table) = name.split_once('.')?;
        (of == schema).then_some((table, columns))
    };
    TABLES.lines().filter_map(line).map(|(table, columns)| Ok((table, empty(columns)?))).collect()
}

/// The names of the empty tables of a schema.
pub(super) fn names(schema: &str) -> impl Iterator<Item = &'static str> {
    TABLES.lines().filter_map(move |line| {
        let (of, rest) = line.split_once('.')?;
        let (table, _) = rest.split_once(' ')?;
        (of == schema).then_some(table)
    })
}

fn empty(columns: &'static str) -> Result<Arc<dyn TableProvider>> {
    let column = |column: &'static str| {
        let (name, kind) = column.split_once(':')?;
        Some((name, type_of(kind)?))
    };
    let columns: Option<Vec<_>> = columns.split(' ').map(column).collect();
    let broken = || DataFusionError::Internal("a line of empty.txt cannot be read".to_owned());
    sheet::table(sheet::columns(columns.ok_or_else(broken)?), &[])
}

fn type_of(name: &str) -> Option<DataType> {
    Some(match name {
        "text" => DataType::Utf8,
        "bool" => DataType::Boolean,
        "int2" => DataType::Int16,
        // Object ids have the type that upstream's tables give them.
        "int4" | "oid" => DataType::Int32,
        "int8" => DataType::Int64,
        "float4" => DataType::Float32,
        "float8" => DataType::Float64,
        "numeric" => DataType::Decimal128(38, 10),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "interval" => DataType::Interval(IntervalUnit::MonthDayNano),
        "bytea" => DataType::Binary,
        "_text" => DataType::new_list(DataType::Utf8, true),
        "_int4" => DataType::new_list(DataType::Int32, true),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_table() {
        let count = |schema: &str| tables(schema).unwrap().len();
        assert_eq!(count("pg_catalog") + count("information_schema"), TABLES.lines().count());
        let columns = |name: &str| tables("pg_catalog").unwrap()[name].schema().fields().len();
        assert!(columns("pg_locks") > 10);
    }
}
