//! How fast Falco's official rules run, on one thread, and beside them `sysdig`.
//!
//! ```text
//!   events (seeded) ─▶ batches ─▶ all rules ─▶ events/s        what one more rule costs
//!
//!   one capture ─┬─▶ rows ──────▶ the conditions that sysdig takes ─▶ events/s ─┐
//!                └─▶ sysdig -r ─▶ the same conditions, joined by or ─▶ events/s ┴─▶ ratio
//! ```
//!
//! Batches are made before each is timed. `sysdig` also reads and parses the
//! capture, so it is run without a filter too, and both differences are printed.

mod capture;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use bailiwick_benches::events::{DataSet, Events};
use bailiwick_benches::{Outcome, cpu, official};
use bailiwick_rules::{Compiled, Matching, RuleSet, RuleText, Source, load};
use clap::Parser;

#[derive(Debug, Parser)]
#[command(about = "events a second through Falco's official rules, beside sysdig")]
struct Arguments {
    /// A folder with Falco's rule files
    #[arg(long, default_value = "../shared/corpora/falco/rules_official")]
    rules: PathBuf,
    /// A capture that sysdig reads, with its rows beside it as .jsonl
    #[arg(long, default_value = "../shared/corpora/falco/captures/psp_run_as_user_0_container.scap")]
    capture: PathBuf,
    /// Which events
    #[arg(long, value_enum, default_value_t = DataSet::Full)]
    events: DataSet,
    /// How many of them
    #[arg(long, default_value_t = 5_000_000)]
    rows: usize,
    /// Rows of one batch
    #[arg(long, default_value_t = 8_192)]
    batch_rows: usize,
    /// How often the capture's events are repeated
    #[arg(long, default_value_t = 300)]
    repeats: usize,
    /// The events are drawn from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// So many batches are made before they are timed, which is long against the
/// steps in which the kernel counts.
const BATCHES_AT_ONCE: usize = 32;

#[allow(clippy::print_stdout, reason = "what a bench is for")]
fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    let rules = official::rules(&arguments.rules)?;
    let compiled = rules.compile(Source::Syscall);
    println!("{} rules, {} distinct comparisons", compiled.len(), compiled.leaf_count());
    let (time, matches) = generated(&compiled, &arguments)?;
    let rate = arguments.rows as f64 / time.as_secs_f64();
    println!(
        "{} {} events: {rate:>10.0} events/s, {matches} matches",
        arguments.rows,
        arguments.events.name()
    );
    one_more_rule(&rules, &arguments)?;
    beside_sysdig(&rules, &arguments)
}

/// The time that the rules took for every event, and how often one matched.
fn generated(compiled: &Compiled, arguments: &Arguments) -> Outcome<(Duration, usize)> {
    let mut events = Events::new(arguments.events, arguments.seed);
    let (mut time, mut matches, mut left) = (Duration::ZERO, 0, arguments.rows);
    while left > 0 {
        let mut batches = Vec::new();
        while left > 0 && batches.len() < BATCHES_AT_ONCE {
            let rows = arguments.batch_rows.min(left);
            batches.push(events.batch(rows)?);
            left -= rows;
        }
        let (taken, found) = timed(compiled, &batches)?;
        time += taken;
        matches += found;
    }
    Ok((time, matches))
}

/// Processor time, so that whoever else is busy does not count.
fn timed(compiled: &Compiled, batches: &[RecordBatch]) -> Outcome<(Duration, usize)> {
    let start = cpu::used_by_thread().ok_or("the kernel does not count a thread's time")?;
    let found = batches.iter().map(|batch| compiled.matches(batch, Matching::First).len()).sum();
    let end = cpu::used_by_thread().ok_or("the kernel does not count a thread's time")?;
    Ok((end.saturating_sub(start), found))
}

/// Official rules again and again under other names, each with a comparison
/// that no other has, as a team's own rules would.
fn many(rules: &RuleSet, count: usize) -> Outcome<RuleSet> {
    let text = rules.rules.iter().cycle().take(count).enumerate().map(|(index, rule)| {
        let condition = format!("({}) and not proc.name = team-{index}", rule.condition);
        let output = serde_json::json!({
            "rule": format!("{} {index}", rule.name), "desc": "d", "condition": condition, "output": "o",
            "priority": "INFO",
        });
        format!("- {output}\n")
    });
    let name = "many.yaml".to_owned();
    let loaded = load(&[RuleText { name, text: text.collect() }]);
    match loaded.diagnostics.iter().find(|found| found.is_error()) {
        Some(error) => Err(error.to_string().into()),
        None => Ok(loaded.rules),
    }
}

