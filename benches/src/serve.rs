//! Ingest in a process of its own, so that its processor time and memory are
//! nobody else's.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use bailiwick_ingest::{Config, Ingest};
use bailiwick_lake::Lake;
use bailiwick_proto::Table;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{Outcome, cpu};

/// Serves Ship over the bucket until standard input ends, then drains. Says
/// where it listens when it does, and what it took in the end, as lines of JSON.
pub async fn run(bucket: &Path, tenants: &Path, memory_bytes: usize) -> Outcome<()> {
    let lake = Lake::open(&bucket.display().to_string(), "bench").await?;
    let config = Config {
        listen: ([127, 0, 0, 1], 0).into(),
        tenants_file: Some(tenants.to_owned()),
        drain_timeout_ms: 600_000,
        memory_bytes,
        ..Config::default()
    };
    let stop = CancellationToken::new();
    let ingest = Ingest::start(config, Arc::clone(&lake), &mut Registry::default(), stop.clone()).await?;
    let idle = cpu::used().ok_or("no procfs")?;
    say(&json!({ "url": ingest.local_url() }));
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    stop.cancel();
    ingest.join().await?;
    let used = cpu::used().ok_or("no procfs")?;
    let peak_bytes = cpu::peak_memory_bytes().ok_or("no procfs")?;
    let view = lake.view(Table::Syscalls).await?;
    let done: Value = json!({
        "cpu_s": (used - idle).as_secs_f64(),
        "peak_bytes": peak_bytes,
        "rows": view.files.iter().map(|file| file.rows).sum::<u64>(),
        "bytes": view.files.iter().map(|file| file.size_bytes).sum::<u64>(),
        "files": view.files.len(),
        "left_in_wal": view.wal.len(),
    });
    say(&done);
    Ok(())
}

/// Answers whoever started this process with a line.
#[allow(clippy::print_stdout, reason = "how a child answers")]
pub fn say(line: &Value) {
    println!("{line}");
}
