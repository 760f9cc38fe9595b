//! The committed part of a table: which files a predicate needs, and their scan.

use std::sync::Arc;

use bailiwick_lake::DataFile;
use bailiwick_proto::Table;
use chrono::{DateTime, NaiveDate};
use datafusion::arrow::array::{ArrayRef, Date32Array, StringArray, TimestampMicrosecondArray, UInt64Array};
use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::catalog::Session;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result as DfResult;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use object_store::ObjectMeta;
use object_store::path::Path;

use super::STORE_URL;
use crate::text;

const UNIX_EPOCH_CE_DAYS: i32 = 719_163;

/// Columns that stand in a file's path, in the order in which scans append them.
const PARTITIONED_BY: [&str; 2] = ["tenant", "date"];

/// What the table's log knows of its files' values.
struct Known<'a>(&'a [&'a DataFile]);

/// The files that may hold a row for which the predicate is true.
pub(super) fn prune<'a>(
    table: Table,
    files: &'a [DataFile],
    predicate: Option<&Arc<dyn PhysicalExpr>>,
) -> DfResult<Vec<&'a DataFile>> {
    let files: Vec<&DataFile> = files.iter().collect();
    let Some(predicate) = predicate else { return Ok(files) };
    let pruning = PruningPredicateBuilder::new().with_file_schema(text::of_table(table));
    let Some(pruning) = pruning.build(Arc::clone(predicate)) else { return Ok(files) };
    let keep = pruning.prune(&Known(&files))?;
    Ok(files.into_iter().zip(keep).filter_map(|(file, keep)| keep.then_some(file)).collect())
}

/// A scan of files in the table's own order of columns.
pub(super) fn scan(
    table: Table,
    state: &dyn Session,
    files: &[&DataFile],
    projection: Option<&Vec<usize>>,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    limit: Option<usize>,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let schema = scan_schema(table);
    let url = ObjectStoreUrl::parse(STORE_URL)?;
    let store = state.runtime_env().object_store(&url)?;
    let footers = state.runtime_env().cache_manager.get_file_metadata_cache();
    let columns = schema.table_schema().fields().len();
    let mut source = ParquetSource::new(schema.clone())
        .with_table_parquet_options(state.table_options().parquet.clone())
        .with_parquet_file_reader_factory(Arc::new(CachedParquetFileReaderFactory::new(store, footers)));
    if let Some(predicate) = predicate {
        source = source.with_predicate(reordered(&schema, predicate)?);
    }
    let rows = files.iter().map(|file| file.rows as usize).sum();
    let bytes = files.iter().map(|file| file.size_bytes as usize).sum();
    let mut statistics = Statistics::new_unknown(schema.table_schema());
    statistics.num_rows = Precision::Exact(rows);
    statistics.total_byte_size = Precision::Inexact(bytes);
    debug_assert_eq!(columns, statistics.column_statistics.len());
    let wanted = public_to_scan(table, &schema, projection);
    let config = FileScanConfigBuilder::new(url, Arc::new(source))
        .with_file_groups(newest_first(&schema, files, state.config().target_partitions()))
        .with_statistics(statistics)
        .with_projection_indices(Some(wanted))?
        .with_limit(limit)
        .build();
    Ok(DataSourceExec::from_data_source(config))
}

/// The files' own columns, then those of their paths.
fn scan_schema(table: Table) -> TableSchema {
    let public = text::of_table(table);
    let is_partition = |field: &&FieldRef| PARTITIONED_BY.contains(&field.name().as_str());
    let stored: Vec<FieldRef> =
        public.fields().iter().filter(|field| !is_partition(field)).cloned().collect();
    let partitions = PARTITIONED_BY.iter().filter_map(|name| public.field_with_name(name).ok());
    let partitions = partitions.map(|field| Arc::new(field.clone()));
    let partitions: Vec<FieldRef> = partitions.collect();
    TableSchema::builder(Arc::new(Schema::new(stored))).with_table_partition_cols(partitions).build()
}

