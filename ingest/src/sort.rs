//! WAL rows into partitions, each in the order in which its file is: pure.
//!
//! ```text
//! batches ──▶ every text column: one sorted dictionary, each row its rank
//!         ──▶ tenant, date and the table's own order, packed into one integer a row
//!         ──▶ integers sorted ──▶ every column taken once ──▶ cut by tenant and day
//! ```
//!
//! A rank compares as its text does, so rows are compared as integers, and only
//! ranks are moved where text would be.

mod columns;
mod key;

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{max, min};
use arrow::datatypes::{Date32Type, Int32Type, Schema, TimestampMicrosecondType};
use arrow::error::ArrowError;
use bailiwick_proto::{Table, TenantId};
use chrono::NaiveDate;

use columns::Joined;

const UNIX_EPOCH_CE_DAYS: i32 = 719_163;
/// Every file holds one value of each.
const PARTITIONED_BY: [&str; 2] = ["tenant", "date"];

/// The rows of one file.
#[derive(Debug, Clone)]
pub struct Partition {
    /// The tenant of all rows.
    pub tenant: TenantId,
    /// The day of all rows.
    pub date: NaiveDate,
    /// The rows in order, without `tenant` and `date`. Text columns have one
    /// sorted dictionary without repetitions, shared by all partitions, so it
    /// may hold texts that this partition has no row of.
    pub rows: RecordBatch,
    /// The lowest `time`, microseconds.
    pub min_time_us: Option<i64>,
    /// The highest `time`, microseconds.
    pub max_time_us: Option<i64>,
    /// Rows without a `time`.
    pub null_times: u64,
}

/// The columns by which the rows of a table's files are ordered, the weightiest
/// first: each ascending, nulls before all values, text by its bytes. Rows that
/// are equal in all of them are in the order of arrival.
///
/// | table | order | because |
/// |---|---|---|
/// | `syscalls` | container, process, time | what describes a process is then the same for a run of rows, and a question about one container or process reads few pages |
/// | `usage`, `containers` | container, time | the same |
/// | all others | time | few rows, and read by time |
pub fn order_of(table: Table) -> &'static [&'static str] {
    match table {
        Table::Syscalls => &["container_id", "proc_pid", "time"],
        Table::Usage | Table::Containers => &["container_id", "time"],
        Table::ApiAccess | Table::Alerts | Table::Losses | Table::Queries => &["time"],
    }
}

/// Splits rows of a table's stamped schema by tenant and day and sorts them as
/// [`order_of`] says.
pub fn partitions(table: Table, batches: &[RecordBatch]) -> Result<Vec<Partition>, ArrowError> {
    let schema = table.stamped_schema();
    let mut joined = Vec::with_capacity(schema.fields().len());
    for index in 0..schema.fields().len() {
        joined.push(Joined::of(schema.field(index), index, batches)?);
    }
    let named = |name: &&str| Ok::<_, ArrowError>(&joined[schema.index_of(name)?]);
    let by: Vec<_> = PARTITIONED_BY.iter().chain(order_of(table)).map(named).collect::<Result<_, _>>()?;
    let order = key::order(&by, batches.iter().map(RecordBatch::num_rows).sum())?;
    let mut columns = Vec::with_capacity(joined.len());
    for column in joined {
        columns.push(column.take(&order)?);
    }
    let all = RecordBatch::try_new(schema, columns)?;
    cut(&all)?.into_iter().map(|(begin, rows)| partition(&all.slice(begin, rows))).collect()
}

/// Where rows of one tenant and day begin, and how many they are.
fn cut(sorted: &RecordBatch) -> Result<Vec<(usize, usize)>, ArrowError> {
    let columns = PARTITIONED_BY.map(|name| sorted.column_by_name(name).cloned());
    let columns: Vec<_> = columns.into_iter().flatten().collect();
    let ranges = arrow::compute::partition(&columns)?.ranges();
    Ok(ranges.into_iter().map(|range| (range.start, range.len())).collect())
}

fn partition(rows: &RecordBatch) -> Result<Partition, ArrowError> {
    let mismatch = |name: &str| ArrowError::SchemaError(format!("column {name} has another type"));
    let tenants = rows["tenant"].as_dictionary_opt::<Int32Type>().ok_or_else(|| mismatch("tenant"))?;
    let days = rows["date"].as_primitive_opt::<Date32Type>().ok_or_else(|| mismatch("date"))?;
    let tenant = tenants.key(0).map_or("", |key| tenants.values().as_string::<i32>().value(key)).parse();
    let tenant =
        tenant.map_err(|error: bailiwick_proto::InvalidId| ArrowError::SchemaError(error.to_string()))?;
    let date = NaiveDate::from_num_days_from_ce_opt(days.value(0) + UNIX_EPOCH_CE_DAYS).unwrap_or_default();
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        if !PARTITIONED_BY.contains(&field.name().as_str()) {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
        }
    }
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    let times: &TimestampMicrosecondArray =
        rows["time"].as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| mismatch("time"))?;
    let (min_time_us, max_time_us, null_times) = (min(times), max(times), times.null_count() as u64);
    Ok(Partition { tenant, date, min_time_us, max_time_us, null_times, rows })
}

#[cfg(test)]
mod tests;
