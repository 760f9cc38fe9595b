//! Twenty questions over a bucket of a hundred million events, and DuckDB over
//! the same files beside it, in turns.
//!
//! ```text
//!   --dir: fill once ──▶ merge ──▶ bucket ◀── Engine (this process)      ─┐ in turns,
//!                                    ▲                                    ├ least of each
//!                                    └─────── DuckDB (read_parquet) ──────┘
//!   then: a needle after the page cache was emptied; fifty dashboards at once
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Int32Type, Int64Type};
use bailiwick_benches::child::Child;
use bailiwick_benches::duckdb::{Answer, Session};
use bailiwick_benches::events::{BEGIN_US, DataSet};
use bailiwick_benches::percentile::percentile;
use bailiwick_benches::questions::{self, About, Question};
use bailiwick_benches::{Outcome, fill, serve};
use bailiwick_lake::Lake;
use bailiwick_proto::Table;
use bailiwick_proto::ship::MemoryOutbox;
use bailiwick_query::{Config, Endpoint, Engine, Principal, QueryRecorder, Role};
use clap::{Parser, Subcommand};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio_stream::StreamExt;

/// The tables that are asked about.
const TABLES: [Table; 4] = [Table::Syscalls, Table::ApiAccess, Table::Alerts, Table::Usage];
const DASHBOARDS: usize = 50;

#[derive(Debug, Parser)]
#[command(about = "twenty questions over 100 million events, and DuckDB over the same files beside it")]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// The bucket; filled when it is not there, kept for the next run
    #[arg(long, default_value = "target/query-bucket")]
    dir: PathBuf,
    /// Events to fill it with
    #[arg(long, default_value_t = 100_000_000)]
    rows: usize,
    /// How often each question is asked of either
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only questions whose name has this in it
    #[arg(long, default_value = "")]
    only: String,
    /// How often every dashboard is looked at
    #[arg(long, default_value_t = 3)]
    looks: usize,
}

/// What one process of the bench does; the bench starts these itself.
#[derive(Debug, Subcommand)]
#[command(hide = true)]
enum Part {
    Serve { bucket: PathBuf, tenants: PathBuf },
    Cold { bucket: PathBuf, sql: String },
}

fn main() -> Outcome<()> {
    let mut arguments = Arguments::parse();
    let part = arguments.part.take();
    tokio::runtime::Runtime::new()?.block_on(async {
        match part {
            Some(Part::Serve { bucket, tenants }) => serve::run(&bucket, &tenants, 2 << 30).await,
            Some(Part::Cold { bucket, sql }) => cold(&bucket, &sql).await,
            None => bench(arguments).await,
        }
    })
}

#[allow(clippy::print_stdout, reason = "what a bench is for")]
async fn bench(arguments: Arguments) -> Outcome<()> {
    let bucket = arguments.dir.canonicalize().unwrap_or_else(|_| arguments.dir.clone());
    if !bucket.join("filled").exists() {
        fill_bucket(&bucket, arguments.rows).await?;
    }
    let lake = Lake::open(&bucket.display().to_string(), "bench").await?;
    let mut duckdb = beside(&lake, &bucket).await?;
    let engine = engine(lake)?;
    let about = about(&engine).await?;
    let mut questions = questions::all(&about);
    questions.retain(|question| question.name.contains(&arguments.only));
    let mut ratios = Vec::new();
    println!("{:<34} {:>8} {:>12} {:>12} {:>7}", "question", "rows", "bailiwick ms", "duckdb ms", "ratio");
    for question in &questions {
        let (ours, theirs) = in_turns(&engine, &mut duckdb, question, arguments.rounds).await?;
        let ratio = ours.wall_s / theirs.wall_s;
        let (name, ms) = (question.name, |answer: &Answer| answer.wall_s * 1_000.0);
        println!("{name:<34} {:>8} {:>12.1} {:>12.1} {ratio:>7.2}", ours.rows, ms(&ours), ms(&theirs));
        ratios.push(ratio);
    }
    let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
    let worst = ratios.iter().copied().fold(0.0, f64::max);
    println!("geometric mean of the ratios {mean:.2}, worst {worst:.2}");
    needle(&bucket, &about)?;
    dashboards(&engine, &about, arguments.looks).await
}

#[allow(clippy::print_stdout, reason = "what a bench is for")]
async fn fill_bucket(bucket: &Path, rows: usize) -> Outcome<()> {
    std::fs::create_dir_all(bucket)?;
    let tenants = bucket.with_extension("tenants.yaml");
    std::fs::write(&tenants, DataSet::Lean.tenants())?;
    let mut serving =
        Child::start(&["serve", &bucket.display().to_string(), &tenants.display().to_string()])?;
    let url = serving.answer()?["url"].as_str().ok_or("no url")?.to_owned();
    fill::send(&url, rows).await?;
    serving.finish();
    println!("{}", serving.answer()?);
    serving.wait()?;
    fill::merge(bucket).await?;
    std::fs::write(bucket.join("filled"), rows.to_string())?;
    Ok(())
}

