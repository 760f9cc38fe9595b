//! What upkeep counts, `bailiwick_ingest_upkeep_…`.

use std::sync::atomic::AtomicU64;

use bailiwick_proto::Table;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::TableLabel;

/// Upkeep's metrics; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Passes that are over.
    pub passes: Counter,
    /// Steps of passes that failed and are tried again by the next.
    pub failures: Counter,
    /// How long the last pass took, seconds.
    pub last_pass: Gauge<f64, AtomicU64>,
    /// Files that were merged into others.
    pub merged_files: Counter,
    /// Their bytes.
    pub merged_in_bytes: Counter,
    /// Bytes of what they were merged into.
    pub merged_out_bytes: Counter,
    /// Merges whose inputs somebody else had replaced meanwhile.
    pub superseded: Counter,
    /// Commits that somebody else's came before.
    pub conflicts: Counter,
    /// Files that retention removed.
    pub expired_files: Counter,
    /// Files that the deletion of a tenant removed.
    pub deleted_files: Counter,
    /// Files that go as soon as their hold is over.
    pub held_files: Gauge,
    /// Deletions of tenants that are under way.
    pub deletions_open: Gauge,
    /// Objects that vacuum deleted.
    pub vacuumed_files: Counter,
    /// Their bytes.
    pub vacuumed_bytes: Counter,
    /// Objects that no version names and whose grace is not over.
    pub waiting_files: Gauge,
    /// Files of Delta logs that were deleted.
    pub log_files: Counter,
    /// Bytes of files that were compared with their checksums in the background.
    pub scrubbed_bytes: Counter,
    /// Files whose bytes are not what was written, set aside.
    pub damaged_files: Counter,
    /// Files that a table names and the bucket does not have, at the last look.
    pub missing_files: Counter,
    /// Times that a changed retention could not be used.
    pub retention_failures: Counter,
    /// Files that make up a table now.
    pub table_files: Family<TableLabel, Gauge>,
    /// Their bytes.
    pub table_bytes: Family<TableLabel, Gauge>,
    /// Their rows.
    pub table_rows: Family<TableLabel, Gauge>,
}

// === impl Metrics ===

impl Metrics {
    /// Names everything below `bailiwick_ingest`.
    pub fn name_in(&self, to: &mut Registry) {
        let to = to.sub_registry_with_prefix("upkeep");
        to.register("passes", "passes over all tables", self.passes.clone());
        to.register("failures", "steps that failed, tried again by the next pass", self.failures.clone());
        to.register_with_unit("last_pass", "the last pass", Unit::Seconds, self.last_pass.clone());
        to.register("merged_files", "files merged into others", self.merged_files.clone());
        to.register_with_unit("merged_in", "files merged", Unit::Bytes, self.merged_in_bytes.clone());
        to.register_with_unit("merged_out", "merged into", Unit::Bytes, self.merged_out_bytes.clone());
        to.register("superseded", "merges whose inputs were replaced meanwhile", self.superseded.clone());
        to.register("conflicts", "commits that another came before", self.conflicts.clone());
        to.register("expired_files", "files removed by retention", self.expired_files.clone());
        to.register("deleted_files", "files removed with their tenant", self.deleted_files.clone());
        to.register("held_files", "files that only a hold keeps", self.held_files.clone());
        to.register("deletions_open", "deletions of tenants under way", self.deletions_open.clone());
        to.register("vacuumed_files", "unnamed objects deleted", self.vacuumed_files.clone());
        to.register_with_unit("vacuumed", "unnamed objects", Unit::Bytes, self.vacuumed_bytes.clone());
        to.register("waiting_files", "unnamed objects within their grace", self.waiting_files.clone());
        to.register("log_files", "files of delta logs deleted", self.log_files.clone());
        to.register_with_unit(
            "scrubbed",
            "compared with checksums",
            Unit::Bytes,
            self.scrubbed_bytes.clone(),
        );
        to.register("damaged_files", "data files set aside", self.damaged_files.clone());
        to.register("missing_files", "data files not found", self.missing_files.clone());
        to.register("retention_failures", "changed retentions not usable", self.retention_failures.clone());
        to.register("table_files", "files of a table", self.table_files.clone());
        to.register_with_unit("table_size", "files of a table", Unit::Bytes, self.table_bytes.clone());
        to.register("table_rows", "rows in files of a table", self.table_rows.clone());
        for table in Table::ALL {
            self.set_table(table, 0, 0, 0);
        }
    }

    /// How large a table is now.
    pub fn set_table(&self, table: Table, files: u64, bytes: u64, rows: u64) {
        let label = TableLabel { table: table.name().to_owned() };
        self.table_files.get_or_create(&label).set(files as i64);
        self.table_bytes.get_or_create(&label).set(bytes as i64);
        self.table_rows.get_or_create(&label).set(rows as i64);
    }
}
