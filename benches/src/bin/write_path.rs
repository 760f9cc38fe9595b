//! The whole write path: wire batches through gRPC on loopback into a folder,
//! WAL object, ack, sort, Parquet, Delta commit. Beside it DuckDB, which only
//! sorts the same rows and writes Parquet.

use std::collections::VecDeque;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bailiwick_benches::events::Events;
use bailiwick_benches::percentile::percentile;
use bailiwick_benches::{cpu, duckdb};
use bailiwick_ingest::{Config, Ingest};
use bailiwick_lake::{Lake, to_public};
use bailiwick_proto::v1::ship_client::ShipClient;
use bailiwick_proto::v1::{Batch, Hello, ShipReply, ShipRequest, ship_reply, ship_request};
use bailiwick_proto::{Table, wire};
use clap::Parser;
use parquet::arrow::ArrowWriter;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Batches on their way at once, as a collector has them.
const WINDOW: usize = 32;
const ORDER: &str = "tenant, date, container_id, proc_pid, time";

#[derive(Debug, Parser)]
#[command(about = "rows a second through the whole write path, and DuckDB's sorted COPY beside it")]
struct Arguments {
    /// Rows of the first, unpaced part
    #[arg(long, default_value_t = 600_000)]
    rows: usize,
    /// Rows of one batch
    #[arg(long, default_value_t = 4_096)]
    batch_rows: usize,
    /// How long the second part sends at half the first's rate, seconds
    #[arg(long, default_value_t = 5)]
    paced_s: u64,
    /// The events are drawn from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the bucket is made
    #[arg(long, default_value = "target")]
    dir: std::path::PathBuf,
    /// Leave bucket and rows there, to look at them
    #[arg(long)]
    keep: bool,
}

/// One Ship stream and the times of what is on its way.
struct Sender {
    up: mpsc::Sender<ShipRequest>,
    replies: Streaming<ShipReply>,
    seq: u64,
    sent_at: VecDeque<Instant>,
    ack_ms: Vec<f64>,
}

/// What the first part took.
struct Measured {
    wall_s: f64,
    cpu_s: f64,
    parquet_bytes: u64,
    files: usize,
}

#[tokio::main]
#[allow(clippy::print_stdout, reason = "what a bench is for")]
async fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.dir)?;
    let mut folder = tempfile::tempdir_in(&arguments.dir)?;
    folder.disable_cleanup(arguments.keep);
    let (batches, source) = (generate(&arguments, folder.path())?, folder.path().join("rows.parquet"));
    let rows: usize = batches.iter().map(|(rows, _)| rows).sum();
    let wire_bytes: usize = batches.iter().map(|(_, bytes)| bytes.len()).sum();
    println!(
        "{rows} events of {} columns, {} batches, {:.0} B an event on the wire",
        Table::Syscalls.columns().count(),
        batches.len(),
        per(wire_bytes as f64, rows)
    );

    let bucket = folder.path().join("bucket");
    let measured = unpaced(&bucket, &batches, rows).await?;
    let (rate, rate_core) = (rows as f64 / measured.wall_s, rows as f64 / measured.cpu_s);
    let bytes = per(measured.parquet_bytes as f64, rows);
    println!(
        "bailiwick  wire to committed  {rate:>9.0} rows/s  {rate_core:>9.0} rows/s/core  {bytes:.1} B/event  {} files",
        measured.files
    );
    let mut ack_ms = paced(&bucket, &batches, rate / 2.0, Duration::from_secs(arguments.paced_s)).await?;
    let (p50, p99) = (percentile(&mut ack_ms, 0.5), percentile(&mut ack_ms, 0.99));
    println!(
        "bailiwick  durable ack at half that rate, {} batches: p50 {p50:.1} ms, p99 {p99:.1} ms",
        ack_ms.len()
    );
    let peak = cpu::peak_memory_bytes().unwrap_or(0) >> 20;
    println!("bailiwick  peak memory {peak} MiB, of which {} MiB are this bench's batches", wire_bytes >> 20);

    match duckdb::sorted_copy(&source, &folder.path().join("duckdb.parquet"), ORDER, 2) {
        Ok(copied) => {
            let (duck_core, duck_bytes) =
                (copied.rows as f64 / copied.cpu_s, copied.bytes as f64 / copied.rows as f64);
            println!(
                "duckdb     sort and COPY only {:>9.0} rows/s  {duck_core:>9.0} rows/s/core  {duck_bytes:.1} B/event",
                copied.rows as f64 / copied.wall_s
            );
            println!(
                "ratio      bailiwick / duckdb: {:.2} rows/s/core, {:.2} B/event",
                rate_core / duck_core,
                bytes / duck_bytes
            );
        }
        Err(reason) => println!("skipped: DuckDB's part, {reason}"),
    }
    Ok(())
}

/// Makes the batches as they go over the wire, and the same rows as a file for DuckDB.
fn generate(arguments: &Arguments, folder: &Path) -> Outcome<Vec<(usize, Vec<u8>)>> {
    let mut events = Events::new(arguments.seed);
    let file = std::fs::File::create(folder.join("rows.parquet"))?;
    let mut writer = ArrowWriter::try_new(file, Table::Syscalls.public_schema(), None)?;
    let mapping = bailiwick_ingest::tenants::Mapping::parse("bench", TENANTS)?;
    let mut batches = Vec::new();
    let mut left = arguments.rows;
    while left > 0 {
        let rows = left.min(arguments.batch_rows);
        let batch = events.batch(rows)?;
        let stamped =
            bailiwick_ingest::stamp::stamp(Table::Syscalls, &batch, &mapping, 1_795_521_600_000_000)?;
        writer.write(&to_public(Table::Syscalls, &stamped.batch)?)?;
        batches.push((rows, wire::encode(&batch)?));
        left -= rows;
    }
    writer.close()?;
    Ok(batches)
}

