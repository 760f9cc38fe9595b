//! What is in the bucket, and how to read it without gap or overlap.
//!
//! ```text
//!   ingest                        the bucket                         query, detect
//!     │  put_wal (if absent)   ┌─────────────────────────────┐
//!     ├───────────────────────▶│ wal/<ingester>/<number>.wal │──┐   Lake::view(table)
//!     │  TableLog::commit      │                             │  ├──▶ files of one version
//!     └───────────────────────▶│ tables/<table>/_delta_log/… │──┘    + WAL rows above its txn
//!        {files, txn = number} │ quarantine/  checkpoints/   │
//!                              └─────────────────────────────┘
//! ```
//!
//! Entry points: [`Lake::open`], [`Lake::view`], [`Lake::table`] with the trait
//! [`TableLog`], and the WAL operations. Keys are printed and parsed in
//! [`keys`] alone. This room writes nothing by itself: ingest decides what and
//! when, query and detect only read, apart from small states of their own.

mod boundary;
mod cache;
mod checks;
mod error;
pub mod keys;
mod metrics;
mod store;
mod table;
mod view;
mod wal;

use std::sync::Arc;

use bailiwick_proto::{IngesterId, Table};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};

pub use boundary::Boundary;
pub use checks::FileCheck;
pub use error::LakeError;
pub use metrics::{ErrorLabels, Metrics, OperationLabel};
pub use store::{BucketConfig, DirectoryStore, Probe, S3Config, open as open_store};
pub use table::{
    Change, ChangeKind, Cleaned, Committed, DataFile, LOG_KEPT_AT_LEAST_MS, TableLog, TableSnapshot, Txn,
};
pub use view::{View, to_public, to_public_columns};
pub use wal::{
    CollectorState, EncodedRows, HighWater, Hold, Incarnation, Segment, WalHeader, WalKind, WalObject,
};

use cache::WalCache;
use keys::{DataKey, GrantKey, OrderKey, QuarantineKey, WalKey};
use store::Metered;
use table::DeltaTable;

/// Decoded WAL rows kept for the next view.
const CACHE_BYTES: usize = 256 << 20;

/// One bucket. Cheap to share.
#[derive(Debug)]
pub struct Lake {
    store: Arc<dyn ObjectStore>,
    cluster: String,
    tables: Vec<DeltaTable>,
    cache: WalCache,
    metrics: Metrics,
}

/// Under which name an ingester records in a table how far its WAL is committed.
pub fn txn_app(ingester: &IngesterId) -> String {
    format!("bailiwick/{ingester}")
}

/// A name that nobody else has: for a data file, or for a process among its like.
pub fn fresh_name() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

// === impl Lake ===

impl Lake {
    /// Opens a bucket that needs nothing but its address: a folder's path,
    /// `file:///path` or `memory://`.
    pub async fn open(bucket: &str, cluster: &str) -> Result<Arc<Self>, LakeError> {
        Self::open_with(&BucketConfig::at(bucket), cluster).await
    }

    /// Opens a bucket and creates the tables that it does not have yet.
    pub async fn open_with(bucket: &BucketConfig, cluster: &str) -> Result<Arc<Self>, LakeError> {
        Self::over(store::open(bucket).await?, cluster).await
    }

    /// Tries what everything here builds on, in a folder of its own that is
    /// empty again afterwards: put-if-absent, order of listings, reading what
    /// was written.
    pub async fn probe(bucket: &BucketConfig) -> Result<Probe, LakeError> {
        store::probe(&*store::open(bucket).await?).await
    }

    /// The same over a store that is already open. Its listings must be in
    /// order of keys, its put-if-absent atomic, its puts durable.
    pub async fn over(store: Arc<dyn ObjectStore>, cluster: &str) -> Result<Arc<Self>, LakeError> {
        let metrics = Metrics::default();
        let store = Metered::over(store, metrics.clone());
        let refused = |reason| LakeError::Address { url: store.to_string(), reason };
        let kernel = table::kernel(Arc::clone(&store)).map_err(refused)?;
        let tables = Table::ALL.map(|table| DeltaTable::new(table, Arc::clone(&kernel), Arc::clone(&store)));
        for table in &tables {
            table.create().await?;
        }
        let (cluster, cache) = (cluster.to_owned(), WalCache::new(CACHE_BYTES));
        Ok(Arc::new(Self { store, cluster, tables: tables.into(), cache, metrics }))
    }

