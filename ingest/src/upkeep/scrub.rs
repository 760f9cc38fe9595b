//! Files whose bytes are no longer what was written: found, named, set aside.
//!
//! A damaged file makes every query fail that reads it. It is copied to
//! `damaged/`, a row of `losses` says how many rows of which tenant are lost,
//! and a commit takes it out of its table, so that the rest can be read. The
//! row comes first and carries a mark of its own: whenever this is interrupted,
//! the loss is told once.

use bailiwick_lake::keys::DataKey;
use bailiwick_lake::{Change, Committed, DataFile, FileCheck, LakeError, Txn};
use bailiwick_proto::Table;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::files::failed;
use super::report::Scrubbed;
use super::{Backoff, Upkeep};
use crate::loss::Loss;
use crate::{IngestError, data_file, now_us};

/// Under which name the round's place is kept.
const STATE: &str = "upkeep-scrub";

/// How far the round is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// When the round began, milliseconds since 1970.
    began_ms: i64,
    /// The last file that was looked at; `None` before the first.
    after: Option<String>,
    /// Whether all were.
    done: bool,
}

// === impl Upkeep ===

impl Upkeep {
    /// Compares files with their checksums, going on where the last pass
    /// ended, for half of the time between two passes; all of them, as fast as
    /// it can, where that is asked for.
    pub(super) async fn scrub(&self, all: bool, done: &mut Scrubbed) -> Result<(), IngestError> {
        if self.config.scrub_every_ms == 0 && !all {
            return Ok(());
        }
        let now_ms = now_us() / 1000;
        let mut place = if all { Place::default() } else { self.place().await? };
        let round_ms = i64::try_from(self.config.scrub_every_ms).unwrap_or(i64::MAX);
        if place.done && !all && (0..round_ms).contains(&(now_ms - place.began_ms)) {
            return Ok(());
        }
        if place.done || place.after.is_none() {
            place = Place { began_ms: now_ms, ..Place::default() };
        }
        let budget = self.config.scrub_bytes_per_s.saturating_mul(self.config.every_ms) / 2_000;
        for (table, file) in self.files_after(place.after.as_deref()).await? {
            if self.stop.is_cancelled() || (!all && done.bytes >= budget.max(1)) {
                return self.keep(&place).await;
            }
            let began = tokio::time::Instant::now();
            self.look_at(table, &file, done).await?;
            place.after = Some(file.path.clone());
            if !all {
                let seconds = file.size_bytes as f64 / self.config.scrub_bytes_per_s as f64;
                let until = began + std::time::Duration::from_secs_f64(seconds.min(3_600.0));
                self.stop.run_until_cancelled(tokio::time::sleep_until(until)).await;
            }
        }
        place.done = true;
        self.keep(&place).await
    }

    /// Sets a file aside whose bytes were found to be others than were
    /// written. `false` where it is not in the table any more.
    pub(super) async fn set_aside(
        &self,
        table: Table,
        file: &DataFile,
        reason: &str,
    ) -> Result<bool, IngestError> {
        let (log, mut backoff) = (self.lake.table(table), Backoff::default());
        let Some(key) = DataKey::parse(&Path::from(file.path.as_str())) else { return Ok(false) };
        let present = |files: &[DataFile]| files.iter().any(|present| present.path == file.path);
        if !present(log.snapshot().await?.files()) {
            return Ok(false);
        }
        let aside = self.lake.set_file_aside(&key).await?;
        self.tell_loss(table, file, &key, &format!("{aside}: {reason}")).await?;
        loop {
            let base = log.snapshot().await?;
            if !present(base.files()) {
                return Ok(false);
            }
            let change = Change { remove: vec![file.path.clone()], ..Change::default() };
            match log.commit(&base, change).await? {
                Committed::At(_) => break,
                Committed::Conflict => {
                    self.metrics.conflicts.inc();
                    backoff.pause().await;
                }
            }
        }
        self.metrics.damaged_files.inc();
        tracing::error!(
            %table, path = file.path, %aside, tenant = %file.tenant, rows = file.rows, reason,
            "damaged data file set aside, its rows are lost"
        );
        Ok(true)
    }

