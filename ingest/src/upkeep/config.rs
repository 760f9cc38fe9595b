//! What an operator may set about upkeep.

use bailiwick_lake::LOG_KEPT_AT_LEAST_MS;
use serde::Deserialize;

/// Smaller target sizes would only make small files.
const SMALLEST_TARGET_BYTES: u64 = 1 << 20;
/// What a bucket can copy at once.
const LARGEST_TARGET_BYTES: u64 = 2 << 30;
/// Two inputs and an output need so much.
const LEAST_MEMORY_BYTES: usize = 32 << 20;
/// How many times longer than the longest query removed files stay.
const GRACE_IS_QUERIES: u64 = 4;

/// The `ingest.upkeep` section of the configuration file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether this ingester looks after the tables in the background. At least
    /// one on every bucket should; several get into each other's way only in
    /// that one's work is done again.
    pub enabled: bool,
    /// From the end of one pass to the beginning of the next, milliseconds.
    pub every_ms: u64,
    /// Files are merged until they have about this size.
    pub target_file_bytes: u64,
    /// Files of a day that is not over are merged when there are so many of
    /// about one size; of a day that is over, two are enough.
    pub merge_at_files: usize,
    /// Merges in one pass, over all tables; the next pass goes on.
    pub merges_per_pass: usize,
    /// Memory that a merge may take: it bounds how many files it reads at once.
    pub memory_bytes: usize,
    /// How long a file stays that no version of its table names any more,
    /// milliseconds. Queries that began before are still reading it.
    pub vacuum_grace_ms: u64,
    /// How far back versions of a table can be opened, milliseconds.
    pub log_kept_ms: u64,
    /// Every file is read and compared with its checksum once in so long,
    /// milliseconds; 0: only before it is merged.
    pub scrub_every_ms: u64,
    /// How fast that may read.
    pub scrub_bytes_per_s: u64,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            every_ms: 60_000,
            target_file_bytes: 256 << 20,
            merge_at_files: 8,
            merges_per_pass: 16,
            memory_bytes: 256 << 20,
            vacuum_grace_ms: 24 * 3_600_000,
            log_kept_ms: 7 * 24 * 3_600_000,
            scrub_every_ms: 7 * 24 * 3_600_000,
            scrub_bytes_per_s: 16 << 20,
        }
    }
}

impl Config {
    /// Says what cannot be, naming the field; `query_timeout_ms` is how long a
    /// query may take.
    pub fn check(&self, query_timeout_ms: u64) -> Result<(), String> {
        let least_grace_ms = query_timeout_ms.saturating_mul(GRACE_IS_QUERIES).max(60_000);
        if self.vacuum_grace_ms < least_grace_ms {
            return Err(format!(
                "ingest.upkeep.vacuum_grace_ms = {} is too short: a query may take query.query_timeout_ms = \
                 {query_timeout_ms}, so set at least {least_grace_ms}",
                self.vacuum_grace_ms
            ));
        }
        if self.log_kept_ms < LOG_KEPT_AT_LEAST_MS as u64 {
            let log_kept_ms = self.log_kept_ms;
            return Err(format!(
                "ingest.upkeep.log_kept_ms = {log_kept_ms} is too short, set at least {LOG_KEPT_AT_LEAST_MS}"
            ));
        }
        let between = |field: &str, value: u64, least: u64, most: u64| match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(format!("ingest.upkeep.{field} = {value} cannot be, use {least} to {most}")),
        };
        between("every_ms", self.every_ms, 100, self.vacuum_grace_ms / 8)?;
        between("target_file_bytes", self.target_file_bytes, SMALLEST_TARGET_BYTES, LARGEST_TARGET_BYTES)?;
        between("merge_at_files", self.merge_at_files as u64, 2, 10_000)?;
        between("memory_bytes", self.memory_bytes as u64, LEAST_MEMORY_BYTES as u64, u64::MAX)?;
        between("scrub_bytes_per_s", self.scrub_bytes_per_s, 1 << 10, u64::MAX)
    }

    /// A file older than this that is in no version of a table yet may be
    /// deleted at any moment: who is about to commit it writes it anew.
    pub fn commit_within_ms(&self) -> i64 {
        i64::try_from(self.vacuum_grace_ms / 2).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_named_with_its_field() {
        Config::default().check(60_000).unwrap();
        let wrong = [
            Config { vacuum_grace_ms: 100_000, ..Config::default() },
            Config { log_kept_ms: 5, ..Config::default() },
            Config { target_file_bytes: 5, ..Config::default() },
            Config { memory_bytes: 5, ..Config::default() },
            Config { merge_at_files: 1, ..Config::default() },
            Config { every_ms: 24 * 3_600_000, ..Config::default() },
        ];
        for config in wrong {
            let message = config.check(60_000).unwrap_err();
            assert!(message.starts_with("ingest.upkeep.") && message.contains(" = "), "{message}");
        }
    }
}
