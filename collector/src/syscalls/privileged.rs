//! Which containers run privileged, told from what their programs may do. Pure,
//! but for what /proc tells at the start.
//!
//! ```text
//!   container's cgroup made ─▶ awaited ─ its first program ─┬ may do everything ─▶ privileged
//!                                                           └ may not ───────────▶ nothing is said
//! ```
//!
//! A privileged container's first program has every capability that there is on the
//! machine, and no runtime gives that to others by default. Only the first program
//! counts: a later one may have them all in a user namespace that it made for
//! itself. A program that runs as another user than root has none whatever its
//! container may do, so that their lack says nothing.

use std::collections::{HashMap, HashSet};

use crate::attribution::{HOST, container_of};

use super::{paths, proc_fs};

/// The most containers that are remembered.
const MAX_CONTAINERS: usize = 4_096;
/// Containers without room before those that are gone are looked for again.
const REFUSED_UNTIL_LOOK: usize = 256;

/// Containers by id, as long as their cgroups are known.
pub(super) struct Privileged {
    /// Every capability that there is; 0 if that is not known.
    everything: u64,
    by_id: HashMap<String, Standing>,
    refused: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Made, and no program of its own ran in it yet.
    Awaited,
    Privileged,
}

// === impl Privileged ===

impl Privileged {
    pub(super) fn new(everything: u64) -> Self {
        Self { everything, by_id: HashMap::new(), refused: 0 }
    }

    /// A process that ran before the start, with these capabilities. It is looked at
    /// more closely if it has them all: it must be in a container by its cgroup and
    /// its mounts, and have them on this machine and not in a namespace of its own.
    pub(super) fn found(&mut self, pid: u32, permitted: u64) {
        if !self.has_everything(permitted) {
            return;
        }
        let told = proc_fs::cgroups(pid).unwrap_or_default();
        let paths =
            told.split(|byte| *byte == b'\n').filter_map(|line| line.splitn(3, |byte| *byte == b':').nth(2));
        let Some(id) = paths.map(|path| container_of(&paths::text(path)).id).find(|id| id != HOST) else {
            return;
        };
        // The machine's first process may hide its namespaces; this one's mounts are
        // the machine's then, or those of another container.
        let own = std::process::id();
        let outside = proc_fs::namespace(1, "mnt").or_else(|| proc_fs::namespace(own, "mnt"));
        let is_inside = proc_fs::namespace(pid, "mnt").is_some_and(|mnt| Some(mnt) != outside);
        let is_real = proc_fs::namespace(pid, "user") == proc_fs::namespace(own, "user");
        if is_inside && is_real && self.by_id.len() < MAX_CONTAINERS {
            self.by_id.insert(id, Standing::Privileged);
        }
    }

    /// A container's own cgroup was made. `living` are the containers whose
    /// cgroups are known; it is only asked where room is needed.
    pub(super) fn made<'a>(&mut self, id: &str, living: impl FnOnce() -> HashSet<&'a str>) {
        if self.by_id.len() >= MAX_CONTAINERS {
            if self.refused.is_multiple_of(REFUSED_UNTIL_LOOK) {
                let living = living();
                self.by_id.retain(|id, _| living.contains(id.as_str()));
            }
            self.refused += 1;
        }
        if self.by_id.len() < MAX_CONTAINERS {
            self.refused = 0;
            self.by_id.entry(id.to_owned()).or_insert(Standing::Awaited);
        }
    }

    /// A program of the container's own was started in it.
    pub(super) fn started(&mut self, id: &str, permitted: u64) {
        let has_everything = self.has_everything(permitted);
        match self.by_id.get_mut(id) {
            Some(standing) if *standing == Standing::Awaited && has_everything => {
                *standing = Standing::Privileged;
            }
            Some(Standing::Awaited) => drop(self.by_id.remove(id)),
            _ => {}
        }
    }

    /// Whether the container is known to be privileged.
    pub(super) fn is(&self, id: &str) -> bool {
        self.by_id.get(id) == Some(&Standing::Privileged)
    }

    fn has_everything(&self, permitted: u64) -> bool {
        self.everything != 0 && permitted & self.everything == self.everything
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = 0b1111;

    fn living(ids: &[&'static str]) -> HashSet<&'static str> {
        ids.iter().copied().collect()
    }

    #[test]
    fn only_the_first_program_counts() {
        let mut privileged = Privileged::new(ALL);
        for id in ["a", "b", "c"] {
            privileged.made(id, || living(&[]));
        }
        privileged.started("a", ALL | 1 << 20);
        privileged.started("b", ALL >> 1);
        // In a user namespace of its own.
        privileged.started("b", u64::MAX);
        privileged.started("unknown", u64::MAX);
        privileged.started("a", 0);
        let told: Vec<_> = ["a", "b", "c", "unknown"].map(|id| privileged.is(id)).to_vec();
        assert_eq!(told, [true, false, false, false]);
    }

    #[test]
    fn a_kernel_that_does_not_say_has_no_privileged_containers() {
        let mut privileged = Privileged::new(0);
        privileged.made("a", || living(&[]));
        privileged.started("a", u64::MAX);
        assert!(!privileged.is("a"));
    }

    #[test]
    fn containers_are_bounded_and_those_that_live_stay() {
        let mut privileged = Privileged::new(ALL);
        for number in 0..MAX_CONTAINERS * 2 {
            let id = number.to_string();
            privileged.made(&id, || living(&["0"]));
            privileged.started(&id, ALL);
        }
        assert!(privileged.by_id.len() <= MAX_CONTAINERS);
        assert!(privileged.is("0") && privileged.is(&(MAX_CONTAINERS * 2 - 1).to_string()));
    }

    #[test]
    fn the_machine_itself_is_no_container() {
        let mut privileged = Privileged::new(ALL);
        privileged.found(std::process::id(), u64::MAX);
        assert!(privileged.by_id.is_empty());
    }
}
