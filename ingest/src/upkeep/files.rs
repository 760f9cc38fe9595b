//! Data files read and written a piece at a time.
//!
//! A file's name holds the checksum of its bytes, which is known only when it
//! is written: it goes to `staging/` in parts and is copied to its place, which
//! an object store does by itself. What a crash leaves in `staging/` vacuum
//! finds.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{max, min};
use arrow::datatypes::TimestampMicrosecondType;
use bailiwick_lake::keys::{DataKey, data_name, staging};
use bailiwick_lake::{DataFile, Lake, LakeError, fresh_name};
use bailiwick_proto::{IngesterId, Table, TenantId};
use bytes::Bytes;
use chrono::NaiveDate;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use parquet::arrow::AsyncArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::{
    AsyncFileReader, ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder,
};
use parquet::arrow::async_writer::AsyncFileWriter;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::statistics::Statistics;

use super::merge::file_schema;
use crate::{IngestError, encode};

/// Parts of an upload; object stores take none smaller than 5 MiB but the last.
const PART_BYTES: usize = 8 << 20;
/// What reading a file takes beside its own bytes.
const READER_BYTES: u64 = 1 << 20;

/// A file's footer, and how it is read.
pub(super) struct Source {
    reader: Object,
    footer: ArrowReaderMetadata,
}

/// One object, read by ranges.
pub(super) struct Object {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size_bytes: u64,
}

/// The rows of one file of a table.
pub(super) struct Output {
    lake: Arc<Lake>,
    ingester: IngesterId,
    table: Table,
    unique: String,
    writer: AsyncArrowWriter<Upload>,
    rows: u64,
    min_time_us: Option<i64>,
    max_time_us: Option<i64>,
    null_times: u64,
}

/// Bytes on their way into one object.
struct Upload {
    parts: Box<dyn MultipartUpload>,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    size_bytes: u64,
    crc32c: u32,
}

// === impl Source ===

impl Source {
    pub(super) async fn open(lake: &Lake, table: Table, file: &DataFile) -> Result<Self, IngestError> {
        let path = Path::from(file.path.as_str());
        let mut reader = Object { store: lake.store(), path, size_bytes: file.size_bytes };
        let footer = ArrowReaderMetadata::load_async(&mut reader, Default::default()).await;
        let footer = footer.map_err(|error| unreadable(table, file, &error))?;
        Ok(Self { reader, footer })
    }

    /// What reading it in batches of so many rows takes: a row group's bytes as
    /// they are stored, and a batch of it decoded, its sort keys and its place
    /// in an output.
    pub(super) fn memory_bytes(&self, batch_rows: usize) -> u64 {
        let groups = self.footer.metadata().row_groups().iter();
        let most = groups.map(|group| {
            let stored = group.compressed_size().max(0) as u64;
            let decoded = group.total_byte_size().max(0) as u64;
            let rows = group.num_rows().max(1) as u64;
            stored + (decoded / rows + 64) * batch_rows as u64 * 4
        });
        READER_BYTES + most.max().unwrap_or(0)
    }

    /// The lowest `ingest_time` of its rows; `None` when that is not known.
    pub(super) fn first_arrival_us(&self) -> Option<i64> {
        let mut lowest = None::<i64>;
        for group in self.footer.metadata().row_groups() {
            let column =
                group.columns().iter().find(|column| column.column_path().string() == "ingest_time")?;
            match column.statistics()? {
                Statistics::Int64(times) => {
                    let first = *times.min_opt()?;
                    lowest = Some(lowest.map_or(first, |lowest| lowest.min(first)));
                }
                _ => return None,
            }
        }
        lowest
    }

    pub(super) fn rows(self, batch_rows: usize) -> Result<ParquetRecordBatchStream<Object>, ParquetError> {
        let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(self.reader, self.footer);
        builder.with_batch_size(batch_rows).build()
    }
}

// === impl Object ===

impl AsyncFileReader for Object {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        Box::pin(async move { self.store.get_range(&self.path, range).await.map_err(external) })
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        Box::pin(async move { self.store.get_ranges(&self.path, &ranges).await.map_err(external) })
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        Box::pin(async move {
            let size_bytes = self.size_bytes;
            let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options);
            reader.load_and_finish(self, size_bytes).await.map(Arc::new)
        })
    }
}

// === impl Output ===

