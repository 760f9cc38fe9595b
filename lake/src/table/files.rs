//! Data files as Delta's `add` actions, both ways.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder,
    StructArray, TimestampMicrosecondArray,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Int64Type, Schema};
use bailiwick_proto::Table;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::snapshot::SnapshotRef;
use delta_kernel::{Engine, FilteredEngineData, KernelError};
use serde::Deserialize;

use super::DataFile;
use crate::keys::{self, DataKey};

/// A file's statistics as the log has them.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Stats {
    num_records: u64,
    min_values: Times,
    max_values: Times,
    null_count: NullCount,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Times {
    time: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NullCount {
    time: u64,
}

/// The files that make up a version of a table.
pub(super) fn list(
    table: Table,
    snapshot: &SnapshotRef,
    engine: &dyn Engine,
) -> Result<Vec<DataFile>, KernelError> {
    let scan = snapshot.clone().scan_builder().build()?;
    let mut files = Vec::new();
    for part in scan.scan_metadata(engine)? {
        let (data, mut selected) = part?.scan_files.into_parts();
        let rows = ArrowEngineData::try_from_engine_data(data)?;
        let rows = rows.record_batch();
        // What the selection does not speak of is selected.
        selected.resize(rows.num_rows(), true);
        let rows = filter_record_batch(rows, &selected.into())?;
        read_rows(table, &rows, &mut files)?;
    }
    Ok(files)
}

/// `add` actions for new files.
pub(super) fn added(table: Table, files: &[DataFile]) -> Result<ArrowEngineData, KernelError> {
    let root = format!("{}/", keys::table_root(table));
    let paths = files.iter().map(|file| file.path.strip_prefix(&root).unwrap_or(&file.path));
    let counts = |of: fn(&DataFile) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(files.iter().map(of)))
    };
    let times = |of: fn(&DataFile) -> Option<i64>| -> ArrayRef {
        let times = TimestampMicrosecondArray::from_iter(files.iter().map(of));
        one_field("time", Arc::new(times.with_timezone("UTC")))
    };
    let stats = record([
        ("numRecords", counts(|file| file.rows as i64)),
        ("nullCount", one_field("time", counts(|file| file.null_times as i64))),
        ("minValues", times(|file| file.min_time_us)),
        ("maxValues", times(|file| file.max_time_us)),
    ]);
    let columns: [(&str, ArrayRef); 5] = [
        ("path", Arc::new(StringArray::from_iter_values(paths))),
        ("partitionValues", partition_values(files)?),
        ("size", counts(|file| file.size_bytes as i64)),
        ("modificationTime", counts(|file| file.modified_ms)),
        ("stats", Arc::new(stats)),
    ];
    let field =
        |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), *name == "stats");
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    Ok(ArrowEngineData::new(RecordBatch::try_new(Arc::new(schema), columns)?))
}

/// What tells the kernel to remove the files of these keys.
pub(super) fn removed(
    table: Table,
    snapshot: &SnapshotRef,
    engine: &dyn Engine,
    keys: &[String],
) -> Result<Vec<FilteredEngineData>, KernelError> {
    if keys.is_empty() {
        return Ok(vec![]);
    }
    let keys: HashSet<&str> = keys.iter().map(String::as_str).collect();
    let root = keys::table_root(table);
    let mut removed = Vec::new();
    for part in snapshot.clone().scan_builder().build()?.scan_metadata(engine)? {
        let (data, mut selected) = part?.scan_files.into_parts();
        let rows = ArrowEngineData::try_from_engine_data(data)?;
        let paths = text(rows.record_batch(), "path")?.clone();
        selected.resize(paths.len(), true);
        for (selected, path) in selected.iter_mut().zip(&paths) {
            let key = format!("{root}/{}", path.unwrap_or_default());
            *selected &= keys.contains(key.as_str());
        }
        removed.push(FilteredEngineData::try_new(rows, selected)?);
    }
    Ok(removed)
}

fn read_rows(table: Table, rows: &RecordBatch, files: &mut Vec<DataFile>) -> Result<(), KernelError> {
    let (paths, stats) = (text(rows, "path")?, text(rows, "stats")?);
    let numbers = |name: &str| {
        let column = rows.column_by_name(name).and_then(|column| column.as_primitive_opt::<Int64Type>());
        column.ok_or_else(|| KernelError::generic(format!("a listing of {table} has no {name}")))
    };
    let (sizes, modified) = (numbers("size")?, numbers("modificationTime")?);
    for row in 0..rows.num_rows() {
        let path = format!("{}/{}", keys::table_root(table), paths.value(row));
        let foreign =
            || KernelError::generic(format!("the log names {path:?}, which bailiwick did not write"));
        let key = DataKey::parse(&object_store::path::Path::from(path.as_str())).ok_or_else(foreign)?;
        let stats: Stats = serde_json::from_str(stats.value(row)).map_err(|_| foreign())?;
        files.push(DataFile {
            path,
            size_bytes: sizes.value(row).max(0) as u64,
            rows: stats.num_records,
            tenant: key.tenant,
            date: key.date,
            min_time_us: stats.min_values.time.and_then(|time| parse_us(&time)),
            // Some writers cut to milliseconds, which for a maximum is too low.
            max_time_us: stats.max_values.time.and_then(|time| parse_us(&time)).map(|us| us + 999),
            modified_ms: modified.value(row),
            null_times: stats.null_count.time,
        });
    }
    Ok(())
}

fn text<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a StringArray, KernelError> {
    let column = rows.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
    column.ok_or_else(|| KernelError::generic(format!("a listing of files has no {name}")))
}

fn parse_us(time: &str) -> Option<i64> {
    Some(chrono::DateTime::parse_from_rfc3339(time).ok()?.timestamp_micros())
}

fn partition_values(files: &[DataFile]) -> Result<ArrayRef, KernelError> {
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut values = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for file in files {
        values.keys().append_value("tenant");
        values.values().append_value(file.tenant.as_str());
        values.keys().append_value("date");
        values.values().append_value(file.date.to_string());
        values.append(true)?;
    }
    Ok(Arc::new(values.finish()))
}

fn one_field(name: &str, column: ArrayRef) -> ArrayRef {
    Arc::new(record([(name, column)]))
}

fn record<const N: usize>(columns: [(&str, ArrayRef); N]) -> StructArray {
    let field = |(name, column): (&str, ArrayRef)| {
        (Arc::new(Field::new(name, column.data_type().clone(), true)), column)
    };
    StructArray::from(columns.map(field).to_vec())
}
