//! The process table: who runs what, since when, started by whom. Pure: what
//! /proc tells is handed in.
//!
//! ```text
//!   fork ─▶ child is a copy of its parent      exec ─▶ a new program, the old one is kept
//!   exit ─▶ a tombstone, since the file and    for events that come later through a
//!           network rings may still name it    slower ring
//! ```
//!
//! A process is its pid and its start. Records tell a start to the nanosecond,
//! /proc only to its tick: two processes that had the same pid within a tick
//! are told apart as soon as both are known from records.

mod program;

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use bailiwick_collector_ebpf::Capabilities;

use super::proc_fs::{Found, start_ns, ticks};
pub(super) use program::{Executable, Program};

/// How long an ended process can still be named, nanoseconds.
const TOMBSTONE_NS: u64 = 15_000_000_000;
/// Programs and working directories of one process that are remembered: those
/// that made room for others.
const MAX_EARLIER: usize = 4;
/// Ended processes that are remembered beside the one that has their pid now.
const MAX_REPLACED: usize = 1_024;
/// Ancestors told of a process.
const MAX_ANCESTORS: usize = 16;
/// Processes that take part in a table however small it is set.
const MIN_PROCESSES: usize = 64;

/// One process.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) start_boot_ns: u64,
    /// Whether the start is known to the nanosecond.
    is_exact: bool,
    pub(super) ppid: u32,
    pub(super) vpid: u32,
    pub(super) sid: u32,
    pub(super) pgid: u32,
    pub(super) vpgid: u32,
    pub(super) tty: u32,
    cwd: Option<Arc<str>>,
    pub(super) capabilities: Option<Capabilities>,
    pub(super) exec_id: Arc<str>,
    program: Arc<Program>,
    /// Programs before, each with the time at which it made room, oldest first.
    earlier: Vec<(u64, Arc<Program>)>,
    /// Working directories before, likewise.
    earlier_cwds: Vec<(u64, Option<Arc<str>>)>,
    ended_boot_ns: Option<u64>,
    /// Another number after every change.
    pub(super) version: u64,
}

/// What a program start changes of its process.
#[derive(Debug, Clone, Default)]
pub(super) struct Started {
    pub(super) vpid: u32,
    pub(super) sid: u32,
    pub(super) pgid: u32,
    pub(super) vpgid: u32,
    pub(super) tty: u32,
    pub(super) cwd: Option<String>,
    pub(super) capabilities: Capabilities,
}

/// Processes by pid.
pub(super) struct Processes {
    boot_id: String,
    max: usize,
    by_pid: HashMap<u32, Process, BuildHasherDefault<Spread>>,
    /// Ended processes whose pid was used again, while their grave is there: a
    /// slower ring may still hold events of theirs.
    replaced: HashMap<(u32, u64), Process, BuildHasherDefault<Spread>>,
    /// Ended processes, the one that ended first at the front: when, which.
    tombstones: VecDeque<(u64, u32, u64)>,
    /// Grows with every change that others than the process itself may show:
    /// programs, parents.
    epoch: u64,
    changes: u64,
}

/// Spreads numbers that the kernel gives out one after the other.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Spread(u64);

// === impl Spread ===

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}

// === impl Process ===

impl Process {
    /// The program that ran at this time.
    pub(super) fn program_at(&self, boot_ns: u64) -> &Arc<Program> {
        let then = self.earlier.iter().find(|(until, _)| boot_ns < *until);
        then.map_or(&self.program, |(_, program)| program)
    }

    /// The newest program.
    pub(super) fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// The working directory at this time.
    pub(super) fn cwd_at(&self, boot_ns: u64) -> Option<&str> {
        let then = self.earlier_cwds.iter().find(|(until, _)| boot_ns < *until);
        then.map_or(&self.cwd, |(_, cwd)| cwd).as_deref()
    }

