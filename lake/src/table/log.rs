//! Which files of a Delta log nobody needs any more.
//!
//! ```text
//!   0.json … 99.json  100.json 100.checkpoint … 200.json 200.checkpoint … 230.json
//!   ╰─ below the older checkpoint: may go ─╯    ╰──────── a reader needs ────────╯
//! ```
//!
//! The newest two checkpoints and every commit from the older one on stay, so
//! that a newest checkpoint that turns out to be damaged can be made again.
//! What goes is the log's oldest end and goes oldest first: whenever it is
//! interrupted, what is left has no gap.

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::Deserialize;

use crate::LakeError;

/// How many checkpoints stay.
const CHECKPOINTS_KEPT: usize = 2;

/// What a clean-up of a log deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Commits, and what summarised single ones.
    pub commits: u64,
    /// Checkpoints, in files.
    pub checkpoints: u64,
}

/// A file of the log, by what its name says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct LogFile {
    version: u64,
    kind: Kind,
    name: String,
    modified_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Commit,
    /// A version's checksum, or several commits in one.
    Companion,
    /// One file that is a whole checkpoint.
    Checkpoint,
    /// One of several; whether all are there is not looked at.
    PartOfCheckpoint,
}

/// What `_last_checkpoint` says.
#[derive(Debug, Deserialize)]
struct Hint {
    version: u64,
}

/// Deletes what is not needed and was last written before `before_ms`.
pub(super) async fn clean(
    store: &dyn ObjectStore,
    folder: &Path,
    before_ms: i64,
) -> Result<Cleaned, LakeError> {
    let found: Vec<_> = store
        .list(Some(folder))
        .try_collect()
        .await
        .map_err(|source| LakeError::store("list", folder, source))?;
    let file = |meta: &object_store::ObjectMeta| {
        LogFile::parse(meta.location.filename()?, meta.last_modified.timestamp_millis())
    };
    let files: Vec<LogFile> = found.iter().filter_map(file).collect();
    let mut cleaned = Cleaned::default();
    let Some(hint) = hint(store, folder).await? else { return Ok(cleaned) };
    for file in plan(files, hint, before_ms) {
        let key = folder.clone().join(file.name.as_str());
        match store.delete(&key).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(source) => return Err(LakeError::store("delete", &key, source)),
        }
        match file.kind {
            Kind::Checkpoint | Kind::PartOfCheckpoint => cleaned.checkpoints += 1,
            Kind::Commit | Kind::Companion => cleaned.commits += 1,
        }
    }
    Ok(cleaned)
}

/// Where readers begin; without it, or where it cannot be read, nothing goes.
async fn hint(store: &dyn ObjectStore, folder: &Path) -> Result<Option<u64>, LakeError> {
    let key = folder.clone().join("_last_checkpoint");
    let failed = |source| LakeError::store("read", &key, source);
    let found = match store.get(&key).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    let bytes = found.bytes().await.map_err(failed)?;
    Ok(serde_json::from_slice::<Hint>(&bytes).ok().map(|hint| hint.version))
}

/// What may go, oldest first: a run from the log's beginning that ends at the
/// first file that is needed or too young.
fn plan(mut files: Vec<LogFile>, hint: u64, before_ms: i64) -> Vec<LogFile> {
    let mut whole: Vec<u64> =
        files.iter().filter(|file| file.kind == Kind::Checkpoint).map(|file| file.version).collect();
    whole.sort_unstable();
    whole.dedup();
    let Some(older) = whole.len().checked_sub(CHECKPOINTS_KEPT).map(|index| whole[index]) else {
        return Vec::new();
    };
    // A reader that follows the hint lists the log from there.
    let needed = older.min(hint);
    files.sort_unstable();
    files.into_iter().take_while(|file| file.version < needed && file.modified_ms < before_ms).collect()
}

// === impl LogFile ===

