//! How fast rules run over what is stored: `rules test` without the way there.
//!
//! ```text
//!   events (seeded) ─▶ ingest ─▶ Delta files ─┬─▶ the same columns, read and let go ─▶ rows/s/core ─┐
//!                                             ├─▶ those of conditions alone                         ├─▶ ratio
//!                                             └─▶ a trial of all rules ─────────────▶ rows/s/core ─┘
//! ```
//!
//! The baseline is what reading alone costs: no run over these files can be
//! faster. What conditions alone need is how fast it could be if the columns of
//! outputs were read for matches only.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bailiwick_benches::batches::{Recorder, WireBatch};
use bailiwick_benches::child::Child;
use bailiwick_benches::events::{DataSet, Events};
use bailiwick_benches::send::Pace;
use bailiwick_benches::{Outcome, cpu, official, send, serve};
use bailiwick_lake::Lake;
use bailiwick_proto::ship::MemoryOutbox;
use bailiwick_proto::{Table, wire};
use bailiwick_query::{Config, Endpoint, Engine, Principal, QueryRecorder, Trial};
use bailiwick_rules::{RuleSet, Rulebook, Source};
use clap::{Parser, Subcommand};
use prometheus_client::registry::Registry;
use tokio_stream::StreamExt;

#[derive(Debug, Parser)]
#[command(about = "rows a second through rules over stored events, and through reading them alone")]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// A folder with Falco's rule files
    #[arg(long, default_value = "../shared/corpora/falco/rules_official")]
    rules: PathBuf,
    /// Which events
    #[arg(long, value_enum, default_value_t = DataSet::Lean)]
    events: DataSet,
    /// How many of them
    #[arg(long, default_value_t = 5_000_000)]
    rows: usize,
    /// Rows of one batch
    #[arg(long, default_value_t = 4_096)]
    batch_rows: usize,
    /// Reading and rules take turns so often
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The events are drawn from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the bucket is made
    #[arg(long, default_value = "target")]
    dir: PathBuf,
}

/// What one process of the bench does; the bench starts these itself.
#[derive(Debug, Subcommand)]
#[command(hide = true)]
enum Role {
    Serve { bucket: PathBuf, tenants: PathBuf },
    Send { url: String, file: PathBuf },
}

const MEMORY_BYTES: usize = 1 << 30;
/// The events are of 2026-11-24; nothing lies beside them.
const PERIOD: [&str; 2] = ["2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"];

fn main() -> Outcome<()> {
    let mut arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    match arguments.role.take() {
        Some(role) => runtime.block_on(role.run()),
        None => {
            std::fs::create_dir_all(&arguments.dir)?;
            let folder = tempfile::tempdir_in(&arguments.dir)?;
            let bucket = stored(&arguments, folder.path())?;
            runtime.block_on(bench(&arguments, &bucket))
        }
    }
}

/// A bucket with the events, all of them in committed files.
fn stored(arguments: &Arguments, folder: &Path) -> Outcome<PathBuf> {
    let (batches, bucket) = (folder.join("batches"), folder.join("bucket"));
    let tenants = folder.join("tenants.yaml");
    std::fs::write(&tenants, arguments.events.tenants())?;
    let mut events = Events::new(arguments.events, arguments.seed);
    let mut recorder = Recorder::create(&batches)?;
    for first in (0..arguments.rows).step_by(arguments.batch_rows) {
        let rows = arguments.batch_rows.min(arguments.rows - first);
        recorder.push(&WireBatch { rows, bytes: wire::encode(&events.batch(rows)?)? })?;
    }
    recorder.finish()?;
    let [batches, path, tenants] = [&batches, &bucket, &tenants].map(|path| path.display().to_string());
    let mut serving = Child::start(&["serve", &path, &tenants])?;
    let url = serving.answer()?["url"].as_str().ok_or("no url")?.to_owned();
    let mut sending = Child::start(&["send", &url, &batches])?;
    sending.answer()?;
    sending.wait()?;
    serving.finish();
    let served = serving.answer()?;
    if served["rows"] != arguments.rows || served["left_in_wal"] != 0 {
        return Err(format!("not all rows are committed: {served}").into());
    }
    serving.wait()?;
    std::fs::remove_file(&batches)?;
    Ok(bucket)
}

