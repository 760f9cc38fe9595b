//! A table's log kept as a Delta log, through the official kernel.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
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
use futures::StreamExt;
use object_store::ObjectStore;
use object_store::path::Path;

use super::{Change, ChangeKind, Cleaned, Committed, DataFile, TableLog, TableSnapshot, files, log};
use crate::boundary::carried_app;
use crate::{LakeError, keys};

/// As what commits are signed.
const ENGINE_INFO: &str = concat!("bailiwick/", env!("CARGO_PKG_VERSION"));

/// Clean-up of a log leaves alone what is younger. A commit on a base that was
/// the newest less than half of it ago cannot have landed below a cleaned end;
/// of an older one [`TableLog::commit`] says that it conflicts.
pub const LOG_KEPT_AT_LEAST_MS: i64 = 3_600_000;

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
    store: Arc<dyn ObjectStore>,
    newest: Mutex<Option<Arc<Pinned>>>,
}

#[derive(Debug)]
pub(crate) struct Pinned {
    pub(super) version: i64,
    pub(super) files: Vec<DataFile>,
    snapshot: SnapshotRef,
    txns: Mutex<HashMap<String, Option<i64>>>,
    /// When it was last known to be the newest, milliseconds since 1970.
    seen_ms: AtomicI64,
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
    pub(crate) fn new(table: Table, kernel: Arc<Kernel>, store: Arc<dyn ObjectStore>) -> Self {
        // The scheme only tells the kernel that paths are the store's own and
        // that listings are in order; every store of ours keeps that promise.
        let url = format!("memory:///{}/", keys::table_root(table));
        Self { shared: Arc::new(Shared { table, url, kernel, store, newest: Mutex::default() }) }
    }

    /// Creates the table when it is absent.
    pub(crate) async fn create(&self) -> Result<(), LakeError> {
        let opened = self.blocking("read the newest version", |shared| shared.load(None).map(drop)).await;
        // A log that cannot be read now is no reason to begin another one: its
        // first versions may have been cleaned up, so their names are free.
        if opened.is_ok() || self.has_log().await? {
            return opened;
        }
        self.blocking("create the table", |shared| {
            shared.create().or_else(|error| {
                // Another process may have been first.
                shared.load(None).map(drop).map_err(|_| error)
            })
        })
        .await
    }

    async fn has_log(&self) -> Result<bool, LakeError> {
        let folder = self.log_folder();
        match self.shared.store.list(Some(&folder)).next().await {
            None => Ok(false),
            Some(Ok(_)) => Ok(true),
            Some(Err(source)) => Err(LakeError::store("list", &folder, source)),
        }
    }

    fn log_folder(&self) -> Path {
        keys::table_root(self.shared.table).join("_delta_log")
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
        base.pinned.allows(self.shared.table, &change)?;
        let pinned = Arc::clone(&base.pinned);
        self.blocking("commit", move |shared| shared.commit(&pinned, &change)).await
    }

    async fn checkpoint(&self, snapshot: &TableSnapshot) -> Result<(), LakeError> {
        let pinned = Arc::clone(&snapshot.pinned);
        self.blocking("checkpoint", move |shared| pinned.snapshot.checkpoint(&*shared.kernel, None).map(drop))
            .await
    }

    async fn clean_log(&self, before_ms: i64) -> Result<Cleaned, LakeError> {
        let before_ms = before_ms.min(now_ms() - LOG_KEPT_AT_LEAST_MS);
        log::clean(&*self.shared.store, &self.log_folder(), before_ms).await
    }
}

// === impl Pinned ===

impl Pinned {
    /// Whether a change fits this version.
    fn allows(&self, table: Table, change: &Change) -> Result<(), LakeError> {
        if change.kind() == ChangeKind::Append {
            return Ok(());
        }
        let rows_of: HashMap<&str, u64> =
            self.files.iter().map(|file| (file.path.as_str(), file.rows)).collect();
        let mut rows_out = 0;
        for path in &change.remove {
            let missing = || LakeError::NotInTable { table, path: path.clone() };
            rows_out += rows_of.get(path.as_str()).ok_or_else(missing)?;
        }
        let rows_in = change.add.iter().map(|file| file.rows).sum();
        if change.kind() == ChangeKind::Rewrite && rows_in != rows_out {
            return Err(LakeError::RowsDiffer { table, rows_in, rows_out });
        }
        Ok(())
    }