    /// Whether an event of this time is of the newest program in the newest place.
    pub(super) fn is_newest_at(&self, boot_ns: u64) -> bool {
        self.earlier.last().is_none_or(|(until, _)| boot_ns >= *until)
            && self.earlier_cwds.last().is_none_or(|(until, _)| boot_ns >= *until)
    }

    /// It works in another folder from this time on. What a slower ring still
    /// holds is of the folder before.
    pub(super) fn move_to(&mut self, cwd: Arc<str>, boot_ns: u64) {
        if self.cwd.as_deref() == Some(&*cwd) {
            return;
        }
        if self.earlier_cwds.len() == MAX_EARLIER {
            self.earlier_cwds.remove(0);
        }
        self.earlier_cwds.push((boot_ns, self.cwd.replace(cwd)));
    }

    /// `setsid(2)`: a session and a group of its own, and no terminal.
    pub(super) fn lead_session(&mut self) {
        (self.sid, self.pgid, self.vpgid, self.tty) = (self.pid, self.pid, self.vpid, 0);
    }

    /// `setpgid(2)` with these arguments. Numbers are those of its own pid
    /// namespace; a group in another namespace's numbers stays unknown.
    pub(super) fn join_group(&mut self, args: [u64; 6]) {
        let [of, group, ..] = args.map(|arg| u32::try_from(arg).unwrap_or(0));
        if of != 0 && of != self.vpid {
            // Its child, which mostly does the same itself.
            return;
        }
        let group = if group == 0 { self.vpid } else { group };
        let in_first_ns = self.vpid == self.pid;
        self.vpgid = group;
        self.pgid = match group == self.vpid {
            true => self.pid,
            false if in_first_ns => group,
            false => 0,
        };
    }

    /// Whether it is the process that had this start.
    fn is(&self, start_boot_ns: u64) -> bool {
        match self.is_exact {
            true => self.start_boot_ns == start_boot_ns,
            false => ticks(self.start_boot_ns) == ticks(start_boot_ns),
        }
    }

    fn start(&mut self, program: Arc<Program>, boot_ns: u64) {
        if self.earlier.len() == MAX_EARLIER {
            self.earlier.remove(0);
        }
        self.earlier.push((boot_ns, std::mem::replace(&mut self.program, program)));
    }
}

// === impl Processes ===

