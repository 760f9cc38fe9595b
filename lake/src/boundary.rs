//! Which WAL rows are part of a table beside what is committed of it.
//!
//! Rows that are too few for a file are written once more, into a carried
//! object, and the originals are committed without them. The commit names the
//! carried object: in the very version in which the originals count no more,
//! its rows begin to.

use bailiwick_proto::IngesterId;

use crate::{LakeError, TableLog, TableSnapshot, txn_app};

/// How far one ingester's log is part of one version of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Boundary {
    /// The last WAL object whose rows are in the table's files, or in `carried`.
    pub committed: u64,
    /// The carried object that the last commit which had one named; 0 before that.
    pub carried: u64,
}

/// Under which name an ingester records the carried object of a commit.
pub(crate) fn carried_app(app: &str) -> String {
    format!("{app}/carried")
}

// === impl Boundary ===

impl Boundary {
    /// Reads it from a version of a table.
    pub async fn of(
        log: &dyn TableLog,
        snapshot: &TableSnapshot,
        ingester: &IngesterId,
    ) -> Result<Self, LakeError> {
        let app = txn_app(ingester);
        let number = |txn: Option<i64>| txn.unwrap_or(0).max(0) as u64;
        let committed = number(log.txn(snapshot, &app).await?);
        Ok(Self { committed, carried: number(log.txn(snapshot, &carried_app(&app)).await?) })
    }

    /// Whether an object's rows count beside the version's files.
    pub fn counts(&self, number: u64, is_carried: bool) -> bool {
        number > self.committed && (!is_carried || number == self.carried)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: whatever was committed last, each row counts once. Method: objects 1
    /// to 4 hold a row each, 6 carries two of these, 5 and 7 came by themselves.
    #[test]
    fn each_row_is_in_its_object_or_carried_or_in_a_file() {
        let cases = [
            // Nothing is committed; 6 is written already.
            (Boundary { committed: 0, carried: 0 }, 0),
            // 1 to 4 are, without what 6 carries.
            (Boundary { committed: 4, carried: 6 }, 2),
            // 1 to 4 are, wholly, by somebody who knew nothing of 6.
            (Boundary { committed: 4, carried: 0 }, 4),
            // So are 5 and 6 later.
            (Boundary { committed: 6, carried: 6 }, 5),
            (Boundary { committed: 6, carried: 0 }, 5),
        ];
        for (boundary, in_files) in cases {
            let plain = [1, 2, 3, 4, 5, 7].iter().filter(|number| boundary.counts(**number, false)).count();
            let carried = if boundary.counts(6, true) { 2 } else { 0 };
            assert_eq!(plain + carried + in_files, 6, "{boundary:?}");
        }
    }
}
