//! From ring bytes to rows: decodes, keeps the process table, names what is named.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use bailiwick_collector_ebpf::{Header, call};

use super::cgroups::{Cgroup, Cgroups};
use super::clock::{self, Clock};
use super::decode::{self, Connect, Event, Exec, Open, Record};
use super::processes::{Processes, Program};
use super::rows::{Common, OpenedPath, Rows, comm};
use super::{flags, paths, proc_fs, sockets};
use crate::attribution::HOST;
use crate::config::Syscalls;
use crate::outlet::Lane;
use crate::pods::{Pod, Pods};
use crate::users::Users;

const AT_FDCWD: i32 = -100;
/// Rows of an interval that share a batch.
const FEW_ROWS: usize = 256;

/// Everything that events are named with, and the rows that wait.
pub(super) struct Capture {
    node: String,
    cluster: String,
    environment: bool,
    own_mnt_ns: u32,
    inside: Option<Inside>,
    clock: Clock,
    processes: Processes,
    cgroups: Cgroups,
    users: Users,
    pods: Pods,
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

/// This process as the kernel shows it, when it runs in a pid namespace of its
/// own: then it does not know the pid by which the programs would leave it out,
/// and what it writes about its own writing would never end.
struct Inside {
    pid_ns: u32,
    start_ticks: u64,
}

// === impl Inside ===

impl Inside {
    /// The inode of the machine's first pid namespace, on every Linux.
    const FIRST_PID_NS: u32 = 0xefff_fffc;

    fn of_this_process() -> Option<Self> {
        let pid_ns = proc_fs::own_namespace("pid");
        let start_ticks = proc_fs::process(std::process::id())?.start_ticks;
        (pid_ns != Self::FIRST_PID_NS).then_some(Self { pid_ns, start_ticks })
    }

