//! What one tenant notices of another that asks for as much as it can.
//!
//! Tenant B draws a dashboard's panel again and again, by itself and while tenant
//! A's 64 connections run the worst statements there are: cross joins, group-bys
//! over everything, regular expressions, sorts, whole tables as JSON. Both go
//! through HTTP to one server; quiet and noisy phases take turns in one run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bailiwick_benches::batches::{Recorder, WireBatch};
use bailiwick_benches::child::Child;
use bailiwick_benches::events::{DataSet, Events};
use bailiwick_benches::percentile::percentile;
use bailiwick_benches::send::Pace;
use bailiwick_benches::{Outcome, send};
use bailiwick_ingest::Ingest;
use bailiwick_lake::Lake;
use bailiwick_proto::ship::MemoryOutbox;
use bailiwick_proto::{Table, wire};
use bailiwick_query::{Config, Engine, Query, QueryRecorder, Role as Access, tokens};
use clap::{Parser, Subcommand};
use prometheus_client::registry::Registry;
use reqwest::{Client, StatusCode};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Who makes noise, and who notices; both of the fleet's tenants.
const TENANTS: [&str; 2] = ["tenant-000", "tenant-001"];

/// B's panel: calls a minute and kind, of the last minutes.
const PANEL: &str = "SELECT date_bin(INTERVAL '10 seconds', time) AS t, evt_type, count(*) AS calls \
    FROM syscalls WHERE time >= '2026-11-24T12:00:00Z' GROUP BY 1, 2 ORDER BY 1, 3 DESC";

/// What A asks for.
const NOISE: [&str; 7] = [
    "SELECT count(*) FROM syscalls a, syscalls b WHERE a.proc_pid + b.proc_pid = 7",
    "SELECT sum(sqrt(a.value * b.value)) FROM generate_series(1, 100000) a, generate_series(1, 100000) b",
    "SELECT time, proc_cmdline, fd_name, evt_type, count(*) FROM syscalls GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC",
    "SELECT count(*) FROM syscalls WHERE regexp_like(concat(proc_name, fd_name, proc_cmdline), '(a|b|ab)*c.*(x|y)+z$')",
    "SELECT * FROM syscalls ORDER BY proc_cmdline, fd_name, time DESC LIMIT 100000",
    "SELECT * FROM syscalls",
    "SELECT count(DISTINCT md5(concat(proc_name, CAST(value AS TEXT)))) FROM syscalls, generate_series(1, 100)",
];

#[derive(Debug, Parser)]
#[command(about = "what a tenant's dashboard notices of another tenant's worst queries")]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// System calls of the whole fleet
    #[arg(long, default_value_t = 2_000_000)]
    rows: usize,
    /// Connections of the noisy tenant
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Quiet and noisy phases take turns so often
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a phase lasts, seconds
    #[arg(long, default_value_t = 10)]
    length_s: u64,
    /// Pause between two panels, milliseconds
    #[arg(long, default_value_t = 50)]
    pause_ms: u64,
    /// Where the bucket is made
    #[arg(long, default_value = "target")]
    dir: PathBuf,
}

#[derive(Debug, Subcommand)]
#[command(hide = true)]
enum Role {
    Serve { bucket: PathBuf, tokens: PathBuf },
}

/// What A's queries came to.
#[derive(Debug, Default)]
struct Noise {
    answered: AtomicU64,
    turned_away: AtomicU64,
    failed: AtomicU64,
}

/// One server to ask, as two tenants.
struct Bench {
    url: String,
    client: Client,
    noisy: String,
    quiet: String,
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    // There is one, unless somebody has installed one before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new()?;
    match &arguments.role {
        Some(Role::Serve { bucket, tokens }) => runtime.block_on(serve(bucket, tokens)),
        None => runtime.block_on(bench(&arguments)),
    }
}

