//! Which process is whose child. Pure.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Processes in a tree at most.
const MAX_PROCESSES: usize = 10_000;
/// Depth at most: deeper is not read by anybody.
const MAX_DEPTH: usize = 1_000;
/// What one link takes in memory beside its texts, roughly.
const LINK_BYTES: usize = 160;

/// What one event says of how processes hang together.
#[derive(Debug, Clone)]
pub(super) struct Event<'a> {
    pub(super) exec_id: &'a str,
    pub(super) pid: Option<i64>,
    pub(super) ppid: Option<i64>,
    pub(super) time_us: i64,
    pub(super) start_us: Option<i64>,
    /// The child's pid, if it is a fork.
    pub(super) child: Option<i64>,
}

/// Processes and forks as events told of them.
pub(super) struct Links {
    tolerance_us: i64,
    processes: HashMap<Arc<str>, Known>,
    /// By the child's pid.
    forks: HashMap<i64, Vec<Fork>>,
    bytes: usize,
}

/// A place in the tree below a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) depth: usize,
    pub(super) exec_id: Option<String>,
    pub(super) parent: String,
    pub(super) pid: i64,
    pub(super) start_us: i64,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    pid: Option<i64>,
    ppid: Option<i64>,
    first_us: i64,
    start_us: Option<i64>,
}

#[derive(Debug, Clone)]
struct Fork {
    time_us: i64,
    parent: Arc<str>,
}

/// A child of some process; without an id it was only seen to be forked.
#[derive(Debug, Clone)]
struct Child {
    exec_id: Option<Arc<str>>,
    pid: i64,
    start_us: i64,
}

// === impl Links ===

impl Links {
    /// A fork and its child's beginning lie no further apart than this.
    pub(super) fn new(tolerance_us: i64) -> Self {
        Self { tolerance_us, processes: HashMap::new(), forks: HashMap::new(), bytes: 0 }
    }

    /// What is held, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes over what one event says. Events come in any order.
    pub(super) fn add(&mut self, event: &Event<'_>) {
        let exec_id = match self.processes.get_key_value(event.exec_id) {
            Some((known, _)) => Arc::clone(known),
            None => {
                self.bytes += LINK_BYTES + event.exec_id.len();
                Arc::from(event.exec_id)
            }
        };
        let new =
            Known { pid: event.pid, ppid: event.ppid, first_us: event.time_us, start_us: event.start_us };
        let known = self.processes.entry(Arc::clone(&exec_id)).or_insert(new);
        if event.time_us < known.first_us {
            // Later another process may have adopted it.
            (known.ppid, known.first_us) = (event.ppid, event.time_us);
        }
        known.start_us = [known.start_us, event.start_us].into_iter().flatten().min();
        if let Some(child) = event.child {
            self.bytes += LINK_BYTES;
            self.forks.entry(child).or_default().push(Fork { time_us: event.time_us, parent: exec_id });
        }
    }

    /// All that came of a process, in the order of a tree; an error that says how
    /// many there may be, if there are more.
    pub(super) fn below(self, exec_id: &str, pid: Option<i64>) -> Result<Vec<Place>, usize> {
        let children = self.children(exec_id, pid);
        let mut places: Vec<Place> = Vec::new();
        let root: Rc<str> = Rc::from(exec_id);
        let mut open = vec![(0, Rc::clone(&root), children.get(exec_id).map_or(&[][..], Vec::as_slice))];
        while let Some((depth, parent, rest)) = open.pop() {
            let Some((child, rest)) = rest.split_first() else { continue };
            if places.len() == MAX_PROCESSES || depth == MAX_DEPTH {
                return Err(MAX_PROCESSES);
            }
            open.push((depth, Rc::clone(&parent), rest));
            // Hostile rows may say that it is below itself.
            if child.exec_id.as_deref() == Some(exec_id) {
                continue;
            }
            places.push(Place {
                depth: depth + 1,
                exec_id: child.exec_id.as_deref().map(str::to_owned),
                parent: parent.to_string(),
                pid: child.pid,
                start_us: child.start_us,
            });
            if let Some(id) = child.exec_id.as_deref()
                && let Some(grandchildren) = children.get(id)
            {
                open.push((depth + 1, Rc::from(id), grandchildren));
            }
        }
        Ok(places)
    }

    /// Every process's children, by the time at which they began.
    fn children(mut self, root: &str, root_pid: Option<i64>) -> HashMap<Arc<str>, Vec<Child>> {
        if !self.processes.contains_key(root) {
            let known = Known { pid: root_pid, ppid: None, first_us: i64::MIN, start_us: Some(i64::MIN) };
            self.processes.insert(Arc::from(root), known);
        }
        let by_pid = self.by_pid();
        let mut children: HashMap<Arc<str>, Vec<Child>> = HashMap::new();
        let mut claimed: HashMap<(i64, i64), ()> = HashMap::new();
        for (exec_id, known) in &self.processes {
            let (Some(pid), start_us) = (known.pid, known.start_us.unwrap_or(known.first_us)) else {
                continue;
            };
            let fork = self.fork_of(pid, start_us);
            if let Some(fork) = fork {
                claimed.insert((pid, fork.time_us), ());
            }
            let parent = match fork {
                Some(fork) => Some(&fork.parent),
                None => known.ppid.and_then(|ppid| holder(&by_pid, ppid, start_us)),
            };
            if let Some(parent) = parent.filter(|parent| *parent != exec_id) {
                let child = Child { exec_id: Some(Arc::clone(exec_id)), pid, start_us };
                children.entry(Arc::clone(parent)).or_default().push(child);
            }
        }
        for (pid, forks) in &self.forks {
            for fork in forks.iter().filter(|fork| !claimed.contains_key(&(*pid, fork.time_us))) {
                let child = Child { exec_id: None, pid: *pid, start_us: fork.time_us };
                children.entry(Arc::clone(&fork.parent)).or_default().push(child);
            }
        }
        for list in children.values_mut() {
            list.sort_by(|a, b| (a.start_us, a.pid, &a.exec_id).cmp(&(b.start_us, b.pid, &b.exec_id)));
        }
        children
    }