    fn made(&self, header: &Header) -> bool {
        header.pid_ns == self.pid_ns && proc_fs::ticks(header.start_boot_ns) == self.start_ticks
    }
}

// === impl Capture ===

impl Capture {
    /// Reads what runs already. Call it when the programs are attached, so that
    /// nothing starts unseen between the two.
    pub(super) fn begin(node: &str, cluster: &str, config: &Syscalls, pods: Pods) -> Self {
        let mut processes = Processes::new(proc_fs::boot_id(), config.max_processes);
        for pid in proc_fs::pids() {
            if let Some(found) = proc_fs::process(pid) {
                processes.found(found);
            }
        }
        Self {
            node: node.to_owned(),
            cluster: cluster.to_owned(),
            environment: config.environment,
            own_mnt_ns: proc_fs::own_namespace("mnt"),
            inside: Inside::of_this_process(),
            clock: Clock::now(),
            processes,
            cgroups: Cgroups::walk(),
            users: Users::read(),
            pods,
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

    pub(super) fn has_cgroups(&self) -> bool {
        self.cgroups.are_mounted()
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
        self.cgroups.sweep(Instant::now());
        self.processes.sweep(clock::boot_ns());
    }

    /// Notices processes whose end was lost.
    pub(super) fn compare_with_proc(&mut self) {
        let listed_boot_ns = clock::boot_ns();
        let living: HashSet<u32> = proc_fs::pids().into_iter().collect();
        self.processes.keep_only(&living, listed_boot_ns);
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
        if let Event::Cgroup(made) = event {
            self.cgroups.made(made.id, made.hierarchy, &paths::text(made.path));
            return;
        }
        self.seq += 1;
        self.know(&header);
        match event {
            Event::Exec(exec) => self.exec(&header, &exec),
            Event::Fork(fork) => {
                self.processes.forked(
                    header.pid,
                    header.start_boot_ns,
                    fork.child_pid,
                    fork.child_start_boot_ns,
                    fork.child_vpid,
                );
                self.row(
                    &header,
                    |rows, common| rows.fork(common, fork.child_pid, fork.child_vpid),
                    Lane::Process,
                );
            }
            Event::Exit(exit) => {
                self.row(&header, |rows, common| rows.exit(common, exit), Lane::Process);
                self.processes.ended(header.pid, header.start_boot_ns, header.boot_ns);
            }
            Event::Connect(call) => self.connect(&header, &call),
            Event::Open(open) => self.open(&header, &open),
            Event::Cgroup(_) => {}
        }
    }

    /// Makes sure that the event's process and its parent are in the table.
    fn know(&mut self, header: &Header) {
        if self.processes.get(header.pid, header.start_boot_ns).is_none() {
            let found = proc_fs::process(header.pid);
            let same = found.filter(|found| found.start_ticks == proc_fs::ticks(header.start_boot_ns));
            match same {
                Some(found) => self.processes.found(found),
                None => {
                    let name = paths::text(comm(header)).into_owned();
                    self.processes.seen(header.pid, header.start_boot_ns, header.ppid, &name);
                }
            }
        }
        self.processes.confirm(header.pid, header.start_boot_ns, header.ppid);
        if header.ppid != 0
            && self.processes.latest(header.ppid).is_none()
            && let Some(parent) = proc_fs::process(header.ppid)
        {
            self.processes.found(parent);
        }
    }

    fn exec(&mut self, header: &Header, exec: &Exec<'_>) {
        let name = paths::text(comm(header)).into_owned();
        let exepath = self.exepath(header, exec);
        let mut program = Program::new(&name, exec.args, exepath);
        program.is_writable = proc_fs::exe_is_writable(header.pid, header.uid, header.gid);
        program.outside_mnt_ns = self.outside(header);
        if self.environment {
            program.environment = proc_fs::environment(header.pid);
        }
        let cwd = proc_fs::cwd(header.pid);
        if let Some(process) =
            self.processes.started(header.pid, header.start_boot_ns, header.boot_ns, program)
        {
            process.vpid = if exec.vpid == 0 { process.vpid } else { exec.vpid };
            process.sid = exec.sid;
            process.tty = exec.tty;
            if let Some(cwd) = cwd {
                process.cwd = Some(cwd.into());
            }
        }
        self.row(header, |rows, common| rows.exec(common), Lane::Process);
    }

    /// Whether the program that a process starts now is still outside of its
    /// container: a runtime puts its own process into the container's cgroup
    /// first, and only what that starts in another mount namespace is inside.
    /// What was inside once stays so, wherever it breaks out to.
    fn outside(&mut self, header: &Header) -> Option<u32> {
        let cgroup = self.cgroups.of(header.cgroup_id, header.pid)?;
        if cgroup.container.id == HOST {
            return Some(header.mnt_ns);
        }
        let process = self.processes.get(header.pid, header.start_boot_ns)?;
        process.program().outside_mnt_ns.filter(|mnt_ns| *mnt_ns == header.mnt_ns)
    }

    /// The executable: what /proc says while the same program runs, else what
    /// the kernel loaded, with links resolved where they are this node's own.
    fn exepath(&self, header: &Header, exec: &Exec<'_>) -> String {
        let still = || proc_fs::comm(header.pid).is_some_and(|now| now == comm(header));
        if let Some(path) = proc_fs::exe(header.pid).filter(|_| still()) {
            return path;
        }
        let loaded = if exec.interp.is_empty() { exec.filename } else { exec.interp };
        let folder =
            self.processes.get(header.pid, header.start_boot_ns).and_then(|process| process.cwd.clone());
        let path = paths::absolute(folder.as_deref().unwrap_or(paths::UNKNOWN), &paths::text(loaded));
        let resolved =
            (header.mnt_ns == self.own_mnt_ns).then(|| std::fs::canonicalize(&path).ok()).flatten();
        resolved.and_then(|path| path.to_str().map(str::to_owned)).unwrap_or(path)
    }

    fn connect(&mut self, header: &Header, call: &Connect) {
        let socket = sockets::socket(call, header.flags);
        self.row(header, |rows, common| rows.connect(common, call, &socket), Lane::Network);
    }

    fn open(&mut self, header: &Header, open: &Open<'_>) {
        let path = self.opened_path(header, open);
        if let (Ok(fd), Some(name)) = (u32::try_from(open.ret), &path.name)
            && open.flags & flags::OF_FOLDERS != 0
        {
            self.processes.opened_folder(header.pid, fd.cast_signed(), name);
        }
        self.row(header, |rows, common| rows.open(common, open, &path), Lane::File);
    }

    fn opened_path<'a>(&mut self, header: &Header, open: &Open<'a>) -> OpenedPath<'a> {
        if open.path.is_empty() {
            return OpenedPath { name: None, raw: None, folder: None };
        }
        let raw = paths::text(open.path);
        let by_folder = matches!(open.call, call::OPENAT | call::OPENAT2) && open.dirfd != AT_FDCWD;
        if raw.starts_with('/') {
            let name = Some(paths::absolute("/", &raw));
            return OpenedPath { name, raw: Some(raw), folder: None };
        }
        let folder = if by_folder { self.folder(header, open.dirfd) } else { self.cwd(header) };
        let folder = folder.unwrap_or_else(|| paths::UNKNOWN.to_owned());
        let name = Some(paths::absolute(&folder, &raw));
        OpenedPath { name, raw: Some(raw), folder: by_folder.then_some(folder) }
    }

    /// What a folder's descriptor refers to now, or when it was opened.
    fn folder(&self, header: &Header, fd: i32) -> Option<String> {
        let process = self.processes.get(header.pid, header.start_boot_ns);
        let remembered = || process.and_then(|process| process.folder(fd)).map(str::to_owned);
        proc_fs::fd(header.pid, fd).or_else(remembered)
    }

    /// The process's working directory now, or the last one known.
    fn cwd(&mut self, header: &Header) -> Option<String> {
        let process = self.processes.get(header.pid, header.start_boot_ns);
        let remembered = process.and_then(|process| process.cwd.clone());
        match proc_fs::cwd(header.pid) {
            Some(cwd) => {
                self.processes.moved(header.pid, &cwd);
                Some(cwd)
            }
            None => remembered.map(|cwd| cwd.to_string()),
        }
    }

    /// Writes one row with what is known of the event's process and place.
    fn row(&mut self, header: &Header, write: impl FnOnce(&mut Rows, &Common<'_>), lane: Lane) {
        let cgroup: Option<Arc<Cgroup>> = self.cgroups.of(header.cgroup_id, header.pid);
        let pod: Option<Arc<Pod>> = cgroup.as_ref().and_then(|cgroup| self.pods.of(&cgroup.container));
        let stranger;
        let process = match self.processes.get(header.pid, header.start_boot_ns) {
            Some(process) => process,
            // The table is full, or the pid has been used again.
            None => {
                stranger = self.processes.stranger(
                    header.pid,
                    header.start_boot_ns,
                    header.ppid,
                    &paths::text(comm(header)),
                );
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
            process,
            processes: &self.processes,
            cgroup: cgroup.as_deref(),
            pod: pod.as_deref(),
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
