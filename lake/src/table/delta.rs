//! A table's log kept as a Delta log, through the official kernel.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use async_trait::async_trait;
use bailiwick_proto::Table;
use delta_kernel::committer::FileSystemCommitter;
use delta_kernel::engine::arrow_conversion::TryFromArrow;
use delta_kernel::schema::StructType;
use delta_kernel::snapshot::SnapshotRef;
use delta_kernel::transaction::create_table::create_table;
use delta_kernel::transaction::data_layout::DataLayout;
use delta_kernel::transaction::{CommitResult, UpdateTableOperation};
use delta_kernel::{KernelError, Snapshot};
use delta_kernel_default_engine::executor::tokio::TokioMultiThreadExecutor;
use delta_kernel_default_engine::{DefaultEngine, DefaultEngineBuilder};
use object_store::ObjectStore;

use super::{Change, Committed, DataFile, TableLog, TableSnapshot, files};
use crate::boundary::carried_app;
use crate::{LakeError, keys};

/// As what commits are signed.
const ENGINE_INFO: &str = concat!("bailiwick/", env!("CARGO_PKG_VERSION"));

type Kernel = DefaultEngine<TokioMultiThreadExecutor>;

/// One table in one bucket; clones share what was read of it.
#[derive(Debug, Clone)]
pub(crate) struct DeltaTable {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    table: Table,
    url: String,
    kernel: Arc<Kernel>,
    newest: Mutex<Option<Arc<Pinned>>>,
}

#[derive(Debug)]
pub(crate) struct Pinned {
    pub(super) version: i64,
    pub(super) files: Vec<DataFile>,
    snapshot: SnapshotRef,
    txns: Mutex<HashMap<String, Option<i64>>>,
}

/// The kernel blocks on its own runtime: its default executor stalls in
/// checkpoints, and a caller's runtime may have one thread only.
static EXECUTOR: LazyLock<Result<Arc<TokioMultiThreadExecutor>, String>> = LazyLock::new(|| {
    let executor = TokioMultiThreadExecutor::new_owned_runtime(Some(2), None);
    executor.map(Arc::new).map_err(|error| error.to_string())
});

/// An engine over the bucket, shared by its tables.
pub(crate) fn kernel(store: Arc<dyn ObjectStore>) -> Result<Arc<Kernel>, String> {
    let executor = EXECUTOR.clone()?;
    Ok(Arc::new(DefaultEngineBuilder::new(store).with_task_executor(executor).build()))
}

// === impl DeltaTable ===

impl DeltaTable {
    pub(crate) fn new(table: Table, kernel: Arc<Kernel>) -> Self {
        // The scheme only tells the kernel that paths are the store's own and
        // that listings are in order; every store of ours keeps that promise.
        let url = format!("memory:///{}/", keys::table_root(table));
        Self { shared: Arc::new(Shared { table, url, kernel, newest: Mutex::default() }) }
    }

    /// Creates the table when it is absent.
    pub(crate) async fn create(&self) -> Result<(), LakeError> {
        self.blocking("create the table", |shared| match shared.load(None) {
            Ok(_) => Ok(()),
            Err(_) => shared.create().or_else(|error| {
                // Another process may have been first.
                shared.load(None).map(drop).map_err(|_| error)
            }),
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Shared) -> Result<T, KernelError> + Send + 'static,
    ) -> Result<T, LakeError> {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        let table = self.shared.table;
        done.map_err(|source| LakeError::Task { operation, source })?.map_err(|source| LakeError::Delta {
            table,
            operation,
            source: Box::new(source),
        })
    }
}

#[async_trait]
impl TableLog for DeltaTable {
    fn table(&self) -> Table {
        self.shared.table
    }

    async fn snapshot(&self) -> Result<TableSnapshot, LakeError> {
        let pinned = self.blocking("read the newest version", Shared::refresh).await?;
        Ok(TableSnapshot { pinned })
    }

