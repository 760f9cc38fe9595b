//! A partition's rows as one Parquet file: pure.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

/// Writes rows as Parquet: zstd 1, statistics a page.
///
/// The Arrow schema is left out of the file, so that every reader sees plain
/// text where the WAL has dictionaries.
pub fn parquet(rows: &RecordBatch) -> Result<Vec<u8>, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_statistics_enabled(EnabledStatistics::Page);
    for field in rows.schema_ref().fields().iter().filter(|field| rises(field)) {
        let column = || ColumnPath::from(field.name().as_str());
        properties = properties
            .set_column_dictionary_enabled(column(), false)
            .set_column_encoding(column(), Encoding::DELTA_BINARY_PACKED);
    }
    let options =
        ArrowWriterOptions::new().with_properties(properties.build()).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), rows.schema(), options)?;
    writer.write(rows)?;
    writer.into_inner()
}

/// Whether a column rises within a process or container, which is how rows are
/// sorted: its differences take less than half of a dictionary's bytes, as
/// `benches` measures.
fn rises(field: &Field) -> bool {
    matches!(field.data_type(), DataType::Timestamp(..)) || field.name() == "seq"
}
