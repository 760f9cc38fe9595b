//! The whole write path: wire batches through gRPC on loopback into a folder,
//! WAL object, ack, sort, Parquet, Delta commit. Beside it DuckDB, which only
//! sorts the same rows and writes Parquet.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bailiwick_benches::batches::{Recorder, WireBatch};
use bailiwick_benches::child::Child;
use bailiwick_benches::events::{DataSet, Events};
use bailiwick_benches::percentile::percentile;
use bailiwick_benches::send::Pace;
use bailiwick_benches::{Outcome, duckdb, send, serve, watch};
use bailiwick_ingest::{sort, stamp, tenants};
use bailiwick_lake::to_public;
use bailiwick_proto::{Table, wire};
use clap::{Parser, Subcommand};
use parquet::arrow::ArrowWriter;
use serde_json::Value;

/// When the rows that DuckDB gets are said to have been received.
const NOW_US: i64 = 1_795_521_700_000_000;
/// Senders that send as fast as they can at once.
const FLOODING: usize = 4;

#[derive(Debug, Parser)]
#[command(about = "rows a second through the whole write path, and DuckDB's sorted COPY beside it")]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Which events
    #[arg(long, value_enum, default_value_t = DataSet::Lean)]
    events: DataSet,
    /// How many of them
    #[arg(long, default_value_t = 2_000_000)]
    rows: usize,
    /// Rows of one batch
    #[arg(long, default_value_t = 4_096)]
    batch_rows: usize,
    /// Bailiwick and DuckDB take turns so often
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long the paced part and the overload part last each, seconds
    #[arg(long, default_value_t = 20)]
    length_s: u64,
    /// The events are drawn from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the bucket is made
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// Ingest's `memory_bytes`, MiB
    #[arg(long, default_value_t = 2048)]
    memory_mib: usize,
}

/// What one process of the bench does; the bench starts these itself.
#[derive(Debug, Subcommand)]
#[command(hide = true)]
enum Role {
    Serve {
        bucket: PathBuf,
        tenants: PathBuf,
        memory_mib: usize,
    },
    Send {
        url: String,
        name: String,
        file: PathBuf,
        #[arg(long)]
        length_s: Option<u64>,
        #[arg(long)]
        rows_per_s: Option<f64>,
        #[arg(long)]
        sent: Option<PathBuf>,
    },
    Watch {
        bucket: PathBuf,
        length_s: u64,
        seen: PathBuf,
    },
}

/// The folder of one run and what is in it.
struct Bench {
    arguments: Arguments,
    folder: tempfile::TempDir,
    buckets: usize,
    filled: BTreeSet<String>,
    wire_bytes: usize,
}

/// What one turn of either took.
#[derive(Debug, Default)]
struct Turns {
    rows_core: Vec<f64>,
    rows_wall: Vec<f64>,
    bytes: f64,
}

fn main() -> Outcome<()> {
    let mut arguments = Arguments::parse();
    let Some(role) = arguments.role.take() else { return bench(arguments) };
    tokio::runtime::Runtime::new()?.block_on(role.run())
}

#[allow(clippy::print_stdout, reason = "what a bench is for")]
fn bench(arguments: Arguments) -> Outcome<()> {
    let mut bench = Bench::prepare(arguments)?;
    let rows = bench.arguments.rows;
    println!(
        "{}: {rows} events, {} of {} columns filled, {:.0} B an event on the wire",
        bench.arguments.events.name(),
        bench.filled.len(),
        Table::Syscalls.columns().count(),
        bench.wire_bytes as f64 / rows as f64,
    );
    let (mut ours, mut same, mut filled) = (Turns::default(), Turns::default(), Turns::default());
    let (mut sending, mut peak_mib, mut files) = (Vec::new(), 0.0, 0);
    let only_filled = bench.filled.iter().cloned().collect::<Vec<_>>().join(", ");
    for _ in 0..bench.arguments.rounds.max(1) {
        let (served, sent) = bench.unpaced()?;
        let wall_s = number(&sent, "wall_s");
        ours.add(rows, number(&served, "cpu_s"), wall_s, number(&served, "bytes"));
        sending.push(rows as f64 / number(&sent, "cpu_s").max(0.01));
        peak_mib = f64::max(peak_mib, number(&served, "peak_bytes") / MIB);
        files = number(&served, "files") as usize;
        for (turns, columns) in [(&mut same, "*"), (&mut filled, only_filled.as_str())] {
            match bench.duckdb(columns) {
                Ok(copied) => turns.add(rows, copied.cpu_s, copied.wall_s, copied.bytes as f64),
                Err(reason) => println!("skipped: DuckDB's part, {reason}"),
            }
        }
    }
    ours.print("bailiwick, wire to committed");
    same.print("duckdb, sort and COPY, same columns");
    filled.print("duckdb, sort and COPY, filled columns");
    ours.print_ratio("bailiwick / duckdb, same columns", &same);
    ours.print_ratio("bailiwick / duckdb, filled columns", &filled);
    let fastest = sending.iter().copied().fold(0.0, f64::max);
    println!("the sender, not counted above, {fastest:>9.0} rows/s/core");
    println!("{files} files, peak memory {peak_mib:.0} MiB");
    bench.paced(percentile(&mut ours.rows_wall.clone(), 0.5) / 2.0)?;
    bench.overload()
}

