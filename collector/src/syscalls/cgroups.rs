//! Cgroup ids to paths and containers.
//!
//! ```text
//!   kernel's record of a new cgroup ─┐
//!   walk of the mounts at start ─────┼─▶ by id ─▶ path, container
//!   /proc/PID/cgroup, if both missed ┘     └ removed: kept a while, for late events
//! ```
//!
//! The kernel programs tell a task's cgroup in v2 and, where v1 is mounted beside
//! it, in one v1 hierarchy: on such a machine a runtime may use v1 alone, and leave
//! its containers where it is itself in v2. The one that names a container counts.

mod hierarchies;

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{paths, proc_fs};
use crate::attribution::{Container, HOST, container_of};
use crate::containers::Sightings;

pub(super) use hierarchies::{Hierarchies, V1};

/// Keeps the ids of v1 apart from those of v2.
const CGROUP_V1_BIT: u64 = 1 << 63;
/// The most cgroups remembered, removed ones included.
const MAX_CGROUPS: usize = 16_384;
/// Cgroups without room before the mounts are walked again.
const REFUSED_UNTIL_WALK: usize = 1024;
/// The deepest folder that the walk looks into.
const MAX_DEPTH: usize = 32;
/// How long a removed cgroup can still be named: its last events may come
/// through a slower ring.
const GRACE: Duration = Duration::from_secs(300);

/// One cgroup.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cgroup {
    /// Its id in its hierarchy: the inode of its folder.
    pub(super) id: u64,
    /// Below the mount, beginning with a slash.
    pub(super) path: String,
    pub(super) container: Container,
}

/// Known cgroups of both hierarchies.
pub(super) struct Cgroups {
    hierarchies: Hierarchies,
    by_id: HashMap<u64, Arc<Cgroup>>,
    /// Removed ones, oldest first.
    removed: VecDeque<(Instant, u64)>,
    /// Where containers are noted.
    sightings: Sightings,
    /// Refused since the last walk, so that a full table does not mean a walk each.
    refused: usize,
    max: usize,
}

// === impl Cgroup ===

impl Cgroup {
    fn new(key: u64, path: &str) -> Self {
        Self { id: key & !CGROUP_V1_BIT, path: path.to_owned(), container: container_of(path) }
    }

    /// Whether it is of a container or pod.
    pub(super) fn is_of_container(&self) -> bool {
        self.container.id != HOST || self.container.pod_uid.is_some()
    }
}

// === impl Cgroups ===

impl Cgroups {
    /// Walks the hierarchies whose cgroups the programs tell.
    pub(super) fn walk(hierarchies: Hierarchies, sightings: Sightings) -> Self {
        let (by_id, removed) = (HashMap::new(), VecDeque::new());
        let mut cgroups = Self { hierarchies, by_id, removed, sightings, refused: 0, max: MAX_CGROUPS };
        cgroups.refresh();
        cgroups
    }

    /// Whether a hierarchy is followed.
    pub(super) fn are_mounted(&self) -> bool {
        !self.hierarchies.is_empty()
    }

    /// The v1 controller that is followed beside v2, if one is mounted.
    pub(super) fn v1(&self) -> Option<&V1> {
        self.hierarchies.v1()
    }

