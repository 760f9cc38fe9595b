//! Many small files of a partition become one of the target size.
//!
//! ```text
//!   verify inputs ─▶ k-way merge ─▶ staging ─▶ verify outputs ─▶ one commit
//!                                                                remove k, add 1
//! ```
//!
//! Nothing is deleted here: the inputs are in older versions, which running
//! queries read, and go with vacuum. A merge is worth nothing until its commit,
//! so whenever it stops before that, the table is as it was.

use std::collections::HashSet;

use bailiwick_lake::{Change, Committed, DataFile, FileCheck};
use bailiwick_proto::{Table, TenantId};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::files::{Output, Source, failed};
use super::merge::{Merge, Step};
use super::policy::{Group, Policy};
use super::report::{Merged, Report};
use super::{Backoff, Upkeep};
use crate::{IngestError, now_us};

/// Rows of a batch that is read or written.
const BATCH_ROWS: usize = 4096;

/// How a merge went.
enum Outcome {
    Merged(Merged),
    /// Somebody else replaced an input meanwhile.
    Superseded,
    /// This input is not what was written, and was set aside.
    Damaged(String),
    /// Not even two of the files can be read at once in the memory allowed.
    TooLarge,
}

// === impl Upkeep ===

impl Upkeep {
    /// Merges what the policy says, at most `merges` times over all tables. A
    /// merge that fails is noted in the report and keeps no other from its turn.
    pub(super) async fn compact(
        &self,
        table: Table,
        merges: &mut usize,
        spared: &HashSet<TenantId>,
        report: &mut Report,
    ) -> Result<(), IngestError> {
        let mut done = Merged::default();
        let policy = Policy {
            target_bytes: self.config.target_file_bytes,
            merge_at_files: self.config.merge_at_files,
            today: self.today(),
        };
        let snapshot = self.lake.table(table).snapshot().await?;
        let mut files = snapshot.files().to_vec();
        // Merged with rows that came later, theirs could not be told apart.
        files.retain(|file| !spared.contains(&file.tenant));
        for group in policy.groups(&files) {
            if *merges == 0 || self.stop.is_cancelled() {
                break;
            }
            *merges -= 1;
            match self.merge(table, &group, policy).await {
                Ok(Outcome::Merged(merged)) => done += merged,
                Ok(Outcome::Superseded) => {
                    self.metrics.superseded.inc();
                }
                Ok(Outcome::Damaged(path)) => report.scrub.damaged.push(path),
                Ok(Outcome::TooLarge) => {
                    let (path, memory_bytes) = (&group.files[0].path, self.config.memory_bytes);
                    tracing::warn!(%table, path, memory_bytes, "files too large to be merged in memory_bytes");
                }
                Err(IngestError::Stopped) => break,
                Err(error) => self.failed(&format!("merge files of {table}"), &error, &mut report.failures),
            }
        }
        if done.files_in > 0 {
            report.merged.push((table, done));
        }
        Ok(())
    }

    async fn merge(&self, table: Table, group: &Group, policy: Policy) -> Result<Outcome, IngestError> {
        for file in &group.files {
            match self.lake.check_file(file).await? {
                FileCheck::Sound => {}
                FileCheck::Missing => return Ok(Outcome::Superseded),
                FileCheck::Damaged(reason) => {
                    let aside = self.set_aside(table, file, &reason).await?;
                    return Ok(if aside { Outcome::Damaged(file.path.clone()) } else { Outcome::Superseded });
                }
            }
        }
        let Some((group, sources)) = self.within_memory(table, group).await? else {
            return Ok(Outcome::TooLarge);
        };
        let outputs = self.write_merged(table, &group, sources, policy).await?;
        self.verify(table, &group, &outputs).await?;
        self.swap(table, &group, outputs).await
    }

    /// As many of the group's files as can be read at once; an output needs
    /// half of the memory.
    async fn within_memory(
        &self,
        table: Table,
        group: &Group,
    ) -> Result<Option<(Group, Vec<Source>)>, IngestError> {
        let (mut files, mut sources, mut used) = (Vec::new(), Vec::new(), 0);
        for file in &group.files {
            let source = Source::open(&self.lake, table, file).await?;
            used += source.memory_bytes(BATCH_ROWS);
            if used > self.config.memory_bytes as u64 / 2 {
                break;
            }
            files.push(file.clone());
            sources.push(source);
        }
        Ok((files.len() >= 2).then_some((Group { files }, sources)))
    }

    /// Encoding takes a processor, so it has a thread of its own.
    async fn write_merged(
        &self,
        table: Table,
        group: &Group,
        sources: Vec<Source>,
        policy: Policy,
    ) -> Result<Vec<DataFile>, IngestError> {
        let (upkeep, group) = (self.clone(), group.clone());
        let runtime = tokio::runtime::Handle::current();
        let work = move || runtime.block_on(upkeep.merge_into_outputs(table, &group, sources, policy));
        tokio::task::spawn_blocking(work).await?
    }