#[allow(clippy::print_stdout, reason = "what a bench is for")]
fn one_more_rule(rules: &RuleSet, arguments: &Arguments) -> Outcome<()> {
    let rows = arguments.rows.min(100 * arguments.batch_rows);
    let fewer = Arguments { rows, ..Arguments::parse() };
    let mut before: Option<(usize, f64)> = None;
    for count in [rules.rules.len(), 500, 1_000] {
        let rules = many(rules, count)?;
        let start = Instant::now();
        let compiled = rules.compile(Source::Syscall);
        let compiling = start.elapsed();
        let (time, _) = generated(&compiled, &fewer)?;
        let ns = time.as_nanos() as f64 / rows as f64;
        let more = before.map_or(String::new(), |(few, less)| {
            let step = (ns - less) / (count - few) as f64;
            format!(", {step:.2} ns an event for each further rule")
        });
        println!("{count:>5} rules: {ns:>7.0} ns an event, compiled in {compiling:.0?}{more}");
        before = Some((count, ns));
    }
    Ok(())
}

#[allow(clippy::print_stdout, reason = "what a bench is for")]
fn beside_sysdig(rules: &RuleSet, arguments: &Arguments) -> Outcome<()> {
    if Command::new("sysdig").arg("--version").output().is_err() {
        println!("skipped: sysdig is not installed");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let long = folder.path().join("long.scap");
    let events = capture::repeat(&arguments.capture, arguments.repeats, &long)?;
    let mut both = rules.clone();
    both.rules.retain(|rule| sysdig(&arguments.capture, &rule.condition.to_string()).is_some());
    let union = both.rules.iter().map(|rule| rule.condition.to_string()).collect::<Vec<_>>().join(" or ");
    let rate = |time: Duration| events as f64 / time.as_secs_f64();
    println!(
        "{events} events of {}, {} of {} rules",
        arguments.capture.display(),
        both.rules.len(),
        rules.rules.len()
    );
    let (filtered, theirs) = sysdig(&long, &union).ok_or("sysdig does not take the conditions together")?;
    let (read, _) = sysdig(&long, "evt.num = 0").ok_or("sysdig does not read the capture")?;
    let alone = filtered.saturating_sub(read);
    println!("sysdig -r, filtering      {:>10.0} events/s, {theirs} match", rate(filtered));
    println!(
        "sysdig -r, no event kept  {:>10.0} events/s, so the filter alone {:.0}",
        rate(read),
        rate(alone)
    );
    let compiled = both.compile(Source::Syscall);
    let batches = vec![capture::batch(&arguments.capture, arguments.batch_rows)?; BATCHES_AT_ONCE];
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let rounds = events.div_ceil(rows);
    let (mut time, mut ours) = (Duration::ZERO, 0);
    for _ in 0..rounds {
        let (taken, found) = timed(&compiled, &batches)?;
        time += taken;
        ours += found;
    }
    let here = (rows * rounds) as f64 / time.as_secs_f64();
    println!("bailiwick, same rules     {here:>10.0} events/s, {ours} match");
    println!(
        "bailiwick / sysdig        {:>10.1}, {:.1} of the filter alone",
        here / rate(filtered),
        here / rate(alone)
    );
    Ok(())
}

/// The processor time that `sysdig` took to filter a capture, and how many
/// events it kept; `None` when it does not take the filter.
fn sysdig(capture: &Path, filter: &str) -> Option<(Duration, usize)> {
    let before = cpu::used_by_children()?;
    let output =
        Command::new("sysdig").arg("-r").arg(capture).args(["-p", "%evt.num", filter]).output().ok()?;
    let after = cpu::used_by_children()?;
    let kept = output.stdout.iter().filter(|byte| **byte == b'\n').count();
    output.status.success().then(|| (after.saturating_sub(before), kept))
}
