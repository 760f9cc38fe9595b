//! What one pass did, for people and for tests.

use bailiwick_lake::Cleaned;
use bailiwick_proto::Table;

use super::orders::Count;

/// What one pass did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Merges by table, where there were any.
    pub merged: Vec<(Table, Merged)>,
    /// Files that retention removed.
    pub expired: Count,
    /// Files that deletions of tenants removed.
    pub deleted: Count,
    /// Tenants whose deletion was completed.
    pub deletions_completed: Vec<String>,
    /// Tenants whose deletion is under way, and what it waits for.
    pub deletions_waiting: Vec<(String, String)>,
    /// Files that go as soon as their hold is over.
    pub held_files: u64,
    /// What vacuum did.
    pub vacuum: Vacuumed,
    /// What went of the tables' logs.
    pub log: Cleaned,
    /// What the background check did.
    pub scrub: Scrubbed,
    /// The files of each table afterwards.
    pub tables: Vec<(Table, Count)>,
    /// Steps that failed, in words; the next pass tries them again.
    pub failures: Vec<String>,
}

/// What merges did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Files before.
    pub files_in: u64,
    /// Files afterwards.
    pub files_out: u64,
    /// Their bytes before.
    pub bytes_in: u64,
    /// Their bytes afterwards.
    pub bytes_out: u64,
    /// Their rows, before and afterwards.
    pub rows: u64,
}

/// What vacuum did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// Objects that were deleted.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects whose grace is not over.
    pub waiting: u64,
}

/// What the background check did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Files that were read.
    pub files: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Files that are not what was written, and where they are now.
    pub damaged: Vec<String>,
    /// Files that a table names and the bucket does not have.
    pub missing: Vec<String>,
}

// === impl Merged ===

impl std::ops::AddAssign for Merged {
    fn add_assign(&mut self, other: Self) {
        self.files_in += other.files_in;
        self.files_out += other.files_out;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.rows += other.rows;
    }
}

// === impl Vacuumed ===

impl std::ops::AddAssign for Vacuumed {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.waiting += other.waiting;
    }
}