/// Answers until standard input ends.
#[allow(clippy::print_stdout, reason = "how a child answers")]
async fn serve(bucket: &Path, tokens: &Path) -> Outcome<()> {
    let lake = Lake::open(&bucket.display().to_string(), "bench").await?;
    let config = Config {
        http_listen: ([127, 0, 0, 1], 0).into(),
        pgwire_listen: ([127, 0, 0, 1], 0).into(),
        tokens_file: Some(tokens.to_owned()),
        ..Config::default()
    };
    let (sender, _records) = MemoryOutbox::new(1, 1 << 20);
    let recorder = QueryRecorder::new(sender, "bench", "bench");
    let engine = Engine::new(&config, lake, recorder, &mut Registry::default())?;
    let stop = CancellationToken::new();
    let query = Query::start(config, engine, Arc::new(String::new), stop.clone()).await?;
    println!("{}", json!({ "url": format!("http://{}/api/v1/sql", query.http_addr()) }));
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    stop.cancel();
    query.join().await?;
    Ok(())
}

#[allow(clippy::print_stdout, reason = "what a bench is for")]
async fn bench(arguments: &Arguments) -> Outcome<()> {
    let folder = tempfile::tempdir_in(&arguments.dir)?;
    let (bucket, file) = (folder.path().join("bucket"), folder.path().join("tokens.yaml"));
    println!("filling a bucket with {} system calls of 50 tenants", arguments.rows);
    fill(&bucket, folder.path(), arguments.rows).await?;
    let token = |tenant: &str| -> Outcome<String> {
        Ok(tokens::create(&file, tenant, Access::Tenant, [tenant.parse()?], None, chrono::Utc::now())?)
    };
    let (noisy, quiet) = (token(TENANTS[0])?, token(TENANTS[1])?);
    let mut server = Child::start(&["serve", text(&bucket)?, text(&file)?])?;
    let url = server.answer()?["url"].as_str().ok_or("no url")?.to_owned();
    let client = Client::builder().no_proxy().pool_max_idle_per_host(arguments.connections).build()?;
    let bench = Bench { url, client, noisy, quiet };
    for (name, token) in [("A", &bench.noisy), ("B", &bench.quiet)] {
        let rows = bench.ask(token, "SELECT count(*) FROM syscalls").await?.1;
        println!("tenant {name}: {}", rows.trim());
    }
    let (mut alone, mut beside, noise) = (Vec::new(), Vec::new(), Arc::new(Noise::default()));
    let length = Duration::from_secs(arguments.length_s);
    let pause = Duration::from_millis(arguments.pause_ms);
    bench.panels(Duration::from_secs(2), pause).await?;
    for round in 1..=arguments.rounds {
        let quiet = bench.panels(length, pause).await?;
        let loud = bench.panels_in_noise(length, pause, arguments.connections, &noise).await?;
        println!("round {round}: alone {}, beside A {}", shown(&quiet), shown(&loud));
        alone.extend(quiet);
        beside.extend(loud);
    }
    println!("alone:    {}", shown(&alone));
    println!("beside A: {}", shown(&beside));
    for share in [0.5, 0.99] {
        let (quiet, loud) = (percentile(&mut alone, share), percentile(&mut beside, share));
        println!("p{}: {:.2} x (goal: at most 2)", share * 100.0, loud / quiet);
    }
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    println!(
        "A: {} answered, {} turned away, {} failed or out of time",
        count(&noise.answered),
        count(&noise.turned_away),
        count(&noise.failed)
    );
    server.wait()
}

