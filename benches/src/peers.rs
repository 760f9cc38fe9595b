//! Other programs that watch the same calls, started for a while.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;

/// How long a peer may take until it is attached.
const PATIENCE: Duration = Duration::from_secs(30);
/// It is, when what it holds has not changed for so long.
const STILL: Duration = Duration::from_millis(400);

/// A program and what it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// bpftrace that looks at every call and wants none of them.
    BpftraceFilter,
    /// bpftrace that prints every open.
    BpftraceOpens,
    /// bpftrace that prints every start of a program and its end.
    BpftracePrograms,
    /// opensnoop of libbpf-tools.
    Opensnoop,
    /// execsnoop of libbpf-tools.
    Execsnoop,
}

/// One that runs. It is ended when it goes out of scope.
#[derive(Debug)]
pub struct Running(Child);

// === impl Peer ===

impl Peer {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::BpftraceFilter, Self::BpftraceOpens, Self::BpftracePrograms, Self::Opensnoop, Self::Execsnoop];

    /// As the output names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::BpftraceFilter => "bpftrace, filter",
            Self::BpftraceOpens => "bpftrace, prints opens",
            Self::BpftracePrograms => "bpftrace, prints programs",
            Self::Opensnoop => "opensnoop",
            Self::Execsnoop => "execsnoop",
        }
    }

    fn command(self) -> Command {
        let bpftrace = |script: &str| {
            let mut command = Command::new("bpftrace");
            command.args(["-e", script]);
            command
        };
        match self {
            Self::BpftraceFilter => {
                bpftrace("tracepoint:raw_syscalls:sys_enter /args->id == 9999/ { printf(\"%d\\n\", pid); }")
            }
            Self::BpftraceOpens => bpftrace(
                "tracepoint:syscalls:sys_enter_openat { printf(\"%d %s %s\\n\", pid, comm, str(args->filename)); }",
            ),
            Self::BpftracePrograms => bpftrace(
                "tracepoint:sched:sched_process_exec { printf(\"%d %s\\n\", pid, str(args->filename)); } \
                 tracepoint:sched:sched_process_exit { printf(\"%d %s\\n\", pid, comm); }",
            ),
            Self::Opensnoop => Command::new("opensnoop"),
            Self::Execsnoop => Command::new("execsnoop"),
        }
    }

    /// Starts it and waits until it is attached. What it prints goes to a file
    /// below `folder`, as it would be kept.
    pub fn start(self, folder: &Path) -> Outcome<Running> {
        let out = fs::File::create(folder.join("peer.out"))?;
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(out).stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| format!("cannot be started: {error}"))?;
        let mut running = Running(child);
        let (began, mut held, mut since) = (Instant::now(), 0, Instant::now());
        loop {
            if let Some(status) = running.0.try_wait()? {
                return Err(format!("ended with {status}: {}", running.complaint()).into());
            }
            let now = running.attached();
            if now != held {
                (held, since) = (now, Instant::now());
            }
            if held > 0 && since.elapsed() >= STILL {
                return Ok(running);
            }
            if began.elapsed() > PATIENCE {
                return Err("did not attach".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

// === impl Running ===

impl Running {
    /// Descriptors of programs, links and perf events that it holds.
    fn attached(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.0.id());
        let links = fs::read_dir(folder).into_iter().flatten().flatten();
        let is_bpf = |link: std::path::PathBuf| {
            let link = link.to_string_lossy().into_owned();
            ["bpf-prog", "bpf_link", "perf_event"].iter().any(|kind| link.contains(kind))
        };
        links.filter(|entry| fs::read_link(entry.path()).is_ok_and(is_bpf)).count()
    }

    fn complaint(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            // What it cannot say is not known either.
            let _ = std::io::Read::read_to_string(&mut stderr, &mut text);
        }
        text.lines().next().unwrap_or("it does not say why").chars().take(200).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