const TENANTS: &str = "tenants:\n- tenant: a\n  namespaces: [team-0, team-1, team-2]\n- tenant: b\n  namespaces: [\"team-*\"]\n";

/// Sends everything as fast as it is taken and ends when it is committed.
async fn unpaced(bucket: &Path, batches: &[(usize, Vec<u8>)], rows: usize) -> Outcome<Measured> {
    let (ingest, stop, lake) = start(bucket).await?;
    let (began, cpu_before) = (Instant::now(), cpu::used().ok_or("no procfs")?);
    let mut sender = Sender::open(&ingest).await?;
    for (_, bytes) in batches {
        sender.send(bytes).await?;
        while sender.sent_at.len() >= WINDOW {
            sender.ack().await?;
        }
    }
    while !sender.sent_at.is_empty() {
        sender.ack().await?;
    }
    drop(sender);
    stop.cancel();
    ingest.join().await?;
    let (wall_s, cpu_after) = (began.elapsed().as_secs_f64(), cpu::used().ok_or("no procfs")?);
    let view = lake.view(Table::Syscalls).await?;
    let committed: u64 = view.files.iter().map(|file| file.rows).sum();
    if committed != rows as u64 || !view.wal.is_empty() {
        return Err(format!("{committed} of {rows} rows are committed").into());
    }
    let parquet_bytes = view.files.iter().map(|file| file.size_bytes).sum();
    let cpu_s = (cpu_after - cpu_before).as_secs_f64();
    Ok(Measured { wall_s, cpu_s, parquet_bytes, files: view.files.len() })
}

/// Sends at a rate and returns how long each ack took, milliseconds.
async fn paced(
    bucket: &Path,
    batches: &[(usize, Vec<u8>)],
    rows_per_s: f64,
    length: Duration,
) -> Outcome<Vec<f64>> {
    let (ingest, stop, _) = start(bucket).await?;
    let mut sender = Sender::open(&ingest).await?;
    let began = tokio::time::Instant::now();
    let mut due_s = 0.0;
    for (rows, bytes) in batches.iter().cycle() {
        let due = began + Duration::from_secs_f64(due_s);
        while let Ok(acked) = tokio::time::timeout_at(due, sender.ack_if_any()).await {
            acked?;
        }
        if began.elapsed() > length {
            break;
        }
        sender.send(bytes).await?;
        due_s += *rows as f64 / rows_per_s;
    }
    while !sender.sent_at.is_empty() {
        sender.ack().await?;
    }
    let ack_ms = std::mem::take(&mut sender.ack_ms);
    drop(sender);
    stop.cancel();
    ingest.join().await?;
    Ok(ack_ms)
}

async fn start(bucket: &Path) -> Outcome<(Ingest, CancellationToken, Arc<Lake>)> {
    let lake = Lake::open(&bucket.display().to_string(), "bench").await?;
    let tenants_file = bucket.with_file_name("tenants.yaml");
    std::fs::write(&tenants_file, TENANTS)?;
    let config = Config {
        listen: ([127, 0, 0, 1], 0).into(),
        tenants_file: Some(tenants_file),
        drain_timeout_ms: 120_000,
        ..Config::default()
    };
    let stop = CancellationToken::new();
    let ingest = Ingest::start(config, Arc::clone(&lake), &mut Registry::default(), stop.clone()).await?;
    Ok((ingest, stop, lake))
}

fn per(total: f64, rows: usize) -> f64 {
    total / rows.max(1) as f64
}

// === impl Sender ===

impl Sender {
    async fn open(ingest: &Ingest) -> Outcome<Self> {
        let (up, requests) = mpsc::channel(WINDOW);
        let incarnation = rand::random();
        let hello = Hello { collector_id: "bench".into(), incarnation, ..Hello::default() };
        up.send(ShipRequest { body: Some(ship_request::Body::Hello(hello)) }).await?;
        let channel = ingest.local_endpoint().connect().await?;
        let mut client = ShipClient::new(channel).max_encoding_message_size(usize::MAX);
        let mut replies = client.ship(ReceiverStream::new(requests)).await?.into_inner();
        replies.message().await?.ok_or("no welcome")?;
        Ok(Self { up, replies, seq: 0, sent_at: VecDeque::new(), ack_ms: Vec::new() })
    }

    async fn send(&mut self, bytes: &[u8]) -> Outcome<()> {
        let (seq, table, crc32c) = (self.seq, Table::Syscalls.name().to_owned(), crc32c::crc32c(bytes));
        let batch = Batch { seq, table, arrow_ipc: bytes.to_vec().into(), crc32c };
        self.sent_at.push_back(Instant::now());
        self.up.send(ShipRequest { body: Some(ship_request::Body::Batch(batch)) }).await?;
        self.seq += 1;
        Ok(())
    }

    async fn ack(&mut self) -> Outcome<()> {
        let reply = self.replies.message().await?.ok_or("ingest closed the stream")?;
        let Some(ship_reply::Body::Ack(ack)) = reply.body else { return Err("no ack".into()) };
        if ack.quarantined > 0 {
            return Err("a batch was set aside".into());
        }
        let sent_at = self.sent_at.pop_front().ok_or("an ack for nothing")?;
        self.ack_ms.push(sent_at.elapsed().as_secs_f64() * 1_000.0);
        Ok(())
    }

    /// The next ack; never ends while nothing is on its way.
    async fn ack_if_any(&mut self) -> Outcome<()> {
        if self.sent_at.is_empty() {
            std::future::pending::<()>().await;
        }
        self.ack().await
    }
}
