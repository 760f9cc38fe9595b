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
    processes: HashMap<u32, (Context, Shared), BuildHasherDefault<Spread>>,
    /// The batch that they are in.
    batch: u64,
}

/// Everything that those cells are made from.
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
    // Held, so that no other can take its address.
    cgroup: Option<Arc<Cgroup>>,
    is_privileged: bool,
    pod: Option<Arc<Pod>>,
}

// === impl Same ===

impl Same {
    /// The cells in this batch that are made from the same.
    pub(super) fn find(&mut self, columns: &Columns, context: &Context) -> Option<Shared> {
        if self.batch != columns.finished() {
            self.processes.clear();
            self.batch = columns.finished();
        }
        let (known, shared) = self.processes.get(&context.pid)?;
        (context.is_newest && known.is(context)).then_some(*shared)
    }

    /// These cells were made from this.
    pub(super) fn remember(&mut self, context: Context, shared: Shared) {
        if context.is_newest {
            self.processes.insert(context.pid, (context, shared));
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
            cgroup: common.cgroup.cloned(),
            is_privileged: common.is_privileged,
            pod: common.pod.cloned(),
        }
    }

    fn is(&self, other: &Self) -> bool {
        (self.start_boot_ns, self.versions, self.start_time_us)
            == (other.start_boot_ns, other.versions, other.start_time_us)
            && (self.comm, self.ids, self.cgroup_id) == (other.comm, other.ids, other.cgroup_id)
            && self.is_privileged == other.is_privileged
            && address(self.cgroup.as_ref()) == address(other.cgroup.as_ref())
            && address(self.pod.as_ref()) == address(other.pod.as_ref())
    }
}

fn address<T>(held: Option<&Arc<T>>) -> Option<*const ()> {
    held.map(|held| Arc::as_ptr(held).cast())
}
