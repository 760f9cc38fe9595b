//! The collector under a paced load on the processors that it shares with it: what
//! of the calls made are rows, what losses, and what it used for that.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bailiwick_benches::calls::{Made, Mix, Stage};
use bailiwick_benches::child::Child;
use bailiwick_benches::receive::{self, Found};
use bailiwick_benches::{Outcome, collector, cpu};
use clap::{Parser, Subcommand};
use serde_json::Value;

/// How often a program is started.
const PROGRAM_EVERY: Duration = Duration::from_millis(5);
/// Kinds of event, what counts them in `losses`, and their event types.
const KINDS: [(&str, &str, &[&str]); 5] = [
    ("opens", "open", &["openat", "open", "openat2", "creat"]),
    ("connects", "connect", &["connect"]),
    ("forks", "fork", &["clone", "clone3", "fork", "vfork"]),
    ("execs", "exec", &["execve", "execveat"]),
    ("exits", "exit", &["procexit"]),
];

#[derive(Debug, Parser)]
#[command(about = "rows, repeats and losses of a paced load, and what the collector used for it; as root")]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Events a second of each phase, a comma between
    #[arg(long, value_delimiter = ',', default_value = "200000,50000")]
    events: Vec<u64>,
    /// How long the load runs alone before each phase, seconds
    #[arg(long, default_value_t = 5)]
    alone_s: u64,
    /// How long each phase lasts, seconds
    #[arg(long, default_value_t = 20)]
    length_s: u64,
    /// Threads that make calls
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Of the opens, percent that have a name that was never used before
    #[arg(long, default_value_t = 50)]
    distinct_percent: u64,
    /// Where spool and files are made; in memory, so that it is not the disk that is measured
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
    /// Fields of `[collector]` that differ from their defaults, as JSON
    #[arg(long, default_value = "{}")]
    settings: String,
}

/// What one process of the bench does; the bench starts these itself.
#[derive(Debug, Subcommand)]
#[command(hide = true)]
enum Role {
    Collector { spool: PathBuf, settings: String },
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    match &arguments.role {
        Some(Role::Collector { spool, settings }) => collector::run(spool, settings, false).await,
        None => bench(&arguments).await,
    }
}

#[allow(clippy::print_stdout, reason = "what a bench is for")]
async fn bench(arguments: &Arguments) -> Outcome<()> {
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    println!("{profile} profile; {} processors", std::thread::available_parallelism()?);
    for events in &arguments.events {
        print!("{}", phase(arguments, *events).await?);
    }
    Ok(())
}

async fn phase(arguments: &Arguments, events: u64) -> Outcome<String> {
    let folder = tempfile::Builder::new().prefix("bailiwick-load-").tempdir_in(&arguments.dir)?;
    let spool = folder.path().join("spool");
    let stage = Stage::new(folder.path())?;
    let alone = offered(&stage, arguments, events, arguments.alone_s)?;
    let path = spool.to_str().ok_or("no UTF-8")?;
    let mut child = Child::start(&["collector", path, &arguments.settings])?;
    let ready = child.answer()?;
    if ready.get("ready").is_none() {
        return Err(format!("the collector does not start: {ready}").into());
    }
    let before = processor_times()?;
    let offer = offered(&stage, arguments, events, arguments.length_s)?;
    let [busy, all] = processor_times()?;
    let busy = (busy - before[0]) as f64 / (all - before[1]).max(1) as f64 * 100.0;
    child.finish();
    let used = child.answer()?;
    child.wait()?;
    let found = receive::read(&spool, offer.threads.clone()).await?;
    let mut text = format!("\n{events} events/s asked for, by {} threads\n", arguments.threads);
    writeln!(text, "the load alone:   {}", alone.told())?;
    writeln!(text, "with a collector: {}", offer.told())?;
    text.push_str(&told(offer.made, &found)?);
    text.push_str(&cost(offer.made, &found, &used, offer.took, busy)?);
    Ok(text)
}

/// What a load did.
struct Offer {
    made: Made,
    threads: Vec<i64>,
    took: Duration,
    /// The load's own processor time.
    cpu: Duration,
}

impl Offer {
    fn told(&self) -> String {
        let (took, cpu) = (self.took.as_secs_f64(), self.cpu.as_secs_f64());
        let events = self.made.events() as f64;
        format!(
            "{:.0} events/s in {took:.1} s; its own processor time is {:.0} % of a core, {:.2} µs an event",
            events / took,
            cpu / took * 100.0,
            cpu / events * 1e6
        )
    }
}

