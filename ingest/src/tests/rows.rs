//! Batches whose rows are numbers, and which numbers a lake holds.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::{Int64Type, SchemaRef};
use bailiwick_lake::Lake;
use bailiwick_proto::Table;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// 2026-11-24, noon.
pub(crate) const NOON_US: i64 = 1_795_521_600_000_000;

/// The column that holds a row's number.
fn number_column(table: Table) -> &'static str {
    match table {
        Table::Syscalls => "seq",
        Table::Queries => "rows",
        _ => "count",
    }
}

/// A batch of the table's wire schema.
pub(crate) fn batch(table: Table, numbers: &[i64]) -> RecordBatch {
    rows(table, &table.wire_schema(), numbers)
}

fn rows(table: Table, schema: &SchemaRef, numbers: &[i64]) -> RecordBatch {
    let column = |field: &Arc<arrow::datatypes::Field>| -> ArrayRef {
        match field.name().as_str() {
            "time" => {
                let times = numbers.iter().map(|number| NOON_US + number % 1_000);
                Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
            }
            name if name == number_column(table) => Arc::new(Int64Array::from(numbers.to_vec())),
            _ => new_null_array(field.data_type(), numbers.len()),
        }
    };
    RecordBatch::try_new(Arc::clone(schema), schema.fields().iter().map(column).collect()).unwrap()
}

/// The numbers in a batch of whichever schema.
pub(crate) fn numbers(table: Table, batch: &RecordBatch) -> Vec<i64> {
    let column = batch.column_by_name(number_column(table)).unwrap().as_primitive::<Int64Type>();
    column.iter().flatten().collect()
}

/// Every number that a view of the lake shows, in order, as often as it shows it.
pub(crate) async fn stored(lake: &Lake, table: Table) -> Vec<i64> {
    let view = lake.view(table).await.unwrap();
    let mut found: Vec<i64> = view.wal.iter().flat_map(|batch| numbers(table, batch)).collect();
    for file in &view.files {
        let bytes = lake.store().get(&Path::from(file.path.as_str())).await.unwrap().bytes().await.unwrap();
        assert_eq!(bytes.len() as u64, file.size_bytes);
        let batches = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        let mut rows = 0;
        for batch in batches {
            let batch = batch.unwrap();
            rows += batch.num_rows() as u64;
            found.extend(numbers(table, &batch));
        }
        assert_eq!(rows, file.rows, "{}", file.path);
    }
    found.sort_unstable();
    found
}