impl Processes {
    pub(super) fn new(boot_id: String, max: usize) -> Self {
        Self {
            boot_id,
            max: max.max(MIN_PROCESSES),
            by_pid: HashMap::default(),
            replaced: HashMap::default(),
            tombstones: VecDeque::new(),
            epoch: 0,
            changes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_pid.len()
    }

    /// Whether there is only room where an ended process was.
    pub(super) fn is_full(&self) -> bool {
        self.by_pid.len() >= self.max
    }

    /// Another number after every change of a program or a parent.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The process that had this pid and start time, ended ones included.
    pub(super) fn get(&self, pid: u32, start_boot_ns: u64) -> Option<&Process> {
        let last = self.by_pid.get(&pid)?;
        if last.is(start_boot_ns) { Some(last) } else { self.replaced.get(&(pid, start_boot_ns)) }
    }

    /// The last process that had this pid.
    pub(super) fn latest(&self, pid: u32) -> Option<&Process> {
        self.by_pid.get(&pid)
    }

    /// The process's ancestors, the nearest first. A parent that started after
    /// its child only has the parent's pid.
    pub(super) fn ancestors(&self, process: &Process) -> Vec<&Process> {
        let mut found: Vec<&Process> = Vec::new();
        let mut child = process;
        while found.len() < MAX_ANCESTORS
            && child.ppid != 0
            && child.ppid != child.pid
            && let Some(parent) = self.by_pid.get(&child.ppid)
            && ticks(parent.start_boot_ns) <= ticks(child.start_boot_ns)
        {
            found.push(parent);
            child = parent;
        }
        found
    }

    /// The process that leads this one's session, while it is known.
    pub(super) fn session_leader(&self, process: &Process) -> Option<&Process> {
        let leader = self.by_pid.get(&process.sid)?;
        (ticks(leader.start_boot_ns) <= ticks(process.start_boot_ns)).then_some(leader)
    }

    /// A process read from /proc; one already known from events stays.
    pub(super) fn found(&mut self, found: Found) {
        let known = self.by_pid.get(&found.pid);
        if known.is_some_and(|known| ticks(known.start_boot_ns) >= found.start_ticks) {
            return;
        }
        let start_boot_ns = start_ns(found.start_ticks);
        let mut process = self.bare(found.pid, start_boot_ns, Arc::new(Program::found(&found)));
        process.is_exact = false;
        process.ppid = found.ppid;
        process.vpid = found.vpid;
        process.sid = found.sid;
        process.pgid = found.pgid;
        process.vpgid = found.vpgid;
        process.tty = found.tty;
        process.cwd = found.cwd.map(Arc::from);
        process.capabilities = found.capabilities;
        self.epoch += 1;
        self.add(process);
    }

    /// A process that is only known by an event of its own.
    pub(super) fn seen(&mut self, pid: u32, start_boot_ns: u64, ppid: u32, name: &str) {
        // What came through a slower ring must not replace a later process.
        if self.by_pid.get(&pid).is_none_or(|known| known.start_boot_ns < start_boot_ns) {
            self.epoch += 1;
            self.add(self.stranger(pid, start_boot_ns, ppid, name));
        }
    }

    /// A process of which nothing but this is known; it is not remembered.
    pub(super) fn stranger(&self, pid: u32, start_boot_ns: u64, ppid: u32, name: &str) -> Process {
        let program = Arc::new(Program::new(name, b"", String::new()));
        Process { ppid, ..self.bare(pid, start_boot_ns, program) }
    }

    /// A new process, a copy of the one that made it.
    pub(super) fn forked(
        &mut self,
        parent: u32,
        parent_start_boot_ns: u64,
        child: u32,
        child_start_boot_ns: u64,
        vpid: u32,
    ) {
        // The same start to the nanosecond: the child was seen before its fork.
        if self.get(child, child_start_boot_ns).is_some_and(|known| known.is_exact) {
            return;
        }
        let Some(from) = self.get(parent, parent_start_boot_ns) else { return };
        let copy = Process {
            ppid: parent,
            vpid,
            sid: from.sid,
            pgid: from.pgid,
            vpgid: from.vpgid,
            tty: from.tty,
            cwd: from.cwd.clone(),
            capabilities: from.capabilities,
            ..self.bare(child, child_start_boot_ns, Arc::clone(&from.program))
        };
        self.add(copy);
    }

    /// A process began to run a program.
    pub(super) fn started(
        &mut self,
        pid: u32,
        start_boot_ns: u64,
        boot_ns: u64,
        program: Program,
        is: Started,
    ) {
        let Some(process) = self.change(pid, start_boot_ns) else { return };
        process.start(Arc::new(program), boot_ns);
        process.vpid = if is.vpid == 0 { process.vpid } else { is.vpid };
        process.sid = is.sid;
        process.pgid = is.pgid;
        process.vpgid = is.vpgid;
        process.tty = is.tty;
        process.capabilities = Some(is.capabilities);
        if let Some(cwd) = is.cwd {
            process.move_to(cwd.into(), boot_ns);
        }
        self.epoch += 1;
    }

    /// The process, to change it.
    pub(super) fn change(&mut self, pid: u32, start_boot_ns: u64) -> Option<&mut Process> {
        let process = self.by_pid.get_mut(&pid).filter(|process| process.is(start_boot_ns))?;
        self.changes += 1;
        process.version = self.changes;
        Some(process)
    }

    /// Takes over what an event's header says now: the exact start and the
    /// parent. Answers whether the process is known.
    pub(super) fn confirm(&mut self, pid: u32, start_boot_ns: u64, ppid: u32) -> bool {
        let Some(process) = self.by_pid.get_mut(&pid).filter(|process| process.is(start_boot_ns)) else {
            return self.replaced.contains_key(&(pid, start_boot_ns));
        };
        if process.is_exact && process.ppid == ppid {
            return true;
        }
        self.changes += 1;
        self.epoch += 1;
        process.version = self.changes;
        process.ppid = ppid;
        if !process.is_exact {
            process.is_exact = true;
            process.start_boot_ns = start_boot_ns;
            process.exec_id = exec_id(&self.boot_id, pid, start_boot_ns).into();
        }
        true
    }

    /// A process ended.
    pub(super) fn ended(&mut self, pid: u32, start_boot_ns: u64, boot_ns: u64) {
        let Some(process) = self.by_pid.get_mut(&pid).filter(|process| process.is(start_boot_ns)) else {
            return;
        };
        if process.ended_boot_ns.is_none() {
            process.ended_boot_ns = Some(boot_ns);
            let start_boot_ns = process.start_boot_ns;
            self.bury(boot_ns, pid, start_boot_ns);
        }
    }

    /// Forgets processes that ended a while ago.
    pub(super) fn sweep(&mut self, now_boot_ns: u64) {
        while let Some((ended, ..)) = self.tombstones.front()
            && ended.saturating_add(TOMBSTONE_NS) <= now_boot_ns
        {
            self.forget_first_ended();
        }
    }

    /// Marks as ended what is not among the living: its end was lost.
    pub(super) fn keep_only(&mut self, living: &HashSet<u32>, listed_boot_ns: u64) {
        let could_be_listed = |process: &&Process| {
            process.start_boot_ns < listed_boot_ns
                && process.ended_boot_ns.is_none()
                && !living.contains(&process.pid)
        };
        let gone: Vec<_> =
            self.by_pid.values().filter(could_be_listed).map(|gone| (gone.pid, gone.start_boot_ns)).collect();
        for (pid, start_boot_ns) in gone {
            self.ended(pid, start_boot_ns, listed_boot_ns);
        }
    }

    fn bare(&self, pid: u32, start_boot_ns: u64, program: Arc<Program>) -> Process {
        Process {
            pid,
            start_boot_ns,
            is_exact: true,
            ppid: 0,
            vpid: pid,
            sid: 0,
            pgid: 0,
            vpgid: 0,
            tty: 0,
            cwd: None,
            capabilities: None,
            exec_id: exec_id(&self.boot_id, pid, start_boot_ns).into(),
            program,
            earlier: Vec::new(),
            earlier_cwds: Vec::new(),
            ended_boot_ns: None,
            version: 0,
        }
    }

    fn add(&mut self, mut process: Process) {
        while self.is_full() && !self.by_pid.contains_key(&process.pid) {
            // Full of living ones: it gets one-off answers from its events.
            if !self.forget_first_ended() {
                return;
            }
        }
        self.changes += 1;
        process.version = self.changes;
        let Some(before) = self.by_pid.insert(process.pid, process) else { return };
        if before.ended_boot_ns.is_some() && self.replaced.len() < MAX_REPLACED {
            self.replaced.insert((before.pid, before.start_boot_ns), before);
        }
    }

    /// Notes an end. Graves of pids that were used again are empty; so that they
    /// do not pile up there are never more than processes.
    fn bury(&mut self, boot_ns: u64, pid: u32, start_boot_ns: u64) {
        if self.tombstones.len() >= self.max {
            self.forget_first_ended();
        }
        self.tombstones.push_back((boot_ns, pid, start_boot_ns));
    }

    fn forget_first_ended(&mut self) -> bool {
        let Some((_, pid, start_boot_ns)) = self.tombstones.pop_front() else { return false };
        if self.by_pid.get(&pid).is_some_and(|process| process.start_boot_ns == start_boot_ns) {
            self.by_pid.remove(&pid);
        }
        self.replaced.remove(&(pid, start_boot_ns));
        true
    }
}

fn exec_id(boot_id: &str, pid: u32, start_boot_ns: u64) -> String {
    format!("{boot_id}-{pid}-{start_boot_ns}")
}

#[cfg(test)]
mod tests;
