//! A bucket for questions: a fleet's events of ten days, its requests and alerts, and
//! a month of use, through the whole write path, then merged as upkeep does.

use std::io::{IsTerminal, Write};
use std::path::Path;

use arrow::array::RecordBatch;
use bailiwick_ingest::upkeep::retention::SharedRetention;
use bailiwick_ingest::upkeep::{ByHand, Config as UpkeepConfig, Metrics, Upkeep};
use bailiwick_lake::Lake;
use bailiwick_proto::Table;
use tokio_util::sync::CancellationToken;

use crate::events::Events;
use crate::events::ledger::{PODS, Span};
use crate::{Outcome, events, send};

const DAY_US: i64 = 86_400_000_000;
const DAYS: i64 = 10;
/// When the events begin, microseconds since 1970.
pub const BEGIN_US: i64 = events::BEGIN_US - DAYS * DAY_US;
const BATCH_ROWS: usize = 8_192;
const USAGE_HOURS: usize = 30 * 24;
const SEED: u64 = 1;

type Drawn = Outcome<(Table, RecordBatch)>;

/// Sends so many events, and what belongs to them.
pub async fn send(url: &str, rows: usize) -> Outcome<()> {
    let batches = rows.div_ceil(BATCH_ROWS);
    let mut events = Events::lean_over(SEED, BEGIN_US, DAYS * DAY_US / batches.max(1) as i64);
    let syscalls = (0..batches).map(move |number| -> Drawn {
        let rows = BATCH_ROWS.min(rows - number * BATCH_ROWS);
        Ok((Table::Syscalls, events.batch(rows)?))
    });
    let end_us = events::BEGIN_US;
    let ledger = [(Table::ApiAccess, rows / 100), (Table::Alerts, rows / 1_000)];
    let others = ledger
        .into_iter()
        .flat_map(move |(table, total)| drawn(table, Span { begin_us: BEGIN_US, end_us, total }));
    let hours = (rows / 100_000).clamp(24, USAGE_HOURS);
    let begin_us = events::BEGIN_US - hours as i64 * 3_600_000_000;
    let usage = drawn(Table::Usage, Span { begin_us, end_us, total: hours * PODS });
    let progress = |sent: usize| {
        if std::io::stderr().is_terminal() && sent % (BATCH_ROWS * 64) < BATCH_ROWS {
            let _ = write!(std::io::stderr(), "\r{sent} rows sent");
        }
    };
    send::drawn(url, "fill", syscalls.chain(others).chain(usage), progress).await
}

fn drawn(table: Table, span: Span) -> impl Iterator<Item = Drawn> {
    (0..span.total).step_by(BATCH_ROWS).map(move |first| {
        let rows = BATCH_ROWS.min(span.total - first);
        Ok((table, span.batch(table, first, rows)?))
    })
}

/// Merges files until there is nothing left to merge.
#[allow(clippy::print_stdout, reason = "what a bench is for")]
pub async fn merge(bucket: &Path) -> Outcome<()> {
    let lake = Lake::open(&bucket.display().to_string(), "bench").await?;
    let upkeep = UpkeepConfig { merges_per_pass: 64, scrub_every_ms: 0, ..UpkeepConfig::default() };
    let config = bailiwick_ingest::Config { upkeep, ..bailiwick_ingest::Config::default() };
    let ingester = config.ingester_id.parse()?;
    let retention = SharedRetention::open(None)?;
    let stop = CancellationToken::new();
    let upkeep = Upkeep::new(lake, ingester, &config, retention, Metrics::default(), stop);
    loop {
        let report = upkeep.pass(ByHand { scrub_all: false, vacuum_now: true }).await;
        if let Some(failure) = report.failures.first() {
            return Err(failure.clone().into());
        }
        let merged: u64 = report.merged.iter().map(|(_, merged)| merged.files_in).sum();
        println!("merged {merged} files");
        if merged == 0 {
            return Ok(());
        }
    }
}
