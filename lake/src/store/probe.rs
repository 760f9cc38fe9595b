//! Does a store keep the promises that everything here builds on?

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode};

use crate::{LakeError, fresh_name, keys};

/// Numbers in an order in which they must not be listed.
const NUMBERS: [u32; 3] = [3, 1, 2];
/// About what a group of batches has.
const BYTES: usize = 64 << 10;

/// What a look at a store found: it keeps its promises, and so quickly.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// The slowest of a few small puts.
    pub put: Duration,
    /// Reading one of them.
    pub get: Duration,
    /// Listing them.
    pub list: Duration,
}

/// Writes, lists, reads and deletes a few objects.
pub(crate) async fn probe(store: &dyn ObjectStore) -> Result<Probe, LakeError> {
    let folder = keys::probe(&fresh_name());
    let found = look(store, &folder).await;
    for number in NUMBERS {
        let key = object(&folder, number);
        match store.delete(&key).await {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(source) if found.is_ok() => return Err(LakeError::store("delete", &key, source)),
            Err(_) => {}
        }
    }
    found
}

async fn look(store: &dyn ObjectStore, folder: &Path) -> Result<Probe, LakeError> {
    let unfit = |reason: String| LakeError::Unfit { url: store.to_string(), reason };
    let mut put = Duration::ZERO;
    for number in NUMBERS {
        let (key, began) = (object(folder, number), Instant::now());
        create(store, &key, number).await.map_err(|source| LakeError::store("write", &key, source))?;
        put = put.max(began.elapsed());
    }
    let first = object(folder, NUMBERS[0]);
    match create(store, &first, 9).await {
        Err(Error::AlreadyExists { .. }) => {}
        Ok(()) => return Err(unfit("put-if-absent replaces what is there".to_owned())),
        Err(source) => return Err(LakeError::store("write", &first, source)),
    }
    let began = Instant::now();
    let bytes = async { store.get(&first).await?.bytes().await };
    let bytes = bytes.await.map_err(|source| LakeError::store("read", &first, source))?;
    let get = began.elapsed();
    if bytes != content(NUMBERS[0]) {
        return Err(unfit("what is read is not what was written".to_owned()));
    }
    let began = Instant::now();
    let listed: Vec<ObjectMeta> = store
        .list(Some(folder))
        .try_collect()
        .await
        .map_err(|source| LakeError::store("list", folder, source))?;
    let names: Vec<_> = listed.iter().filter_map(|meta| meta.location.filename()).collect();
    if names != ["1", "2", "3"] {
        return Err(unfit(format!("a listing is incomplete or not in order: {names:?}")));
    }
    Ok(Probe { put, get, list: began.elapsed() })
}

fn object(folder: &Path, number: u32) -> Path {
    folder.clone().join(number.to_string())
}

fn content(number: u32) -> Bytes {
    vec![number.to_le_bytes()[0]; BYTES].into()
}

async fn create(store: &dyn ObjectStore, key: &Path, number: u32) -> object_store::Result<()> {
    store.put_opts(key, content(number).into(), PutMode::Create.into()).await.map(drop)
}