/// DuckDB over the files that the bucket's tables have now.
#[allow(clippy::print_stdout, reason = "what a bench is for")]
async fn beside(lake: &Lake, bucket: &Path) -> Outcome<Session> {
    let mut tables = Vec::new();
    for table in TABLES {
        let view = lake.view(table).await?;
        if !view.wal.is_empty() {
            return Err(format!("{table} has rows that are not committed").into());
        }
        let (rows, bytes) =
            view.files.iter().fold((0, 0), |(r, b), file| (r + file.rows, b + file.size_bytes));
        println!("{table}: {rows} rows in {} files, {} MiB", view.files.len(), bytes >> 20);
        let path = |file: &bailiwick_lake::DataFile| bucket.join(&file.path).display().to_string();
        tables.push((table.name(), view.files.iter().map(path).collect()));
    }
    let session = Session::start(&tables)?;
    println!("DuckDB {}", session.version);
    Ok(session)
}

fn engine(lake: Arc<Lake>) -> Outcome<Arc<Engine>> {
    let config = Config { memory_bytes: 4 << 30, query_timeout_ms: 600_000, ..Config::default() };
    // Rows of `queries` go nowhere.
    let (recorder, _) = MemoryOutbox::new(1, 1 << 20);
    let recorder = QueryRecorder::new(recorder, "bench", "bench");
    Ok(Engine::new(&config, lake, recorder, &mut Registry::default())?)
}

/// Names that are really there, neither the most frequent nor the rarest.
async fn about(engine: &Engine) -> Outcome<About> {
    let day = chrono_day(fill::BEGIN_US + (BEGIN_US - fill::BEGIN_US) / 2);
    let on_day = format!("time >= '{day}T00:00:00Z' AND time < '{day}T06:00:00Z'");
    let one = |select: &str, having: &str| {
        format!(
            "SELECT {select}, count(*) AS n FROM syscalls WHERE {having} AND {on_day} GROUP BY {select} ORDER BY n DESC, 1 OFFSET 40 LIMIT 1"
        )
    };
    let container = text(engine, &one("container_id", "container_id IS NOT NULL")).await?;
    let of_it = format!("container_id = '{container}'");
    Ok(About {
        path: text(engine, &one("fd_name", "fd_name IS NOT NULL")).await?,
        address: text(engine, &one("fd_sip", "fd_sip IS NOT NULL")).await?,
        pid: text(engine, &one("CAST(proc_pid AS VARCHAR)", &of_it).replace("OFFSET 40", "OFFSET 2"))
            .await?
            .parse()?,
        container_id: container,
        day,
    })
}

fn chrono_day(us: i64) -> String {
    let days = us.div_euclid(86_400_000_000);
    arrow::temporal_conversions::date32_to_datetime(days as i32)
        .map_or_else(String::new, |day| day.format("%Y-%m-%d").to_string())
}

async fn text(engine: &Engine, sql: &str) -> Outcome<String> {
    Ok(first_rows(engine, sql).await?.column(0).as_string::<i32>().value(0).to_owned())
}

/// The first rows that come; the rest is let go.
async fn first_rows(engine: &Engine, sql: &str) -> Outcome<RecordBatch> {
    let mut running = engine.run(&Principal::operator(), Endpoint::Http, sql).await?;
    while let Some(batch) = running.next().await {
        let batch = batch?;
        if batch.num_rows() > 0 {
            return Ok(batch);
        }
    }
    Err(format!("nothing for {sql}").into())
}

/// The least time of either, after one answer of each that does not count.
async fn in_turns(
    engine: &Engine,
    duckdb: &mut Session,
    question: &Question,
    rounds: usize,
) -> Outcome<(Answer, Answer)> {
    let (mut ours, mut theirs) = (ask(engine, &question.sql).await?, duckdb.ask(&question.sql)?);
    if (ours.rows, ours.ints) != (theirs.rows, theirs.ints) {
        return Err(format!("{}: {ours:?} is not {theirs:?}\n{}", question.name, question.sql).into());
    }
    (ours.wall_s, theirs.wall_s) = (f64::MAX, f64::MAX);
    for _ in 0..rounds.max(1) {
        ours.wall_s = ours.wall_s.min(ask(engine, &question.sql).await?.wall_s);
        theirs.wall_s = theirs.wall_s.min(duckdb.ask(&question.sql)?.wall_s);
    }
    Ok((ours, theirs))
}

async fn ask(engine: &Engine, sql: &str) -> Outcome<Answer> {
    let began = Instant::now();
    let mut running = engine.run(&Principal::operator(), Endpoint::Http, sql).await?;
    let mut batches = Vec::new();
    while let Some(batch) = running.next().await {
        batches.push(batch?);
    }
    let wall_s = began.elapsed().as_secs_f64();
    let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    let ints = batches.iter().flat_map(|batch| batch.columns()).map(ints).sum();
    Ok(Answer { wall_s, rows, ints })
}

