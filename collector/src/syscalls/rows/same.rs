//! Which earlier row of a batch has the same cells about its process.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use super::Common;
use crate::columns::{Columns, Shared};
use crate::pods::Pod;
use crate::syscalls::cgroups::Cgroup;
use crate::syscalls::processes::Spread;

/// The shared cells of each process's last row.
#[derive(Default)]
pub(super) struct Same {
    processes: HashMap<u32, Known, BuildHasherDefault<Spread>>,
    /// The batch that they are in.
    batch: u64,
}

struct Known {
    context: Context,
    shared: Shared,
    // Held, so that no other can take its address.
    _cgroup: Option<Arc<Cgroup>>,
    _pod: Option<Arc<Pod>>,
}

/// Everything that those cells are made from.
#[derive(PartialEq, Eq)]
pub(super) struct Context {
    pid: u32,
    start_boot_ns: u64,
    /// Of the process, and of all programs and parents.
    versions: (u64, u64),
    /// Whether the newest program of the process is told of.
    is_newest: bool,
    start_time_us: i64,
    comm: [u8; 16],
    ids: [u32; 6],
    cgroup_id: u64,
    is_privileged: bool,
    /// Where cgroup and pod are in memory.
    places: [Option<usize>; 2],
}

// === impl Same ===

impl Same {
    /// The cells in this batch that are made from the same.
    pub(super) fn find(&mut self, columns: &Columns, context: &Context) -> Option<Shared> {
        if self.batch != columns.finished() {
            self.processes.clear();
            self.batch = columns.finished();
        }
        let known = self.processes.get(&context.pid)?;
        (context.is_newest && known.context == *context).then_some(known.shared)
    }

    /// These cells were made from this.
    pub(super) fn remember(&mut self, common: &Common<'_>, context: Context, shared: Shared) {
        if context.is_newest {
            let (cgroup, pod) = (common.cgroup.cloned(), common.pod.cloned());
            self.processes.insert(context.pid, Known { context, shared, _cgroup: cgroup, _pod: pod });
        }
    }
}

// === impl Context ===

impl Context {
    pub(super) fn of(common: &Common<'_>) -> Self {
        let (header, process) = (common.header, common.process);
        Self {
            pid: header.pid,
            start_boot_ns: header.start_boot_ns,
            versions: (process.version, common.processes.epoch()),
            is_newest: process.is_newest_at(header.boot_ns),
            start_time_us: common.start_time_us,
            comm: header.comm,
            ids: [header.ppid, header.uid, header.gid, header.loginuid, header.mnt_ns, header.pid_ns],
            cgroup_id: header.cgroup_id,
            is_privileged: common.is_privileged,
            places: [address(common.cgroup), address(common.pod)],
        }
    }
}

fn address<T>(held: Option<&Arc<T>>) -> Option<usize> {
    held.map(|held| Arc::as_ptr(held).addr())
}
