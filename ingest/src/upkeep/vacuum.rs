//! Objects that no version of a table names any more.
//!
//! ```text
//!   uploaded ──▶ named by versions ──▶ removed      ──▶ deleted
//!            ╰── its commit never came ─────────────────╯
//!                seen by every look for the whole grace
//! ```
//!
//! An object goes when every look for the grace's length found it unnamed.
//! Looks leave a mark in the bucket, so a restart begins nothing anew; where
//! none was made for a quarter of the grace, counting begins again, since a
//! file may have been named and removed meanwhile.
//!
//! Two who must not be surprised:
//! - **A query** that began before its files were removed. A writer commits
//!   within half of the grace after its upload ([`Config::commit_within_ms`]),
//!   and a quarter may pass unseen: the last quarter is the query's, which
//!   [`Config::check`] holds longer than any query.
//! - **A writer that sleeps** between its upload and its commit. Before the first
//!   deletion a mark is committed to the table: a commit on an older base
//!   conflicts, and whoever takes a new base finds its files too old and writes
//!   them again.
//!
//! [`Config::commit_within_ms`]: super::Config::commit_within_ms
//! [`Config::check`]: super::Config::check

use std::collections::{BTreeMap, HashMap, HashSet};

use bailiwick_lake::keys::{DataKey, staging_folder, table_root};
use bailiwick_lake::{Change, Committed, LakeError, TableSnapshot, Txn};
use bailiwick_proto::Table;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};

use super::report::Vacuumed;
use super::{Backoff, Upkeep};
use crate::{IngestError, now_us};

/// Under which name a vacuum leaves its mark in a table.
const MARK: &str = "bailiwick-vacuum";
/// Looks within one grace; each lists all objects of a table.
const LOOKS_PER_GRACE: i64 = 24;

/// What looks at one table have found so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Looks {
    /// When the last one was, milliseconds since 1970.
    last_ms: i64,
    /// Objects that no version names, and when the first look found them so.
    unnamed: BTreeMap<String, i64>,
}

// === impl Upkeep ===

