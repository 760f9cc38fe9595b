//! From ring bytes to rows: decodes, keeps the process table, names what is named.
//!
//! Everything that an event is named with is in its record or was in an earlier
//! one. /proc is only asked for a process that was missed.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::time::Instant;

use bailiwick_collector_ebpf::calls::id;
use bailiwick_collector_ebpf::{Capabilities, Header, text};

use super::cgroups::{Cgroup, Cgroups, Hierarchies};
use super::clock::{self, Clock};
use super::decode::{self, Call, Dns, Event, Exec, Fork, Record, Uring};
use super::privileged::Privileged;
use super::processes::{Processes, Program, Spread, Started};
use super::repeats::Repeats;
use super::roles::Sockets;
use super::rows::{Common, Rows, comm};
use super::{descriptors, dns, lanes, names, paths, proc_fs, registers, walk};
use crate::attribution::{HOST, is_own_cgroup};
use crate::config::Syscalls;
use crate::containers::Sightings;
use crate::outlet::Lane;
use crate::pods::{Pod, Pods};
use crate::users::Users;

/// Rows of an interval that share a batch.
const FEW_ROWS: usize = 256;
/// Processes and cgroups that /proc did not know, remembered so that it is not
/// asked again and again.
const MAX_UNKNOWN: usize = 4_096;
/// Places that are remembered.
const MAX_PLACES: usize = 4_096;

/// Everything that events are named with, and the rows that wait.
pub(super) struct Capture {
    node: String,
    cluster: String,
    inside: Option<Inside>,
    clock: Clock,
    processes: Processes,
    /// Pids that were asked for in vain since the last tidying.
    unknown: HashSet<u32>,
    sockets: Sockets,
    cgroups: Cgroups,
    /// Cgroups that could not be found out since the last tidying.
    unknown_cgroups: HashSet<u64>,
    privileged: Privileged,
    users: Users,
    pods: Pods,
    /// Cgroups and pods by the ids in a header, until something is told of any.
    places: HashMap<(u64, u64), Place, BuildHasherDefault<Spread>>,
    /// What was told of pods when those were found.
    pods_version: u64,
    repeats: Repeats,
    /// Where a record is made ready to be compared.
    record: Vec<u8>,
    seq: u64,
    malformed: u64,
    /// The first rows of an interval, whatever their lane.
    few: Rows,
    /// How many of them; none while the spool may have to choose.
    few_most: usize,
    /// The others, by lane, so that a full spool can choose.
    process_rows: Rows,
    network_rows: Rows,
    file_rows: Rows,
}

/// Where a process runs.
#[derive(Debug, Clone)]
struct Place {
    cgroup: Option<Arc<Cgroup>>,
    pod: Option<Arc<Pod>>,
}

/// This process as the kernel shows it, when it runs in a pid namespace of its
/// own: then it does not know the pid by which the programs would leave it out,
/// and what it writes about its own writing would never end.
struct Inside {
    pid_ns: u32,
    start_ticks: u64,
}

// === impl Inside ===

impl Inside {
    fn of_this_process() -> Option<Self> {
        let pid_ns = proc_fs::own_namespace("pid");
        let start_ticks = proc_fs::process(std::process::id())?.start_ticks;
        (pid_ns != proc_fs::FIRST_PID_NS).then_some(Self { pid_ns, start_ticks })
    }

    fn made(&self, header: &Header) -> bool {
        header.pid_ns == self.pid_ns && proc_fs::ticks(header.start_boot_ns) == self.start_ticks
    }
}

// === impl Capture ===

