//! System calls and process events of this node, from kernel programs.
//!
//! ```text
//!   loader ─ offsets ◀ BTF        capture: decode ─ processes, cgroups, users, pods ─ rows
//!     │ attach                      ▲                                                  │
//!   kernel ═ 3 rings ═▶ rings ──────┘   one thread            a batch a lane ─▶ Outlet ◀┘
//!          └ counters ─▶ counters ─▶ losses
//! ```
//!
//! Rows are of what happens after the start; what runs already is read from
//! /proc to name it, and makes no row. Not seen: a text on a page of a process that
//! is not in memory, since the programs cannot wait for it.

mod arguments;
mod btf;
mod capabilities;
mod capture;
mod cgroups;
mod clock;
mod counters;
mod decode;
mod descriptors;
mod dns;
mod flags;
mod immediates;
mod lanes;
mod loader;
mod names;
mod numbers;
mod offsets;
mod opcodes;
mod opening;
pub(crate) mod paths;
mod privileged;
mod proc_fs;
mod processes;
mod registers;
mod repeats;
mod rings;
mod roles;
mod rows;
mod sampling;
mod sockets;
mod walk;

use std::io;
use std::thread;
use std::time::Duration;

use bailiwick_proto::Table;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Enabled, Syscalls};
use crate::containers::Sightings;
use crate::error::CollectorError;
use crate::metrics::Metrics;
use crate::outlet::Outlet;
use crate::pods::Pods;
use crate::protect;
use crate::{SourceState, SourceStatus, Started};
use capture::Capture;
use counters::Counters;
use loader::{Missing, Programs};
use rings::{Batch, Drain};
use sampling::Sampling;

const NAME: &str = "system calls";
/// Batches that may wait for the spool while the rings are emptied.
const BATCHES_AHEAD: usize = 2;

/// Loads the kernel programs and begins to capture, or says what is missing.
pub(crate) async fn start(
    config: &Config,
    outlet: Outlet,
    pods: Pods,
    sightings: Sightings,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<Started, CollectorError> {
    if config.syscalls.enabled == Enabled::Off {
        let detail = "turn on with collector.syscalls.enabled = \"auto\"".into();
        return Ok(told(SourceState::Off { detail }));
    }
    let begun = begin(config.clone(), outlet.clone(), pods, sightings, metrics, stop).await?;
    let (detail, batches, ended) = match begun {
        Ok(begun) => begun,
        Err(Missing { what, how_to_get_it }) if config.syscalls.enabled == Enabled::On => {
            return Err(CollectorError::Source { name: NAME, what, how_to_get_it });
        }
        Err(Missing { what, how_to_get_it }) => {
            return Ok(told(SourceState::Missing { what, how_to_get_it }));
        }
    };
    let task = tokio::spawn(deliver(batches, ended, outlet));
    Ok(Started { task: Some(task), ..told(SourceState::Running { detail }) })
}

fn told(state: SourceState) -> Started {
    Started { status: SourceStatus { name: NAME, state }, task: None, addr: None }
}

type Begun = (String, mpsc::Receiver<Batch>, oneshot::Receiver<io::Result<()>>);

/// Everything that reads files and loads programs, off the runtime's threads.
async fn begin(
    config: Config,
    outlet: Outlet,
    pods: Pods,
    sightings: Sightings,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<Result<Begun, Missing>, CollectorError> {
    let work = move || {
        let programs = match loader::load(&config.syscalls) {
            Ok(programs) => programs,
            Err(missing) => return Ok(Err(missing)),
        };
        // What follows, and the thread that is started below, does with less.
        protect::settle_loader().map_err(|error| internal(&error))?;
        let hierarchies = programs.hierarchies.clone();
        let capture =
            Capture::begin(outlet.node(), outlet.cluster(), &config.syscalls, pods, hierarchies, sightings);
        let detail = detail(&programs, &capture);
        let (batches, received) = mpsc::channel(BATCHES_AHEAD);
        let drain = drain(&config, programs, capture, batches, outlet, metrics, stop);
        let ended = spawn(drain).map_err(|error| internal(&error))?;
        Ok(Ok((detail, received, ended)))
    };
    protect::with_privileges(work).await.map_err(|error| internal(&error))?
}

fn drain(
    config: &Config,
    programs: Programs,
    capture: Capture,
    batches: mpsc::Sender<Batch>,
    outlet: Outlet,
    metrics: Metrics,
    stop: CancellationToken,
) -> Drain {
    let Syscalls { file_ring_bytes, sample_at_most, .. } = config.syscalls;
    Drain {
        process: programs.process,
        network: programs.network,
        file: programs.file,
        counters: Counters::new(programs.counters),
        sampling: Sampling::new(programs.keep_one_of, file_ring_bytes, sample_at_most),
        capture,
        batches,
        outlet,
        metrics,
        poll_every: Duration::from_millis(config.syscalls.poll_every_ms),
        batch_rows: config.batch_rows,
        batch_after: Duration::from_millis(config.batch_after_ms),
        cpu_percent: config.cpu_percent,
        programs: programs.ebpf,
        stop,
    }
}

/// Runs a drain in a thread with a small runtime of its own: its work is reading
/// memory and /proc, which must not hold up anybody else's tasks.
fn spawn(drain: Drain) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (end, ended) = oneshot::channel();
    let work = move || {
        // Nobody listens any more only when the whole process ends.
        let _ = end.send(runtime.block_on(drain.run()));
    };
    thread::Builder::new().name("syscalls".into()).spawn(work)?;
    Ok(ended)
}

async fn deliver(
    mut batches: mpsc::Receiver<Batch>,
    ended: oneshot::Receiver<io::Result<()>>,
    outlet: Outlet,
) {
    while let Some((lane, rows)) = batches.recv().await {
        outlet.send(Table::Syscalls, lane, rows).await;
    }
    match ended.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "system calls are no longer captured"),
        Err(_) => tracing::error!("system calls are no longer captured: their thread ended by a panic"),
    }
}

fn detail(programs: &Programs, capture: &Capture) -> String {
    let mut parts = vec![format!(
        "programs, files, network and privileges of all processes ({} known)",
        capture.process_count()
    )];
    parts.extend(programs.notes.iter().cloned());
    parts.extend(capture.cgroups_note());
    parts.join("; ")
}

fn internal(error: &dyn std::error::Error) -> CollectorError {
    CollectorError::Internal { name: NAME, message: error.to_string() }
}

/// Reads a record, for fuzzing.
#[cfg(fuzzing)]
pub(crate) fn decoded(bytes: &[u8]) {
    let _ = decode::decode(bytes);
}

/// Reads a message of DNS, for fuzzing.
#[cfg(fuzzing)]
pub(crate) fn asked(bytes: &[u8]) {
    let _ = dns::question(bytes);
}

#[cfg(test)]
mod tests;
