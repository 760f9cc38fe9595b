//! A partition's rows as one Parquet file: pure.
//!
//! ```text
//! rows in order ──▶ row groups of at most 128 Ki rows ──▶ zstd 1, statistics and
//!                                                         page index, some blooms
//! ```
//!
//! Row groups are bounded so that files can be merged without reading any of
//! them whole. What is chosen column by column is in [`choice`].

pub mod choice;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use bailiwick_proto::Table;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;

/// The most rows of one row group.
pub const ROW_GROUP_ROWS: usize = 128 << 10;

/// Writes rows of a table, which are in its order, as Parquet.
///
/// The Arrow schema is left out of the file, so that every reader sees plain
/// text where the WAL has dictionaries.
pub fn parquet(table: Table, rows: &RecordBatch) -> Result<Vec<u8>, ParquetError> {
    let mut writer = writer(table, &rows.schema(), rows.num_rows())?;
    writer.write(rows)?;
    writer.into_inner()
}

/// A writer of one file of a table, for rows that come in several batches, all
/// of this schema and in the table's order. `rows` is how many will come, if
/// that is known, else [`ROW_GROUP_ROWS`].
pub fn writer(table: Table, schema: &Schema, rows: usize) -> Result<ArrowWriter<Vec<u8>>, ParquetError> {
    ArrowWriter::try_new_with_options(Vec::new(), schema.clone().into(), options(table, schema, rows)?)
}

/// How every data file of a table is written, whoever writes it; `rows` as for
/// [`writer`].
pub fn options(table: Table, schema: &Schema, rows: usize) -> Result<ArrowWriterOptions, ParquetError> {
    let properties = choice::properties(table, schema, rows)?;
    Ok(ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true))
}

#[cfg(test)]
mod tests;