/// Runs the mix on its threads.
fn offered(stage: &Stage, arguments: &Arguments, events: u64, length_s: u64) -> Outcome<Offer> {
    let threads = arguments.threads.max(1);
    let mix = Mix { events: events / threads as u64, distinct_percent: arguments.distinct_percent };
    let length = Duration::from_secs(length_s);
    let (began, before) = (Instant::now(), cpu::used().ok_or("no procfs")?);
    let made = std::thread::scope(|scope| {
        let one = |thread| scope.spawn(move || stage.offer(thread, mix, length));
        let mut running: Vec<_> = (0..threads).map(one).collect();
        running.push(scope.spawn(move || stage.start_programs(PROGRAM_EVERY, length)));
        let done = running.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked"));
        done.map(|made| Ok(made??)).collect::<Outcome<Vec<(Made, i64)>>>()
    })?;
    let (took, used) = (began.elapsed(), cpu::used().ok_or("no procfs")?);
    let (made, threads): (Vec<Made>, Vec<i64>) = made.into_iter().unzip();
    let made = made.into_iter().fold(Made::default(), Made::and);
    Ok(Offer { made, threads, took, cpu: used.saturating_sub(before) })
}

/// Calls made against what is known of them, kind by kind.
fn told(made: Made, found: &Found) -> Outcome<String> {
    let mut text = format!(
        "{:<9} {:>10} = {:>10} rows + {:>10} repeats + {:>9} sampled + {:>8} lost\n",
        "", "made", "", "", "", ""
    );
    let made = [made.opens, made.connects, made.programs, made.programs, made.programs];
    for ((kind, class, types), made) in KINDS.into_iter().zip(made) {
        let sum = |counts: &std::collections::BTreeMap<String, u64>| {
            types.iter().filter_map(|name| counts.get(*name)).sum::<u64>()
        };
        let (rows, repeats) = (sum(&found.rows), sum(&found.repeats));
        let of_class =
            |counts: &std::collections::BTreeMap<String, u64>| counts.get(class).copied().unwrap_or(0);
        let (sampled, lost) = (of_class(&found.sampled), of_class(&found.lost));
        let verdict = match (rows + repeats + sampled + lost) as i128 - made as i128 {
            0 => "exact".to_owned(),
            // Losses are not told by process: some may be of others.
            off => format!("off by {off:+}"),
        };
        writeln!(
            text,
            "{kind:<9} {made:>10} = {rows:>10} rows + {repeats:>10} repeats + {sampled:>9} sampled + {lost:>8} lost   {verdict}"
        )?;
    }
    Ok(text)
}

fn cost(made: Made, found: &Found, used: &Value, took: Duration, busy: f64) -> Outcome<String> {
    let number = |name: &str| used[name].as_f64().ok_or_else(|| format!("no {name} in {used}"));
    let (cpu_s, peak) = (number("cpu_s")?, number("peak_bytes")?);
    let events = made.events() as f64;
    let mut text = String::new();
    writeln!(
        text,
        "collector: {cpu_s:.2} s of processor time in {:.1} s, {:.1} % of a core; {:.2} µs an event, {:.2} % of a core for 10,000 events/s",
        took.as_secs_f64(),
        cpu_s / took.as_secs_f64() * 100.0,
        cpu_s / events * 1e6,
        cpu_s / events * 1e6
    )?;
    writeln!(
        text,
        "peak memory {:.1} MiB; both processors {busy:.0} % busy; {:.1} B a row in the spool; {} rows of all processes; lost {}",
        peak / f64::from(1 << 20),
        found.bytes as f64 / found.all_rows.max(1) as f64,
        found.all_rows,
        used["lost"]
    )?;
    Ok(text)
}

/// Ticks in which the machine's processors did something, and all ticks.
fn processor_times() -> Outcome<[u64; 2]> {
    let stat = std::fs::read_to_string(Path::new("/proc/stat"))?;
    let line = stat.lines().next().ok_or("no processors")?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).map_while(|tick| tick.parse().ok()).collect();
    // User, nice, system, idle, waiting, interrupts, soft ones, stolen.
    let all: u64 = ticks.iter().take(8).sum();
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    Ok([all - idle, all])
}
