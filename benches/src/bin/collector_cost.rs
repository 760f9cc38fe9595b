//! What a call costs more because somebody watches: Bailiwick, and others, in turn
//! with nobody, in one run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bailiwick_benches::calls::{self, Load, Stage};
use bailiwick_benches::child::Child;
use bailiwick_benches::peers::{Peer, Running};
use bailiwick_benches::percentile::percentile;
use bailiwick_benches::{Outcome, collector};
use clap::{Parser, Subcommand};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// Where the load runs; who watches is where the scheduler puts it.
const PROCESSOR: usize = 0;
/// Rest between two windows, so that whoever watches has read what it was sent.
const REST: Duration = Duration::from_millis(45);

#[derive(Debug, Parser)]
#[command(about = "nanoseconds that watching adds to a call, beside bpftrace and libbpf-tools; as root")]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Everybody takes a turn so often
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Windows of each load in one turn
    #[arg(long, default_value_t = 8)]
    windows: usize,
    /// Orders of turns are drawn from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Fields of `[collector]` that differ from their defaults, as JSON
    #[arg(long, default_value = "{}")]
    settings: String,
    /// Without the peers
    #[arg(long)]
    alone: bool,
    /// Where spool and files are made
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
}

/// What one process of the bench does; the bench starts these itself.
#[derive(Debug, Subcommand)]
#[command(hide = true)]
enum Role {
    Collector {
        spool: PathBuf,
        settings: String,
        #[arg(long)]
        only_processes: bool,
    },
}

/// Who watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Watcher {
    Nobody,
    Bailiwick,
    ProgramsOnly,
    Peer(Peer),
}

/// While it lives, somebody watches.
enum Watching {
    Nobody,
    Collector(Child),
    Peer(#[allow(dead_code, reason = "held for its end")] Running),
}

/// Of each load the least nanoseconds of any window, and each turn's median.
#[derive(Debug, Default)]
struct Times {
    least: BTreeMap<Load, f64>,
    medians: BTreeMap<Load, Vec<f64>>,
}

/// Everything measured, by who watched.
#[derive(Debug, Default)]
struct Results {
    times: BTreeMap<Watcher, Times>,
    /// Why somebody could not watch, and what was lost while somebody did.
    notes: BTreeMap<Watcher, String>,
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    match &arguments.role {
        Some(Role::Collector { spool, settings, only_processes }) => {
            collector::run(spool, settings, *only_processes).await
        }
        None => bench(&arguments),
    }
}

#[allow(clippy::print_stdout, reason = "what a bench is for")]
fn bench(arguments: &Arguments) -> Outcome<()> {
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    println!("{profile} profile, {} rounds of {} windows", arguments.rounds, arguments.windows);
    let mut watchers = vec![Watcher::Nobody, Watcher::Bailiwick, Watcher::ProgramsOnly];
    watchers.extend(Peer::ALL.into_iter().filter(|_| !arguments.alone).map(Watcher::Peer));
    let mut random = StdRng::seed_from_u64(arguments.seed);
    let mut results = Results::default();
    for _ in 0..arguments.rounds.max(1) {
        watchers.shuffle(&mut random);
        for watcher in &watchers {
            results.turn(*watcher, arguments)?;
        }
    }
    watchers.sort();
    print!("{}", results.told(&watchers));
    Ok(())
}

/// Windows of every load, in a thread that stays on its processor: a process that
/// is started from it would have to stay there too.
fn measured(stage: &Stage, windows: usize) -> Outcome<Vec<(Load, Vec<f64>)>> {
    let work = || {
        calls::pin(PROCESSOR)?;
        let mut all = Vec::new();
        for load in Load::ALL {
            // Nothing is cold when it counts.
            stage.window(load)?;
            let mut times = Vec::new();
            for _ in 0..windows.max(1) {
                std::thread::sleep(REST);
                times.push(stage.window(load)?);
            }
            all.push((load, times));
        }
        Ok(all)
    };
    std::thread::scope(|scope| scope.spawn(work).join().map_err(|_| "the load panicked")?)
}

// === impl Watcher ===

impl Watcher {
    fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Bailiwick => "Bailiwick",
            Self::ProgramsOnly => "Bailiwick, programs only",
            Self::Peer(peer) => peer.name(),
        }
    }

    fn start(self, folder: &Path, arguments: &Arguments) -> Outcome<Watching> {
        match self {
            Self::Nobody => return Ok(Watching::Nobody),
            Self::Peer(peer) => return Ok(Watching::Peer(peer.start(folder)?)),
            Self::Bailiwick | Self::ProgramsOnly => {}
        }
        let spool = folder.join("spool");
        let mut role = vec!["collector", spool.to_str().ok_or("no UTF-8")?, &arguments.settings];
        role.extend((self == Self::ProgramsOnly).then_some("--only-processes"));
        let mut child = Child::start(&role)?;
        let ready = child.answer()?;
        match ready.get("ready") {
            Some(_) => Ok(Watching::Collector(child)),
            None => Err(ready.to_string().into()),
        }
    }
}

