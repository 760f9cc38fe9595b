//! A folder as a bucket, with the durability that an object store promises.
//!
//! `object_store`'s local store neither syncs a file nor the folder that names
//! it. Here a put is: write a file beside the target, sync it, link (if
//! absent) or rename (overwrite) it to its name, sync the folder. Reading and
//! listing are delegated, except that listings are sorted.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    UploadPart,
};

const STORE: &str = "directory";

/// A folder whose puts are atomic and survive a power cut.
#[derive(Debug, Clone)]
pub struct DirectoryStore {
    root: PathBuf,
    reader: std::sync::Arc<LocalFileSystem>,
}

/// Parts of a multipart upload, kept until it is completed: nothing here is
/// large enough to be worth a file of parts.
#[derive(Debug)]
struct Upload {
    store: DirectoryStore,
    location: Path,
    parts: Vec<Bytes>,
}

// === impl DirectoryStore ===

impl DirectoryStore {
    /// Opens a folder, creating it when it does not exist.
    pub fn open(folder: &FilePath) -> io::Result<Self> {
        let root = std::path::absolute(folder)?;
        create_folders(&root)?;
        let root = root.canonicalize()?;
        let reader = LocalFileSystem::new_with_prefix(&root).map_err(io::Error::other)?;
        Ok(Self { root, reader: std::sync::Arc::new(reader) })
    }

    async fn write(&self, location: &Path, payload: PutPayload, create: bool) -> Result<PutResult> {
        let target = self.reader.path_to_filesystem(location)?;
        let key = location.clone();
        let written = tokio::task::spawn_blocking(move || write_file(&target, &payload, create)).await?;
        written.map_err(|error| failed(&key, error))?;
        let meta = self.reader.head(location).await?;
        Ok(PutResult { e_tag: meta.e_tag, version: None })
    }
}

impl std::fmt::Display for DirectoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "directory {}", self.root.display())
    }
}

#[async_trait]
impl ObjectStore for DirectoryStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        match opts.mode {
            PutMode::Create => self.write(location, payload, true).await,
            PutMode::Overwrite => self.write(location, payload, false).await,
            PutMode::Update(_) => Err(Error::NotImplemented {
                operation: "conditional update".into(),
                implementer: STORE.into(),
            }),
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let (store, location) = (self.clone(), location.clone());
        Ok(Box::new(Upload { store, location, parts: Vec::new() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.reader.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.reader.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.reader.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        sorted(self.reader.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        sorted(self.reader.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.reader.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let bytes = self.reader.get(from).await?.bytes().await?;
        self.write(to, bytes.into(), options.mode == CopyMode::Create).await.map(drop)
    }
}

// === impl Upload ===

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts.extend(data);
        Box::pin(std::future::ready(Ok(())))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let payload = PutPayload::from_iter(std::mem::take(&mut self.parts));
        self.store.write(&self.location, payload, false).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.clear();
        Ok(())
    }
}

// === listings ===

fn sorted(unsorted: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
    let sorted = async move {
        let mut found: Vec<_> = unsorted.try_collect().await?;
        found.sort_unstable_by(|a: &ObjectMeta, b: &ObjectMeta| a.location.cmp(&b.location));
        Ok::<_, Error>(stream::iter(found.into_iter().map(Ok)))
    };
    stream::once(sorted).try_flatten().boxed()
}

// === files ===

fn write_file(target: &FilePath, payload: &PutPayload, create: bool) -> io::Result<()> {
    let parent = target.parent().ok_or_else(|| io::Error::other("object has no folder"))?;
    create_folders(parent)?;
    let staged = staging_path(target)?;
    let result = stage(&staged, payload)
        .and_then(|()| if create { fs::hard_link(&staged, target) } else { fs::rename(&staged, target) });
    if create || result.is_err() {
        // Left behind it would only take space: listings pass such names over.
        let _ = fs::remove_file(&staged);
    }
    // Also where the name was taken: by a try of ours, perhaps, whose folder
    // was not synced, and whoever is told so builds on its being there.
    let synced = File::open(parent)?.sync_all();
    result.and(synced)
}

fn stage(staged: &FilePath, payload: &PutPayload) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(staged)?;
    for part in payload {
        file.write_all(part)?;
    }
    file.sync_all()
}

/// `<target>#<digits>`: the local store leaves such names out of listings.
fn staging_path(target: &FilePath) -> io::Result<PathBuf> {
    static STAGED: AtomicU64 = AtomicU64::new(0);
    let started_ns = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos());
    let count = STAGED.fetch_add(1, Ordering::Relaxed);
    let mut name = target.file_name().ok_or_else(|| io::Error::other("object has no name"))?.to_owned();
    name.push(format!("#{}{started_ns}{count:06}", std::process::id()));
    Ok(target.with_file_name(name))
}

/// Creates `folder` and what is missing above it, and syncs every parent that
/// got a new entry.
fn create_folders(folder: &FilePath) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let Some(parent) = folder.parent() else { return fs::create_dir(folder) };
    create_folders(parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(parent)?.sync_all()
}

fn failed(key: &Path, error: io::Error) -> Error {
    let path = key.to_string();
    match error.kind() {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path, source: error.into() },
        io::ErrorKind::NotFound => Error::NotFound { path, source: error.into() },
        io::ErrorKind::PermissionDenied => Error::PermissionDenied { path, source: error.into() },
        _ => Error::Generic { store: STORE, source: error.into() },
    }
}
