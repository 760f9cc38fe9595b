//! WAL rows into partitions, each in the order in which its file is: pure.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, max, min, take};
use arrow::datatypes::{Date32Type, Int32Type, Int64Type, Schema, TimestampMicrosecondType};
use arrow::error::ArrowError;
use bailiwick_proto::{Table, TenantId};
use chrono::NaiveDate;

const UNIX_EPOCH_CE_DAYS: i32 = 719_163;

/// The rows of one file.
#[derive(Debug, Clone)]
pub struct Partition {
    /// The tenant of all rows.
    pub tenant: TenantId,
    /// The day of all rows.
    pub date: NaiveDate,
    /// The rows in order, without `tenant` and `date`.
    pub rows: RecordBatch,
    /// The lowest `time`, microseconds.
    pub min_time_us: Option<i64>,
    /// The highest `time`, microseconds.
    pub max_time_us: Option<i64>,
    /// Rows without a `time`.
    pub null_times: u64,
}

/// Tenant, day, then what the table is sorted by.
type SortKey = (i64, i64, i64, i64, i64);

/// By which columns a table's files are sorted: nulls first, text by its bytes.
pub fn order_of(table: Table) -> &'static [&'static str] {
    match table {
        Table::Syscalls => &["container_id", "proc_pid", "time"],
        Table::Usage => &["container_id", "time"],
        Table::ApiAccess | Table::Alerts | Table::Losses | Table::Queries => &["time"],
    }
}

/// Splits rows of a table's stamped schema by tenant and day and sorts them.
pub fn partitions(table: Table, batches: &[RecordBatch]) -> Result<Vec<Partition>, ArrowError> {
    let all = concat_batches(&table.stamped_schema(), batches)?;
    let keys = sort_keys(table, &all)?;
    let mut order: Vec<u32> = (0..all.num_rows() as u32).collect();
    order.sort_unstable_by_key(|row| (keys[*row as usize], *row));
    let mut found = Vec::new();
    let same_file = |a: &u32, b: &u32| {
        let (a, b) = (keys[*a as usize], keys[*b as usize]);
        (a.0, a.1) == (b.0, b.1)
    };
    for rows in order.chunk_by(same_file) {
        found.push(partition(&all, rows)?);
    }
    Ok(found)
}

fn partition(all: &RecordBatch, order: &[u32]) -> Result<Partition, ArrowError> {
    let first = order[0] as usize;
    let (tenant, date) = (column(all, "tenant")?.as_dictionary::<Int32Type>(), column(all, "date")?);
    let tenant = tenant.values().as_string::<i32>().value(tenant.key(first).unwrap_or(0)).parse();
    let tenant =
        tenant.map_err(|error: bailiwick_proto::InvalidId| ArrowError::SchemaError(error.to_string()))?;
    let day = date.as_primitive::<Date32Type>().value(first);
    let date = NaiveDate::from_num_days_from_ce_opt(day + UNIX_EPOCH_CE_DAYS).unwrap_or_default();
    let order = UInt32Array::from(order.to_vec());
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in all.schema_ref().fields().iter().zip(all.columns()) {
        if !matches!(field.name().as_str(), "tenant" | "date") {
            fields.push(Arc::clone(field));
            columns.push(take(column, &order, None)?);
        }
    }
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    let times = column_as_time(&rows)?;
    let (min_time_us, max_time_us, null_times) = (min(times), max(times), times.null_count() as u64);
    Ok(Partition { tenant, date, min_time_us, max_time_us, null_times, rows })
}

fn sort_keys(table: Table, all: &RecordBatch) -> Result<Vec<SortKey>, ArrowError> {
    let tenant = ranks(column(all, "tenant")?);
    let days = column(all, "date")?.as_primitive::<Date32Type>();
    let times = column_as_time(all)?;
    let (group, pids) = match table {
        Table::Syscalls => (Some("container_id"), Some("proc_pid")),
        Table::Usage => (Some("container_id"), None),
        _ => (None, None),
    };
    let group = group.map(|name| column(all, name)).transpose()?.map(ranks);
    let pids =
        pids.map(|name| column(all, name)).transpose()?.map(|column| column.as_primitive::<Int64Type>());
    let key = |row: usize| {
        let pid = pids.filter(|pids| pids.is_valid(row)).map_or(-1, |pids| pids.value(row));
        let time = if times.is_valid(row) { times.value(row) } else { i64::MIN };
        (tenant[row], days.value(row).into(), group.as_ref().map_or(0, |group| group[row]), pid, time)
    };
    Ok((0..all.num_rows()).map(key).collect())
}

/// Each row's text as its rank among the distinct ones; null is lowest.
fn ranks(column: &ArrayRef) -> Vec<i64> {
    let column = column.as_dictionary::<Int32Type>();
    let values = column.values().as_string::<i32>();
    // Dictionaries put together may hold a text twice; it must rank once.
    let mut distinct: Vec<&str> = values.iter().flatten().collect();
    distinct.sort_unstable();
    distinct.dedup();
    let rank_of: HashMap<&str, i64> = distinct.iter().copied().zip(0..).collect();
    let by_key: Vec<i64> = values.iter().map(|value| value.map_or(-1, |value| rank_of[value])).collect();
    (0..column.len()).map(|row| column.key(row).map_or(-1, |key| by_key[key])).collect()
}

fn column<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, ArrowError> {
    rows.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("column {name} is missing")))
}

fn column_as_time(rows: &RecordBatch) -> Result<&arrow::array::TimestampMicrosecondArray, ArrowError> {
    let times = column(rows, "time")?.as_primitive_opt::<TimestampMicrosecondType>();
    times.ok_or_else(|| ArrowError::SchemaError("column time has another type".into()))
}