    /// What was asked of this bucket so far.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The store itself; a folder's puts are synced, every operation is counted.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// The cluster's name as configured.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The log of a table.
    pub fn table(&self, table: Table) -> &dyn TableLog {
        // Built from `Table::ALL` in its order.
        &self.tables[table as usize]
    }

    /// A table as it is now: every durable row once.
    pub async fn view(&self, table: Table) -> Result<View, LakeError> {
        view::of(self, table).await
    }

    /// Every WAL object in the bucket, by ingester and number.
    pub async fn wal_keys(&self) -> Result<Vec<WalKey>, LakeError> {
        self.list_wal(keys::wal_root()).await
    }

    /// One ingester's WAL objects, by number.
    pub async fn wal_keys_of(&self, ingester: &IngesterId) -> Result<Vec<WalKey>, LakeError> {
        self.list_wal(keys::wal_folder(ingester)).await
    }

    /// The newest WAL object of every log.
    pub async fn wal_heads(&self) -> Result<Vec<WalKey>, LakeError> {
        Ok(view::last_of_each(&self.wal_keys().await?))
    }

    /// Writes a WAL object if there is none of its number; durable on return.
    /// An error other than [`LakeError::is_already_there`] leaves open whether
    /// it was written.
    pub async fn put_wal(&self, key: &WalKey, bytes: Bytes) -> Result<(), LakeError> {
        self.create(&key.path(), bytes).await
    }

    /// Checks a data file against the checksum in its name, a piece at a time.
    /// What it holds is not looked at.
    pub async fn check_file(&self, file: &DataFile) -> Result<FileCheck, LakeError> {
        checks::check(&*self.store, file).await
    }

    /// Copies a data file to where no table looks for it; returns its new key.
    pub async fn set_file_aside(&self, key: &DataKey) -> Result<Path, LakeError> {
        let (from, to) = (key.path(), key.aside());
        let copied = self.store.copy(&from, &to).await;
        copied.map_err(|source| LakeError::store("copy", &from, source)).map(|()| to)
    }

    /// Every order about a tenant, by tenant and number.
    pub async fn order_keys(&self) -> Result<Vec<OrderKey>, LakeError> {
        let folder = keys::orders_root();
        let found: Result<Vec<_>, _> = self.store.list(Some(&folder)).try_collect().await;
        let found = found.map_err(|source| LakeError::store("list", &folder, source))?;
        Ok(found.iter().filter_map(|meta| OrderKey::parse(&meta.location)).collect())
    }

    /// Reads an order.
    pub async fn read_order(&self, key: &OrderKey) -> Result<Bytes, LakeError> {
        self.get(&key.path()).await
    }

    /// Writes an order if there is none of its number; durable on return.
    pub async fn put_order(&self, key: &OrderKey, bytes: Bytes) -> Result<(), LakeError> {
        self.create(&key.path(), bytes).await
    }

    /// What is written about grants whose ids are not below `from`, in no order.
    pub async fn grant_keys(&self, from: &str) -> Result<Vec<GrantKey>, LakeError> {
        let (folder, after) = (keys::grants_root(), keys::grants_before(from));
        let found: Result<Vec<_>, _> = self.store.list_with_offset(Some(&folder), &after).try_collect().await;
        let found = found.map_err(|source| LakeError::store("list", &folder, source))?;
        Ok(found.iter().filter_map(|meta| GrantKey::parse(&meta.location)).collect())
    }

    /// Reads what is written about a grant.
    pub async fn read_grant(&self, key: &GrantKey) -> Result<Bytes, LakeError> {
        self.get(&key.path()).await
    }

