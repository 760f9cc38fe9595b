//! The process table: who runs what, since when, started by whom. Pure: what
//! /proc tells is handed in.
//!
//! ```text
//!   fork ─▶ child is a copy of its parent      exec ─▶ a new program, the old one is kept
//!   exit ─▶ a tombstone, since the file and    for events that come later through a
//!           network rings may still name it    slower ring
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use super::paths;
use super::proc_fs::{Found, start_ns, ticks};

/// How long an ended process can still be named, nanoseconds.
const TOMBSTONE_NS: u64 = 15_000_000_000;
/// Programs of one process that are remembered: those that made room for others.
const MAX_EARLIER: usize = 4;
/// Folders that a process has opened and may open other files by.
const MAX_FOLDERS: usize = 16;
/// Ancestors told of a process.
const MAX_ANCESTORS: usize = 16;

/// One program run by a process, as it was when it started.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) name: String,
    /// `argv[0]`.
    pub(super) exe: String,
    pub(super) exepath: String,
    /// The arguments after `argv[0]`, joined by spaces.
    pub(super) args: String,
    pub(super) cmdline: String,
    pub(super) environment: Option<Vec<String>>,
    pub(super) is_writable: Option<bool>,
    pub(super) is_from_memfd: bool,
    /// Where it was started outside of any container: its mount namespace then.
    /// `None` once a container's program was started, and where it is not known.
    pub(super) outside_mnt_ns: Option<u32>,
}

/// One process.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) start_boot_ns: u64,
    pub(super) ppid: u32,
    pub(super) vpid: u32,
    pub(super) sid: u32,
    pub(super) tty: u32,
    /// The working directory when it was last looked at.
    pub(super) cwd: Option<Arc<str>>,
    pub(super) exec_id: Arc<str>,
    program: Arc<Program>,
    /// Programs before, each with the time at which it made room, oldest first.
    earlier: Vec<(u64, Arc<Program>)>,
    /// Descriptors of folders and their paths, the latest last.
    folders: Vec<(i32, Arc<str>)>,
    ended_boot_ns: Option<u64>,
}

/// Processes by pid.
pub(super) struct Processes {
    boot_id: String,
    max: usize,
    by_pid: HashMap<u32, Process>,
}

// === impl Program ===

impl Program {
    /// From arguments that each end with a zero byte, and a path for a program
    /// that has none.
    pub(super) fn new(name: &str, args: &[u8], exepath: String) -> Self {
        let args = args.strip_suffix(b"\0").unwrap_or(args);
        let mut parts = args.split(|byte| *byte == 0);
        let exe = parts.next().filter(|exe| !exe.is_empty()).map(|exe| paths::text(exe).into_owned());
        let rest: Vec<_> = parts.map(paths::text).collect();
        let args = rest.join(" ");
        let cmdline = if args.is_empty() { name.to_owned() } else { format!("{name} {args}") };
        let exe = exe.unwrap_or_else(|| if exepath.is_empty() { name.to_owned() } else { exepath.clone() });
        let is_from_memfd = exepath.starts_with("/memfd:") || exepath.starts_with("memfd:");
        Self { name: name.to_owned(), exe, exepath, args, cmdline, is_from_memfd, ..Self::default() }
    }
}

// === impl Process ===

impl Process {
    /// The program that ran at this time.
    pub(super) fn program_at(&self, boot_ns: u64) -> &Arc<Program> {
        let then = self.earlier.iter().find(|(until, _)| boot_ns < *until);
        then.map_or(&self.program, |(_, program)| program)
    }

    /// The folder that this descriptor referred to when it was last opened.
    pub(super) fn folder(&self, fd: i32) -> Option<&str> {
        self.folders.iter().rev().find(|(known, _)| *known == fd).map(|(_, path)| &**path)
    }

