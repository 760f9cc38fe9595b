//! The bucket as an object store: a folder that forgets nothing, or memory.

mod directory;

use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;

pub use directory::DirectoryStore;

use crate::LakeError;

/// Opens `bucket`: a folder's path, `file:///path` or `memory://`.
///
/// A folder is created when it does not exist. Memory is for tests: it is
/// gone with the process and shared with nobody.
pub(crate) fn open(bucket: &str) -> Result<Arc<dyn ObjectStore>, LakeError> {
    if bucket.trim_end_matches('/') == "memory:" {
        return Ok(Arc::new(InMemory::new()));
    }
    let refused = |reason: String| LakeError::Address { url: bucket.to_owned(), reason };
    let folder = match bucket.split_once("://") {
        None => PathBuf::from(bucket),
        Some(("file", _)) => {
            let url = url::Url::parse(bucket).map_err(|error| refused(error.to_string()))?;
            url.to_file_path().map_err(|()| refused("not a local path".to_owned()))?
        }
        Some((scheme, _)) => return Err(refused(format!("scheme {scheme} is not supported"))),
    };
    let store = DirectoryStore::open(&folder).map_err(|error| refused(error.to_string()))?;
    Ok(Arc::new(store))
}

#[cfg(test)]
mod tests;