impl Output {
    pub(super) async fn begin(
        lake: &Arc<Lake>,
        ingester: &IngesterId,
        table: Table,
    ) -> Result<Self, IngestError> {
        let unique = fresh_name();
        let schema = file_schema(table);
        let options =
            encode::options(table, &schema, encode::ROW_GROUP_ROWS).map_err(|error| failed(table, error))?;
        let upload = Upload::begin(lake, &staging(table, ingester, &unique)).await?;
        let writer = AsyncArrowWriter::try_new_with_options(upload, schema, options)
            .map_err(|error| failed(table, error))?;
        Ok(Self {
            lake: Arc::clone(lake),
            ingester: ingester.clone(),
            table,
            unique,
            writer,
            rows: 0,
            min_time_us: None,
            max_time_us: None,
            null_times: 0,
        })
    }

    pub(super) async fn write(&mut self, rows: &RecordBatch) -> Result<(), IngestError> {
        self.writer.write(rows).await.map_err(|error| failed(self.table, error))?;
        self.rows += rows.num_rows() as u64;
        let times = rows.column_by_name("time");
        let times = times.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
        if let Some(times) = times {
            self.null_times += times.null_count() as u64;
            self.min_time_us = self.min_time_us.into_iter().chain(min(times)).min();
            self.max_time_us = self.max_time_us.max(max(times));
        }
        Ok(())
    }

    /// How many rows it has by now.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Ends the file and puts it in its place, which no table names yet.
    pub(super) async fn finish(
        mut self,
        tenant: &TenantId,
        date: NaiveDate,
    ) -> Result<DataFile, IngestError> {
        let done = self.writer.finish().await;
        let mut upload = self.writer.into_inner();
        if let Err(error) = done {
            upload.abandon().await;
            return Err(failed(self.table, error));
        }
        let name = data_name(&self.ingester, &self.unique, upload.crc32c);
        let from = staging(self.table, &self.ingester, &self.unique);
        let to = DataKey { table: self.table, tenant: tenant.clone(), date, name }.path();
        let store = self.lake.store();
        let copied = store.copy(&from, &to).await;
        copied.map_err(|source| LakeError::Store { operation: "copy", key: from.to_string(), source })?;
        if let Err(error) = store.delete(&from).await {
            tracing::debug!(%error, key = %from, "a staged file stays until vacuum finds it");
        }
        Ok(DataFile {
            path: to.to_string(),
            size_bytes: upload.size_bytes,
            rows: self.rows,
            tenant: tenant.clone(),
            date,
            min_time_us: self.min_time_us,
            max_time_us: self.max_time_us,
            modified_ms: crate::now_us() / 1000,
            null_times: self.null_times,
        })
    }

    /// Leaves nothing of it where that is possible.
    pub(super) async fn abandon(self) {
        self.writer.into_inner().abandon().await;
    }
}

// === impl Upload ===

impl Upload {
    async fn begin(lake: &Lake, key: &Path) -> Result<Self, LakeError> {
        let parts = lake.store().put_multipart(key).await;
        let parts =
            parts.map_err(|source| LakeError::Store { operation: "write", key: key.to_string(), source })?;
        Ok(Self { parts, waiting: Vec::new(), waiting_bytes: 0, size_bytes: 0, crc32c: 0 })
    }

    async fn send(&mut self) -> Result<(), ParquetError> {
        let part = PutPayload::from_iter(std::mem::take(&mut self.waiting));
        self.waiting_bytes = 0;
        self.parts.put_part(part).await.map_err(external)
    }

    async fn abandon(&mut self) {
        if let Err(error) = self.parts.abort().await {
            tracing::debug!(%error, "parts of an upload stay until the bucket drops them");
        }
    }
}

impl AsyncFileWriter for Upload {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), ParquetError>> {
        Box::pin(async move {
            self.crc32c = crc32c::crc32c_append(self.crc32c, &bytes);
            self.size_bytes += bytes.len() as u64;
            self.waiting_bytes += bytes.len();
            self.waiting.push(bytes);
            if self.waiting_bytes >= PART_BYTES { self.send().await } else { Ok(()) }
        })
    }

    fn complete(&mut self) -> BoxFuture<'_, Result<(), ParquetError>> {
        Box::pin(async move {
            if self.waiting_bytes > 0 {
                self.send().await?;
            }
            self.parts.complete().await.map(drop).map_err(external)
        })
    }
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(error.into())
}

pub(super) fn failed(
    table: Table,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> IngestError {
    IngestError::Rows { table, source: error.into() }
}

fn unreadable(table: Table, file: &DataFile, error: &ParquetError) -> IngestError {
    failed(table, format!("{}: {error}", file.path))
}
