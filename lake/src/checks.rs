//! Whether a data file's bytes are still those that were written.

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::{DataFile, LakeError};

/// What a look at all bytes of a file shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileCheck {
    /// They are what was written, or at least as many where there is no checksum.
    Sound,
    /// They are not; in words.
    Damaged(String),
    /// There is no such object.
    Missing,
}

pub(crate) async fn check(store: &dyn ObjectStore, file: &DataFile) -> Result<FileCheck, LakeError> {
    let key = Path::from(file.path.as_str());
    let failed = |source| LakeError::store("read", &key, source);
    let found = match store.get(&key).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return Ok(FileCheck::Missing),
        Err(source) => return Err(failed(source)),
    };
    let (mut size_bytes, mut crc32c) = (0, 0);
    let mut pieces = found.into_stream();
    while let Some(piece) = pieces.try_next().await.map_err(failed)? {
        size_bytes += piece.len() as u64;
        crc32c = crc32c::crc32c_append(crc32c, &piece);
    }
    if size_bytes != file.size_bytes {
        let reason = format!("it has {size_bytes} bytes and had {} when it was written", file.size_bytes);
        return Ok(FileCheck::Damaged(reason));
    }
    Ok(match file.crc32c() {
        Some(written) if written != crc32c => FileCheck::Damaged(format!(
            "its checksum is {crc32c:08x} and was {written:08x} when it was written"
        )),
        _ => FileCheck::Sound,
    })
}
