//! What retention and deletions take out of the tables, and holds keep in.
//!
//! Files leave a table in one commit; their bytes go with vacuum, after the
//! grace. Orders are read again right before the commit and right after it: a
//! hold that came in between gets its files back.

use std::collections::{BTreeMap, HashSet};

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use bailiwick_lake::keys::aside_folder;
use bailiwick_lake::{Change, Committed, DataFile, LakeError, TableSnapshot};
use bailiwick_proto::{Table, TenantId};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;

use super::files::Source;
use super::orders::{self, Count, Order, Standing, What};
use super::precedence::{Age, Fate, fate};
use super::report::Report;
use super::{Backoff, Upkeep};
use crate::{IngestError, now_us};

type Standings = BTreeMap<TenantId, Standing>;

/// What leaves one version of a table.
#[derive(Default)]
struct Leaving {
    deleted: Vec<DataFile>,
    expired: Vec<DataFile>,
    held: u64,
}

// === impl Upkeep ===

impl Upkeep {
    /// Removes what is to go from every table, and completes deletions.
    pub(super) async fn remove(&self, report: &mut Report) -> Result<(), IngestError> {
        let standings = self.standings().await?;
        let deletions: Vec<(TenantId, Order)> = standings
            .iter()
            .filter_map(|(tenant, standing)| Some((tenant.clone(), standing.deletion.clone()?)))
            .collect();
        // Asked before the tables are looked at: what is committed by now is in them.
        let mut waits = self.in_wal(&deletions).await?;
        let mut held_files = 0;
        for table in Table::ALL {
            held_files += self.remove_from(table, report).await?;
        }
        report.held_files = held_files;
        self.metrics.held_files.set(held_files as i64);
        let mut open = 0;
        for (tenant, deletion) in deletions {
            match waits.remove(&tenant) {
                Some(reason) => {
                    report.deletions_waiting.push((tenant.to_string(), reason));
                    open += 1;
                }
                None => self.complete(&tenant, &deletion, report).await?,
            }
        }
        self.metrics.deletions_open.set(open);
        Ok(())
    }

    /// Tenants whose rows are not merged with later ones, since a deletion
    /// tells them apart by files.
    pub(super) async fn being_deleted(&self) -> Result<HashSet<TenantId>, IngestError> {
        let standings = self.standings().await?;
        let open = standings.into_iter().filter(|(_, standing)| standing.deletion.is_some());
        Ok(open.map(|(tenant, _)| tenant).collect())
    }

    async fn standings(&self) -> Result<Standings, IngestError> {
        Ok(self.orders.standings(&self.lake).await?)
    }

    /// Removes what is to go from one table; returns how many files only a hold keeps.
    async fn remove_from(&self, table: Table, report: &mut Report) -> Result<u64, IngestError> {
        let (log, mut backoff) = (self.lake.table(table), Backoff::default());
        loop {
            let base = log.snapshot().await?;
            let planned = self.standings().await?;
            let arrivals = self.first_arrivals(table, &base, &planned).await?;
            // Reading footers takes its time.
            let standings = self.standings().await?;
            let leaving = self.leaving(table, &base, &standings, &arrivals);
            let files = || leaving.deleted.iter().chain(&leaving.expired);
            let remove: Vec<String> = files().map(|file| file.path.clone()).collect();
            if remove.is_empty() {
                return Ok(leaving.held);
            }
            let change = Change { remove, ..Change::default() };
            match log.commit(&base, change).await? {
                Committed::At(version) => {
                    let files: Vec<DataFile> = files().cloned().collect();
                    tracing::info!(%table, version, files = files.len(), "files removed from a table");
                    self.note(table, &leaving, &standings, report).await?;
                    self.give_back(table, &files).await?;
                    return Ok(leaving.held);
                }
                Committed::Conflict => {
                    self.metrics.conflicts.inc();
                    backoff.pause().await;
                }
            }
        }
    }

