//! Rows as bytes, in each format, batch by batch.

use std::sync::Arc;

use arrow_ipc::writer::StreamWriter;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde_json::json;

use super::format::Format;
use super::render;
use crate::columns::{public_rows, public_schema};
use crate::{Code, QueryError};

/// What a Parquet file's row group may hold in memory before it is written.
const ROW_GROUP_BYTES: usize = 16 << 20;
const ROW_GROUP_ROWS: usize = 128 << 10;

/// Writes one answer.
pub(super) enum Writer {
    Json { rows_written: bool },
    Ndjson { names: Vec<String> },
    Csv,
    Arrow(Box<Arrow>),
    Parquet(Box<Parquet>),
}

/// An IPC stream; its bytes are taken out of its buffer as they come.
pub(super) struct Arrow {
    schema: SchemaRef,
    writer: StreamWriter<Vec<u8>>,
}

/// A file whose row groups go out as they fill; what describes them comes last.
pub(super) struct Parquet {
    schema: SchemaRef,
    writer: ArrowWriter<Vec<u8>>,
}

/// What is known of an answer when it has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending<'a> {
    pub(super) query_id: &'a str,
    /// Whether rows were left out, whoever wanted that.
    pub(super) truncated: bool,
    /// Whether rows were left out that the client did want.
    pub(super) cut_short: bool,
}

// === impl Writer ===

impl Writer {
    pub(super) fn new(format: Format, schema: &SchemaRef) -> Result<Self, QueryError> {
        Ok(match format {
            Format::Json => Self::Json { rows_written: false },
            Format::Ndjson => {
                let name = |name: &String| serde_json::Value::from(name.as_str()).to_string();
                Self::Ndjson { names: schema.fields().iter().map(|field| name(field.name())).collect() }
            }
            Format::Csv => Self::Csv,
            Format::Arrow => {
                let schema = public_schema(schema);
                let writer = StreamWriter::try_new(Vec::new(), &schema)?;
                Self::Arrow(Box::new(Arrow { schema, writer }))
            }
            Format::Parquet => Self::Parquet(Box::new(Parquet::new(public_schema(schema))?)),
        })
    }

    /// What comes before the first row.
    pub(super) fn head(
        &mut self,
        query_id: &str,
        schema: &SchemaRef,
        out: &mut Vec<u8>,
    ) -> Result<(), QueryError> {
        match self {
            Self::Json { .. } => {
                let (query_id, columns) = (json!(query_id), render::columns(schema));
                let head = format!("{{\"query_id\":{query_id},\"columns\":{columns},\"rows\":[");
                out.extend_from_slice(head.as_bytes());
            }
            Self::Csv => out.extend(render::csv_head(schema)?),
            Self::Ndjson { .. } | Self::Arrow(_) | Self::Parquet(_) => {}
        }
        Ok(())
    }

    pub(super) fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), QueryError> {
        match self {
            Self::Json { rows_written } => {
                render::json_rows(batch, !*rows_written, out)?;
                *rows_written |= batch.num_rows() > 0;
            }
            Self::Ndjson { names } => render::ndjson_rows(batch, names, out)?,
            Self::Csv => out.extend(render::csv_rows(batch)?),
            Self::Arrow(arrow) => {
                arrow.writer.write(&public_rows(batch, &arrow.schema)?)?;
                out.append(arrow.writer.get_mut());
            }
            Self::Parquet(parquet) => parquet.rows(batch, out)?,
        }
        Ok(())
    }

    /// What comes after the last row.
    pub(super) fn tail(&mut self, ending: Ending<'_>, out: &mut Vec<u8>) -> Result<(), QueryError> {
        match self {
            Self::Json { .. } => {
                let truncated = ending.truncated;
                out.extend_from_slice(format!("],\"truncated\":{truncated}}}\n").as_bytes());
            }
            Self::Ndjson { .. } if ending.cut_short => {
                out.extend_from_slice(b"{\"truncated\":true}\n");
            }
            Self::Ndjson { .. } | Self::Csv => {}
            Self::Arrow(arrow) => {
                arrow.writer.finish()?;
                out.append(arrow.writer.get_mut());
            }
            Self::Parquet(parquet) => parquet.tail(ending, out)?,
        }
        Ok(())
    }

    /// What a person sees of a failure before the answer breaks off. The JSON
    /// is left open on purpose.
    pub(super) fn failed(&self, error: &QueryError, out: &mut Vec<u8>) {
        let told = json!({
            "code": error.code().as_str(), "message": error.to_string(), "query_id": error.query_id(),
        });
        match self {
            Self::Json { .. } => out.extend_from_slice(format!("],\"error\":{told}\n").as_bytes()),
            Self::Ndjson { .. } => out.extend_from_slice(format!("{{\"error\":{told}}}\n").as_bytes()),
            Self::Csv | Self::Arrow(_) | Self::Parquet(_) => {}
        }
    }
}

// === impl Parquet ===

impl Parquet {
    fn new(schema: SchemaRef) -> Result<Self, QueryError> {
        if schema.fields().is_empty() {
            return Err(QueryError::new(Code::InvalidQuery, "a Parquet file needs at least one column"));
        }
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .build();
        let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties));
        Ok(Self { schema, writer: writer.map_err(failed)? })
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), QueryError> {
        self.writer.write(&public_rows(batch, &self.schema)?).map_err(failed)?;
        if self.writer.in_progress_size() > ROW_GROUP_BYTES {
            self.writer.flush().map_err(failed)?;
        }
        out.append(self.writer.inner_mut());
        Ok(())
    }

    fn tail(&mut self, ending: Ending<'_>, out: &mut Vec<u8>) -> Result<(), QueryError> {
        let note = |key: &str, value: String| KeyValue::new(format!("bailiwick.{key}"), Some(value));
        self.writer.append_key_value_metadata(note("query_id", ending.query_id.to_owned()));
        self.writer.append_key_value_metadata(note("truncated", ending.truncated.to_string()));
        self.writer.finish().map_err(failed)?;
        out.append(self.writer.inner_mut());
        Ok(())
    }
}

fn failed(error: parquet::errors::ParquetError) -> QueryError {
    match error {
        // The one thing about a result that has no place in a file.
        parquet::errors::ParquetError::NYI(what) | parquet::errors::ParquetError::ArrowError(what) => {
            QueryError::new(Code::NotSupported, format!("a column has no place in a Parquet file: {what}"))
        }
        other => QueryError::internal(other),
    }
}
