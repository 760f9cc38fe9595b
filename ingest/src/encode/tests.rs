//! Files are read back with the library's own reader: every value, and what the
//! file says about itself.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, ListBuilder, StringBuilder, StringDictionaryBuilder,
    StructBuilder, TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Int32Type};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::serialized_reader::ReadOptionsBuilder;
use proptest::prelude::*;

use super::*;
use crate::sort::order_of;

/// A cell: which of a few texts, or a number; null for none.
type Cell = Option<i64>;

fn text(cell: i64) -> String {
    format!("text {}", "é".repeat(cell.unsigned_abs() as usize % 50))
}

/// A column whose rows are `cells`, of whatever type the table has.
fn column(field: &Field, cells: &[Cell]) -> ArrayRef {
    match field.data_type() {
        DataType::Dictionary(..) => {
            let mut texts = StringDictionaryBuilder::<Int32Type>::new();
            texts.extend(cells.iter().map(|cell| cell.map(text)));
            Arc::new(texts.finish())
        }
        DataType::Int64 => Arc::new(cells.iter().copied().collect::<Int64Array>()),
        DataType::Float64 => {
            Arc::new(cells.iter().map(|cell| cell.map(|c| c as f64)).collect::<Float64Array>())
        }
        DataType::Boolean => {
            Arc::new(cells.iter().map(|cell| cell.map(|c| c % 2 == 0)).collect::<BooleanArray>())
        }
        DataType::Timestamp(..) => {
            let times: TimestampMicrosecondArray = cells.iter().copied().collect();
            Arc::new(times.with_timezone("UTC"))
        }
        DataType::List(item) => list(item, cells),
        other => panic!("no table has {other}"),
    }
}

/// Lists of none, one or two, some of them with nulls.
fn list(item: &Arc<Field>, cells: &[Cell]) -> ArrayRef {
    let count = |cell: &Cell| cell.map_or(0, |cell| cell.unsigned_abs() as usize % 3);
    let DataType::Struct(fields) = item.data_type() else {
        let mut texts = ListBuilder::new(StringBuilder::new()).with_field(Arc::clone(item));
        for cell in cells {
            (0..count(cell))
                .for_each(|at| texts.values().append_option((at == 0).then(|| text(cell.unwrap_or(0)))));
            texts.append(cell.is_some());
        }
        return Arc::new(texts.finish());
    };
    let mut structs =
        ListBuilder::new(StructBuilder::from_fields(fields.clone(), 0)).with_field(Arc::clone(item));
    for cell in cells {
        for _ in 0..count(cell) {
            for field in 0..fields.len() {
                if let Some(texts) = structs.values().field_builder::<StringBuilder>(field) {
                    texts.append_option(cell.map(text));
                } else if let Some(ints) = structs.values().field_builder::<arrow::array::Int64Builder>(field)
                {
                    ints.append_option(*cell);
                }
            }
            structs.values().append(true);
        }
        structs.append(cell.is_some());
    }
    Arc::new(structs.finish())
}

/// Rows of a table's files, all columns the same cells but for a turn each.
fn rows(table: Table, cells: &[Cell]) -> RecordBatch {
    let schema = table.stamped_schema();
    let kept = |field: &&Arc<Field>| !matches!(field.name().as_str(), "tenant" | "date");
    let fields: Vec<_> = schema.fields().iter().filter(kept).cloned().collect();
    let turned = |turn: usize| {
        let mut cells = cells.to_vec();
        let length = cells.len().max(1);
        cells.rotate_left(turn % length);
        cells
    };
    let columns = fields.iter().enumerate().map(|(turn, field)| column(field, &turned(turn))).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// As [`rows`], but all null except for `time` and one column.
fn thin(table: Table, name: &str, cells: &[Cell]) -> RecordBatch {
    let rows = rows(table, &[]);
    let one = |field: &Arc<Field>| match field.name().as_str() {
        "time" => column(field, &(0..cells.len() as i64).map(Some).collect::<Vec<_>>()),
        found if found == name => column(field, cells),
        _ => new_null_array(field.data_type(), cells.len()),
    };
    RecordBatch::try_new(rows.schema(), rows.schema_ref().fields().iter().map(one).collect()).unwrap()
}

fn read_back(file: Vec<u8>) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).unwrap();
    let schema = Arc::clone(reader.schema());
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

