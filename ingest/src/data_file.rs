//! Rows of a table as data files in the bucket, before any commit names them.

use arrow::array::RecordBatch;
use bailiwick_lake::keys::{DataKey, data_name};
use bailiwick_lake::{DataFile, Lake, LakeError, fresh_name};
use bailiwick_proto::{IngesterId, Table, TenantId};
use bytes::Bytes;
use chrono::NaiveDate;
use object_store::ObjectStoreExt;

use crate::{IngestError, encode, sort};

/// A file's content before it has a name.
pub(crate) struct Encoded {
    table: Table,
    tenant: TenantId,
    date: NaiveDate,
    rows: u64,
    min_time_us: Option<i64>,
    max_time_us: Option<i64>,
    null_times: u64,
    bytes: Bytes,
}

/// Sorts rows of the stamped schema and writes one file's content for each
/// tenant and day: pure.
pub(crate) fn encode(table: Table, batches: &[RecordBatch]) -> Result<Vec<Encoded>, IngestError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| IngestError::Rows { table, source };
    let partitions = sort::partitions(table, batches).map_err(|error| failed(error.into()))?;
    let encode = |partition: sort::Partition| {
        let bytes = encode::parquet(table, &partition.rows).map_err(|error| failed(error.into()))?.into();
        let rows = partition.rows.num_rows() as u64;
        let sort::Partition { tenant, date, min_time_us, max_time_us, null_times, .. } = partition;
        Ok(Encoded { table, tenant, date, rows, min_time_us, max_time_us, null_times, bytes })
    };
    partitions.into_iter().map(encode).collect()
}

// === impl Encoded ===

impl Encoded {
    /// Puts it into the bucket under a name that nobody else has.
    pub(crate) async fn put(self, lake: &Lake, ingester: &IngesterId) -> Result<DataFile, LakeError> {
        let Self { table, tenant, date, rows, min_time_us, max_time_us, null_times, bytes } = self;
        let name = data_name(ingester, &fresh_name(), crc32c::crc32c(&bytes));
        let path = DataKey { table, tenant: tenant.clone(), date, name }.path();
        let size_bytes = bytes.len() as u64;
        let failed = |source| LakeError::Store { operation: "write", key: path.to_string(), source };
        lake.store().put(&path, bytes.into()).await.map_err(failed)?;
        let (path, modified_ms) = (path.to_string(), chrono::Utc::now().timestamp_millis());
        Ok(DataFile {
            path,
            size_bytes,
            rows,
            tenant,
            date,
            min_time_us,
            max_time_us,
            modified_ms,
            null_times,
        })
    }
}
