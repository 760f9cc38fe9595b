//! Counts and times what is asked of a store; changes nothing of it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
    UploadPart,
};

use crate::metrics::{ErrorLabels, Metrics, OperationLabel};

/// A store whose every operation is counted.
pub(crate) struct Metered {
    store: Arc<dyn ObjectStore>,
    metrics: Metrics,
}

/// A multipart upload whose parts are counted.
#[derive(Debug)]
struct Upload {
    upload: Box<dyn MultipartUpload>,
    metrics: Metrics,
}

/// One operation under way; its time is taken when this is dropped.
struct Watch {
    operation: &'static str,
    began: Instant,
    metrics: Metrics,
}

// === impl Watch ===

impl Watch {
    fn begin(metrics: &Metrics, operation: &'static str) -> Self {
        metrics.operations.get_or_create(&OperationLabel { operation }).inc();
        Self { operation, began: Instant::now(), metrics: metrics.clone() }
    }

    fn see<T>(&self, result: &Result<T>) {
        if let Err(error) = result {
            let labels = ErrorLabels { operation: self.operation, kind: kind(error) };
            self.metrics.errors.get_or_create(&labels).inc();
        }
    }

    /// Waits for the operation's end and counts how it ended.
    async fn over<T>(self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let result = work.await;
        self.see(&result);
        result
    }

    /// The same for one that answers little by little.
    fn along<T: Send + 'static>(self, items: BoxStream<'static, Result<T>>) -> BoxStream<'static, Result<T>> {
        items.inspect(move |item| self.see(item)).boxed()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let label = OperationLabel { operation: self.operation };
        self.metrics.seconds.get_or_create(&label).observe(self.began.elapsed().as_secs_f64());
    }
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::NotFound { .. } => "not_found",
        Error::AlreadyExists { .. } => "already_exists",
        Error::Precondition { .. } | Error::NotModified { .. } => "precondition",
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => "denied",
        Error::NotSupported { .. } | Error::NotImplemented { .. } => "unsupported",
        _ => "failed",
    }
}

// === impl Metered ===

impl Metered {
    pub(crate) fn over(store: Arc<dyn ObjectStore>, metrics: Metrics) -> Arc<dyn ObjectStore> {
        Arc::new(Self { store, metrics })
    }

    fn watch(&self, operation: &'static str) -> Watch {
        Watch::begin(&self.metrics, operation)
    }

    fn received(&self, mut found: GetResult) -> GetResult {
        let counter = self.metrics.received_bytes.clone();
        found.payload = match found.payload {
            GetResultPayload::Stream(bytes) => {
                let count = move |part: &Result<Bytes>| {
                    counter.inc_by(part.as_ref().map_or(0, |bytes| bytes.len() as u64));
                };
                GetResultPayload::Stream(bytes.inspect(count).boxed())
            }
            file => {
                counter.inc_by(found.range.end - found.range.start);
                file
            }
        };
        found
    }
}

impl fmt::Display for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

/// Only the name: what a store is made of may include secrets.
impl fmt::Debug for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metered({})", self.store)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Metered {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let operation = if opts.mode == PutMode::Overwrite { "put" } else { "create" };
        let bytes = payload.content_length() as u64;
        let done = self.watch(operation).over(self.store.put_opts(location, payload, opts)).await;
        self.metrics.sent_bytes.inc_by(if done.is_ok() { bytes } else { 0 });
        done
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.watch("multipart").over(self.store.put_multipart_opts(location, opts)).await?;
        Ok(Box::new(Upload { upload, metrics: self.metrics.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let watch = self.watch(if head { "head" } else { "get" });
        let found = watch.over(self.store.get_opts(location, options)).await?;
        Ok(if head { found } else { self.received(found) })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let found = self.watch("get_ranges").over(self.store.get_ranges(location, ranges)).await?;
        self.metrics.received_bytes.inc_by(found.iter().map(|part| part.len() as u64).sum());
        Ok(found)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.watch("delete").along(self.store.delete_stream(locations))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.watch("list").along(self.store.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.watch("list").along(self.store.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.watch("list").over(self.store.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.watch("copy").over(self.store.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.watch("rename").over(self.store.rename_opts(from, to, options)).await
    }
}

// === impl Upload ===

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (bytes, metrics) = (data.content_length() as u64, self.metrics.clone());
        let watch = Watch::begin(&metrics, "part");
        let part = self.upload.put_part(data);
        Box::pin(async move {
            watch.over(part).await?;
            metrics.sent_bytes.inc_by(bytes);
            Ok(())
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        Watch::begin(&self.metrics, "complete").over(self.upload.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        Watch::begin(&self.metrics, "abort").over(self.upload.abort()).await
    }
}