    /// The newest program.
    pub(super) fn program(&self) -> &Arc<Program> {
        &self.program
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
        Self { boot_id, max: max.max(64), by_pid: HashMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.by_pid.len()
    }

    /// The process that had this pid and start time.
    pub(super) fn get(&self, pid: u32, start_boot_ns: u64) -> Option<&Process> {
        // A process read from /proc has its start only in ticks.
        self.by_pid.get(&pid).filter(|process| ticks(process.start_boot_ns) == ticks(start_boot_ns))
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

    /// A process read from /proc; one already known from events stays.
    pub(super) fn found(&mut self, found: Found) {
        let known = self.by_pid.get(&found.pid);
        if known.is_some_and(|known| ticks(known.start_boot_ns) >= found.start_ticks) {
            return;
        }
        let Found { pid, ppid, sid, tty, vpid, start_ticks, name, args, exepath, cwd } = found;
        let program = Arc::new(Program::new(&name, &args, exepath.unwrap_or_default()));
        let start_boot_ns = start_ns(start_ticks);
        let cwd = cwd.map(Arc::from);
        self.add(Process { ppid, vpid, sid, tty, cwd, ..self.bare(pid, start_boot_ns, program) });
    }

    /// A process that is only known by an event of its own.
    pub(super) fn seen(&mut self, pid: u32, start_boot_ns: u64, ppid: u32, name: &str) {
        // What came through a slower ring must not replace a later process.
        if self.by_pid.get(&pid).is_none_or(|known| known.start_boot_ns < start_boot_ns) {
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
        if self.get(child, child_start_boot_ns).is_some() {
            return;
        }
        let Some(from) = self.get(parent, parent_start_boot_ns) else { return };
        let copy = Process {
            ppid: parent,
            vpid,
            sid: from.sid,
            tty: from.tty,
            cwd: from.cwd.clone(),
            folders: from.folders.clone(),
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
    ) -> Option<&mut Process> {
        let process = self.by_pid.get_mut(&pid)?;
        if ticks(process.start_boot_ns) == ticks(start_boot_ns) {
            process.start(Arc::new(program), boot_ns);
        }
        Some(process)
    }

    /// Takes over what an event's header says now: the exact start and the parent.
    pub(super) fn confirm(&mut self, pid: u32, start_boot_ns: u64, ppid: u32) {
        let exec_id = |boot_id: &str| Arc::from(exec_id(boot_id, pid, start_boot_ns));
        if let Some(process) = self.by_pid.get_mut(&pid)
            && ticks(process.start_boot_ns) == ticks(start_boot_ns)
        {
            process.ppid = ppid;
            if process.start_boot_ns != start_boot_ns {
                process.start_boot_ns = start_boot_ns;
                process.exec_id = exec_id(&self.boot_id);
            }
        }
    }

    /// Remembers a working directory for when the process is gone.
    pub(super) fn moved(&mut self, pid: u32, cwd: &str) {
        if let Some(process) = self.by_pid.get_mut(&pid)
            && process.cwd.as_deref() != Some(cwd)
        {
            process.cwd = Some(cwd.into());
        }
    }

    /// Remembers what a folder's descriptor refers to, likewise.
    pub(super) fn opened_folder(&mut self, pid: u32, fd: i32, path: &str) {
        let Some(process) = self.by_pid.get_mut(&pid) else { return };
        process.folders.retain(|(known, _)| *known != fd);
        if process.folders.len() == MAX_FOLDERS {
            process.folders.remove(0);
        }
        process.folders.push((fd, path.into()));
    }

    /// A process ended.
    pub(super) fn ended(&mut self, pid: u32, start_boot_ns: u64, boot_ns: u64) {
        if let Some(process) = self.by_pid.get_mut(&pid)
            && ticks(process.start_boot_ns) == ticks(start_boot_ns)
        {
            process.ended_boot_ns = Some(boot_ns);
        }
    }

    /// Forgets processes that ended a while ago, or sooner when there are too many.
    pub(super) fn sweep(&mut self, now_boot_ns: u64) {
        let keep_ns = if self.by_pid.len() > self.max { 0 } else { TOMBSTONE_NS };
        let gone = |ended: u64| ended.saturating_add(keep_ns) <= now_boot_ns;
        self.by_pid.retain(|_, process| !process.ended_boot_ns.is_some_and(gone));
    }

    /// Marks as ended what is not among the living: its end was lost.
    pub(super) fn keep_only(&mut self, living: &std::collections::HashSet<u32>, listed_boot_ns: u64) {
        for (pid, process) in &mut self.by_pid {
            let could_be_listed = process.start_boot_ns < listed_boot_ns;
            if could_be_listed && process.ended_boot_ns.is_none() && !living.contains(pid) {
                process.ended_boot_ns = Some(listed_boot_ns);
            }
        }
    }

    fn bare(&self, pid: u32, start_boot_ns: u64, program: Arc<Program>) -> Process {
        Process {
            pid,
            start_boot_ns,
            ppid: 0,
            vpid: pid,
            sid: 0,
            tty: 0,
            cwd: None,
            exec_id: exec_id(&self.boot_id, pid, start_boot_ns).into(),
            program,
            earlier: Vec::new(),
            folders: Vec::new(),
            ended_boot_ns: None,
        }
    }

    fn add(&mut self, process: Process) {
        let ended = process.start_boot_ns;
        if self.by_pid.len() >= self.max && !self.by_pid.contains_key(&process.pid) {
            self.sweep(ended);
            // Still full of living ones: it gets one-off answers from its events.
            if self.by_pid.len() >= self.max {
                return;
            }
        }
        self.by_pid.insert(process.pid, process);
    }
}

fn exec_id(boot_id: &str, pid: u32, start_boot_ns: u64) -> String {
    format!("{boot_id}-{pid}-{start_boot_ns}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table() -> Processes {
        let mut table = Processes::new("b".into(), 100);
        table.seen(1, 10, 0, "init");
        table
    }

    fn program(name: &str, args: &[u8]) -> Program {
        Program::new(name, args, format!("/bin/{name}"))
    }

    #[test]
    fn a_command_line_is_name_and_arguments() {
        let program = program("sh", b"/bin/sh\0-c\0echo  hi\0\0");
        assert_eq!(program.exe, "/bin/sh");
        assert_eq!(program.args, "-c echo  hi ");
        assert_eq!(program.cmdline, "sh -c echo  hi ");
        assert_eq!(Program::new("x", b"", "/x".into()).exe, "/x");
        assert!(Program::new("x", b"", "/memfd:a".into()).is_from_memfd);
    }

    #[test]
    fn an_event_is_named_by_the_program_of_its_time() {
        let second = 1_000_000_000;
        let mut table = table();
        table.forked(1, 10, 7, second, 3);
        table.started(7, second, 5 * second, program("sh", b"sh\0"));
        table.started(7, second, 6 * second, program("cat", b"cat\0/etc/shadow\0"));
        let process = table.get(7, second).unwrap();
        assert_eq!(process.program_at(4 * second).name, "init");
        assert_eq!(process.program_at(5 * second).name, "sh");
        assert_eq!(process.program_at(6 * second).cmdline, "cat /etc/shadow");
        assert_eq!(process.vpid, 3);
        assert_eq!(table.ancestors(process).iter().map(|parent| parent.pid).collect::<Vec<_>>(), [1]);
        assert!(table.get(7, 2 * second).is_none(), "another process had that pid then");
    }

    #[test]
    fn the_ended_are_named_for_a_while() {
        let mut table = table();
        table.forked(1, 10, 7, 20, 7);
        table.ended(7, 20, 1_000);
        table.sweep(1_000 + TOMBSTONE_NS - 1);
        assert!(table.get(7, 20).is_some());
        table.sweep(1_000 + TOMBSTONE_NS);
        assert!(table.get(7, 20).is_none());
        table.keep_only(&std::collections::HashSet::new(), 50);
        table.sweep(50 + TOMBSTONE_NS);
        assert_eq!(table.len(), 0, "an end that was lost is noticed");
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bound(events in proptest::collection::vec((0_u8..4, 1_u32..300, 1_u32..300), 0..600)) {
            let mut table = Processes::new("b".into(), 64);
            for (index, (kind, a, b)) in events.into_iter().enumerate() {
                let now = index as u64;
                match kind {
                    0 => table.seen(a, now, b, "x"),
                    1 => table.forked(a, now, b, now, b),
                    2 => table.ended(a, now, now),
                    _ => { table.started(a, now, now, program("p", b"p\0")); }
                }
                if let Some(process) = table.latest(a) {
                    prop_assert!(table.ancestors(process).len() <= MAX_ANCESTORS);
                }
            }
            prop_assert!(table.len() <= 64);
        }
    }
}