    fn leaving(
        &self,
        table: Table,
        base: &TableSnapshot,
        standings: &Standings,
        arrivals: &BTreeMap<String, i64>,
    ) -> Leaving {
        let (today, retention) = (self.today(), self.retention.current());
        let mut leaving = Leaving::default();
        for file in base.files() {
            let ordered = standings.get(&file.tenant).map(Standing::ordered).unwrap_or_default();
            // Not looked at is not deleted: the order came after the look.
            let first_arrival_us = arrivals.get(&file.path).copied().unwrap_or(i64::MAX);
            let age = Age { date: file.date, first_arrival_us };
            match fate(ordered, retention.kept_days(table, &file.tenant), age, today) {
                Fate::Stays => {}
                Fate::Held => leaving.held += 1,
                Fate::Deleted => leaving.deleted.push(file.clone()),
                Fate::Expired => leaving.expired.push(file.clone()),
            }
        }
        leaving
    }

    /// When the first rows arrived, of files whose tenant is being deleted. A
    /// file that was written before the order holds nothing younger.
    async fn first_arrivals(
        &self,
        table: Table,
        base: &TableSnapshot,
        standings: &Standings,
    ) -> Result<BTreeMap<String, i64>, IngestError> {
        let mut arrivals = BTreeMap::new();
        for file in base.files() {
            let deletion = standings.get(&file.tenant).and_then(|standing| standing.deletion.as_ref());
            let Some(deletion) = deletion else { continue };
            let written_us = file.modified_ms.saturating_mul(1000);
            let first_us = match written_us < deletion.at_us {
                true => written_us,
                // Without statistics the day is all that is known.
                false => match Source::open(&self.lake, table, file).await?.first_arrival_us() {
                    Some(first_us) => first_us,
                    None => file.date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros(),
                },
            };
            arrivals.insert(file.path.clone(), first_us);
        }
        Ok(arrivals)
    }

    /// Counts what left, and records it with the deletions that it is of.
    async fn note(
        &self,
        table: Table,
        leaving: &Leaving,
        standings: &Standings,
        report: &mut Report,
    ) -> Result<(), IngestError> {
        let (deleted, expired) = (count(&leaving.deleted), count(&leaving.expired));
        report.deleted += deleted;
        report.expired += expired;
        self.metrics.deleted_files.inc_by(deleted.files);
        self.metrics.expired_files.inc_by(expired.files);
        let mut by_tenant: BTreeMap<&TenantId, Vec<DataFile>> = BTreeMap::new();
        for file in &leaving.deleted {
            by_tenant.entry(&file.tenant).or_default().push(file.clone());
        }
        for (tenant, files) in by_tenant {
            let Some(deletion) = standings.get(tenant).and_then(|standing| standing.deletion.as_ref()) else {
                continue;
            };
            let what =
                What::Removed { of: deletion.id.clone(), table: table.to_string(), count: count(&files) };
            self.record(tenant, what, deletion).await?;
        }
        Ok(())
    }

    /// Puts files back whose tenant is on hold now: their bytes are still there.
    pub(super) async fn give_back(&self, table: Table, removed: &[DataFile]) -> Result<(), IngestError> {
        let (log, mut backoff) = (self.lake.table(table), Backoff::default());
        loop {
            let standings = self.standings().await?;
            let held = |file: &&DataFile| {
                standings.get(&file.tenant).is_some_and(|standing| standing.ordered().held)
            };
            let base = log.snapshot().await?;
            let there = |file: &DataFile| base.files().iter().any(|present| present.path == file.path);
            let add: Vec<DataFile> =
                removed.iter().filter(held).filter(|file| !there(file)).cloned().collect();
            if add.is_empty() {
                return Ok(());
            }
            tracing::warn!(%table, files = add.len(), "a hold came while files were removed, they come back");
            match log.commit(&base, Change { add, ..Change::default() }).await? {
                Committed::At(_) => return Ok(()),
                Committed::Conflict => backoff.pause().await,
            }
        }
    }