    /// The containers that cgroups are known of.
    pub(super) fn containers(&self) -> HashSet<&str> {
        self.by_id.values().map(|cgroup| cgroup.container.id.as_str()).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// A cgroup that was just made, with its hierarchy's number. Those of
    /// hierarchies that are not followed are none.
    pub(super) fn made(&mut self, id: u64, hierarchy: u32, path: &str) -> Option<Arc<Cgroup>> {
        let key = self.key(id, hierarchy)?;
        Some(self.add(key, path))
    }

    /// A cgroup that was just removed; it is known for some minutes more.
    pub(super) fn removed(&mut self, id: u64, hierarchy: u32, now: Instant) {
        let Some(key) = self.key(id, hierarchy) else { return };
        let Some(cgroup) = self.by_id.get(&key) else { return };
        self.sightings.gone(&cgroup.path, &cgroup.container);
        self.removed.push_back((now, key));
    }

    /// Forgets what was removed a while ago.
    pub(super) fn sweep(&mut self, now: Instant) {
        while self.removed.front().is_some_and(|(since, _)| now.duration_since(*since) >= GRACE) {
            self.forget_oldest_removed();
        }
    }

    /// What a process's cgroup in v1 is asked for with; none where v1 is not followed.
    pub(super) fn v1_key(id: u64) -> Option<u64> {
        (id != 0).then_some(id | CGROUP_V1_BIT)
    }

    /// The cgroup with this id, asking the process for it if need be.
    pub(super) fn of(&mut self, key: u64, pid: u32) -> Option<Arc<Cgroup>> {
        if let Some(known) = self.by_id.get(&key) {
            return Some(Arc::clone(known));
        }
        let v1 = self.hierarchies.v1.as_ref().filter(|_| key & CGROUP_V1_BIT != 0);
        let mount = v1.map(|v1| &v1.mount).or(self.hierarchies.v2.as_ref())?;
        let told = proc_fs::cgroups(pid)?;
        let path = path_in(&told, v1)?;
        let inside = path.strip_prefix(b"/").unwrap_or(path);
        // It may have moved since; then the path is another cgroup's.
        if fs::metadata(mount.join(OsStr::from_bytes(inside))).ok()?.ino() != key & !CGROUP_V1_BIT {
            return None;
        }
        Some(self.add(key, &paths::text(path)))
    }

    /// What it is remembered by.
    fn key(&self, id: u64, hierarchy: u32) -> Option<u64> {
        let v1 = self.hierarchies.v1.as_ref().map(|v1| v1.hierarchy);
        match hierarchy {
            0 => Some(id),
            number if Some(number) == v1 => Some(id | CGROUP_V1_BIT),
            _ => None,
        }
    }

    /// Remembers a cgroup if there is room or room can be made.
    fn add(&mut self, key: u64, path: &str) -> Arc<Cgroup> {
        let cgroup = Arc::new(Cgroup::new(key, path));
        self.sightings.there(cgroup.id, &cgroup.path, &cgroup.container);
        if self.by_id.len() >= self.max {
            self.forget_oldest_removed();
        }
        if self.by_id.len() >= self.max {
            if self.refused.is_multiple_of(REFUSED_UNTIL_WALK) {
                self.refresh();
            }
            self.refused += 1;
        }
        if self.by_id.len() < self.max {
            self.by_id.insert(key, Arc::clone(&cgroup));
        }
        cgroup
    }

    fn forget_oldest_removed(&mut self) {
        if let Some((_, key)) = self.removed.pop_front() {
            self.by_id.remove(&key);
        }
    }

    /// Reads all that exist now, and forgets the others.
    fn refresh(&mut self) {
        let Hierarchies { v2, v1 } = self.hierarchies.clone();
        let mut found = HashMap::new();
        for (mount, bit) in [(v2, 0), (v1.map(|v1| v1.mount), CGROUP_V1_BIT)] {
            if let Some(mount) = mount {
                walk(&mount, bit, self.max, &mut found);
            }
        }
        for cgroup in found.values() {
            self.sightings.there(cgroup.id, &cgroup.path, &cgroup.container);
        }
        self.by_id = found;
        self.removed.clear();
    }
}

/// Adds every folder of a mount, those nearest to its root first: a container is
/// more worth to know than what is made inside it.
fn walk(mount: &Path, bit: u64, max: usize, found: &mut HashMap<u64, Arc<Cgroup>>) {
    let mut folders = VecDeque::from([(mount.to_owned(), 0)]);
    while let Some((folder, depth)) = folders.pop_front() {
        if found.len() >= max {
            return;
        }
        let Ok(metadata) = fs::metadata(&folder) else { continue };
        let below = folder.strip_prefix(mount).unwrap_or(Path::new(""));
        let path = format!("/{}", paths::text(below.as_os_str().as_bytes()));
        let key = metadata.ino() | bit;
        found.insert(key, Arc::new(Cgroup::new(key, &path)));
        if depth < MAX_DEPTH {
            folders.extend(inside(&folder).map(|folder| (folder, depth + 1)));
        }
    }
}

fn inside(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path())
}

/// The path in one hierarchy, of /proc/PID/cgroup: `number:controllers:path`, a
/// line a hierarchy; v2 has number 0 and no controller.
fn path_in<'a>(told: &'a [u8], v1: Option<&V1>) -> Option<&'a [u8]> {
    let wanted = v1.map_or("", |v1| v1.controller).as_bytes();
    told.split(|byte| *byte == b'\n').find_map(|line| {
        let mut parts = line.splitn(3, |byte| *byte == b':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let is_v2 = number == b"0" && controllers.is_empty();
        let has = || controllers.split(|byte| *byte == b',').any(|name| name == wanted);
        let fits = if v1.is_none() { is_v2 } else { !is_v2 && has() };
        // Its folder is gone, or never was below what this process sees.
        (fits && !path.ends_with(b" (deleted)")).then_some(path)
    })
}

#[cfg(test)]
mod tests;
