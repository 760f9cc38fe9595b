//! The kernel's counters, as losses.

use aya::maps::{MapData, PerCpuArray};
use bailiwick_collector_ebpf::{class, slot};

use crate::outlet::Outlet;

/// Classes in the order of the kernel's cells: lane and name in `losses`.
const CLASSES: [(&str, &str); class::COUNT as usize] = [
    ("process", "exec"),
    ("process", "fork"),
    ("process", "exit"),
    ("process", "cgroup"),
    ("process", "privilege"),
    ("network", "connect"),
    ("network", "socket"),
    ("network", "message"),
    ("network", "dns"),
    ("file", "open"),
    ("file", "change"),
    ("file", "dup"),
    ("file", "uring"),
];

/// Why a record did not reach its ring, by cell. What was sampled away has rows
/// that stand for it, and is told all the same: rows and losses are all calls.
const REASONS: [(u32, &str); 2] = [(slot::RING_FULL, "ring_full"), (slot::SAMPLED, "sampled")];

/// What the kernel programs counted, and what of it was told.
pub(super) struct Counters {
    map: PerCpuArray<MapData, u64>,
    told: [[u64; slot::COUNT as usize]; class::COUNT as usize],
}

// === impl Counters ===

impl Counters {
    pub(super) fn new(map: PerCpuArray<MapData, u64>) -> Self {
        Self { map, told: Default::default() }
    }

    /// Tells what was lost since the last time.
    pub(super) fn tell(&mut self, outlet: &Outlet) {
        for (class, (lane, name)) in (0..).zip(CLASSES) {
            for (cell, reason) in REASONS {
                let now = self.cell(class, cell);
                let told = &mut self.told[class as usize][cell as usize];
                outlet.lost(lane, name, reason, now.saturating_sub(*told), "");
                *told = now.max(*told);
            }
        }
    }

    /// Opens that found the ring full, since the start.
    pub(super) fn lost_opens(&self) -> u64 {
        self.cell(class::OPEN, slot::RING_FULL)
    }

    fn cell(&self, class: u32, cell: u32) -> u64 {
        match self.map.get(&(class * slot::COUNT + cell), 0) {
            Ok(cpus) => cpus.iter().sum(),
            Err(error) => {
                tracing::warn!(%error, "the kernel's loss counters cannot be read");
                0
            }
        }
    }
}