// === impl Results ===

impl Results {
    /// Lets one watch while every load runs; who cannot is noted.
    fn turn(&mut self, watcher: Watcher, arguments: &Arguments) -> Outcome<()> {
        let folder = tempfile::Builder::new().prefix("bailiwick-cost-").tempdir_in(&arguments.dir)?;
        let stage = Stage::new(folder.path())?;
        let watching = match watcher.start(folder.path(), arguments) {
            Ok(watching) => watching,
            Err(error) => {
                self.notes.insert(watcher, error.to_string());
                return Ok(());
            }
        };
        let times = self.times.entry(watcher).or_default();
        for (load, mut windows) in measured(&stage, arguments.windows)? {
            let least = windows.iter().copied().fold(f64::INFINITY, f64::min);
            let before = times.least.entry(load).or_insert(least);
            *before = before.min(least);
            times.medians.entry(load).or_default().push(percentile(&mut windows, 0.5));
        }
        if let Watching::Collector(mut child) = watching {
            child.finish();
            let used = child.answer()?;
            child.wait()?;
            if used["lost"].as_object().is_some_and(|lost| !lost.is_empty()) {
                // A call whose event is lost costs less: that would be no fair figure.
                self.notes.insert(watcher, format!("lost {}", used["lost"]));
            }
        }
        Ok(())
    }

    fn told(&self, watchers: &[Watcher]) -> String {
        let mut lines = Vec::new();
        for load in Load::ALL {
            let nobody = self.of(Watcher::Nobody, load).unwrap_or((0.0, Vec::new()));
            let base = percentile(&mut nobody.1.clone(), 0.5);
            lines.push(format!(
                "\n{}: least {:.0} ns, median {base:.0} ns with nobody watching",
                load.name(),
                nobody.0
            ));
            lines.push(format!(
                "  {:<26} {:>10} {:>13} {:>8}   {:>16}",
                "", "least", "median", "added", "of Bailiwick's"
            ));
            let own = self.added(Watcher::Bailiwick, load, &nobody);
            for watcher in watchers.iter().filter(|watcher| **watcher != Watcher::Nobody) {
                let Some((least, median)) = self.added(*watcher, load, &nobody) else { continue };
                let share = median / base * 100.0;
                let ratio = own.map_or(0.0, |own| least / own.0);
                lines.push(format!(
                    "  {:<26} {least:>+7.0} ns {median:>+10.0} ns {share:>+7.1} %   {ratio:>14.1} x",
                    watcher.name()
                ));
            }
        }
        for (watcher, note) in &self.notes {
            lines.push(format!("\n{}: {note}", watcher.name()));
        }
        lines.join("\n") + "\n"
    }

    fn of(&self, watcher: Watcher, load: Load) -> Option<(f64, Vec<f64>)> {
        let times = self.times.get(&watcher)?;
        Some((*times.least.get(&load)?, times.medians.get(&load)?.clone()))
    }

    /// What was added: least to least, and the median of the differences of each round.
    fn added(&self, watcher: Watcher, load: Load, nobody: &(f64, Vec<f64>)) -> Option<(f64, f64)> {
        let (least, medians) = self.of(watcher, load)?;
        let mut differences: Vec<f64> =
            medians.iter().zip(&nobody.1).map(|(with, without)| with - without).collect();
        Some((least - nobody.0, percentile(&mut differences, 0.5)))
    }
}
