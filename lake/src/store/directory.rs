//! A folder as a bucket, with the durability that an object store promises.
//!
//! `object_store`'s local store neither syncs a file nor the folder that names
//! it. Here a put is: write a file beside the target, sync it, link (if
//! absent) or rename (overwrite) it to its name, sync the folder. Reading and
//! listing are delegated, except that listings are sorted.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
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

/// A multipart upload: its parts go into a file beside the target, which takes
/// the target's name when it is complete.
#[derive(Debug)]
struct Upload {
    reader: std::sync::Arc<LocalFileSystem>,
    location: Path,
    target: PathBuf,
    staged: PathBuf,
    file: std::sync::Arc<File>,
    /// Where the next part begins.
    offset: u64,
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
        let target = self.reader.path_to_filesystem(location)?;
        let begun = tokio::task::spawn_blocking(move || begin_file(&target).map(|staged| (target, staged)));
        let (target, (staged, file)) = begun.await?.map_err(|error| failed(location, error))?;
        let (reader, location, file) = (self.reader.clone(), location.clone(), std::sync::Arc::new(file));
        Ok(Box::new(Upload { reader, location, target, staged, file, offset: 0 }))
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
        let (source, target) = (self.reader.path_to_filesystem(from)?, self.reader.path_to_filesystem(to)?);
        let create = options.mode == CopyMode::Create;
        let copied = tokio::task::spawn_blocking(move || {
            let source = File::open(source).map_err(|error| (true, error))?;
            copy_file(source, &target, create).map_err(|error| (false, error))
        });
        let key = |of_source| if of_source { from } else { to };
        copied.await?.map_err(|(of_source, error)| failed(key(of_source), error))
    }
}

// === impl Upload ===

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (file, key, mut at) = (std::sync::Arc::clone(&self.file), self.location.clone(), self.offset);
        self.offset += data.content_length() as u64;
        let write = move || {
            for piece in &data {
                file.write_all_at(piece, at)?;
                at += piece.len() as u64;
            }
            Ok(())
        };
        Box::pin(async move {
            tokio::task::spawn_blocking(write).await?.map_err(|error: io::Error| failed(&key, error))
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (staged, target) = (self.staged.clone(), self.target.clone());
        let file = std::sync::Arc::clone(&self.file);
        let named = tokio::task::spawn_blocking(move || {
            file.sync_all()?;
            name_file(&staged, &target, false)
        });
        named.await?.map_err(|error| failed(&self.location, error))?;
        let meta = self.reader.head(&self.location).await?;
        Ok(PutResult { e_tag: meta.e_tag, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        // Dropping it removes what there is.
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Where it was completed the name is gone.
        let _ = fs::remove_file(&self.staged);
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
    let (staged, file) = begin_file(target)?;
    staged_or_gone(&staged, stage(file, payload))?;
    name_file(&staged, target, create)
}

fn copy_file(mut source: File, target: &FilePath, create: bool) -> io::Result<()> {
    let (staged, mut file) = begin_file(target)?;
    staged_or_gone(&staged, io::copy(&mut source, &mut file).and_then(|_| file.sync_all()))?;
    name_file(&staged, target, create)
}

/// A new file beside the target, in a folder that is there.
fn begin_file(target: &FilePath) -> io::Result<(PathBuf, File)> {
    create_folders(parent_of(target)?)?;
    let staged = staging_path(target)?;
    let file = File::options().write(true).create_new(true).open(&staged)?;
    Ok((staged, file))
}

/// Gives a synced file its name, for good.
fn name_file(staged: &FilePath, target: &FilePath, create: bool) -> io::Result<()> {
    let result = if create { fs::hard_link(staged, target) } else { fs::rename(staged, target) };
    if create || result.is_err() {
        // Left behind it would only take space: listings pass such names over.
        let _ = fs::remove_file(staged);
    }
    // Also where the name was taken: by a try of ours, perhaps, whose folder
    // was not synced, and whoever is told so builds on its being there.
    let synced = File::open(parent_of(target)?)?.sync_all();
    result.and(synced)
}

/// Of a file that could not be written nothing stays.
fn staged_or_gone(staged: &FilePath, written: io::Result<()>) -> io::Result<()> {
    if written.is_err() {
        let _ = fs::remove_file(staged);
    }
    written
}

fn parent_of(target: &FilePath) -> io::Result<&FilePath> {
    target.parent().ok_or_else(|| io::Error::other("object has no folder"))
}

fn stage(mut file: File, payload: &PutPayload) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a large object is never in memory as a whole, has its name only
    /// when it is complete, and leaves nothing where it is given up.
    #[tokio::test]
    async fn an_upload_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(folder.path()).unwrap();
        let key = Path::from("a/b");
        let mut upload = store.put_multipart(&key).await.unwrap();
        let (first, second) = (upload.put_part("one ".into()), upload.put_part("two".into()));
        // Parts may be written in any order.
        second.await.unwrap();
        first.await.unwrap();
        assert!(matches!(store.get(&key).await, Err(Error::NotFound { .. })));
        upload.complete().await.unwrap();
        drop(upload);
        assert_eq!(store.get(&key).await.unwrap().bytes().await.unwrap(), "one two");
        store.copy(&key, &Path::from("c/d")).await.unwrap();
        assert_eq!(store.get(&Path::from("c/d")).await.unwrap().bytes().await.unwrap(), "one two");

        let mut given_up = store.put_multipart(&Path::from("a/e")).await.unwrap();
        given_up.put_part("half".into()).await.unwrap();
        given_up.abort().await.unwrap();
        drop(given_up);
        assert_eq!(std::fs::read_dir(folder.path().join("a")).unwrap().count(), 1);
        let missing = store.copy(&Path::from("nowhere"), &Path::from("f")).await;
        assert!(matches!(missing, Err(Error::NotFound { .. })));
        let taken = CopyOptions::default().with_mode(CopyMode::Create);
        let refused = store.copy_opts(&Path::from("c/d"), &key, taken).await;
        assert!(matches!(refused, Err(Error::AlreadyExists { .. })));
    }
}
