//! Events and what is known about them, as cells of `syscalls`.
//!
//! ```text
//!   common cells: time, result ... ──┐
//!   the process's: shared with its ──┼──▶ one row
//!     last row while nothing changed │
//!   the event's: process, files, ────┘
//!     network
//! ```

mod files;
mod network;
mod process;
mod same;

use std::sync::Arc;

use bailiwick_collector_ebpf::{Header, flag};
use bailiwick_proto::Table;

use super::arguments::Pairs;
use super::cgroups::Cgroup;
use super::processes::{Process, Processes};
use super::{capabilities, flags, paths};
use crate::attribution::HOST;
use crate::columns::{Columns, Place, ProcessCells};
use crate::outlet::Lane;
use crate::pods::Pod;
use crate::users::{NO_NAME, Users};
use same::{Context, Same};

/// A batch with more bytes of text is closed, however few its rows.
const FULL_BYTES: usize = 8 << 20;

macro_rules! places {
    ($($name:ident)*) => {
        struct Places { $($name: Place,)* }

        impl Places {
            fn of(columns: &Columns) -> Self {
                Self { $($name: columns.place(stringify!($name)),)* }
            }
        }
    };
}

places! {
    time node cluster observed exec_id seq lane repeats weight
    evt_type evt_res evt_rawres evt_failed evt_truncated evt_arg
    evt_is_open_read evt_is_open_write evt_is_open_exec evt_is_open_create
    proc_pid thread_tid proc_vpid proc_ppid proc_pvpid proc_sid proc_sname proc_is_sid_leader
    proc_pgid proc_vpgid proc_is_vpgid_leader proc_tty proc_name proc_exe proc_exepath proc_args
    proc_cmdline proc_cwd proc_env proc_start_time proc_duration proc_exit_code
    proc_pname proc_pexe proc_pexepath proc_pcmdline proc_ancestors
    proc_is_exe_writable proc_is_exe_upper_layer proc_is_exe_from_memfd
    proc_exe_ino proc_exe_ino_ctime proc_exe_ino_mtime
    thread_cap_permitted thread_cap_effective thread_cap_inheritable
    user_uid user_name user_loginuid user_loginname group_gid group_name
    fd_num fd_type fd_typechar fd_name fd_nameraw fd_name_resolved fd_directory fd_filename fd_ino fd_dev
    fd_l4proto fd_sockfamily fd_cip fd_cport fd_sip fd_sport fd_lip fd_lport fd_rip fd_rport
    fd_is_server fd_connected fd_name_changed dns_name
    container_id container_name container_type container_image container_image_repository
    container_image_tag container_image_digest container_privileged container_mounts container_start_ts
    container_setup
    k8s_ns_name k8s_pod_name k8s_pod_uid k8s_pod_labels k8s_sa_name cgroup_id cgroup_path mnt_ns pid_ns
}

/// Rows that wait for their batch.
pub(super) struct Rows {
    /// The most important lane of any row in it.
    pub(super) lane: Lane,
    pub(super) columns: Columns,
    /// Events that they stand for, repeats included.
    pub(super) events: u64,
    at: Places,
    same: Same,
    /// Where arguments are put together.
    arguments: Pairs,
}

/// What every event has.
pub(super) struct Common<'a> {
    pub(super) lane: Lane,
    pub(super) node: &'a str,
    pub(super) cluster: &'a str,
    pub(super) header: &'a Header,
    pub(super) time_us: i64,
    pub(super) start_time_us: i64,
    pub(super) seq: u64,
    /// How many further events the row stands for.
    pub(super) repeats: u64,
    pub(super) process: &'a Process,
    pub(super) processes: &'a Processes,
    pub(super) cgroup: Option<&'a Arc<Cgroup>>,
    /// Whether its container is seen to be privileged.
    pub(super) is_privileged: bool,
    pub(super) pod: Option<&'a Arc<Pod>>,
    pub(super) users: &'a Users,
}

// === impl Rows ===

impl Rows {
    pub(super) fn new(lane: Lane) -> Self {
        let mut columns = Columns::new(Table::Syscalls);
        let at = Places::of(&columns);
        columns.share(&at.shared());
        Self { lane, columns, events: 0, at, same: Same::default(), arguments: Pairs::default() }
    }

    /// Whether the batch is to be closed: it has this many rows, or much text.
    pub(super) fn is_full(&self, most: usize) -> bool {
        self.columns.rows() >= most || self.columns.bytes() >= FULL_BYTES
    }

    /// Sets what a call was given.
    fn told(&mut self, arguments: Pairs) {
        self.columns.pairs(self.at.evt_arg, arguments.iter());
        self.arguments = arguments;
    }