    /// Writes about a grant what nobody has written yet; durable on return.
    pub async fn put_grant(&self, key: &GrantKey, bytes: Bytes) -> Result<(), LakeError> {
        self.create(&key.path(), bytes).await
    }

    /// Reads a WAL object.
    pub async fn read_wal(&self, key: &WalKey) -> Result<WalObject, LakeError> {
        WalObject::parse(key.clone(), &self.get(&key.path()).await?)
    }

    /// Deletes a WAL object; that it was not there is no error.
    pub async fn delete_wal(&self, key: &WalKey) -> Result<(), LakeError> {
        self.cache.remove(key);
        match self.store.delete(&key.path()).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(LakeError::store("delete", &key.path(), source)),
        }
    }

    /// Sets a batch aside as it was sent; that it was there already is no error.
    pub async fn quarantine(&self, key: &QuarantineKey, bytes: Bytes) -> Result<(), LakeError> {
        match self.create(&key.path(), bytes).await {
            Err(error) if error.is_already_there() => Ok(()),
            done => done,
        }
    }

    /// Copies a WAL object that cannot be read to where nobody looks for it;
    /// returns its new key. Deleting it is the caller's next step.
    pub async fn set_wal_aside(&self, key: &WalKey) -> Result<Path, LakeError> {
        let (from, to) = (key.path(), key.aside());
        let copied = self.store.copy(&from, &to).await;
        copied.map_err(|source| LakeError::store("copy", &from, source)).map(|()| to)
    }

    /// A component's own small state, as it was last put; `None` before that.
    pub async fn get_state(&self, name: &str) -> Result<Option<Bytes>, LakeError> {
        match self.get(&keys::checkpoint(name)).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps a component's own small state; the last one put stays.
    pub async fn put_state(&self, name: &str, bytes: Bytes) -> Result<(), LakeError> {
        let key = keys::checkpoint(name);
        let done = self.store.put(&key, bytes.into()).await;
        done.map(drop).map_err(|source| LakeError::store("write", &key, source))
    }

    pub(crate) async fn wal_rows(&self, key: &WalKey) -> Result<Arc<view::WalRows>, LakeError> {
        if let Some(rows) = self.cache.get(key) {
            return Ok(rows);
        }
        let rows = match self.decode_wal(key).await {
            // Its writer, or who takes the log over, sets it aside and counts
            // its rows in `losses`; readers go on with the rest.
            Err(error) if error.is_damage() => {
                tracing::error!(%error, "damaged wal object left out of what queries see");
                view::WalRows::damaged()
            }
            done => done?,
        };
        let rows = Arc::new(rows);
        self.cache.insert(key.clone(), Arc::clone(&rows));
        Ok(rows)
    }

    async fn decode_wal(&self, key: &WalKey) -> Result<view::WalRows, LakeError> {
        let object = self.read_wal(key).await?;
        let rows = tokio::task::spawn_blocking(move || view::wal_rows(&object)).await;
        rows.map_err(|source| LakeError::Task { operation: "decode a wal object", source })?
    }

    async fn list_wal(&self, folder: Path) -> Result<Vec<WalKey>, LakeError> {
        let found: Result<Vec<_>, _> = self.store.list(Some(&folder)).try_collect().await;
        let found = found.map_err(|source| LakeError::store("list", &folder, source))?;
        let mut keys: Vec<_> = found.iter().filter_map(|meta| WalKey::parse(&meta.location)).collect();
        // A service may order folders by their names and not by whole keys.
        keys.sort_unstable();
        Ok(keys)
    }

    async fn create(&self, key: &Path, bytes: Bytes) -> Result<(), LakeError> {
        let done = self.store.put_opts(key, bytes.into(), PutMode::Create.into()).await;
        done.map(drop).map_err(|source| LakeError::store("write", key, store::decided(source)))
    }

    async fn get(&self, key: &Path) -> Result<Bytes, LakeError> {
        let failed = |source| LakeError::store("read", key, source);
        let found = self.store.get(key).await.map_err(failed)?;
        found.bytes().await.map_err(failed)
    }
}

#[cfg(test)]
mod tests;
