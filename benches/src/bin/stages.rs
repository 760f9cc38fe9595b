//! The write path's pure stages on one thread, without gRPC, runtime and disk:
//! where its processor time goes, and the bytes that each column takes.

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::time::Duration;

use arrow::array::RecordBatch;
use bailiwick_benches::cpu;
use bailiwick_benches::events::{DataSet, Events};
use bailiwick_ingest::tenants::Mapping;
use bailiwick_ingest::{encode, sort, stamp};
use bailiwick_lake::EncodedRows;
use bailiwick_proto::{Table, wire};
use bytes::Bytes;
use clap::Parser;
use parquet::file::reader::{FileReader, SerializedFileReader};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// When ingest is said to have received the batches.
const NOW_US: i64 = 1_795_521_700_000_000;

#[derive(Debug, Parser)]
#[command(about = "rows a second and core of each stage of the write path")]
struct Arguments {
    /// Which events
    #[arg(long, value_enum, default_value_t = DataSet::Lean)]
    events: DataSet,
    /// How many of them, sorted at once
    #[arg(long, default_value_t = 500_000)]
    rows: usize,
    /// Rows of one batch
    #[arg(long, default_value_t = 4_096)]
    batch_rows: usize,
    /// The fastest of so many runs counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The events are drawn from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the bytes of each column too
    #[arg(long)]
    columns: bool,
}

/// Processor time of each stage, the best of all rounds.
#[derive(Default)]
struct Stages {
    best: BTreeMap<&'static str, Duration>,
}

#[allow(clippy::print_stdout, reason = "what a bench is for")]
fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    let mapping = Mapping::parse("bench", &arguments.events.tenants())?;
    let mut events = Events::new(arguments.events, arguments.seed);
    let mut sent = Vec::new();
    for first in (0..arguments.rows).step_by(arguments.batch_rows) {
        let batch = events.batch(arguments.batch_rows.min(arguments.rows - first))?;
        sent.push(wire::encode(&batch)?);
    }
    let (mut stages, mut files) = (Stages::default(), Vec::new());
    for _ in 0..arguments.rounds.max(1) {
        files = stages.round(&sent, &mapping)?;
    }
    let rate = |time: Duration| arguments.rows as f64 / time.as_secs_f64().max(1e-9);
    for (stage, time) in &stages.best {
        println!("{stage:<24} {:>9.0} rows/s/core", rate(*time));
    }
    println!("{:<24} {:>9.0} rows/s/core", "all", rate(stages.best.values().sum()));
    let bytes = |length: usize| length as f64 / arguments.rows as f64;
    println!("wire    {:>7.1} B/event", bytes(sent.iter().map(Vec::len).sum()));
    println!("parquet {:>7.1} B/event, {} files", bytes(files.iter().map(Bytes::len).sum()), files.len());
    if arguments.columns {
        for (column, length) in by_column(&files)? {
            println!("  {column:<40} {:>8.3} B/event", bytes(length));
        }
    }
    Ok(())
}

/// Bytes by column, the largest first, and what is none's.
fn by_column(files: &[Bytes]) -> Outcome<Vec<(String, usize)>> {
    let mut lengths: BTreeMap<String, usize> = BTreeMap::new();
    for file in files {
        let mut rest = file.len();
        for group in SerializedFileReader::new(file.clone())?.metadata().row_groups() {
            for column in group.columns() {
                let length = column.compressed_size() as usize;
                let blooms = column.bloom_filter_length().unwrap_or(0) as usize;
                *lengths.entry(column.column_path().string()).or_default() += length;
                *lengths.entry("(bloom filters)".to_owned()).or_default() += blooms;
                rest -= length + blooms;
            }
        }
        *lengths.entry("(footer and page indexes)".to_owned()).or_default() += rest;
    }
    let mut lengths: Vec<_> = lengths.into_iter().collect();
    lengths.sort_by_key(|(_, length)| std::cmp::Reverse(*length));
    Ok(lengths)
}

// === impl Stages ===

impl Stages {
    fn round(&mut self, sent: &[Vec<u8>], mapping: &Mapping) -> Outcome<Vec<Bytes>> {
        let schema = Table::Syscalls.wire_schema();
        let decode = |bytes: &Vec<u8>| wire::decode(bytes, crc32c::crc32c(bytes), &schema);
        let rows: Vec<RecordBatch> =
            self.timed("1 decode", || sent.iter().map(decode).collect::<Result<_, _>>())?;
        let stamped = |rows: &RecordBatch| Ok(stamp::stamp(Table::Syscalls, rows, mapping, NOW_US)?.batch);
        let stamped: Vec<RecordBatch> =
            self.timed("2 stamp", || rows.iter().map(stamped).collect::<Outcome<_>>())?;
        // As many batches as a WAL object has at this rate.
        let wal = |batches: &[RecordBatch]| EncodedRows::encode(Table::Syscalls, batches);
        self.timed("3 wal", || stamped.chunks(8).map(wal).collect::<Result<Vec<_>, _>>().map(black_box))?;
        let partitions = self.timed("4 sort", || sort::partitions(Table::Syscalls, &stamped))?;
        let file = |partition: &sort::Partition| encode::parquet(Table::Syscalls, &partition.rows);
        let files: Vec<_> =
            self.timed("5 parquet", || partitions.iter().map(file).collect::<Result<_, _>>())?;
        Ok(files.into_iter().map(Bytes::from).collect())
    }

    fn timed<T>(&mut self, stage: &'static str, work: impl FnOnce() -> T) -> T {
        let before = cpu::used().unwrap_or_default();
        let done = work();
        let took = cpu::used().unwrap_or_default().saturating_sub(before);
        let best = self.best.entry(stage).or_insert(took);
        *best = took.min(*best);
        done
    }
}
