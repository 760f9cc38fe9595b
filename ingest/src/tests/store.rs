//! A store that fails when told to, over a real one.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::watch;

/// What happens to one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is done.
    Done,
    /// It fails and changes nothing.
    Fails,
    /// It is done, and its caller hears that it failed.
    ReplyLost,
    /// Its caller hears that it failed, and so many operations later a write is
    /// done all the same, if it still can be.
    Late(u32),
    /// It waits until [`Faults::release`].
    Held,
    /// The process dies before it: this and everything after it fails.
    DiesBefore,
    /// The process dies after it.
    DiesAfter,
}

/// The operations that a fate is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Write,
    Read,
    List,
    Delete,
}

type Decide = Box<dyn FnMut(Operation, &Path) -> Fate + Send>;

/// Decides about every operation of one store.
pub(crate) struct Faults {
    decide: Mutex<Decide>,
    held: watch::Sender<u64>,
    released: watch::Sender<bool>,
    dead: watch::Sender<bool>,
    writes: AtomicU64,
    calm: AtomicBool,
    late: Mutex<Vec<LateWrite>>,
}

/// A write that is still on its way.
struct LateWrite {
    operations: u32,
    key: Path,
    payload: PutPayload,
    opts: PutOptions,
}

/// While it lives nothing fails, and no fate is drawn.
pub(crate) struct Calm<'a>(&'a AtomicBool);

impl Drop for Calm<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// The store with its faults.
pub(crate) struct Faulty {
    inner: Arc<dyn ObjectStore>,
    pub(crate) faults: Arc<Faults>,
}

// === impl Faults ===

impl Faults {
    /// Replaces the decision.
    pub(crate) fn decide(&self, decide: impl FnMut(Operation, &Path) -> Fate + Send + 'static) {
        self.released.send_replace(false);
        *self.decide.lock().unwrap() = Box::new(decide);
    }

    /// Nothing fails from now on, and what is held goes on.
    pub(crate) fn release(&self) {
        *self.decide.lock().unwrap() = Box::new(|_, _| Fate::Done);
        self.released.send_replace(true);
        self.dead.send_replace(false);
    }

    /// Waits until `count` operations were held.
    pub(crate) async fn held(&self, count: u64) {
        self.held.subscribe().wait_for(|held| *held >= count).await.unwrap();
    }

    /// Waits until the process has died.
    pub(crate) async fn died(&self) {
        self.dead.subscribe().wait_for(|dead| *dead).await.unwrap();
    }

    /// The process that runs over this store is another one now.
    pub(crate) fn revive(&self) {
        self.dead.send_replace(false);
    }

    pub(crate) fn is_dead(&self) -> bool {
        *self.dead.borrow()
    }

    /// Writes and deletions that reached the store.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    pub(crate) fn calm(&self) -> Calm<'_> {
        self.calm.store(true, Ordering::SeqCst);
        Calm(&self.calm)
    }

    async fn fate(&self, operation: Operation, key: &Path) -> Fate {
        if self.calm.load(Ordering::SeqCst) {
            return Fate::Done;
        }
        if self.is_dead() {
            return Fate::Fails;
        }
        let fate = (self.decide.lock().unwrap())(operation, key);
        match fate {
            Fate::Held => {
                self.held.send_modify(|held| *held += 1);
                self.released.subscribe().wait_for(|released| *released).await.unwrap();
                Fate::Done
            }
            Fate::DiesBefore => {
                self.dead.send_replace(true);
                Fate::Fails
            }
            other => other,
        }
    }

    async fn around<T>(
        &self,
        operation: Operation,
        key: &Path,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let fate = self.fate(operation, key).await;
        self.meet(fate, operation, work).await
    }

    async fn meet<T>(
        &self,
        fate: Fate,
        operation: Operation,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        if matches!(fate, Fate::Fails | Fate::Late(_)) {
            return Err(fault());
        }
        if matches!(operation, Operation::Write | Operation::Delete) {
            self.writes.fetch_add(1, Ordering::SeqCst);
        }
        let done = work.await;
        if fate == Fate::DiesAfter {
            self.dead.send_replace(true);
        }
        if fate == Fate::Done { done } else { Err(fault()) }
    }
}

// === impl Faulty ===

impl Faulty {
    pub(crate) fn over(inner: Arc<dyn ObjectStore>) -> Arc<Self> {
        let faults = Faults {
            decide: Mutex::new(Box::new(|_, _| Fate::Done)),
            held: watch::channel(0).0,
            released: watch::channel(false).0,
            dead: watch::channel(false).0,
            writes: AtomicU64::new(0),
            calm: AtomicBool::new(false),
            late: Mutex::default(),
        };
        Arc::new(Self { inner, faults: Arc::new(faults) })
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {:?}", self.inner)
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, key: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.arrive().await;
        let fate = self.faults.fate(Operation::Write, key).await;
        if let Fate::Late(operations) = fate {
            let late = LateWrite { operations, key: key.clone(), payload, opts };
            self.faults.late.lock().unwrap().push(late);
            return Err(fault());
        }
        self.faults.meet(fate, Operation::Write, self.inner.put_opts(key, payload, opts)).await
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.faults.around(Operation::Write, key, self.inner.put_multipart_opts(key, opts)).await
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        self.faults.around(Operation::Read, key, self.inner.get_opts(key, options)).await
    }

    async fn get_ranges(&self, key: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.faults.around(Operation::Read, key, self.inner.get_ranges(key, ranges)).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (faults, inner) = (Arc::clone(&self.faults), Arc::clone(&self.inner));
        let delete = move |key: Result<Path>| {
            let (faults, inner) = (Arc::clone(&faults), Arc::clone(&inner));
            async move {
                let key = key?;
                let one = futures::stream::iter([Ok(key.clone())]).boxed();
                let work = async { inner.delete_stream(one).next().await.unwrap_or(Ok(key.clone())) };
                faults.around(Operation::Delete, &key, work).await
            }
        };
        keys.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(prefix, self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(prefix, self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let key = prefix.cloned().unwrap_or_default();
        self.faults.around(Operation::List, &key, self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.faults.around(Operation::Write, to, self.inner.copy_opts(from, to, options)).await
    }
}

impl Faulty {
    /// Lets writes that were on their way for long enough reach the store.
    async fn arrive(&self) {
        let due: Vec<LateWrite> = {
            let mut late = self.faults.late.lock().unwrap();
            late.iter_mut().for_each(|write| write.operations = write.operations.saturating_sub(1));
            late.extract_if(.., |write| write.operations == 0).collect()
        };
        for LateWrite { key, payload, opts, .. } in due {
            // Too late for some: the name is taken.
            let _ = self.inner.put_opts(&key, payload, opts).await;
        }
    }

    fn listing(
        &self,
        prefix: Option<&Path>,
        found: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (faults, key) = (Arc::clone(&self.faults), prefix.cloned().unwrap_or_default());
        let first = async move { faults.around(Operation::List, &key, async { Ok(()) }).await };
        let all = async move {
            match first.await {
                Ok(()) => found,
                Err(error) => futures::stream::iter([Err(error)]).boxed(),
            }
        };
        futures::stream::once(all).flatten().boxed()
    }
}

fn fault() -> Error {
    Error::Generic { store: "faulty", source: "made to fail".into() }
}