const MIB: f64 = (1 << 20) as f64;

fn number(answer: &Value, name: &str) -> f64 {
    answer[name].as_f64().unwrap_or(f64::NAN)
}

// === impl Role ===

impl Role {
    async fn run(self) -> Outcome<()> {
        match self {
            Self::Serve { bucket, tenants, memory_mib } => {
                serve::run(&bucket, &tenants, memory_mib << 20).await
            }
            Self::Send { url, name, file, length_s, rows_per_s, sent } => {
                let pace = match (length_s.map(Duration::from_secs), rows_per_s) {
                    (Some(length), Some(rows_per_s)) => Pace::Rate { rows_per_s, length },
                    (Some(length), None) => Pace::Flood { length },
                    (None, _) => Pace::Once,
                };
                send::run(&url, &name, &file, pace, sent.as_deref()).await
            }
            Self::Watch { bucket, length_s, seen } => {
                watch::run(&bucket, Duration::from_secs(length_s), &seen).await
            }
        }
    }
}

// === impl Bench ===

impl Bench {
    /// Makes the batches as they go over the wire, and the same rows as a file
    /// for DuckDB.
    fn prepare(arguments: Arguments) -> Outcome<Self> {
        std::fs::create_dir_all(&arguments.dir)?;
        let folder = tempfile::tempdir_in(&arguments.dir)?;
        let tenants = arguments.events.tenants();
        std::fs::write(folder.path().join("tenants.yaml"), &tenants)?;
        let mapping = tenants::Mapping::parse("bench", &tenants)?;
        let mut events = Events::new(arguments.events, arguments.seed);
        let file = std::fs::File::create(folder.path().join("rows.parquet"))?;
        let mut writer = ArrowWriter::try_new(file, Table::Syscalls.public_schema(), None)?;
        let mut recorder = Recorder::create(&folder.path().join("batches"))?;
        let (mut filled, mut wire_bytes) = (BTreeSet::new(), 0);
        for first in (0..arguments.rows).step_by(arguments.batch_rows) {
            let rows = arguments.batch_rows.min(arguments.rows - first);
            let batch = events.batch(rows)?;
            let received = stamp::stamp(Table::Syscalls, &batch, &mapping, NOW_US + first as i64 * 100)?;
            for (field, column) in received.batch.schema_ref().fields().iter().zip(received.batch.columns()) {
                if column.null_count() < rows {
                    filled.insert(field.name().clone());
                }
            }
            writer.write(&to_public(Table::Syscalls, &received.batch)?)?;
            let bytes = wire::encode(&batch)?;
            wire_bytes += bytes.len();
            recorder.push(&WireBatch { rows, bytes })?;
        }
        writer.close()?;
        recorder.finish()?;
        Ok(Self { arguments, folder, buckets: 0, filled, wire_bytes })
    }

    fn path(&self, name: &str) -> String {
        Path::new(self.folder.path()).join(name).display().to_string()
    }

    /// Ingest over a bucket that has nothing in it, and where both are.
    fn serve(&mut self) -> Outcome<(Child, String, String)> {
        // The one before is not looked at any more.
        let _ = std::fs::remove_dir_all(self.path(&format!("bucket-{}", self.buckets)));
        self.buckets += 1;
        let bucket = self.path(&format!("bucket-{}", self.buckets));
        let memory_mib = self.arguments.memory_mib.to_string();
        let mut serving = Child::start(&["serve", &bucket, &self.path("tenants.yaml"), &memory_mib])?;
        let url = serving.answer()?["url"].as_str().ok_or("no url")?.to_owned();
        Ok((serving, url, bucket))
    }

    /// Sends everything once, as fast as it is taken, until it is committed.
    fn unpaced(&mut self) -> Outcome<(Value, Value)> {
        let (mut serving, url, _) = self.serve()?;
        let mut sending = Child::start(&["send", &url, "bench", &self.path("batches")])?;
        let sent = sending.answer()?;
        sending.wait()?;
        serving.finish();
        let served = serving.answer()?;
        if number(&served, "rows") as usize != self.arguments.rows || number(&served, "left_in_wal") > 0.0 {
            return Err(format!("not all rows are committed: {served}").into());
        }
        serving.wait()?;
        Ok((served, sent))
    }