fn ints(column: &Arc<dyn Array>) -> i128 {
    match column.data_type() {
        DataType::Int64 => column.as_primitive::<Int64Type>().iter().flatten().map(i128::from).sum(),
        DataType::Int32 => column.as_primitive::<Int32Type>().iter().flatten().map(i128::from).sum(),
        DataType::Decimal128(_, 0) => column.as_primitive::<Decimal128Type>().iter().flatten().sum(),
        _ => 0,
    }
}

/// A needle's first row, by a process that has just begun, nothing of the bucket in memory.
#[allow(clippy::print_stdout, reason = "what a bench is for")]
fn needle(bucket: &Path, about: &About) -> Outcome<()> {
    for question in questions::all(about).iter().take(2) {
        let (mut ms, mut started_ms) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            if let Err(error) = std::fs::write("/proc/sys/vm/drop_caches", "3") {
                println!("skipped: cold needle, the page cache cannot be emptied: {error}");
                return Ok(());
            }
            let mut child = Child::start(&["cold", &bucket.display().to_string(), &question.sql])?;
            let answer = child.answer()?;
            ms.push(answer["first_row_ms"].as_f64().unwrap_or(f64::NAN));
            started_ms.push(answer["started_ms"].as_f64().unwrap_or(f64::NAN));
            child.wait()?;
        }
        println!(
            "cold, {}: first row after {:.0} ms least, {:.0} median; opening the bucket took {:.0} ms before",
            question.name,
            ms.iter().copied().fold(f64::MAX, f64::min),
            percentile(&mut ms, 0.5),
            percentile(&mut started_ms, 0.5),
        );
    }
    Ok(())
}

async fn cold(bucket: &Path, sql: &str) -> Outcome<()> {
    let began = Instant::now();
    let engine = engine(Lake::open(&bucket.display().to_string(), "bench").await?)?;
    let started_ms = began.elapsed().as_secs_f64() * 1_000.0;
    let began = Instant::now();
    first_rows(&engine, sql).await?;
    let first_row_ms = began.elapsed().as_secs_f64() * 1_000.0;
    serve::say(&json!({ "started_ms": started_ms, "first_row_ms": first_row_ms }));
    Ok(())
}

/// Fifty tenants look at a dashboard of six panels over one day, all at once.
#[allow(clippy::print_stdout, reason = "what a bench is for")]
async fn dashboards(engine: &Arc<Engine>, about: &About, looks: usize) -> Outcome<()> {
    let mut watching = tokio::task::JoinSet::new();
    for number in 0..DASHBOARDS {
        let (engine, panels) = (Arc::clone(engine), panels(&about.day));
        let tenant = format!("tenant-{number:03}").parse()?;
        watching.spawn(async move {
            let principal = Principal::new(format!("dashboard-{number}"), Role::Tenant, [tenant]);
            let mut took_ms = Vec::new();
            for _ in 0..looks {
                for panel in &panels {
                    let began = Instant::now();
                    let mut running = engine.run(&principal, Endpoint::Http, panel).await?;
                    while let Some(batch) = running.next().await {
                        batch?;
                    }
                    took_ms.push(began.elapsed().as_secs_f64() * 1_000.0);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Outcome::Ok(took_ms)
        });
    }
    let mut took_ms = Vec::new();
    while let Some(watched) = watching.join_next().await {
        took_ms.extend(watched??);
    }
    println!(
        "{DASHBOARDS} dashboards at once, {} panels: p50 {:.0} ms, p99 {:.0} ms",
        took_ms.len(),
        percentile(&mut took_ms, 0.5),
        percentile(&mut took_ms, 0.99),
    );
    Ok(())
}

fn panels(day: &str) -> Vec<String> {
    let on_day = format!("time BETWEEN '{day}T10:00:00Z' AND '{day}T16:00:00Z'");
    vec![
        format!(
            "SELECT time_bucket('300.000s', time) AS \"time\", count(*) AS n FROM syscalls WHERE {on_day} GROUP BY 1 ORDER BY 1"
        ),
        format!(
            "SELECT evt_type, count(*) AS n FROM syscalls WHERE {on_day} GROUP BY 1 ORDER BY n DESC LIMIT 10"
        ),
        format!(
            "SELECT k8s_pod_name, count(*) AS n FROM syscalls WHERE evt_type = 'execve' AND {on_day} GROUP BY 1 ORDER BY n DESC LIMIT 10"
        ),
        format!(
            "SELECT rule, priority, count(*) AS n FROM alerts WHERE {on_day} GROUP BY 1, 2 ORDER BY n DESC"
        ),
        format!(
            "SELECT time, \"user\", verb, resource, name, code FROM api_access WHERE {on_day} ORDER BY time DESC LIMIT 50"
        ),
        "SELECT k8s_ns_name, sum(cpu_ns) AS n FROM usage GROUP BY 1 ORDER BY n DESC".to_owned(),
    ]
}
