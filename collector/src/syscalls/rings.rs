//! The thread that empties the rings.
//!
//! It sleeps until a ring is filling up or a timer finds what they hold: to be
//! woken for each program that starts would cost who starts it far more than the
//! records do. Rows become a batch when they
//! are many or have waited; batches go to a task of the main runtime, so that a
//! slow disk fills a ring and not memory.

use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::capture::Capture;
use super::clock;
use super::counters::Counters;
use super::rows::Rows;
use super::sampling::{Load, Sampling};
use crate::budget::Pace;
use crate::metrics::Metrics;
use crate::outlet::{Lane, Outlet};

/// How often counters are told and the process table is tidied.
const TIDY_EVERY: Duration = Duration::from_secs(1);
/// How often the process table is compared with /proc.
const COMPARE_EVERY: Duration = Duration::from_secs(60);
/// Records taken from one ring before the more important ones are looked at again.
const TURN: usize = 1024;

pub(super) type Batch = (Lane, RecordBatch);

/// Everything that the thread owns.
pub(super) struct Drain {
    pub(super) process: RingBuf<MapData>,
    pub(super) network: RingBuf<MapData>,
    pub(super) file: RingBuf<MapData>,
    pub(super) counters: Counters,
    pub(super) sampling: Sampling,
    pub(super) capture: Capture,
    pub(super) batches: mpsc::Sender<Batch>,
    pub(super) outlet: Outlet,
    pub(super) metrics: Metrics,
    pub(super) poll_every: Duration,
    pub(super) batch_rows: usize,
    pub(super) batch_after: Duration,
    /// The most of one processor that it may take, percent; 0 for no limit.
    pub(super) cpu_percent: u32,
    /// Detached when this is dropped.
    pub(super) programs: Ebpf,
    pub(super) stop: CancellationToken,
}

/// A drain with its rings watched.
struct Watched {
    rings: [AsyncFd<RingBuf<MapData>>; 3],
    drain: Turning,
}

struct Turning {
    capture: Capture,
    counters: Counters,
    sampling: Sampling,
    batches: mpsc::Sender<Batch>,
    outlet: Outlet,
    metrics: Metrics,
    batch_rows: usize,
    batch_after: Duration,
    /// Everything older is through the process ring.
    processes_known_until_ns: u64,
    oldest_row: Option<Instant>,
    tidied: Instant,
    compared: Instant,
}

// === impl Drain ===

impl Drain {
    /// Runs until it is stopped and the rings are empty.
    pub(super) async fn run(self) -> std::io::Result<()> {
        let now = Instant::now();
        let rings = [watch(self.process)?, watch(self.network)?, watch(self.file)?];
        let drain = Turning {
            capture: self.capture,
            counters: self.counters,
            sampling: self.sampling,
            batches: self.batches,
            outlet: self.outlet,
            metrics: self.metrics,
            batch_rows: self.batch_rows.max(1),
            batch_after: self.batch_after,
            processes_known_until_ns: 0,
            oldest_row: None,
            tidied: now,
            compared: now,
        };
        let mut watched = Watched { rings, drain };
        watched.run(self.poll_every, Pace::new(self.cpu_percent), &self.stop).await;
        // From here on nothing is captured, and what was is read to the end.
        drop(self.programs);
        watched.finish().await;
        Ok(())
    }
}

// === impl Watched ===

impl Watched {
    async fn run(&mut self, poll_every: Duration, mut pace: Pace, stop: &CancellationToken) {
        let mut ticks = tokio::time::interval(poll_every.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let [process, network, file] = &mut self.rings;
            tokio::select! {
                ready = process.readable_mut() => ready.into_iter().for_each(|mut ready| ready.clear_ready()),
                ready = network.readable_mut() => ready.into_iter().for_each(|mut ready| ready.clear_ready()),
                ready = file.readable_mut() => ready.into_iter().for_each(|mut ready| ready.clear_ready()),
                _ = ticks.tick() => {}
                () = stop.cancelled() => break,
            }
            self.turn().await;
            if let Some(rest) = pace.rest() {
                // The rings go on filling; what does not fit is counted there.
                tokio::select! {
                    () = tokio::time::sleep(rest) => {}
                    () = stop.cancelled() => break,
                }
            }
        }
    }

    async fn finish(&mut self) {
        self.turn().await;
        self.drain.capture.end_all_repeats();
        self.drain.flush().await;
        self.drain.tell();
    }