impl Capture {
    /// Reads what runs already. Call it when the programs are attached, so that
    /// nothing starts unseen between the two.
    pub(super) fn begin(
        node: &str,
        cluster: &str,
        config: &Syscalls,
        pods: Pods,
        hierarchies: Hierarchies,
        sightings: Sightings,
    ) -> Self {
        let mut processes = Processes::new(proc_fs::boot_id(), config.max_processes);
        let mut privileged = Privileged::new(proc_fs::all_capabilities());
        for pid in proc_fs::pids() {
            if let Some(found) = proc_fs::process(pid) {
                privileged.found(pid, found.capabilities.map_or(0, |held| held.permitted));
                processes.found(found);
            }
        }
        Self {
            node: node.to_owned(),
            cluster: cluster.to_owned(),
            inside: Inside::of_this_process(),
            clock: Clock::now(),
            processes,
            unknown: HashSet::new(),
            sockets: Sockets::new(),
            cgroups: Cgroups::walk(hierarchies, sightings),
            unknown_cgroups: HashSet::new(),
            privileged,
            users: Users::read(),
            pods,
            places: HashMap::default(),
            pods_version: 0,
            repeats: Repeats::new(config.repeats_after_ms.saturating_mul(1_000_000)),
            record: Vec::new(),
            seq: 0,
            malformed: 0,
            few: Rows::new(Lane::File),
            few_most: FEW_ROWS,
            process_rows: Rows::new(Lane::Process),
            network_rows: Rows::new(Lane::Network),
            file_rows: Rows::new(Lane::File),
        }
    }

    pub(super) fn process_count(&self) -> usize {
        self.processes.len()
    }

    pub(super) fn cgroup_count(&self) -> usize {
        self.cgroups.len()
    }

    /// What is unusual about how containers are told apart here, for a person.
    pub(super) fn cgroups_note(&self) -> Option<String> {
        match self.cgroups.v1() {
            Some(v1) => Some(format!("containers of cgroup v1 by its controller {}", v1.controller)),
            None if self.cgroups.are_mounted() => None,
            None => Some("no cgroups are mounted: containers cannot be told apart".to_owned()),
        }
    }

    /// The rows that wait, the first of them first.
    pub(super) fn waiting(&mut self) -> [&mut Rows; 4] {
        [&mut self.few, &mut self.process_rows, &mut self.network_rows, &mut self.file_rows]
    }

    /// Whether rows of different lanes may share a batch.
    pub(super) fn share_batches(&mut self, yes: bool) {
        self.few_most = if yes { FEW_ROWS } else { 0 };
    }

    /// Records that could not be read since the last time.
    pub(super) fn take_malformed(&mut self) -> u64 {
        std::mem::take(&mut self.malformed)
    }

    /// What is to be done now and then: clocks, names, ended processes.
    pub(super) fn tidy(&mut self) {
        self.clock = Clock::now();
        self.users.refresh();
        self.processes.sweep(clock::boot_ns());
        self.cgroups.sweep(Instant::now());
        self.unknown.clear();
        self.unknown_cgroups.clear();
        self.places.clear();
    }

    /// Notices processes whose end was lost.
    pub(super) fn compare_with_proc(&mut self) {
        let listed_boot_ns = clock::boot_ns();
        let living: HashSet<u32> = proc_fs::pids().into_iter().collect();
        self.processes.keep_only(&living, listed_boot_ns);
    }

    /// Makes rows of what repeated, where that was counted long enough.
    pub(super) fn end_repeats(&mut self, now_boot_ns: u64) {
        self.repeats.end_until(now_boot_ns);
        self.write_repeats();
    }

    /// Makes rows of everything that repeated.
    pub(super) fn end_all_repeats(&mut self) {
        self.repeats.end_all();
        self.write_repeats();
    }

