//! What each cgroup used: CPU, memory, I/O, as differences between two readings.
//!
//! ```text
//!   /sys/fs/cgroup ─ read ─▶ readings ─ own (pure) ─▶ rows of `usage`
//!                                          Pods ──────▶ names and requests
//! ```
//!
//! A row is one cgroup and what it used **itself**, without its children, so
//! that rows can be summed up freely. There is a row for every cgroup that has
//! processes, used or held something of its own, or is a container's. Requests
//! are on the row of the container's own cgroup only.

mod own;
mod read;
mod rows;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use bailiwick_proto::Table;
use chrono::Utc;
use tokio_util::sync::CancellationToken;

use crate::config::Enabled;
use crate::metrics::Metrics;
use crate::outlet::{Lane, Outlet};
use crate::pods::Pods;
use crate::{CollectorError, Config, SourceState, SourceStatus, Started};

use own::Accounts;
use read::{Layout, Scan};
use rows::Interval;

const NAME: &str = "usage";
/// Reading more often costs more than what is read is worth.
const SHORTEST: Duration = Duration::from_millis(100);

/// Starts to read all cgroups every `usage.every_ms`.
pub(crate) async fn start(
    config: &Config,
    outlet: Outlet,
    pods: Pods,
    _metrics: Metrics,
    stop: CancellationToken,
) -> Result<Started, CollectorError> {
    let section = &config.usage;
    if section.enabled == Enabled::Off {
        let detail = "collector.usage.enabled is off".to_owned();
        return Ok(not_running(SourceState::Off { detail }));
    }
    let found = match Layout::find(Path::new("/sys/fs/cgroup"), Path::new("/proc")) {
        Some(layout) => layout.scan(1).map(|_| layout),
        None => Err(io::Error::other("cgroup v2 is not mounted below /sys/fs/cgroup")),
    };
    let layout = match found {
        Ok(layout) => layout,
        Err(error) => return missing(section.enabled, &error),
    };
    let every = Duration::from_millis(section.every_ms).max(SHORTEST);
    let detail = format!("every {} ms from {}: {}", every.as_millis(), layout.v2.display(), layout.sources());
    let meter = Meter { layout, max_cgroups: section.max_cgroups, accounts: Accounts::default(), last: None };
    let task = tokio::spawn(run(meter, every, outlet, pods, stop));
    let status = SourceStatus { name: NAME, state: SourceState::Running { detail } };
    Ok(Started { status, task: Some(task), addr: None })
}

fn not_running(state: SourceState) -> Started {
    Started { status: SourceStatus { name: NAME, state }, task: None, addr: None }
}

fn missing(enabled: Enabled, error: &io::Error) -> Result<Started, CollectorError> {
    let what = error.to_string();
    let how_to_get_it = "mount it: mount -t cgroup2 none /sys/fs/cgroup/unified".to_owned();
    match enabled {
        Enabled::On => Err(CollectorError::Source { name: NAME, what, how_to_get_it }),
        _ => Ok(not_running(SourceState::Missing { what, how_to_get_it })),
    }
}

/// Reads and remembers, on a thread that may wait for the kernel.
struct Meter {
    layout: Layout,
    max_cgroups: usize,
    accounts: Accounts,
    last: Option<Moment>,
}

/// One moment by both clocks: lengths come from the one that never jumps.
#[derive(Debug, Clone, Copy)]
struct Moment {
    steady: Instant,
    time_us: i64,
}

/// What one reading came to.
struct Measured {
    interval: Option<Interval>,
    left_out: u64,
}

async fn run(mut meter: Meter, every: Duration, outlet: Outlet, pods: Pods, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        // The last interval is as long as it is when the stop comes.
        let last = tokio::select! {
            _ = ticks.tick() => false,
            () = stop.cancelled() => true,
        };
        let read = tokio::task::spawn_blocking(move || {
            let measured = meter.measure();
            (meter, measured)
        });
        let measured = match read.await {
            Ok((back, measured)) => {
                meter = back;
                measured
            }
            Err(error) => return tracing::error!(%error, "usage ended by a panic"),
        };
        match measured {
            Ok(measured) => {
                failing = false;
                ship(measured, &outlet, &pods).await;
            }
            // The next interval is longer then, and nothing of it is lost.
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "cgroups cannot be read, trying again");
            }
            Err(_) => {}
        }
        if last {
            return;
        }
    }
}

async fn ship(measured: Measured, outlet: &Outlet, pods: &Pods) {
    let detail = "more cgroups than collector.usage.max_cgroups";
    outlet.lost("usage", "interval", "too_many_cgroups", measured.left_out, detail);
    let Some(interval) = measured.interval else { return };
    match rows::rows(&interval, outlet.node(), outlet.cluster(), pods) {
        Ok(rows) => outlet.send(Table::Usage, Lane::Usage, rows).await,
        Err(error) => {
            outlet.lost("usage", "interval", "not_encodable", interval.owns.len() as u64, &error.to_string());
        }
    }
}

// === impl Meter ===

impl Meter {
    fn measure(&mut self) -> io::Result<Measured> {
        let now = Moment { steady: Instant::now(), time_us: Utc::now().timestamp_micros() };
        let Scan { readings, left_out } = self.layout.scan(self.max_cgroups)?;
        let seconds = self.last.map_or(0.0, |last| now.steady.duration_since(last.steady).as_secs_f64());
        let owns = self.accounts.interval(&readings, left_out == 0, seconds);
        let interval = self.last.replace(now).map(|last| Interval {
            start_us: start_us(last, now),
            end_us: now.time_us,
            coverage_s: seconds,
            owns,
        });
        Ok(Measured { interval, left_out })
    }
}

/// When an interval began that ends now. Where the clock was set back meanwhile it
/// is as long as it really was.
fn start_us(last: Moment, now: Moment) -> i64 {
    if last.time_us <= now.time_us {
        return last.time_us;
    }
    let really = i64::try_from(now.steady.duration_since(last.steady).as_micros()).unwrap_or(i64::MAX);
    now.time_us.saturating_sub(really)
}

#[cfg(test)]
mod tests;