fn assert_same(table: Table, written: &RecordBatch, read: &RecordBatch) {
    let public = table.public_schema();
    for (field, column) in written.schema_ref().fields().iter().zip(written.columns()) {
        let public = public.field_with_name(field.name()).unwrap().data_type();
        let (written, read) =
            (cast(column, public).unwrap(), cast(&read[field.name().as_str()], public).unwrap());
        assert_eq!(&written, &read, "{table}.{}", field.name());
    }
}

fn reader(file: Vec<u8>) -> SerializedFileReader<Bytes> {
    let blooms = ReaderProperties::builder().set_read_bloom_filter(true).build();
    let options = ReadOptionsBuilder::new().with_page_index().with_reader_properties(blooms).build();
    SerializedFileReader::new_with_options(Bytes::from(file), options).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_value_comes_back(cells in prop::collection::vec(prop::option::of(any::<i64>()), 1..80)) {
        for table in Table::ALL {
            let rows = rows(table, &cells);
            assert_same(table, &rows, &read_back(parquet(table, &rows).unwrap()));
        }
    }
}

#[test]
fn row_groups_are_bounded_and_name_the_order_they_are_in() {
    let cells: Vec<Cell> = (0..ROW_GROUP_ROWS as i64 + 5_000).map(|row| Some(row / 1_000)).collect();
    let rows = thin(Table::Syscalls, "fd_name", &cells);
    let file = parquet(Table::Syscalls, &rows).unwrap();
    assert_same(Table::Syscalls, &rows, &read_back(file.clone()));
    let reader = reader(file);
    let metadata = reader.metadata();
    assert_eq!(metadata.num_row_groups(), 2);
    for group in metadata.row_groups() {
        assert!(group.num_rows() as usize <= ROW_GROUP_ROWS);
        let sorted = group.sorting_columns().unwrap();
        let names: Vec<_> =
            sorted.iter().map(|by| group.column(by.column_idx as usize).column_path().string()).collect();
        assert_eq!(names, order_of(Table::Syscalls));
        assert!(sorted.iter().all(|by| by.nulls_first && !by.descending));
        assert!(group.columns().iter().all(|column| column.offset_index_offset().is_some()));
    }
}

#[test]
fn a_bloom_filter_knows_what_is_there() {
    let cells: Vec<Cell> = (0..30_000).map(Some).collect();
    let reader = reader(parquet(Table::Syscalls, &thin(Table::Syscalls, "fd_name", &cells)).unwrap());
    let group = reader.get_row_group(0).unwrap();
    let column =
        group.metadata().columns().iter().position(|column| column.column_path().string() == "fd_name");
    let bloom = group.get_column_bloom_filter(column.unwrap()).unwrap();
    assert!((0..50).all(|cell| bloom.check(&text(cell).as_str())));
    let wrong = (0..1_000).filter(|other| bloom.check(&format!("other {other}").as_str())).count();
    assert!(wrong < 50, "{wrong} of 1000");
    // 50 texts need no more than a few of the bytes that 30,000 would.
    assert!(group.metadata().column(column.unwrap()).bloom_filter_length().unwrap() < 1_024);
}

#[test]
fn what_is_chosen_for_a_column_is_chosen_for_one_that_is_there() {
    for table in Table::ALL {
        for name in choice::blooms(table) {
            let field = table.stamped_schema().field_with_name(name).unwrap().clone();
            assert!(matches!(field.data_type(), DataType::Dictionary(..)), "{table}.{name}");
        }
    }
    for name in choice::RISING {
        let kind = Table::Syscalls.public_schema().field_with_name(name).unwrap().data_type().clone();
        assert!(matches!(kind, DataType::Int64 | DataType::Timestamp(..)), "{name}");
    }
}

#[test]
fn columns_without_values_cost_next_to_nothing() {
    let cells: Vec<Cell> = (0..50_000).map(|row| Some(row / 1_000)).collect();
    let file = parquet(Table::Syscalls, &thin(Table::Syscalls, "fd_name", &cells)).unwrap();
    assert!(file.len() < 50_000, "{} bytes", file.len());
}