    fn common(&mut self, common: &Common<'_>, evt_type: &str, ret: Option<i64>, weight: u32) {
        self.events = self.events.saturating_add(common.repeats.saturating_add(1));
        let (columns, at) = (&mut self.columns, &self.at);
        let header = common.header;
        columns.time(at.time, Some(common.time_us));
        columns.int(at.seq, i64::try_from(common.seq).ok());
        columns.text(at.lane, Some(common.lane.name()));
        columns.int(at.repeats, i64::try_from(common.repeats).ok());
        columns.int(at.weight, Some(weight.max(1).into()));
        columns.text(at.evt_type, Some(evt_type));
        columns.text(at.evt_res, ret.map(flags::result));
        columns.int(at.evt_rawres, ret);
        columns.boolean(at.evt_failed, Some(ret.is_some_and(|ret| ret < 0)));
        // Unless the event has said already that it is.
        columns.boolean(at.evt_truncated, Some(is_unread(header, ret)));
        columns.int(at.thread_tid, Some(header.tid.into()));
        let duration = header.boot_ns.saturating_sub(header.start_boot_ns);
        columns.int(at.proc_duration, i64::try_from(duration).ok());
        let context = Context::of(common);
        match self.same.find(&self.columns, &context) {
            Some(shared) => self.columns.shared_again(shared),
            None => {
                self.process(common);
                self.whose(common);
                let shared = self.columns.shared();
                self.same.remember(common, context, shared);
            }
        }
    }

    fn process(&mut self, common: &Common<'_>) {
        let (columns, at) = (&mut self.columns, &self.at);
        let (header, process) = (common.header, common.process);
        let program = process.program_at(header.boot_ns);
        columns.text(at.node, Some(common.node));
        columns.text(at.cluster, Some(common.cluster));
        columns.text(at.observed, Some("live"));
        columns.text(at.exec_id, Some(&process.exec_id));
        columns.int(at.proc_pid, Some(header.pid.into()));
        columns.int(at.proc_vpid, Some(process.vpid.into()));
        columns.int(at.proc_ppid, Some(header.ppid.into()));
        columns.int(at.proc_sid, Some(process.sid.into()));
        columns.boolean(at.proc_is_sid_leader, Some(process.sid == process.pid));
        columns.int(at.proc_pgid, Some(process.pgid.into()));
        columns.int(at.proc_vpgid, Some(process.vpgid.into()));
        columns.boolean(at.proc_is_vpgid_leader, Some(process.vpgid == process.vpid));
        columns.int(at.proc_tty, Some(process.tty.into()));
        columns.text(at.proc_name, Some(paths::text(comm(header))));
        columns.text(at.proc_exe, Some(&program.exe));
        columns.text(at.proc_exepath, Some(&program.exepath));
        columns.text(at.proc_args, Some(&program.args));
        columns.text(at.proc_cmdline, Some(&program.cmdline));
        columns.text(at.proc_cwd, process.cwd_at(header.boot_ns).map(with_slash));
        columns.time(at.proc_start_time, Some(common.start_time_us));
        columns.boolean(at.proc_is_exe_writable, program.is_writable);
        columns.boolean(at.proc_is_exe_upper_layer, program.is_upper_layer);
        columns.boolean(at.proc_is_exe_from_memfd, Some(program.is_from_memfd));
        if program.exe_ino != 0 {
            columns.int(at.proc_exe_ino, i64::try_from(program.exe_ino).ok());
            columns.time(at.proc_exe_ino_ctime, micros(program.exe_ctime_ns));
            columns.time(at.proc_exe_ino_mtime, micros(program.exe_mtime_ns));
        }
        if let Some(held) = process.capabilities {
            columns.text(at.thread_cap_permitted, Some(capabilities::text(held.permitted)));
            columns.text(at.thread_cap_effective, Some(capabilities::text(held.effective)));
            columns.text(at.thread_cap_inheritable, Some(capabilities::text(held.inheritable)));
        }
        self.relatives(common);
    }

    fn relatives(&mut self, common: &Common<'_>) {
        let (columns, at) = (&mut self.columns, &self.at);
        let (process, processes) = (common.process, common.processes);
        let leader = processes.session_leader(process);
        columns.text(at.proc_sname, leader.map(|leader| &leader.program().name));
        let ancestors = processes.ancestors(process);
        if let Some(parent) = ancestors.first() {
            let program = parent.program();
            columns.int(at.proc_pvpid, Some(parent.vpid.into()));
            columns.text(at.proc_pname, Some(&program.name));
            columns.text(at.proc_pexe, Some(&program.exe));
            columns.text(at.proc_pexepath, Some(&program.exepath));
            columns.text(at.proc_pcmdline, Some(&program.cmdline));
        }
        columns.processes(at.proc_ancestors, ancestors.iter().map(|ancestor| cells(ancestor)));
    }

    fn whose(&mut self, common: &Common<'_>) {
        let (columns, at) = (&mut self.columns, &self.at);
        let header = common.header;
        columns.int(at.user_uid, Some(header.uid.into()));
        columns.text(at.user_name, Some(common.users.user(header.uid)));
        let loginuid = loginuid(header);
        let loginname = if loginuid < 0 { NO_NAME } else { common.users.user(header.loginuid) };
        columns.int(at.user_loginuid, Some(loginuid));
        columns.text(at.user_loginname, Some(loginname));
        columns.int(at.group_gid, Some(header.gid.into()));
        columns.text(at.group_name, Some(common.users.group(header.gid)));
        columns.int(at.mnt_ns, Some(header.mnt_ns.into()));
        columns.int(at.pid_ns, Some(header.pid_ns.into()));
        self.container(common);
    }