/// A projection of the public schema, in terms of the scan's.
fn public_to_scan(table: Table, schema: &TableSchema, projection: Option<&Vec<usize>>) -> Vec<usize> {
    let public = table.public_schema();
    let position = |index: usize| schema.table_schema().index_of(public.field(index).name()).unwrap_or(index);
    match projection {
        Some(wanted) => wanted.iter().copied().map(position).collect(),
        None => (0..public.fields().len()).map(position).collect(),
    }
}

/// A predicate over the public schema, in terms of the scan's.
fn reordered(schema: &TableSchema, predicate: Arc<dyn PhysicalExpr>) -> DfResult<Arc<dyn PhysicalExpr>> {
    datafusion::physical_expr::utils::reassign_expr_columns(predicate, schema.table_schema())
}

/// Files in groups that are read side by side. Most questions want what is newest:
/// once it is found, a scan leaves out older files without opening them.
fn newest_first(schema: &TableSchema, files: &[&DataFile], groups: usize) -> Vec<FileGroup> {
    let mut files = files.to_vec();
    files.sort_unstable_by_key(|file| std::cmp::Reverse((file.max_time_us, &file.path)));
    let mut dealt = vec![Vec::new(); groups.clamp(1, files.len().max(1))];
    let hands = dealt.len();
    for (turn, file) in files.into_iter().enumerate() {
        dealt[turn % hands].push(partitioned(schema, file));
    }
    dealt.into_iter().map(FileGroup::new).collect()
}

/// What the table's log knows of a file's own columns. Its times are bounds, in
/// milliseconds rounded outwards.
fn statistics(schema: &TableSchema, file: &DataFile) -> Statistics {
    let mut known = Statistics::new_unknown(schema.file_schema());
    known.num_rows = Precision::Exact(file.rows as usize);
    if let Ok(time) = schema.file_schema().index_of("time") {
        let bound = |us: Option<i64>| match us {
            Some(us) => Precision::Exact(ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into()))),
            None => Precision::Absent,
        };
        let column = &mut known.column_statistics[time];
        column.min_value = bound(file.min_time_us);
        column.max_value = bound(file.max_time_us);
        column.null_count = Precision::Exact(file.null_times as usize);
    }
    known
}

fn partitioned(schema: &TableSchema, file: &DataFile) -> PartitionedFile {
    let meta = ObjectMeta {
        location: Path::from(file.path.as_str()),
        last_modified: DateTime::from_timestamp_millis(file.modified_ms).unwrap_or_default(),
        size: file.size_bytes,
        e_tag: None,
        version: None,
    };
    let tenant = ScalarValue::Utf8View(Some(file.tenant.as_str().to_owned()));
    let date = ScalarValue::Date32(Some(days(file.date)));
    PartitionedFile::new_from_meta(meta)
        .with_partition_values(vec![tenant, date])
        .with_statistics(Arc::new(statistics(schema, file)))
}

fn days(date: NaiveDate) -> i32 {
    use chrono::Datelike;
    date.num_days_from_ce() - UNIX_EPOCH_CE_DAYS
}

// === impl Known ===

impl Known<'_> {
    fn bound(&self, column: &Column, time: fn(&DataFile) -> Option<i64>) -> Option<ArrayRef> {
        let files = self.0.iter();
        Some(match column.name.as_str() {
            "tenant" => Arc::new(StringArray::from_iter_values(files.map(|file| file.tenant.as_str()))),
            "date" => Arc::new(Date32Array::from_iter_values(files.map(|file| days(file.date)))),
            "time" => {
                let times = TimestampMicrosecondArray::from_iter(files.map(|file| time(file)));
                Arc::new(times.with_timezone("UTC"))
            }
            _ => return None,
        })
    }
}

impl PruningStatistics for Known<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(column, |file| file.min_time_us)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(column, |file| file.max_time_us)
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let nulls = self.0.iter().map(|file| if column.name == "time" { file.null_times } else { 0 });
        let known = column.name == "time" || PARTITIONED_BY.contains(&column.name.as_str());
        known.then(|| Arc::new(UInt64Array::from_iter_values(nulls)) as ArrayRef)
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_iter_values(self.0.iter().map(|file| file.rows))))
    }

    fn contained(
        &self,
        _column: &Column,
        _values: &std::collections::HashSet<ScalarValue>,
    ) -> Option<datafusion::arrow::array::BooleanArray> {
        None
    }
}