    async fn txn(&self, snapshot: &TableSnapshot, app: &str) -> Result<Option<i64>, LakeError> {
        let known = |pinned: &Pinned, app: &str| {
            pinned.txns.lock().unwrap_or_else(PoisonError::into_inner).get(app).copied()
        };
        if let Some(version) = known(&snapshot.pinned, app) {
            return Ok(version);
        }
        let (pinned, app) = (Arc::clone(&snapshot.pinned), app.to_owned());
        self.blocking("read a writer's txn", move |shared| {
            let version = pinned.snapshot.get_app_id_version(&app, &*shared.kernel)?;
            pinned.txns.lock().unwrap_or_else(PoisonError::into_inner).insert(app, version);
            Ok(version)
        })
        .await
    }

    async fn commit(&self, base: &TableSnapshot, change: Change) -> Result<Committed, LakeError> {
        let pinned = Arc::clone(&base.pinned);
        self.blocking("commit", move |shared| shared.commit(&pinned, change)).await
    }

    async fn checkpoint(&self, snapshot: &TableSnapshot) -> Result<(), LakeError> {
        let pinned = Arc::clone(&snapshot.pinned);
        self.blocking("checkpoint", move |shared| pinned.snapshot.checkpoint(&*shared.kernel, None).map(drop))
            .await
    }
}

// === impl Shared ===

impl Shared {
    fn load(&self, newest: Option<&Pinned>) -> Result<SnapshotRef, KernelError> {
        match newest {
            Some(pinned) => Snapshot::builder_from(pinned.snapshot.clone()).build(&*self.kernel),
            None => Snapshot::builder_for(&self.url).build(&*self.kernel),
        }
    }

    fn refresh(&self) -> Result<Arc<Pinned>, KernelError> {
        // Held over the listing: readers that come at once share one.
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.load(newest.as_deref())?;
        let version = snapshot.version() as i64;
        if let Some(pinned) = newest.as_ref().filter(|pinned| pinned.version == version) {
            return Ok(Arc::clone(pinned));
        }
        let files = files::list(self.table, &snapshot, &*self.kernel)?;
        let pinned = Arc::new(Pinned { version, files, snapshot, txns: Mutex::default() });
        *newest = Some(Arc::clone(&pinned));
        Ok(pinned)
    }

    fn create(&self) -> Result<(), KernelError> {
        let schema = StructType::try_from_arrow(&*self.table.public_schema())?;
        let creating = create_table(&self.url, Arc::new(schema), ENGINE_INFO, false)
            .with_data_layout(DataLayout::partitioned(["tenant", "date"]))
            .build(&*self.kernel, Box::new(FileSystemCommitter::new()))?;
        creating.commit(&*self.kernel).map(drop)
    }

    fn commit(&self, base: &Pinned, change: Change) -> Result<Committed, KernelError> {
        let rewrites = !change.remove.is_empty();
        let operation =
            if rewrites { UpdateTableOperation::Write } else { UpdateTableOperation::StreamingUpdate };
        let mut transaction = base
            .snapshot
            .clone()
            .update_table(operation, ENGINE_INFO, !rewrites)
            .build(&*self.kernel, Box::new(FileSystemCommitter::new()))?;
        if let Some(txn) = change.txn {
            if let Some(carried) = txn.carried {
                transaction = transaction.with_transaction_id(carried_app(&txn.app), carried);
            }
            transaction = transaction.with_transaction_id(txn.app, txn.version);
        }
        if !change.add.is_empty() {
            transaction.add_files(Box::new(files::added(self.table, &change.add)?));
        }
        for removed in files::removed(self.table, &base.snapshot, &*self.kernel, &change.remove)? {
            transaction.remove_files(removed);
        }
        match transaction.commit(&*self.kernel)? {
            CommitResult::Committed(done) => Ok(Committed::At(done.commit_version() as i64)),
            CommitResult::Conflicted(_) => Ok(Committed::Conflict),
            CommitResult::Retryable(failed) => Err(failed.error),
        }
    }
}