    fn container(&mut self, common: &Common<'_>) {
        let (columns, at) = (&mut self.columns, &self.at);
        let header = common.header;
        let id = common.cgroup.map_or(header.cgroup_id, |cgroup| cgroup.id);
        columns.int(at.cgroup_id, i64::try_from(id).ok());
        let Some(cgroup) = common.cgroup else { return };
        columns.text(at.cgroup_path, Some(&cgroup.path));
        columns.text(at.container_id, Some(&cgroup.container.id));
        columns.text(at.k8s_pod_uid, cgroup.container.pod_uid.as_deref());
        let outside = common.process.program_at(header.boot_ns).outside_mnt_ns.is_some();
        columns.boolean(at.container_setup, Some(outside && cgroup.container.id != HOST));
        let known = common.pod.and_then(|pod| pod.container(&cgroup.container.id));
        let runtime = known.and_then(|known| known.runtime).unwrap_or(cgroup.container.runtime);
        columns.text(at.container_type, Some(runtime));
        let privileged = known.map(|known| known.privileged).or(common.is_privileged.then_some(true));
        columns.boolean(at.container_privileged, privileged);
        let Some(pod) = common.pod else { return };
        columns.text(at.k8s_ns_name, Some(&pod.namespace));
        columns.text(at.k8s_pod_name, Some(&pod.name));
        columns.pairs(at.k8s_pod_labels, pod.labels.iter().map(|(name, value)| (name, value)));
        columns.text(at.k8s_sa_name, Some(&pod.service_account).filter(|name| !name.is_empty()));
        let Some(container) = known else { return };
        let (repository, tag) = container.image_parts();
        columns.text(at.container_name, Some(&container.name));
        columns.text(at.container_image, Some(&container.image));
        columns.text(at.container_image_repository, Some(repository));
        columns.text(at.container_image_tag, tag);
        columns.text(at.container_image_digest, container.image_digest.as_deref());
        columns.texts(at.container_mounts, &container.mounts);
        columns.time(at.container_start_ts, container.start_us);
    }
}

// === impl Places ===

impl Places {
    /// The columns that only depend on the process and its place.
    #[rustfmt::skip]
    fn shared(&self) -> Vec<Place> {
        vec![
            self.node, self.cluster, self.observed, self.exec_id, self.proc_pid, self.proc_vpid,
            self.proc_ppid, self.proc_pvpid, self.proc_sid, self.proc_sname, self.proc_is_sid_leader,
            self.proc_pgid, self.proc_vpgid, self.proc_is_vpgid_leader, self.proc_tty, self.proc_name,
            self.proc_exe, self.proc_exepath, self.proc_args, self.proc_cmdline, self.proc_cwd,
            self.proc_start_time, self.proc_is_exe_writable, self.proc_is_exe_upper_layer,
            self.proc_is_exe_from_memfd, self.proc_exe_ino, self.proc_exe_ino_ctime,
            self.proc_exe_ino_mtime, self.thread_cap_permitted, self.thread_cap_effective,
            self.thread_cap_inheritable, self.proc_pname, self.proc_pexe, self.proc_pexepath,
            self.proc_pcmdline, self.proc_ancestors, self.user_uid, self.user_name, self.user_loginuid,
            self.user_loginname, self.group_gid, self.group_name, self.mnt_ns, self.pid_ns,
            self.cgroup_id, self.cgroup_path, self.container_id, self.k8s_pod_uid, self.container_setup,
            self.container_type, self.k8s_ns_name, self.k8s_pod_name, self.k8s_pod_labels,
            self.k8s_sa_name, self.container_name, self.container_image,
            self.container_image_repository, self.container_image_tag, self.container_image_digest,
            self.container_privileged, self.container_mounts, self.container_start_ts,
        ]
    }
}

/// Whether a text was not in memory. Where the kernel could not read it either
/// there was none.
fn is_unread(header: &Header, ret: Option<i64>) -> bool {
    const EFAULT: i64 = -14;
    header.flags & flag::UNREADABLE != 0 && ret != Some(EFAULT)
}

/// The task's name without its padding.
pub(super) fn comm(header: &Header) -> &[u8] {
    header.comm.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn cells(process: &Process) -> ProcessCells<'_> {
    let program = process.program();
    ProcessCells {
        pid: process.pid.into(),
        name: Some(&program.name),
        exe: Some(&program.exe),
        exepath: Some(&program.exepath),
        cmdline: Some(&program.cmdline),
    }
}

/// Falco's form of a working directory.
fn with_slash(folder: &str) -> String {
    if folder.is_empty() || folder.ends_with('/') { folder.to_owned() } else { format!("{folder}/") }
}

/// Unset is -1.
fn loginuid(header: &Header) -> i64 {
    if header.loginuid == u32::MAX { -1 } else { header.loginuid.into() }
}

/// Microseconds of a time in nanoseconds since 1970; 0 is none.
fn micros(ns: u64) -> Option<i64> {
    i64::try_from(ns / 1_000).ok().filter(|micros| *micros != 0)
}

#[cfg(test)]
mod tests;
