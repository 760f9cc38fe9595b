//! The bucket as an object store: an S3 bucket, a folder that forgets nothing,
//! or memory. Each is counted alike.

mod config;
mod directory;
mod metered;
mod probe;
mod s3;

use std::path::PathBuf;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::{Error, ObjectStore};

pub use config::{BucketConfig, S3Config};
pub use directory::DirectoryStore;
pub(crate) use metered::Metered;
pub use probe::Probe;
pub(crate) use probe::probe;

use crate::LakeError;

/// Opens a bucket: a folder's path, `file:///path`, `s3://name/prefix` or
/// `memory://`. One elsewhere is asked whether it is there.
///
/// A folder is created when it does not exist. Memory is for tests: it is
/// gone with the process and shared with nobody.
pub async fn open(config: &BucketConfig) -> Result<Arc<dyn ObjectStore>, LakeError> {
    let bucket = config.url.as_str();
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
        Some(("s3", _)) => {
            let store = s3::open(config)?;
            s3::answers(&*store, config).await?;
            return Ok(store);
        }
        Some((scheme, _)) => return Err(refused(format!("scheme {scheme} is not supported"))),
    };
    let store = DirectoryStore::open(&folder).map_err(|error| refused(error.to_string()))?;
    Ok(Arc::new(store))
}

/// The error of a put-if-absent, `AlreadyExists` only where the object is there.
///
/// S3 answers 409 when such a put meets another operation on the key, which
/// decides nothing; `object_store` gives that the same name. A refusal it wraps
/// in an error of its own first.
pub(crate) fn decided(error: Error) -> Error {
    match error {
        Error::AlreadyExists { source, .. } if says_conflict(&*source) => {
            Error::Generic { store: "S3", source }
        }
        other => other,
    }
}

fn says_conflict(source: &(dyn std::error::Error + 'static)) -> bool {
    !source.is::<Error>() && source.to_string().contains("409 Conflict")
}

#[cfg(test)]
mod tests;