/// Puts the fleet's events through ingest, and waits until all are in the tables.
async fn fill(bucket: &Path, folder: &Path, rows: usize) -> Outcome<()> {
    let (tenants, batches) = (folder.join("tenants.yaml"), folder.join("batches"));
    std::fs::write(&tenants, DataSet::Lean.tenants())?;
    let mut recorder = Recorder::create(&batches)?;
    let mut events = Events::new(DataSet::Lean, 1);
    for _ in 0..rows.div_ceil(4_096) {
        let batch = events.batch(4_096)?;
        recorder.push(&WireBatch { rows: batch.num_rows(), bytes: wire::encode(&batch)? })?;
    }
    recorder.finish()?;
    let lake = Lake::open(&bucket.display().to_string(), "bench").await?;
    let config = bailiwick_ingest::Config {
        listen: ([127, 0, 0, 1], 0).into(),
        tenants_file: Some(tenants),
        drain_timeout_ms: 600_000,
        ..bailiwick_ingest::Config::default()
    };
    let stop = CancellationToken::new();
    let ingest = Ingest::start(config, Arc::clone(&lake), &mut Registry::default(), stop.clone()).await?;
    send::run(ingest.local_url(), "bench", &batches, Pace::Once, None).await?;
    stop.cancel();
    ingest.join().await?;
    let view = lake.view(Table::Syscalls).await?;
    let committed: u64 = view.files.iter().map(|file| file.rows).sum();
    let waiting: usize = view.wal.iter().map(arrow::array::RecordBatch::num_rows).sum();
    match committed as usize + waiting >= rows {
        true => Ok(()),
        false => Err(format!("only {committed} and {waiting} rows arrived").into()),
    }
}

// === impl Bench ===

impl Bench {
    async fn ask(&self, token: &str, sql: &'static str) -> Outcome<(StatusCode, String)> {
        let request = self.client.post(format!("{}?format=csv", self.url)).bearer_auth(token).body(sql);
        let response = request.send().await?;
        let status = response.status();
        Ok((status, response.text().await?))
    }

    /// Draws B's panel over and over; how long each took, milliseconds.
    async fn panels(&self, length: Duration, pause: Duration) -> Outcome<Vec<f64>> {
        let (began, mut took) = (Instant::now(), Vec::new());
        while began.elapsed() < length {
            let asked = Instant::now();
            let (status, answer) = self.ask(&self.quiet, PANEL).await?;
            if !status.is_success() {
                return Err(format!("the panel was answered with {status}: {answer}").into());
            }
            took.push(asked.elapsed().as_secs_f64() * 1e3);
            tokio::time::sleep(pause).await;
        }
        Ok(took)
    }

    async fn panels_in_noise(
        &self,
        length: Duration,
        pause: Duration,
        connections: usize,
        noise: &Arc<Noise>,
    ) -> Outcome<Vec<f64>> {
        let ends = Arc::new(AtomicBool::new(false));
        let mut loud = JoinSet::new();
        for at in 0..connections {
            let (client, url, token) = (self.client.clone(), self.url.clone(), self.noisy.clone());
            let (noise, ends) = (Arc::clone(noise), Arc::clone(&ends));
            loud.spawn(async move {
                for sql in NOISE.iter().cycle().skip(at) {
                    if ends.load(Ordering::Relaxed) {
                        break;
                    }
                    noise.make(&client, &url, &token, sql).await;
                }
            });
        }
        let took = self.panels(length, pause).await;
        ends.store(true, Ordering::Relaxed);
        // Dropping a request ends its query.
        loud.shutdown().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        took
    }
}

// === impl Noise ===

impl Noise {
    /// Asks once and reads all that comes; whoever is turned away comes again soon.
    async fn make(&self, client: &Client, url: &str, token: &str, sql: &'static str) {
        let asked = client.post(url).bearer_auth(token).body(sql).send().await;
        let Ok(mut response) = asked else {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let status = response.status();
        let whole = loop {
            match response.chunk().await {
                Ok(Some(_)) => {}
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        let count = match status {
            StatusCode::TOO_MANY_REQUESTS => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                &self.turned_away
            }
            status if status.is_success() && whole => &self.answered,
            _ => &self.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn shown(took_ms: &[f64]) -> String {
    let mut took = took_ms.to_vec();
    let (p50, p99) = (percentile(&mut took, 0.5), percentile(&mut took, 0.99));
    format!("p50 {p50:.1} ms, p99 {p99:.1} ms ({} panels)", took.len())
}

fn text(path: &Path) -> Outcome<&str> {
    path.to_str().ok_or_else(|| "a path that is no text".into())
}