    /// The fork that made this process: of those by its pid the nearest to its beginning.
    fn fork_of(&self, pid: i64, start_us: i64) -> Option<&Fork> {
        let apart = |fork: &&Fork| fork.time_us.abs_diff(start_us);
        let nearest = self.forks.get(&pid)?.iter().min_by_key(apart)?;
        (apart(&nearest) <= self.tolerance_us.unsigned_abs()).then_some(nearest)
    }

    /// Who had a pid, by when they began.
    fn by_pid(&self) -> HashMap<i64, Vec<(i64, Arc<str>)>> {
        let mut by_pid: HashMap<i64, Vec<(i64, Arc<str>)>> = HashMap::new();
        for (exec_id, known) in &self.processes {
            let start_us = known.start_us.unwrap_or(known.first_us);
            if let Some(pid) = known.pid {
                by_pid.entry(pid).or_default().push((start_us, Arc::clone(exec_id)));
            }
        }
        by_pid.values_mut().for_each(|holders| holders.sort());
        by_pid
    }
}

/// Who had this pid at this time.
fn holder(by_pid: &HashMap<i64, Vec<(i64, Arc<str>)>>, pid: i64, at_us: i64) -> Option<&Arc<str>> {
    let holders = by_pid.get(&pid)?;
    let began = holders.partition_point(|(start_us, _)| *start_us <= at_us);
    holders.get(began.checked_sub(1)?).map(|(_, exec_id)| exec_id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn began(exec_id: &str, pid: i64, ppid: i64, start_us: i64) -> Event<'_> {
        Event {
            exec_id,
            pid: Some(pid),
            ppid: Some(ppid),
            time_us: start_us,
            start_us: Some(start_us),
            child: None,
        }
    }

    fn forked(exec_id: &str, pid: i64, time_us: i64, child: i64) -> Event<'_> {
        Event { exec_id, pid: Some(pid), ppid: None, time_us, start_us: Some(0), child: Some(child) }
    }

    fn tree(events: &[Event<'_>], root: &str) -> String {
        let mut links = Links::new(2_000);
        events.iter().for_each(|event| links.add(event));
        let line = |place: &Place| {
            let id = place.exec_id.as_deref().map_or_else(|| format!("?{}", place.pid), str::to_owned);
            "-".repeat(place.depth) + &id
        };
        links.below(root, Some(1)).unwrap().iter().map(line).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn children_stand_below_their_parents_by_time() {
        let events = [
            began("late", 12, 10, 900),
            began("a", 10, 1, 100),
            began("early", 11, 10, 200),
            began("deep", 13, 11, 300),
            began("elsewhere", 20, 2, 150),
        ];
        assert_eq!(tree(&events, "a"), "-early --deep -late");
        assert_eq!(tree(&events, "deep"), "");
        assert_eq!(tree(&events, "unknown"), "-a --early ---deep --late");
    }

    #[test]
    fn a_pid_that_is_used_again_belongs_to_whoever_has_it() {
        let events = [
            began("first", 10, 1, 0),
            began("second", 10, 1, 5_000),
            began("of-first", 11, 10, 100),
            began("of-second", 12, 10, 9_000),
        ];
        assert_eq!(tree(&events, "first"), "-of-first");
        assert_eq!(tree(&events, "second"), "-of-second");
    }

    #[test]
    fn a_fork_knows_the_parent_that_died() {
        // When its first row was made, the child had been adopted by init.
        let events = [forked("a", 10, 100, 11), began("orphan", 11, 1, 99), forked("init", 1, 900_000, 11)];
        assert_eq!(tree(&events, "a"), "-orphan");
        assert_eq!(tree(&events, "init"), "-?11");
    }

    #[test]
    fn a_child_that_did_nothing_is_known_by_its_fork() {
        assert_eq!(tree(&[forked("a", 10, 100, 11), forked("a", 10, 300, 12)], "a"), "-?11 -?12");
    }

    proptest! {
        /// Whatever events say, no process stands twice, and none below itself.
        #[test]
        fn any_events_make_a_tree(
            events in prop::collection::vec((0..8usize, 1..6i64, 1..6i64, 0..5_000i64, prop::option::of(1..6i64)), 0..40),
        ) {
            let ids: Vec<String> = (0..8).map(|id| format!("p{id}")).collect();
            let event = |(id, pid, ppid, time_us, child): &(usize, i64, i64, i64, Option<i64>)| Event {
                exec_id: &ids[*id], pid: Some(*pid), ppid: Some(*ppid),
                time_us: *time_us, start_us: Some(*time_us), child: *child,
            };
            let mut links = Links::new(2_000);
            events.iter().for_each(|told| links.add(&event(told)));
            if let Ok(places) = links.below("p0", Some(1)) {
                let mut seen: Vec<_> = places.iter().filter_map(|place| place.exec_id.clone()).collect();
                prop_assert!(!seen.contains(&"p0".to_owned()));
                let count = seen.len();
                seen.sort();
                seen.dedup();
                prop_assert_eq!(seen.len(), count);
            }
        }
    }
}