    fn duckdb(&self, columns: &str) -> Result<duckdb::Copied, String> {
        let order = ["tenant", "date"].iter().chain(sort::order_of(Table::Syscalls));
        let order: Vec<String> = order.map(|column| format!("{column} NULLS FIRST")).collect();
        let (source, target) = (self.path("rows.parquet"), self.path("duckdb.parquet"));
        duckdb::sorted_copy(source.as_ref(), target.as_ref(), &order.join(", "), columns)
    }

    /// Sends at a rate, while somebody looks at the table.
    #[allow(clippy::print_stdout, reason = "what a bench is for")]
    fn paced(&mut self, rows_per_s: f64) -> Outcome<()> {
        let (serving, url, bucket) = self.serve()?;
        let (length, longer) =
            (self.arguments.length_s.to_string(), (self.arguments.length_s + 3).to_string());
        let (sent, seen) = (self.path("sent"), self.path("seen"));
        let watching = Child::start(&["watch", &bucket, &longer, &seen])?;
        let options =
            [format!("--length-s={length}"), format!("--rows-per-s={rows_per_s}"), format!("--sent={sent}")];
        let mut sending = Child::start(&[
            "send",
            &url,
            "bench",
            &self.path("batches"),
            &options[0],
            &options[1],
            &options[2],
        ])?;
        let acked = sending.answer()?;
        sending.wait()?;
        watching.wait()?;
        drop(serving);
        let sent: Vec<(i64, usize)> = serde_json::from_slice(&std::fs::read(sent)?)?;
        let seen: Vec<(i64, usize)> = serde_json::from_slice(&std::fs::read(seen)?)?;
        let mut delays = watch::delays_ms(&sent, &seen);
        println!(
            "half load ({rows_per_s:.0} rows/s): durable ack p50 {:.1} ms, p99 {:.1} ms of {} batches",
            number(&acked, "ack_p50_ms"),
            number(&acked, "ack_p99_ms"),
            number(&acked, "batches"),
        );
        println!(
            "half load: visible p50 {:.0} ms, p99 {:.0} ms, {} batches of {} seen in {} looks",
            percentile(&mut delays, 0.5),
            percentile(&mut delays, 0.99),
            delays.len(),
            sent.len(),
            seen.len(),
        );
        Ok(())
    }

    /// Several senders that send whatever is taken.
    #[allow(clippy::print_stdout, reason = "what a bench is for")]
    fn overload(&mut self) -> Outcome<()> {
        let (mut serving, url, _) = self.serve()?;
        let length = format!("--length-s={}", self.arguments.length_s);
        let flood = |number: usize| {
            Child::start(&["send", &url, &format!("bench-{number}"), &self.path("batches"), &length])
        };
        let mut senders = (0..FLOODING).map(flood).collect::<Outcome<Vec<_>>>()?;
        let mut rows = 0.0;
        for sender in &mut senders {
            rows += number(&sender.answer()?, "rows");
        }
        serving.finish();
        let served = serving.answer()?;
        println!(
            "overload: {FLOODING} senders, {rows:.0} rows acknowledged in {} s, {:.0} of them committed; peak memory {:.0} MiB, \
             of {} MiB that it may take",
            self.arguments.length_s,
            number(&served, "rows"),
            number(&served, "peak_bytes") / MIB,
            self.arguments.memory_mib,
        );
        Ok(())
    }
}

// === impl Turns ===

impl Turns {
    fn add(&mut self, rows: usize, cpu_s: f64, wall_s: f64, bytes: f64) {
        self.rows_core.push(rows as f64 / cpu_s);
        self.rows_wall.push(rows as f64 / wall_s);
        self.bytes = bytes / rows as f64;
    }

    fn best(&self) -> f64 {
        self.rows_core.iter().copied().fold(0.0, f64::max)
    }

    fn median(&self) -> f64 {
        percentile(&mut self.rows_core.clone(), 0.5)
    }

    #[allow(clippy::print_stdout, reason = "what a bench is for")]
    fn print(&self, who: &str) {
        println!(
            "{who:<38} {:>8.0} rows/s/core best, {:>8.0} median  {:>5.1} B/event",
            self.best(),
            self.median(),
            self.bytes
        );
    }

    #[allow(clippy::print_stdout, reason = "what a bench is for")]
    fn print_ratio(&self, who: &str, peer: &Self) {
        println!(
            "{who:<38} {:>8.2} best, {:.2} median, {:.2} B/event",
            self.best() / peer.best(),
            self.median() / peer.median(),
            self.bytes / peer.bytes
        );
    }
}
