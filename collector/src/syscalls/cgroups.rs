//! Cgroup ids to paths and containers.
//!
//! Ids come from the kernel's record of a new cgroup, from a walk of the mount
//! at start, and, where both missed one, from the process itself. Only cgroup
//! v2 has ids: on a node with v1 alone every process is in the root.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::proc_fs;
use crate::attribution::{Container, container_of};

/// The most cgroups remembered; deleted ones go when it is reached.
const MAX_CGROUPS: usize = 16_384;
/// Cgroups without room before the mount is walked again.
const REFUSED_UNTIL_WALK: usize = 1024;
/// The deepest folder that the walk at start looks into.
const MAX_DEPTH: usize = 32;
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// One cgroup.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cgroup {
    /// Below the mount, beginning with a slash.
    pub(super) path: String,
    pub(super) container: Container,
}

/// Known cgroups by id.
pub(super) struct Cgroups {
    mount: Option<PathBuf>,
    by_id: HashMap<u64, Arc<Cgroup>>,
    /// Refused since the last walk, so that a full table does not mean a walk each.
    refused: usize,
}

// === impl Cgroups ===

impl Cgroups {
    /// Walks the cgroup v2 mount, if there is one.
    pub(super) fn walk() -> Self {
        let mount = MOUNTS.into_iter().map(PathBuf::from).find(|mount| mount.join("cgroup.procs").exists());
        let mut cgroups = Self { mount, by_id: HashMap::new(), refused: 0 };
        cgroups.refresh();
        cgroups
    }

    /// Where cgroup v2 is mounted.
    pub(super) fn mount(&self) -> Option<&Path> {
        self.mount.as_deref()
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// A cgroup that was just made.
    pub(super) fn made(&mut self, id: u64, path: &str) {
        if self.by_id.len() >= MAX_CGROUPS {
            if self.refused.is_multiple_of(REFUSED_UNTIL_WALK) {
                self.refresh();
            }
            self.refused += 1;
        }
        if self.by_id.len() < MAX_CGROUPS {
            self.by_id.insert(id, Arc::new(Cgroup { path: path.to_owned(), container: container_of(path) }));
        }
    }

    /// The cgroup with this id, asking the process for it if need be.
    pub(super) fn of(&mut self, id: u64, pid: u32) -> Option<Arc<Cgroup>> {
        if let Some(known) = self.by_id.get(&id) {
            return Some(Arc::clone(known));
        }
        let path = proc_fs::cgroup(pid)?;
        let folder = self.mount.as_ref()?.join(path.trim_start_matches('/'));
        // It may have moved since; then the path is another cgroup's.
        if fs::metadata(folder).ok()?.ino() != id {
            return None;
        }
        self.made(id, &path);
        self.by_id.get(&id).cloned()
    }

    /// Reads all that exist now, and forgets the others.
    fn refresh(&mut self) {
        let Some(mount) = self.mount.clone() else { return };
        let mut found = HashMap::new();
        let mut folders = vec![(mount.clone(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            if found.len() >= MAX_CGROUPS {
                break;
            }
            let Ok(metadata) = fs::metadata(&folder) else { continue };
            let below = folder.strip_prefix(&mount).unwrap_or(Path::new(""));
            let path = format!("/{}", below.display());
            found.insert(metadata.ino(), Arc::new(Cgroup { container: container_of(&path), path }));
            if depth < MAX_DEPTH {
                let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
                let inside = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
                folders.extend(inside.map(|entry| (entry.path(), depth + 1)));
            }
        }
        self.by_id = found;
    }
}
