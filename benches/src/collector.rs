//! The collector in a process of its own: the whole of it, from kernel programs to
//! the spool, with nobody to ship to. Its rows are read from the spool afterwards.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use bailiwick_collector::{Collector, Config, Enabled, SourceState};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::serve::say;
use crate::{Outcome, cpu};

/// Room for whatever a bench makes, so that the spool never chooses.
const SPOOL_BYTES: u64 = 16 << 30;

/// A collector of system calls and nothing else; `settings` are fields of the
/// section `[collector]`, as JSON, that differ from their defaults.
pub fn config(spool: &Path, settings: &str) -> Outcome<Config> {
    let mut config: Config = serde_json::from_str(settings)?;
    config.node = "bench".into();
    config.cluster = "bench".into();
    config.endpoint = String::new();
    config.spool_dir = spool.to_owned();
    config.spool_bytes = SPOOL_BYTES;
    config.drain_timeout_ms = 0;
    config.syscalls.enabled = Enabled::On;
    config.usage.enabled = Enabled::Off;
    config.webhook.enabled = Enabled::Off;
    config.kube.enabled = Enabled::Off;
    Ok(config)
}

/// Captures until standard input ends. Says `ready` when it captures, and in the
/// end what it counted and used, as lines of JSON.
///
/// With `only_processes` it looks at no call, only at what starts, forks and ends.
pub async fn run(spool: &Path, settings: &str, only_processes: bool) -> Outcome<()> {
    let mut registry = Registry::default();
    let stop = CancellationToken::new();
    let mut config = config(spool, settings)?;
    config.syscalls.only_processes = only_processes;
    let collector = match Collector::start(config, &mut registry, stop.clone()).await {
        Ok(collector) => collector,
        Err(error) => {
            say(&json!({ "error": error.to_string() }));
            return Ok(());
        }
    };
    let detail = collector.sources().into_iter().find_map(|source| match source.state {
        SourceState::Running { detail } => Some(detail),
        _ => None,
    });
    let idle = cpu::used().ok_or("no procfs")?;
    say(&json!({ "ready": detail }));
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    stop.cancel();
    collector.join().await?;
    let used = cpu::used().ok_or("no procfs")?;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    say(&json!({
        "cpu_s": (used - idle).as_secs_f64(),
        "peak_bytes": cpu::peak_memory_bytes(),
        "rows": sum(&text, "bailiwick_collector_rows_total"),
        "lost": by_labels(&text, "bailiwick_collector_lost_total"),
    }));
    Ok(())
}

/// All cells of a counter together.
fn sum(text: &str, counter: &str) -> u64 {
    cells(text, counter).map(|(_, count)| count).sum()
}

/// A counter's cells by their labels, those above zero.
fn by_labels(text: &str, counter: &str) -> Value {
    let cells = cells(text, counter).filter(|(_, count)| *count > 0);
    let cells: BTreeMap<String, u64> = cells.map(|(labels, count)| (labels.to_owned(), count)).collect();
    json!(cells)
}

fn cells<'a>(text: &'a str, counter: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
    text.lines().filter_map(move |line| {
        let (name, count) = line.rsplit_once(' ')?;
        let labels = name.strip_prefix(counter)?;
        Some((labels.trim_matches(['{', '}']), count.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_as_prometheus_shows_them() {
        let text = "# TYPE x counter\nx_total{lane=\"file\",reason=\"ring_full\"} 7\nx_total{lane=\"ship\"} 0\ny_total 3\n";
        assert_eq!(sum(text, "x_total"), 7);
        assert_eq!(by_labels(text, "x_total"), json!({ "lane=\"file\",reason=\"ring_full\"": 7 }));
        assert_eq!(sum(text, "y_total"), 3);
    }

    #[test]
    fn settings_are_the_sections_fields() {
        let spool = Path::new("/nonexistent");
        assert_eq!(config(spool, "{\"batch_rows\": 7}").unwrap().batch_rows, 7);
        assert!(config(spool, "{\"no_such\": 7}").is_err());
    }
}