    /// Takes what is there now, and no more, so that a flood cannot keep a batch
    /// from being closed.
    async fn turn(&mut self) {
        let until_ns = clock::boot_ns();
        let [process, network, file] = &mut self.rings;
        let (process, network, file) = (process.get_mut(), network.get_mut(), file.get_mut());
        let (mut network_load, mut file_load) = (Load::default(), Load::default());
        loop {
            self.drain.processes(process).await;
            let network_more = self.drain.slower(network, process, until_ns, &mut network_load).await;
            let file_more = self.drain.slower(file, process, until_ns, &mut file_load).await;
            if !network_more && !file_more {
                break;
            }
        }
        self.drain.sample(&file_load);
        self.drain.capture.end_repeats(clock::boot_ns());
        self.drain.flush_if_due().await;
        self.drain.capture.share_batches(self.drain.outlet.has_room());
        self.drain.tidy();
    }
}

// === impl Turning ===

impl Turning {
    /// Takes from the process ring what it holds now.
    async fn processes(&mut self, ring: &mut RingBuf<MapData>) {
        let known_ns = clock::boot_ns();
        while let Some(record) = ring.next() {
            let boot_ns = Capture::boot_ns(&record);
            self.capture.take(&record);
            drop(record);
            self.close_full().await;
            if boot_ns > known_ns {
                break;
            }
        }
        self.processes_known_until_ns = known_ns;
    }

    /// Takes a turn's records from a slower ring. A record that is younger than
    /// what is known of processes waits until their ring was looked at: it may
    /// be of a process that has just started. Answers whether there is more.
    async fn slower(
        &mut self,
        ring: &mut RingBuf<MapData>,
        process: &mut RingBuf<MapData>,
        until_ns: u64,
        load: &mut Load,
    ) -> bool {
        for _ in 0..TURN {
            let Some(record) = ring.next() else { return false };
            load.add(record.len());
            let boot_ns = Capture::boot_ns(&record);
            if boot_ns < self.processes_known_until_ns {
                self.capture.take(&record);
                drop(record);
            } else {
                let bytes = record.to_vec();
                drop(record);
                self.processes(process).await;
                self.capture.take(&bytes);
            }
            self.close_full().await;
            if boot_ns > until_ns {
                return false;
            }
        }
        true
    }

    /// Keeps fewer opens if the file ring was too full for them, more if it was not.
    fn sample(&mut self, file: &Load) {
        self.sampling.turn(file, self.counters.lost_opens(), Instant::now());
        self.metrics.sampling_one_of.set(self.sampling.one_of().into());
    }

    /// Closes batches that have enough rows.
    async fn close_full(&mut self) {
        let most = self.batch_rows;
        for rows in self.capture.waiting().into_iter().filter(|rows| rows.is_full(most)) {
            close(rows, &self.batches, &self.outlet).await;
        }
    }

    async fn flush_if_due(&mut self) {
        let waiting = self.capture.waiting().iter().any(|rows| !rows.columns.is_empty());
        match self.oldest_row {
            Some(since) if since.elapsed() >= self.batch_after => self.flush().await,
            None if waiting => self.oldest_row = Some(Instant::now()),
            _ => {}
        }
    }

    /// Closes every batch that has a row.
    async fn flush(&mut self) {
        self.oldest_row = None;
        for rows in self.capture.waiting() {
            close(rows, &self.batches, &self.outlet).await;
        }
    }

    fn tidy(&mut self) {
        if self.tidied.elapsed() < TIDY_EVERY {
            return;
        }
        self.tidied = Instant::now();
        self.capture.tidy();
        if self.compared.elapsed() >= COMPARE_EVERY {
            self.compared = self.tidied;
            self.capture.compare_with_proc();
        }
        self.tell();
    }

    /// Tells what was lost since the last time, and how much is known now.
    fn tell(&mut self) {
        self.counters.tell(&self.outlet);
        let malformed = self.capture.take_malformed();
        self.outlet.lost("process", "other", "malformed", malformed, "a record of a ring");
        self.metrics.processes.set(i64::try_from(self.capture.process_count()).unwrap_or(i64::MAX));
        self.metrics.cgroups.set(i64::try_from(self.capture.cgroup_count()).unwrap_or(i64::MAX));
    }
}

#[allow(unsafe_code)]
fn watch(ring: RingBuf<MapData>) -> std::io::Result<AsyncFd<RingBuf<MapData>>> {
    // Safety: a ring owns its descriptor for as long as it lives, and neither
    // closes nor replaces it.
    unsafe { Ok(AsyncFd::register_with_interest(ring, Interest::READABLE)?) }
}

/// Hands rows on as one batch.
async fn close(rows: &mut Rows, batches: &mpsc::Sender<Batch>, outlet: &Outlet) {
    if rows.columns.is_empty() {
        return;
    }
    let events = std::mem::take(&mut rows.events);
    let lane = std::mem::replace(&mut rows.lane, Lane::File);
    match rows.columns.finish() {
        // The receiver only goes away with the process.
        Ok(batch) => drop(batches.send((lane, batch)).await),
        Err(error) => outlet.lost(lane.name(), "other", "not_encodable", events, &error.to_string()),
    }
}