impl LogFile {
    fn parse(name: &str, modified_ms: i64) -> Option<Self> {
        let (version, rest) = name.split_once('.')?;
        let padded = version.len() == 20 && version.bytes().all(|byte| byte.is_ascii_digit());
        let version = padded.then(|| version.parse().ok()).flatten()?;
        let kind = match rest {
            "json" => Kind::Commit,
            "checkpoint.parquet" => Kind::Checkpoint,
            "crc" => Kind::Companion,
            _ if rest.ends_with(".compacted.json") => Kind::Companion,
            _ if rest.starts_with("checkpoint.") => Kind::PartOfCheckpoint,
            _ => return None,
        };
        Some(Self { version, kind, name: name.to_owned(), modified_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn commit(version: u64, modified_ms: i64) -> LogFile {
        LogFile::parse(&format!("{version:020}.json"), modified_ms).unwrap()
    }

    fn checkpoint(version: u64, modified_ms: i64) -> LogFile {
        LogFile::parse(&format!("{version:020}.checkpoint.parquet"), modified_ms).unwrap()
    }

    fn versions(files: &[LogFile]) -> Vec<u64> {
        files.iter().map(|file| file.version).collect()
    }

    #[test]
    fn what_lies_below_the_older_of_two_checkpoints_goes_once_it_is_old() {
        let mut files: Vec<LogFile> = (0..10).map(|version| commit(version, version as i64)).collect();
        files.extend([checkpoint(2, 2), checkpoint(4, 4), checkpoint(8, 8)]);
        assert_eq!(versions(&plan(files.clone(), 8, 100)), [0, 1, 2, 2, 3]);
        assert_eq!(versions(&plan(files.clone(), 8, 2)), [0, 1]);
        assert_eq!(versions(&plan(files.clone(), 2, 100)), [0, 1], "the hint names what stays");
        files.retain(|file| file.kind == Kind::Commit || file.version == 4);
        assert_eq!(plan(files, 8, 100), []);
    }

    #[test]
    fn what_is_no_file_of_the_log_stays() {
        for name in ["_last_checkpoint", "1.json", "00000000000000000001.tmp", "_staged_commits"] {
            assert_eq!(LogFile::parse(name, 0), None, "{name}");
        }
    }

    proptest! {
        /// Whatever the log is like: from the newest checkpoint on all of it
        /// stays, and what stays below is without a gap.
        #[test]
        fn a_reader_finds_what_it_needs(
            ages in prop::collection::vec(0i64..50, 1..60),
            checkpoints in prop::collection::btree_set(0u64..60, 0..6),
            before_ms in 0i64..60,
        ) {
            let newest = ages.len() as u64 - 1;
            let checkpoints: Vec<u64> = checkpoints.into_iter().filter(|version| *version <= newest).collect();
            let mut files: Vec<LogFile> = (0..).zip(&ages).map(|(version, age)| commit(version, *age)).collect();
            files.extend(checkpoints.iter().map(|version| checkpoint(*version, 0)));
            let hint = checkpoints.last().copied().unwrap_or(0);
            let gone = plan(files.clone(), hint, before_ms);
            let left: Vec<&LogFile> = files.iter().filter(|file| !gone.contains(file)).collect();
            let commits: Vec<u64> =
                left.iter().filter(|file| file.kind == Kind::Commit).map(|file| file.version).collect();
            prop_assert!(commits.windows(2).all(|pair| pair[0] + 1 == pair[1]));
            let first = *commits.first().unwrap();
            prop_assert!(first == 0 || checkpoints.iter().rev().take(2).all(|kept| first <= *kept));
            let kept = |version: &&u64| left.iter().any(|file| file.kind == Kind::Checkpoint && file.version == **version);
            prop_assert!(checkpoints.iter().rev().take(2).all(|version| kept(&version)));
            prop_assert!(gone.iter().all(|file| file.modified_ms < before_ms));
        }
    }
}