    async fn merge_into_outputs(
        &self,
        table: Table,
        group: &Group,
        sources: Vec<Source>,
        policy: Policy,
    ) -> Result<Vec<DataFile>, IngestError> {
        let rows_each = group.rows().div_ceil(policy.outputs(group));
        let (tenant, date) = (&group.files[0].tenant, group.files[0].date);
        let opened: Result<Vec<_>, _> = sources.into_iter().map(|source| source.rows(BATCH_ROWS)).collect();
        let mut inputs = opened.map_err(|error| failed(table, error))?;
        let mut merge = Merge::new(table, inputs.len(), BATCH_ROWS).map_err(|error| failed(table, error))?;
        let (mut done, mut output) = (Vec::new(), None::<Output>);
        loop {
            if self.stop.is_cancelled() {
                self.abandon(done, output).await;
                return Err(IngestError::Stopped);
            }
            match merge.step().map_err(|error| failed(table, error))? {
                Step::Feed(run) => {
                    let batch = inputs[run].try_next().await.map_err(|error| failed(table, error))?;
                    merge.feed(run, batch.as_ref()).map_err(|error| failed(table, error))?;
                }
                Step::Rows(rows) => {
                    let mut current = match output.take() {
                        Some(output) => output,
                        None => Output::begin(&self.lake, &self.ingester, table).await?,
                    };
                    current.write(&rows).await?;
                    if current.rows() < rows_each {
                        output = Some(current);
                    } else {
                        done.push(current.finish(tenant, date).await?);
                    }
                }
                Step::Done => break,
            }
        }
        if let Some(output) = output {
            done.push(output.finish(tenant, date).await?);
        }
        Ok(done)
    }

    /// The outputs are read back before they take the inputs' place.
    async fn verify(&self, table: Table, group: &Group, outputs: &[DataFile]) -> Result<(), IngestError> {
        let rows: u64 = outputs.iter().map(|file| file.rows).sum();
        let mut wrong = (rows != group.rows()).then(|| format!("{rows} rows of {}", group.rows()));
        for file in outputs {
            match self.lake.check_file(file).await? {
                FileCheck::Sound => {}
                FileCheck::Missing => wrong = Some(format!("{} is not there", file.path)),
                FileCheck::Damaged(reason) => wrong = Some(format!("{}: {reason}", file.path)),
            }
        }
        let Some(reason) = wrong else { return Ok(()) };
        self.discard(outputs).await;
        Err(failed(table, format!("a merge is not what it should be: {reason}")))
    }

    async fn swap(
        &self,
        table: Table,
        group: &Group,
        outputs: Vec<DataFile>,
    ) -> Result<Outcome, IngestError> {
        let merged = Merged {
            files_in: group.files.len() as u64,
            files_out: outputs.len() as u64,
            bytes_in: group.bytes(),
            bytes_out: outputs.iter().map(|file| file.size_bytes).sum(),
            rows: group.rows(),
        };
        let (log, mut backoff) = (self.lake.table(table), Backoff::default());
        loop {
            let base = log.snapshot().await?;
            let present: HashSet<&str> = base.files().iter().map(|file| file.path.as_str()).collect();
            if outputs.iter().all(|file| present.contains(file.path.as_str())) {
                // A commit of ours whose answer was lost.
                break;
            }
            let complete = group.files.iter().all(|file| present.contains(file.path.as_str()));
            if !complete || self.is_late(&outputs) {
                self.discard(&outputs).await;
                return Ok(Outcome::Superseded);
            }
            let remove = group.files.iter().map(|file| file.path.clone()).collect();
            let change = Change { txn: None, add: outputs.clone(), remove };
            match log.commit(&base, change).await? {
                Committed::At(_) => break,
                Committed::Conflict => {
                    self.metrics.conflicts.inc();
                    backoff.pause().await;
                }
            }
        }
        self.metrics.merged_files.inc_by(merged.files_in);
        self.metrics.merged_in_bytes.inc_by(merged.bytes_in);
        self.metrics.merged_out_bytes.inc_by(merged.bytes_out);
        Ok(Outcome::Merged(merged))
    }

    /// Whether vacuum may have begun to delete them.
    fn is_late(&self, outputs: &[DataFile]) -> bool {
        let oldest_ms = outputs.iter().map(|file| file.modified_ms).min().unwrap_or(0);
        now_us() / 1000 - oldest_ms > self.config.commit_within_ms()
    }

    async fn abandon(&self, done: Vec<DataFile>, output: Option<Output>) {
        if let Some(output) = output {
            output.abandon().await;
        }
        self.discard(&done).await;
    }

    /// Deletes files that are certain never to have been committed.
    async fn discard(&self, files: &[DataFile]) {
        let store = self.lake.store();
        for file in files {
            if let Err(error) = store.delete(&Path::from(file.path.as_str())).await {
                tracing::debug!(%error, path = file.path, "a file that is not needed stays until vacuum finds it");
            }
        }
    }
}