#[allow(clippy::print_stdout, reason = "what a bench is for")]
async fn bench(arguments: &Arguments, bucket: &Path) -> Outcome<()> {
    let lake = Lake::open(&bucket.display().to_string(), "bench").await?;
    let (records, _outbox) = MemoryOutbox::new(1, 64 << 20);
    let recorder = QueryRecorder::new(records, "bench", "bench");
    let config = Config { query_timeout_ms: 3_600_000, ..Config::default() };
    let engine = Engine::new(&config, lake, recorder, &mut Registry::default())?;
    let rules = Arc::new(official::rules(&arguments.rules)?);
    println!("{} {} events, {} rules", arguments.rows, arguments.events.name(), rules.len());
    let book = Rulebook::new(&rules);
    let (every, conditions) = (book.columns(Source::Syscall), conditions(&book));
    let (mut reading, mut fewer, mut trying) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..arguments.rounds.max(1) {
        reading.push(timed(arguments.rows, read(&engine, &book, &every)).await?);
        fewer.push(timed(arguments.rows, read(&engine, &book, &conditions)).await?);
        trying.push(timed(arguments.rows, tried(&engine, &rules)).await?);
    }
    let [read, fewer, tried] = [&reading, &fewer, &trying].map(|rates| best(rates));
    println!("best of {}, rows/s/core:", reading.len());
    println!("reading {:>2} columns            {read:>10.0}", every.len());
    println!("reading {:>2}, of conditions     {fewer:>10.0}   {:.2} x", conditions.len(), fewer / read);
    println!("rules over history            {tried:>10.0}   {:.2} x", tried / read);
    Ok(())
}

/// What rules read of every event, with what counts are made by.
fn conditions(book: &Rulebook) -> Vec<&'static str> {
    let mut columns = book.compiled(Source::Syscall).columns();
    columns.extend(["tenant", "time"]);
    columns.sort_unstable();
    columns.dedup();
    columns
}

/// Rows of the table a second of processor time, all threads.
async fn timed(rows: usize, work: impl Future<Output = Outcome<String>>) -> Outcome<f64> {
    let (began, before) = (Instant::now(), cpu::used().ok_or("no procfs")?);
    let told = work.await?;
    let used: Duration = cpu::used().ok_or("no procfs")?.saturating_sub(before);
    say(&format!(
        "  {told}, {:.1} s, {:.1} s of processor time",
        began.elapsed().as_secs_f64(),
        used.as_secs_f64()
    ));
    Ok(rows as f64 / used.as_secs_f64().max(0.01))
}

#[allow(clippy::print_stdout, reason = "what a bench is for")]
fn say(line: &str) {
    println!("{line}");
}

/// Columns of the event types that the rules need, read and let go.
async fn read(engine: &Engine, book: &Rulebook, columns: &[&str]) -> Outcome<String> {
    let columns: Vec<String> = columns.iter().map(|column| format!("\"{column}\"")).collect();
    let compiled = book.compiled(Source::Syscall);
    let types: Option<Vec<Vec<String>>> =
        (0..compiled.len()).map(|rule| compiled.event_types(rule)).collect();
    let types: Vec<String> =
        types.unwrap_or_default().concat().iter().map(|kind| format!("'{kind}'")).collect();
    let only =
        if types.is_empty() { "true".to_owned() } else { format!("evt_type IN ({})", types.join(", ")) };
    let sql = format!("SELECT {} FROM {} WHERE {only}", columns.join(", "), Table::Syscalls);
    let mut batches = engine.run(&Principal::operator(), Endpoint::Report, &sql).await?;
    let mut rows = 0;
    while let Some(batch) = batches.next().await {
        rows += batch?.num_rows();
    }
    Ok(format!("{rows} rows read, {} columns", columns.len()))
}

async fn tried(engine: &Arc<Engine>, rules: &Arc<RuleSet>) -> Outcome<String> {
    let [from, to] = PERIOD;
    let trial = Trial {
        rules: Arc::clone(rules),
        old: None,
        from: from.parse()?,
        to: to.parse()?,
        tenants: Vec::new(),
    };
    let report = engine.try_rules(&Principal::operator(), trial, |_| {}).await?;
    let matches: u64 = report.rules.iter().map(|rule| rule.matches).sum();
    Ok(format!("{} events looked at, {matches} matches", report.events))
}

fn best(rates: &[f64]) -> f64 {
    rates.iter().copied().fold(0.0, f64::max)
}

// === impl Role ===

impl Role {
    async fn run(self) -> Outcome<()> {
        match self {
            Self::Serve { bucket, tenants } => serve::run(&bucket, &tenants, MEMORY_BYTES).await,
            Self::Send { url, file } => send::run(&url, "bench", &file, Pace::Once, None).await,
        }
    }
}
