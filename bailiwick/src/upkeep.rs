//! `bailiwick upkeep`: one pass over the tables, and what it did.

use std::path::Path;
use std::sync::Arc;

use bailiwick_ingest::upkeep::retention::SharedRetention;
use bailiwick_ingest::upkeep::{ByHand, Metrics, Report, Upkeep};
use bailiwick_lake::Lake;

use crate::amount::{bytes, count, of};
use crate::cli;
use crate::config::Config;
use crate::failure::{Failure, chain};
use crate::say::say;
use crate::signals::stop_on_signal;
use crate::terminal::printable;

/// Makes one pass and prints what it did.
pub(crate) async fn run(config: &Config, args: cli::Upkeep) -> Result<(), Failure> {
    let lake = open(config).await?;
    let ingest = &config.ingest;
    let ingester = ingest
        .ingester_id
        .parse()
        .map_err(|error| Failure::config(format!("ingest.ingester_id: {error}")))?;
    let upkeep =
        Upkeep::new(lake, ingester, ingest, retention(config)?, Metrics::default(), stop_on_signal()?);
    let report = upkeep.pass(ByHand { scrub_all: args.scrub, vacuum_now: true }).await;
    for line in lines(&report, args.scrub) {
        say!("{}", printable(&line));
    }
    match report.failures.len() + report.scrub.damaged.len() + report.scrub.missing.len() {
        0 => Ok(()),
        count => Err(Failure::failed(format!("{} need a look, see above", of(count as u64, "thing")))),
    }
}

/// The configuration's bucket, which must be there: a person who mistypes its
/// place should not get an empty one.
pub(crate) async fn open(config: &Config) -> Result<Arc<Lake>, Failure> {
    let folder = match config.bucket.strip_prefix("file://") {
        Some(path) => Some(path),
        None if config.bucket.contains("://") => None,
        None => Some(config.bucket.as_str()),
    };
    if let Some(folder) = folder.filter(|folder| !Path::new(folder).is_dir()) {
        return Err(Failure::config(format!(
            "there is no bucket at {folder}: see `bucket` and `data_dir` in the configuration, or --data-dir"
        )));
    }
    Lake::open_with(&config.bucket(), &config.cluster)
        .await
        .map_err(|error| Failure::room("bucket", error.action(), &error))
}

/// The retention that the configuration names.
pub(crate) fn retention(config: &Config) -> Result<SharedRetention, Failure> {
    SharedRetention::open(config.ingest.retention_file.as_deref())
        .map_err(|error| Failure::config(chain(&error)))
}

fn lines(report: &Report, scrubbed: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for (table, merged) in &report.merged {
        lines.push(format!(
            "merged    {table}: {} into {}, {} into {}",
            of(merged.files_in, "file"),
            count(merged.files_out),
            bytes(merged.bytes_in),
            bytes(merged.bytes_out)
        ));
    }
    let gone = [("expired", report.expired), ("deleted", report.deleted)];
    for (what, gone) in gone.into_iter().filter(|(_, gone)| gone.files > 0) {
        let (files, rows) = (of(gone.files, "file"), of(gone.rows, "row"));
        lines.push(format!("{what:<9} {files}, {rows}, {}", bytes(gone.bytes)));
    }
    lines.extend(report.deletions_completed.iter().map(|tenant| format!("deleted   all of {tenant}")));
    let waiting = report.deletions_waiting.iter();
    lines.extend(waiting.map(|(tenant, reason)| format!("deleting  {tenant}: {reason}")));
    if report.held_files > 0 {
        lines.push(format!("held      {} would have gone without a hold", of(report.held_files, "file")));
    }
    let vacuum = report.vacuum;
    if vacuum.files + vacuum.waiting > 0 {
        let (freed, waiting) = (bytes(vacuum.bytes), count(vacuum.waiting));
        lines.push(format!(
            "vacuumed  {}, {freed} freed; {waiting} wait for their grace",
            of(vacuum.files, "file")
        ));
    }
    if report.log.commits + report.log.checkpoints > 0 {
        let (commits, checkpoints) =
            (of(report.log.commits, "commit"), of(report.log.checkpoints, "checkpoint"));
        lines.push(format!("log       {commits} and {checkpoints} no longer needed"));
    }
    if scrubbed {
        lines.push(format!("checked   {}, {}", of(report.scrub.files, "file"), bytes(report.scrub.bytes)));
    }
    lines.extend(
        report.scrub.damaged.iter().map(|path| format!("DAMAGED   {path}: set aside, see the table losses")),
    );
    lines.extend(
        report.scrub.missing.iter().map(|path| format!("MISSING   {path}: the bucket does not have it")),
    );
    if lines.is_empty() {
        lines.push("nothing to do".to_owned());
    }
    for (table, size) in report.tables.iter().filter(|(_, size)| size.files > 0) {
        let (files, rows) = (of(size.files, "file"), of(size.rows, "row"));
        lines.push(format!("now       {table}: {files}, {rows}, {}", bytes(size.bytes)));
    }
    lines.extend(report.failures.iter().map(|failure| format!("FAILED    {failure}")));
    lines
}

#[cfg(test)]
mod tests {
    use bailiwick_ingest::upkeep::orders::Count;
    use bailiwick_ingest::upkeep::{Merged, Scrubbed, Vacuumed};
    use bailiwick_lake::Cleaned;
    use bailiwick_proto::Table;

    use super::*;

    #[test]
    fn a_report_is_read_by_people() {
        let merged =
            Merged { files_in: 48, files_out: 1, bytes_in: 9 << 20, bytes_out: 7 << 20, rows: 500_000 };
        let size = Count { files: 3, rows: 1_204_000, bytes: 18 << 20 };
        let report = Report {
            merged: vec![(Table::Syscalls, merged)],
            expired: Count { files: 2, rows: 7_000, bytes: 90_000 },
            deleted: Count { files: 1, rows: 1, bytes: 4_000 },
            deletions_completed: vec!["acme".into()],
            deletions_waiting: vec![("globex".into(), "12 rows of usage are still in the wal".into())],
            held_files: 4,
            vacuum: Vacuumed { files: 12, bytes: 5 << 20, waiting: 49 },
            log: Cleaned { commits: 100, checkpoints: 1 },
            scrub: Scrubbed { files: 9, bytes: 1 << 30, damaged: vec!["tables/x".into()], missing: vec![] },
            tables: vec![(Table::Syscalls, size), (Table::Usage, Count::default())],
            failures: vec!["cannot vacuum usage: cannot list tables/usage".into()],
        };
        insta::assert_snapshot!(lines(&report, true).join("\n"));
        assert_eq!(lines(&Report::default(), false), ["nothing to do"]);
    }
}