impl Upkeep {
    /// Looks at a table's objects, unless the last look was not long ago and
    /// none is asked for, and deletes those whose grace is over.
    pub(super) async fn vacuum(&self, table: Table, at_once: bool) -> Result<Vacuumed, IngestError> {
        let (state, grace_ms) = (format!("upkeep-vacuum-{table}"), self.grace_ms());
        let before: Looks = match self.lake.get_state(&state).await? {
            Some(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            None => Looks::default(),
        };
        let now_ms = now_us() / 1000;
        if !at_once && (0..grace_ms / LOOKS_PER_GRACE).contains(&(now_ms - before.last_ms)) {
            return Ok(Vacuumed { waiting: before.unnamed.len() as u64, ..Vacuumed::default() });
        }
        let objects = self.objects(table).await?;
        // Only now: whatever was listed and committed meanwhile is named in it.
        let snapshot = self.lake.table(table).snapshot().await?;
        let named = paths(&snapshot);
        let (mut looks, due) =
            before.look(objects.keys().filter(|path| !named.contains(path.as_str())), now_ms, grace_ms);
        let mut done = Vacuumed::default();
        if !due.is_empty() {
            let snapshot = self.mark(table, now_ms).await?;
            let named = paths(&snapshot);
            for path in due.iter().filter(|path| !named.contains(path.as_str())) {
                self.delete(path).await?;
                looks.unnamed.remove(path);
                done.files += 1;
                done.bytes += objects.get(path).copied().unwrap_or(0);
            }
        }
        done.waiting = looks.unnamed.len() as u64;
        self.metrics.vacuumed_files.inc_by(done.files);
        self.metrics.vacuumed_bytes.inc_by(done.bytes);
        let bytes = serde_json::to_vec(&looks).unwrap_or_default();
        self.lake.put_state(&state, bytes.into()).await?;
        Ok(done)
    }

    fn grace_ms(&self) -> i64 {
        i64::try_from(self.config.vacuum_grace_ms).unwrap_or(i64::MAX)
    }

    /// A table's data files and what is staged for it, with their sizes.
    async fn objects(&self, table: Table) -> Result<HashMap<String, u64>, LakeError> {
        let store = self.lake.store();
        let (root, staging) = (table_root(table), staging_folder(table));
        let mut found = HashMap::new();
        for folder in [&root, &staging] {
            let mut listing = ObjectStore::list(&*store, Some(folder));
            let failed = |source| LakeError::Store { operation: "list", key: folder.to_string(), source };
            while let Some(object) = listing.try_next().await.map_err(failed)? {
                // The log is not ours to judge, and what is no data file is not ours.
                let ours = folder == &staging || DataKey::parse(&object.location).is_some();
                if ours {
                    found.insert(object.location.to_string(), object.size);
                }
            }
        }
        Ok(found)
    }

    /// Makes commits on older versions conflict; returns a version from after that.
    async fn mark(&self, table: Table, now_ms: i64) -> Result<TableSnapshot, IngestError> {
        let (log, mut backoff) = (self.lake.table(table), Backoff::default());
        loop {
            let base = log.snapshot().await?;
            let txn = Some(Txn { app: MARK.to_owned(), version: now_ms, carried: None });
            match log.commit(&base, Change { txn, ..Change::default() }).await? {
                Committed::At(_) => return Ok(log.snapshot().await?),
                Committed::Conflict => {
                    self.metrics.conflicts.inc();
                    backoff.pause().await;
                }
            }
        }
    }

    async fn delete(&self, path: &str) -> Result<(), LakeError> {
        match self.lake.store().delete(&Path::from(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(LakeError::Store { operation: "delete", key: path.to_owned(), source }),
        }
    }
}

fn paths(snapshot: &TableSnapshot) -> HashSet<&str> {
    snapshot.files().iter().map(|file| file.path.as_str()).collect()
}

// === impl Looks ===

impl Looks {
    /// One more look; also says whose grace is over.
    fn look<'a>(
        self,
        unnamed: impl Iterator<Item = &'a String>,
        now_ms: i64,
        grace_ms: i64,
    ) -> (Self, Vec<String>) {
        // Also where the clock was set back.
        let unbroken = (0..=grace_ms / 4).contains(&(now_ms - self.last_ms));
        let first = |path: &String| match self.unnamed.get(path) {
            Some(first_ms) if unbroken => (*first_ms).min(now_ms),
            _ => now_ms,
        };
        let unnamed: BTreeMap<String, i64> = unnamed.map(|path| (path.clone(), first(path))).collect();
        let mut due: Vec<String> = unnamed
            .iter()
            .filter(|(_, first_ms)| now_ms - **first_ms >= grace_ms)
            .map(|(path, _)| path.clone())
            .collect();
        due.sort_unstable();
        (Self { last_ms: now_ms, unnamed }, due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GRACE_MS: i64 = 1_000;

    proptest! {
        /// A file that a writer commits within half of the grace, that is removed at
        /// some time and that a query reads for less than a quarter of the
        /// grace after that: no sequence of looks deletes it under the query.
        #[test]
        fn nothing_is_deleted_under_a_query(
            committed_ms in 0i64..=GRACE_MS / 2,
            named_for_ms in 0i64..2_000,
            read_for_ms in 0i64..GRACE_MS / 4,
            pauses in prop::collection::vec(1i64..600, 1..60),
        ) {
            let removed_ms = committed_ms + named_for_ms;
            let path = "f".to_owned();
            let (mut looks, mut now_ms) = (Looks::default(), 0);
            for pause_ms in pauses {
                let named = (committed_ms..removed_ms).contains(&now_ms);
                let unnamed = (!named).then_some(&path);
                let (next, due) = looks.look(unnamed.into_iter(), now_ms, GRACE_MS);
                prop_assert!(due.is_empty() || now_ms > removed_ms + read_for_ms || now_ms < committed_ms);
                prop_assert!(due.is_empty() || now_ms >= GRACE_MS);
                looks = next;
                now_ms += pause_ms;
            }
        }

        #[test]
        fn what_stays_unnamed_goes_in_the_end(every_ms in 1i64..=GRACE_MS / 4) {
            let path = "f".to_owned();
            let (mut looks, mut now_ms) = (Looks { last_ms: 5, ..Looks::default() }, 10);
            for _ in 0..=GRACE_MS / every_ms {
                looks = looks.look([&path].into_iter(), now_ms, GRACE_MS).0;
                now_ms += every_ms;
            }
            prop_assert_eq!(looks.look([&path].into_iter(), now_ms, GRACE_MS).1, ["f"]);
        }
    }
}