    fn see(&self) {
        self.seen_ms.fetch_max(now_ms(), Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn pretend_age(&self, age_ms: i64) {
        self.seen_ms.store(now_ms() - age_ms, Ordering::Relaxed);
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
        let began_ms = now_ms();
        // The part of the log that the pinned version was read from may be
        // cleaned up; then it is read from its newest checkpoint.
        let (snapshot, listed) = match self.read(newest.as_deref()) {
            Err(_) if newest.is_some() => self.read(None)?,
            done => done?,
        };
        let version = snapshot.version() as i64;
        let files = match (listed, newest.as_ref()) {
            (None, Some(pinned)) if Arc::ptr_eq(&pinned.snapshot, &snapshot) => {
                pinned.see();
                return Ok(Arc::clone(pinned));
            }
            // The same version, on top of a newer checkpoint.
            (None, Some(pinned)) => pinned.files.clone(),
            (listed, _) => listed.unwrap_or_default(),
        };
        let (txns, seen_ms) = (Mutex::default(), AtomicI64::new(began_ms));
        let pinned = Arc::new(Pinned { version, files, snapshot, txns, seen_ms });
        *newest = Some(Arc::clone(&pinned));
        Ok(pinned)
    }

    /// The newest version, and its files unless it is the one that is known.
    fn read(&self, newest: Option<&Pinned>) -> Result<(SnapshotRef, Option<Vec<DataFile>>), KernelError> {
        let snapshot = self.load(newest)?;
        if newest.is_some_and(|pinned| pinned.version == snapshot.version() as i64) {
            return Ok((snapshot, None));
        }
        let files = files::list(self.table, &snapshot, &*self.kernel)?;
        Ok((snapshot, Some(files)))
    }

    fn create(&self) -> Result<(), KernelError> {
        let schema = StructType::try_from_arrow(&*self.table.public_schema())?;
        let creating = create_table(&self.url, Arc::new(schema), ENGINE_INFO, false)
            .with_data_layout(DataLayout::partitioned(["tenant", "date"]))
            .build(&*self.kernel, Box::new(FileSystemCommitter::new()))?;
        creating.commit(&*self.kernel).map(drop)
    }

    fn commit(&self, base: &Pinned, change: &Change) -> Result<Committed, KernelError> {
        let (operation, changes_data) = match change.kind() {
            ChangeKind::Append => (UpdateTableOperation::StreamingUpdate, true),
            ChangeKind::Rewrite => (UpdateTableOperation::Optimize, false),
            ChangeKind::Deletion => (UpdateTableOperation::Delete, true),
        };
        let mut transaction = base
            .snapshot
            .clone()
            .update_table(operation, ENGINE_INFO, changes_data)
            .build(&*self.kernel, Box::new(FileSystemCommitter::new()))?;
        if let Some(txn) = &change.txn {
            if let Some(carried) = txn.carried {
                transaction = transaction.with_transaction_id(carried_app(&txn.app), carried);
            }
            transaction = transaction.with_transaction_id(txn.app.clone(), txn.version);
        }
        if !change.add.is_empty() {
            transaction.add_files(Box::new(files::added(self.table, &change.add)?));
        }
        for removed in files::removed(self.table, &base.snapshot, &*self.kernel, &change.remove)? {
            transaction.remove_files(removed);
        }
        match transaction.commit(&*self.kernel)? {
            CommitResult::Committed(done) => Ok(Self::landed(base, done.commit_version() as i64)),
            CommitResult::Conflicted(_) => Ok(Committed::Conflict),
            CommitResult::Retryable(failed) => Err(failed.error),
        }
    }

    /// A process that slept between its base and its commit for longer than
    /// the log is kept finds the name of the next version free again, and what
    /// it writes there nobody reads. Told of a conflict it looks at the newest
    /// version, and sees there whether it was in time after all.
    fn landed(base: &Pinned, version: i64) -> Committed {
        let age_ms = now_ms() - base.seen_ms.load(Ordering::Relaxed);
        let in_time = (0..LOG_KEPT_AT_LEAST_MS / 2).contains(&age_ms);
        if in_time { Committed::At(version) } else { Committed::Conflict }
    }
}

fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
