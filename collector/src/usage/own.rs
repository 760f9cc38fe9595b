//! From what the kernel counts to what each cgroup used itself. Pure.
//!
//! ```text
//!   the kernel counts        a cgroup and everything below it, since it was made
//!   one row says             what one cgroup used itself, in one interval
//!   own = counted − Σ counted of its children − what children that are gone had counted
//! ```
//!
//! So the rows of an interval sum up to what the root counted: a parent is not
//! billed again for its children. What a cgroup used between its last reading and
//! its end is its parent's, since nobody else has counted it.
//!
//! Cgroups are read one after the other, so a child may be ahead of its parent.
//! What that makes too much is taken off the next interval, never below zero.

use std::collections::{HashMap, HashSet};

/// How many counters include what children used.
pub(super) const SHARED: usize = 7;
/// How many counters are each cgroup's alone.
pub(super) const LOCAL: usize = 3;

/// Counters that include what children used, by index.
pub(super) mod shared {
    pub(in super::super) const CPU_NS: usize = 0;
    pub(in super::super) const CPU_USER_NS: usize = 1;
    pub(in super::super) const CPU_SYSTEM_NS: usize = 2;
    pub(in super::super) const IO_R_B: usize = 3;
    pub(in super::super) const IO_W_B: usize = 4;
    pub(in super::super) const IO_R_N: usize = 5;
    pub(in super::super) const IO_W_N: usize = 6;
}

/// Counters that are each cgroup's alone, by index.
pub(super) mod local {
    pub(in super::super) const NR_PERIODS: usize = 0;
    pub(in super::super) const NR_THROTTLED: usize = 1;
    pub(in super::super) const THROTTLED_US: usize = 2;
}

/// What one cgroup said at one moment. `None` is what this kernel does not count.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Reading {
    /// The inode of its folder, never used twice while the machine runs.
    pub(super) id: u64,
    /// Its parent's id; the root has none.
    pub(super) parent: Option<u64>,
    /// Below the mount, `/` for the root.
    pub(super) path: String,
    pub(super) shared: [Option<u64>; SHARED],
    pub(super) local: [Option<u64>; LOCAL],
    pub(super) memory: Option<Memory>,
    pub(super) has_processes: bool,
}

/// Memory held at one moment, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// As charged by the memory controller, children included.
    Charged { current_b: u64, working_set_b: u64 },
    /// The resident sizes of its own processes, where nothing is charged.
    Resident { resident_b: u64 },
}

/// What one cgroup used itself in one interval.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Own {
    pub(super) id: u64,
    pub(super) path: String,
    pub(super) shared: [Option<u64>; SHARED],
    pub(super) local: [Option<u64>; LOCAL],
    pub(super) mem_current_b: Option<u64>,
    pub(super) mem_working_set_b: Option<u64>,
    /// The working set over time, byte seconds, as a trapezoid: a cgroup that
    /// began or ended within the interval counts half of it.
    pub(super) mem_byte_s: Option<f64>,
    pub(super) has_processes: bool,
}

/// What is remembered from reading to reading.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    known: HashMap<u64, Account>,
    /// Whether the reading before was of all cgroups: what appears after it is new.
    complete: bool,
    begun: bool,
}

#[derive(Debug, Default)]
struct Account {
    path: String,
    parent: Option<u64>,
    /// The counters as last read.
    last: [Option<u64>; SHARED],
    last_local: [Option<u64>; LOCAL],
    /// Counted since this account was opened, children included.
    seen: [u64; SHARED],
    /// Of that, by children that are gone.
    departed: [u64; SHARED],
    /// Told in rows so far.
    told: [u64; SHARED],
    /// Its own working set at the last reading.
    working_set_b: Option<u64>,
}

// === impl Accounts ===

impl Accounts {
    /// Takes a reading of all cgroups (not `complete` if some were left out) and
    /// answers what each used itself in the `seconds` since the reading before.
    /// The first one answers nothing: what was used before is not this interval's.
    pub(super) fn interval(&mut self, readings: &[Reading], complete: bool, seconds: f64) -> Vec<Own> {
        let first = !std::mem::replace(&mut self.begun, true);
        let all_known = std::mem::replace(&mut self.complete, complete);
        let gone = self.bury(readings);
        for reading in readings {
            self.count(reading, all_known);
        }
        let children = self.children(readings);
        let memory = own_memory(readings);
        let mut owns = Vec::with_capacity(if first { 0 } else { readings.len() });
        for reading in readings {
            let Some(account) = self.known.get_mut(&reading.id) else { continue };
            let below = children.get(&reading.id).copied().unwrap_or_default();
            let (current, working_set) = memory.get(&reading.id).copied().unzip();
            let before = std::mem::replace(&mut account.working_set_b, working_set);
            let shared = account.settle(&below, reading);
            let local = account.local(reading);
            if first {
                continue;
            }
            owns.push(Own {
                id: reading.id,
                path: reading.path.clone(),
                shared,
                local,
                mem_current_b: current,
                mem_working_set_b: working_set,
                mem_byte_s: working_set.map(|now| trapezoid(before.unwrap_or(0), now, seconds)),
                has_processes: reading.has_processes,
            });
        }
        owns.extend(gone.into_iter().filter_map(|(id, account)| account.last_words(id, seconds)));
        owns
    }