    async fn look_at(&self, table: Table, file: &DataFile, done: &mut Scrubbed) -> Result<(), IngestError> {
        let check = self.lake.check_file(file).await?;
        done.files += 1;
        done.bytes += file.size_bytes;
        self.metrics.scrubbed_bytes.inc_by(file.size_bytes);
        match check {
            FileCheck::Sound => {}
            FileCheck::Damaged(_) => {
                // Read once more: a fault on the way is not one of the file.
                if let FileCheck::Damaged(reason) = self.lake.check_file(file).await?
                    && self.set_aside(table, file, &reason).await?
                {
                    done.damaged.push(file.path.clone());
                }
            }
            // Nothing is removed for an object that a store does not show now.
            FileCheck::Missing => {
                let newest = self.lake.table(table).snapshot().await?;
                if newest.files().iter().any(|present| present.path == file.path) {
                    self.metrics.missing_files.inc();
                    tracing::error!(%table, path = file.path, "a data file is missing from the bucket");
                    done.missing.push(file.path.clone());
                }
            }
        }
        Ok(())
    }

    /// All files in the order of tables and keys, from behind `after`.
    async fn files_after(&self, after: Option<&str>) -> Result<Vec<(Table, DataFile)>, LakeError> {
        let mut found = Vec::new();
        for table in Table::ALL {
            let snapshot = self.lake.table(table).snapshot().await?;
            found.extend(snapshot.files().iter().map(|file| (table, file.clone())));
        }
        found.sort_unstable_by(|(_, a), (_, b)| a.path.cmp(&b.path));
        found.retain(|(_, file)| after.is_none_or(|after| file.path.as_str() > after));
        Ok(found)
    }

    async fn place(&self) -> Result<Place, LakeError> {
        let kept = self.lake.get_state(STATE).await?;
        Ok(kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
    }

    async fn keep(&self, place: &Place) -> Result<(), IngestError> {
        let bytes = serde_json::to_vec(place).unwrap_or_default();
        Ok(self.lake.put_state(STATE, bytes.into()).await?)
    }

    /// A row of `losses`, once for each file.
    async fn tell_loss(
        &self,
        table: Table,
        file: &DataFile,
        key: &DataKey,
        aside: &str,
    ) -> Result<(), IngestError> {
        let app = format!("bailiwick-damaged/{table}/{}", key.name);
        let (log, mut backoff) = (self.lake.table(Table::Losses), Backoff::default());
        let mut written = None;
        loop {
            let base = log.snapshot().await?;
            if log.txn(&base, &app).await?.is_some() {
                return Ok(());
            }
            let add = match written.take() {
                Some(add) => add,
                None => self.write_loss(table, file, aside).await?,
            };
            written = Some(add.clone());
            let txn = Some(Txn { app: app.clone(), version: 1, carried: None });
            match log.commit(&base, Change { txn, add, remove: vec![] }).await? {
                Committed::At(_) => return Ok(()),
                Committed::Conflict => {
                    self.metrics.conflicts.inc();
                    backoff.pause().await;
                }
            }
        }
    }

    async fn write_loss(
        &self,
        table: Table,
        file: &DataFile,
        aside: &str,
    ) -> Result<Vec<DataFile>, IngestError> {
        let detail = format!("{} rows of tenant {} in {table}: {aside}", file.rows, file.tenant);
        let loss = Loss {
            node: "",
            cluster: self.lake.cluster(),
            lane: "upkeep",
            class: "row",
            reason: "damaged",
            count: file.rows as i64,
            detail: &detail,
        };
        let losses = Table::Losses;
        let row = loss.row(now_us()).map_err(|error| failed(losses, error))?;
        let mut written = Vec::new();
        for encoded in data_file::encode(losses, &[row])? {
            written.push(encoded.put(&self.lake, &self.ingester).await?);
        }
        Ok(written)
    }
}
