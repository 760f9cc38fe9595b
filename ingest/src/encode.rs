//! A partition's rows as one Parquet file: pure.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use bailiwick_proto::Table;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

/// What a reader must take into memory at once is a row group.
const ROW_GROUP_ROWS: usize = 128 * 1024;

/// Writes rows as Parquet: zstd 1, statistics a page.
///
/// The Arrow schema is left out of the file, so that every reader sees plain
/// text where the WAL has dictionaries.
pub fn parquet(table: Table, rows: &RecordBatch) -> Result<Vec<u8>, ParquetError> {
    let options = options(table, rows.schema_ref())?;
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), rows.schema(), options)?;
    writer.write(rows)?;
    writer.into_inner()
}

/// How every data file of a table is written, whoever writes it.
pub fn options(_table: Table, schema: &Schema) -> Result<ArrowWriterOptions, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Page);
    for field in schema.fields().iter().filter(|field| rises(field)) {
        let column = || ColumnPath::from(field.name().as_str());
        properties = properties
            .set_column_dictionary_enabled(column(), false)
            .set_column_encoding(column(), Encoding::DELTA_BINARY_PACKED);
    }
    Ok(ArrowWriterOptions::new().with_properties(properties.build()).with_skip_arrow_metadata(true))
}

/// Whether a column rises within a process or container, which is how rows are
/// sorted: its differences take less than half of a dictionary's bytes, as
/// `benches` measures.
fn rises(field: &Field) -> bool {
    matches!(field.data_type(), DataType::Timestamp(..)) || field.name() == "seq"
}