    /// Closes the accounts of cgroups that are gone. What they had counted is
    /// part of what their parent counted, but was told already.
    fn bury(&mut self, readings: &[Reading]) -> Vec<(u64, Account)> {
        let alive: HashSet<u64> = readings.iter().map(|reading| reading.id).collect();
        let gone: Vec<u64> = self.known.keys().filter(|id| !alive.contains(id)).copied().collect();
        let gone: Vec<_> = gone.into_iter().filter_map(|id| self.known.remove_entry(&id)).collect();
        for (_, account) in &gone {
            // A parent that is gone too has counted it, and is buried itself.
            let Some(parent) = account.parent.and_then(|parent| self.known.get_mut(&parent)) else {
                continue;
            };
            for (departed, seen) in parent.departed.iter_mut().zip(account.seen) {
                *departed = departed.saturating_add(seen);
            }
        }
        gone
    }

    /// Opens or continues an account with what the counters say now.
    fn count(&mut self, reading: &Reading, all_known: bool) {
        let new = !self.known.contains_key(&reading.id);
        let account = self.known.entry(reading.id).or_default();
        if new {
            account.path.clone_from(&reading.path);
            account.parent = reading.parent;
            // Counters of what began since the last reading began at zero with it;
            // of anything else nobody knows how much is this interval's.
            let start = |now: Option<u64>| if all_known { now.map(|_| 0) } else { now };
            account.last = reading.shared.map(start);
            account.last_local = reading.local.map(start);
        }
        for index in 0..SHARED {
            let (last, now) = (account.last[index], reading.shared[index]);
            account.seen[index] = account.seen[index].saturating_add(grown(last, now));
            account.last[index] = now.or(last);
        }
    }

    /// What the children of each cgroup have counted.
    fn children(&self, readings: &[Reading]) -> HashMap<u64, [u64; SHARED]> {
        let mut sums: HashMap<u64, [u64; SHARED]> = HashMap::new();
        for reading in readings {
            let (Some(parent), Some(account)) = (reading.parent, self.known.get(&reading.id)) else {
                continue;
            };
            for (sum, seen) in sums.entry(parent).or_default().iter_mut().zip(account.seen) {
                *sum = sum.saturating_add(seen);
            }
        }
        sums
    }
}

// === impl Account ===

impl Account {
    /// What is its own and was not told yet.
    fn settle(&mut self, children: &[u64; SHARED], reading: &Reading) -> [Option<u64>; SHARED] {
        std::array::from_fn(|index| {
            let total = self.seen[index].saturating_sub(self.departed[index]).saturating_sub(children[index]);
            let fresh = total.saturating_sub(self.told[index]);
            self.told[index] += fresh;
            reading.shared[index].map(|_| fresh)
        })
    }

    fn local(&mut self, reading: &Reading) -> [Option<u64>; LOCAL] {
        std::array::from_fn(|index| {
            let (last, now) = (self.last_local[index], reading.local[index]);
            self.last_local[index] = now.or(last);
            now.map(|_| grown(last, now))
        })
    }

    /// The memory that a cgroup held until it went.
    fn last_words(self, id: u64, seconds: f64) -> Option<Own> {
        let held = self.working_set_b.filter(|held| *held > 0)?;
        Some(Own {
            id,
            path: self.path,
            shared: [None; SHARED],
            local: [None; LOCAL],
            mem_current_b: Some(0),
            mem_working_set_b: Some(0),
            mem_byte_s: Some(trapezoid(held, 0, seconds)),
            has_processes: false,
        })
    }
}

/// How much a counter grew. One that is smaller than before began again at
/// zero; one that was not there before says nothing about the interval.
fn grown(last: Option<u64>, now: Option<u64>) -> u64 {
    match (last, now) {
        (Some(last), Some(now)) if now >= last => now - last,
        (Some(_), Some(now)) => now,
        _ => 0,
    }
}

/// `(current, working set)` of each cgroup without its children.
fn own_memory(readings: &[Reading]) -> HashMap<u64, (u64, u64)> {
    let mut below: HashMap<u64, (u64, u64)> = HashMap::new();
    for reading in readings {
        let (Some(parent), Some(Memory::Charged { current_b, working_set_b })) =
            (reading.parent, reading.memory)
        else {
            continue;
        };
        let sum = below.entry(parent).or_default();
        *sum = (sum.0.saturating_add(current_b), sum.1.saturating_add(working_set_b));
    }
    let own = |reading: &Reading| {
        let held = match reading.memory? {
            Memory::Resident { resident_b } => (resident_b, resident_b),
            Memory::Charged { current_b, working_set_b } => {
                let (current, working_set) = below.get(&reading.id).copied().unwrap_or_default();
                (current_b.saturating_sub(current), working_set_b.saturating_sub(working_set))
            }
        };
        Some((reading.id, held))
    };
    readings.iter().filter_map(own).collect()
}

#[allow(clippy::cast_precision_loss, reason = "bytes of memory are far below 2^53")]
fn trapezoid(before_b: u64, now_b: u64, seconds: f64) -> f64 {
    (before_b as f64 + now_b as f64) / 2.0 * seconds
}

#[cfg(test)]
mod tests;