    /// What of the deletions' rows is durable and in no table yet, by tenant.
    async fn in_wal(
        &self,
        deletions: &[(TenantId, Order)],
    ) -> Result<BTreeMap<TenantId, String>, IngestError> {
        let mut waits = BTreeMap::new();
        for table in Table::ALL.into_iter().filter(|_| !deletions.is_empty()) {
            let view = self.lake.view(table).await?;
            if let Some(key) = view.damaged.first() {
                // Whose rows are in it nobody knows before it is set aside.
                let damaged =
                    |(tenant, _): &(TenantId, Order)| (tenant.clone(), format!("{} is damaged", key.path()));
                return Ok(deletions.iter().map(damaged).collect());
            }
            for (tenant, deletion) in deletions {
                let rows: usize = view.wal.iter().map(|batch| arrived(batch, tenant, deletion.at_us)).sum();
                if rows > 0 {
                    waits.insert(tenant.clone(), format!("{rows} rows of {table} are still in the wal"));
                }
            }
        }
        Ok(waits)
    }

    async fn complete(
        &self,
        tenant: &TenantId,
        deletion: &Order,
        report: &mut Report,
    ) -> Result<(), IngestError> {
        let standing = self.standings().await?.remove(tenant).unwrap_or_default();
        if standing.deletion.as_ref() != Some(deletion) {
            // A hold came, or another ingester was first.
            return Ok(());
        }
        for table in Table::ALL {
            self.empty_aside(table, tenant).await?;
        }
        let what = What::Deleted { of: deletion.id.clone(), count: standing.removed };
        self.record(tenant, what, deletion).await?;
        let Count { files, rows, .. } = standing.removed;
        tracing::info!(%tenant, files, rows, by = deletion.by, "deletion of a tenant complete");
        report.deletions_completed.push(tenant.to_string());
        Ok(())
    }

    /// Damaged files of the tenant go with it.
    async fn empty_aside(&self, table: Table, tenant: &TenantId) -> Result<(), LakeError> {
        let (store, folder) = (self.lake.store(), aside_folder(table, tenant));
        let failed =
            |operation: &'static str, key: String| move |source| LakeError::Store { operation, key, source };
        let found: Vec<_> =
            store.list(Some(&folder)).try_collect().await.map_err(failed("list", folder.to_string()))?;
        for object in found {
            match store.delete(&object.location).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(failed("delete", object.location.to_string())(error)),
            }
        }
        Ok(())
    }

    async fn record(&self, tenant: &TenantId, what: What, deletion: &Order) -> Result<(), IngestError> {
        let (by, reason) = (self.ingester.as_str(), &deletion.reason);
        orders::place(&self.lake, tenant, what, by, reason, now_us()).await?;
        Ok(())
    }
}

/// How many rows of a tenant arrived before a moment.
fn arrived(batch: &RecordBatch, tenant: &TenantId, before_us: i64) -> usize {
    let column = |name: &str| batch.column_by_name(name);
    let tenants = column("tenant").and_then(|column| column.as_dictionary_opt::<Int32Type>());
    let tenants = tenants.and_then(|tenants| tenants.downcast_dict::<StringArray>());
    let times =
        column("ingest_time").and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let (Some(tenants), Some(times)) = (tenants, times) else { return batch.num_rows() };
    let before = |(of, time): &(Option<&str>, Option<i64>)| {
        *of == Some(tenant.as_str()) && time.is_none_or(|time_us| time_us < before_us)
    };
    tenants.into_iter().zip(times).filter(before).count()
}

fn count(files: &[DataFile]) -> Count {
    Count {
        files: files.len() as u64,
        rows: files.iter().map(|file| file.rows).sum(),
        bytes: files.iter().map(|file| file.size_bytes).sum(),
    }
}