    /// When a record was made, without reading the rest.
    pub(super) fn boot_ns(bytes: &[u8]) -> u64 {
        bytes.get(8..16).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes)
    }

    /// Takes one record of a ring.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let Ok(Record { header, event }) = decode::decode(bytes) else {
            self.malformed += 1;
            return;
        };
        if self.inside.as_ref().is_some_and(|inside| inside.made(&header)) {
            return;
        }
        match event {
            Event::CgroupMade(made) => {
                if let Some(cgroup) = self.cgroups.made(made.id, made.hierarchy, &paths::text(made.path))
                    && is_own_cgroup(&cgroup.path, &cgroup.container)
                {
                    self.privileged.made(&cgroup.container.id, || self.cgroups.containers());
                }
                self.unknown_cgroups.clear();
                self.places.clear();
                return;
            }
            Event::CgroupGone(gone) => {
                self.cgroups.removed(gone.id, gone.hierarchy, Instant::now());
                self.places.clear();
                return;
            }
            Event::Exit(_) => self.repeats.end_process(header.pid),
            _ => {}
        }
        self.repeats.end_until(header.boot_ns);
        let counted = lanes::may_repeat(&event) && {
            let record = registers::without_rest(bytes, &event, &mut self.record);
            !self.repeats.is_first(record, header.pid, header.boot_ns)
        };
        self.write_repeats();
        if !counted {
            self.event(&header, &event, 0);
        }
    }

    fn write_repeats(&mut self) {
        while let Some(done) = self.repeats.next_done() {
            // It was read once already.
            if let Ok(Record { header, event }) = decode::decode(&done.record) {
                self.event(&header, &event, done.repeats);
            }
        }
    }

    fn event(&mut self, header: &Header, event: &Event<'_>, repeats: u64) {
        self.seq += 1;
        self.know(header);
        match event {
            Event::Exec(exec) => self.exec(header, exec),
            Event::Fork(fork) => self.fork(header, *fork),
            Event::Exit(exit) => {
                self.row(header, Lane::Process, 0, |rows, common| rows.exit(common, *exit));
                self.processes.ended(header.pid, header.start_boot_ns, header.boot_ns);
            }
            Event::Call(call) => self.call(header, call, repeats),
            Event::Socket(call) => {
                let socket = self.sockets.call(call, header.flags);
                self.row(header, lanes::of(event), repeats, |rows, common| {
                    rows.socket(common, call, &socket)
                });
            }
            Event::Dns(message) => self.dns(header, message, repeats),
            Event::Uring(uring) => self.uring(header, uring, repeats),
            Event::CgroupMade(_) | Event::CgroupGone(_) => {}
        }
    }

    /// Makes sure that the event's process and its parent are in the table, as
    /// far as there is room.
    fn know(&mut self, header: &Header) {
        if !self.processes.confirm(header.pid, header.start_boot_ns, header.ppid) {
            let found = self.ask_proc(header.pid);
            match found.filter(|found| found.start_ticks == proc_fs::ticks(header.start_boot_ns)) {
                Some(found) => self.processes.found(found),
                None => {
                    let name = paths::text(comm(header));
                    self.processes.seen(header.pid, header.start_boot_ns, header.ppid, &name);
                }
            }
            self.processes.confirm(header.pid, header.start_boot_ns, header.ppid);
        }
        if header.ppid != 0
            && self.processes.latest(header.ppid).is_none()
            && let Some(parent) = self.ask_proc(header.ppid)
        {
            self.processes.found(parent);
        }
    }

    /// What /proc tells of a process that was missed. Once in a while only, so
    /// that a table without room does not mean files to read for every event.
    fn ask_proc(&mut self, pid: u32) -> Option<proc_fs::Found> {
        if self.unknown.len() >= MAX_UNKNOWN || self.unknown.contains(&pid) {
            return None;
        }
        let found = proc_fs::process(pid);
        if found.is_none() || self.processes.is_full() {
            self.unknown.insert(pid);
        }
        found
    }

    fn exec(&mut self, header: &Header, exec: &Exec<'_>) {
        let name = paths::text(comm(header));
        let mut program = Program::started(header, &name, exec);
        let cgroup = self.cgroup(header);
        program.outside_mnt_ns = self.outside(header, cgroup.as_deref());
        if program.outside_mnt_ns.is_none()
            && let Some(cgroup) = &cgroup
        {
            self.privileged.started(&cgroup.container.id, exec.capabilities.permitted);
        }
        let started = Started {
            vpid: exec.vpid,
            sid: exec.sid,
            pgid: exec.pgid,
            vpgid: exec.vpgid,
            tty: exec.tty,
            cwd: Some(walk::path(exec.cwd)),
            capabilities: exec.capabilities,
        };
        self.processes.started(header.pid, header.start_boot_ns, header.boot_ns, program, started);
        self.row(header, Lane::Process, 0, |rows, common| rows.exec(common, exec));
    }

    /// Whether the program that a process starts now is still outside of its
    /// container: a runtime puts its own process into the container's cgroup
    /// first, and only what that starts in another mount namespace is inside.
    /// What was inside once stays so, wherever it breaks out to.
    fn outside(&self, header: &Header, cgroup: Option<&Cgroup>) -> Option<u32> {
        if cgroup?.container.id == HOST {
            return Some(header.mnt_ns);
        }
        let process = self.processes.get(header.pid, header.start_boot_ns)?;
        process.program().outside_mnt_ns.filter(|mnt_ns| *mnt_ns == header.mnt_ns)
    }

    fn fork(&mut self, header: &Header, fork: Fork) {
        self.processes.forked(
            header.pid,
            header.start_boot_ns,
            fork.child_pid,
            fork.child_start_boot_ns,
            fork.child_vpid,
        );
        self.row(header, Lane::Process, 0, |rows, common| rows.fork(common, fork.child_pid, fork.child_vpid));
    }

    fn call(&mut self, header: &Header, call: &Call<'_>, repeats: u64) {
        self.change(header, call);
        let paths = names::of(call, header.flags);
        let is_socket = descriptors::is_socket(&call.file);
        let socket = is_socket.then(|| self.sockets.get(call.file.ino)).flatten();
        let lane = lanes::of_call(call.call);
        self.row(header, lane, repeats, |rows, common| rows.call(common, call, &paths, socket.as_ref()));
    }

    /// What a call changed of its process.
    fn change(&mut self, header: &Header, call: &Call<'_>) {
        let extra = call.texts.get(text::EXTRA).copied().unwrap_or_default();
        let is_identity = matches!(
            call.call,
            id::SETUID
                | id::SETGID
                | id::SETREUID
                | id::SETREGID
                | id::SETRESUID
                | id::SETRESGID
                | id::CAPSET
        );
        let changes = is_identity
            || (call.ret >= 0 && matches!(call.call, id::CHDIR | id::FCHDIR | id::SETSID | id::SETPGID));
        if !changes {
            return;
        }
        let Some(process) = self.processes.change(header.pid, header.start_boot_ns) else { return };
        match call.call {
            id::CHDIR | id::FCHDIR => process.move_to(walk::path(extra).into(), header.boot_ns),
            id::SETSID => process.lead_session(),
            id::SETPGID => process.join_group(call.args),
            _ => process.capabilities = capabilities(extra).or(process.capabilities),
        }
    }

    fn dns(&mut self, header: &Header, message: &Dns<'_>, repeats: u64) {
        let asked = dns::question(message.data);
        self.row(header, Lane::Network, repeats, |rows, common| rows.dns(common, message, asked.as_ref()));
    }

    fn uring(&mut self, header: &Header, uring: &Uring<'_>, repeats: u64) {
        let name = self.uring_path(header, uring);
        self.row(header, Lane::File, repeats, |rows, common| rows.uring(common, uring, name.as_deref()));
    }

    fn uring_path(&self, header: &Header, uring: &Uring<'_>) -> Option<String> {
        const AT_FDCWD: i32 = -100;
        if uring.path.is_empty() {
            return None;
        }
        let path = paths::text(uring.path);
        let process = self.processes.get(header.pid, header.start_boot_ns);
        let cwd = process.and_then(|process| process.cwd_at(header.boot_ns));
        let folder = cwd.filter(|_| uring.fd == AT_FDCWD).unwrap_or(paths::UNKNOWN);
        Some(paths::absolute(folder, &path))
    }

    /// The process's cgroup and that one's pod.
    fn place(&mut self, header: &Header) -> Place {
        let version = self.pods.version();
        if version != self.pods_version || self.places.len() >= MAX_PLACES {
            self.places.clear();
            self.pods_version = version;
        }
        let key = (header.cgroup_id, header.cgroup_v1_id);
        if let Some(known) = self.places.get(&key) {
            return known.clone();
        }
        let cgroup = self.cgroup(header);
        let pod = cgroup.as_ref().and_then(|cgroup| self.pods.of(&cgroup.container));
        let place = Place { cgroup, pod };
        // One that is not known yet is asked for again.
        if place.cgroup.is_some() {
            self.places.insert(key, place.clone());
        }
        place
    }

    /// The process's cgroup: that of v2, unless only v1 names its container.
    fn cgroup(&mut self, header: &Header) -> Option<Arc<Cgroup>> {
        let v2 = self.cgroup_of(header.cgroup_id, header.pid);
        let Some(key) = Cgroups::v1_key(header.cgroup_v1_id) else { return v2 };
        if v2.as_ref().is_some_and(|v2| v2.is_of_container()) {
            return v2;
        }
        let v1 = self.cgroup_of(key, header.pid);
        v1.filter(|v1| v2.is_none() || v1.is_of_container()).or(v2)
    }

    /// A cgroup, asked for in vain once in a while only.
    fn cgroup_of(&mut self, key: u64, pid: u32) -> Option<Arc<Cgroup>> {
        if !self.unknown_cgroups.is_empty() && self.unknown_cgroups.contains(&key) {
            return None;
        }
        let found = self.cgroups.of(key, pid);
        if found.is_none() && self.unknown_cgroups.len() < MAX_UNKNOWN {
            self.unknown_cgroups.insert(key);
        }
        found
    }

    /// Writes one row with what is known of the event's process and place.
    fn row(&mut self, header: &Header, lane: Lane, repeats: u64, write: impl FnOnce(&mut Rows, &Common<'_>)) {
        let Place { cgroup, pod } = self.place(header);
        let stranger;
        let process = match self.processes.get(header.pid, header.start_boot_ns) {
            Some(process) => process,
            // The table is full, or the pid has been used again.
            None => {
                let name = paths::text(comm(header));
                stranger = self.processes.stranger(header.pid, header.start_boot_ns, header.ppid, &name);
                &stranger
            }
        };
        let common = Common {
            lane,
            node: &self.node,
            cluster: &self.cluster,
            header,
            time_us: self.clock.micros(header.boot_ns),
            start_time_us: self.clock.micros(header.start_boot_ns),
            seq: self.seq,
            repeats,
            process,
            processes: &self.processes,
            is_privileged: cgroup.as_ref().is_some_and(|cgroup| self.privileged.is(&cgroup.container.id)),
            cgroup: cgroup.as_ref(),
            pod: pod.as_ref(),
            users: &self.users,
        };
        let rows = match lane {
            // A batch has its price whatever it holds: few rows share one.
            _ if self.few.columns.rows() < self.few_most => &mut self.few,
            Lane::Network => &mut self.network_rows,
            Lane::File => &mut self.file_rows,
            _ => &mut self.process_rows,
        };
        rows.lane = rows.lane.min(lane);
        write(rows, &common);
    }
}

/// The capabilities in a record's text.
fn capabilities(text: &[u8]) -> Option<Capabilities> {
    let number = |at: usize| text.get(at..)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
    Some(Capabilities { permitted: number(0)?, effective: number(8)?, inheritable: number(16)? })
}

#[cfg(test)]
mod tests;
