//! What this machine's kernel offers, what of it Bailiwick uses, and how to get
//! what is missing.
//!
//! ```text
//!   bpf(2), /proc, /sys ──▶ probe() ──▶ Facts ──▶ judge() ──▶ Features ──▶ Verdict
//!                           tries and            pure
//!                           cleans up
//! ```
//!
//! Probing loads programs that return 0, some attached for an instant, and leaves
//! nothing behind. It takes some tens of milliseconds.

mod bpf;
mod btf_ids;
mod judge;
mod probe;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::capabilities::Capabilities;

pub use judge::{judge, verdict};
pub use probe::probe;

/// Something that the kernel can be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Its types described in `/sys/kernel/btf/vmlinux`.
    Btf,
    /// Ring buffers shared by all processors.
    RingBuffer,
    /// Programs on raw tracepoints.
    RawTracepoint,
    /// Programs on tracepoints with typed arguments, here the end of system calls.
    TypedTracepoint,
    /// Programs that go on as another.
    TailCall,
    /// Programs that are run for every task.
    TaskIterator,
    /// Programs on what cgroups send and receive.
    CgroupSkb,
    /// What io_uring is asked for.
    IoUring,
    /// The helper `bpf_loop`.
    Loop,
    /// Programs at the begin of a kernel function.
    Fentry,
    /// Programs that a security module asks.
    Lsm,
    /// Probes at any instruction of the kernel.
    Kprobe,
    /// Tracepoints of each system call.
    CallTracepoints,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It works.
    Works,
    /// The kernel said no, with this error number.
    Refused(i32),
    /// What it builds on is not there.
    Absent,
}

/// What was found, before it is judged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The kernel's release, e.g. `6.18.44`.
    pub release: String,
    /// The architecture, e.g. `x86_64`.
    pub machine: String,
    /// How each attempt ended.
    pub attempts: BTreeMap<Part, Attempt>,
    /// The lockdown mode, e.g. `integrity`; none where it cannot be read.
    pub lockdown: Option<String>,
    /// The active security modules; none where they cannot be read.
    pub security_modules: Option<String>,
    /// Where tracefs is mounted.
    pub tracefs: Option<String>,
    /// Where bpffs is mounted.
    pub bpffs: Option<String>,
    /// Where cgroup v2 is mounted.
    pub cgroup_v2: Option<String>,
    /// The controllers of cgroup v1 that are mounted.
    pub cgroup_v1: Vec<String>,
    /// Whether 32-bit programs can run on this 64-bit kernel.
    pub runs_32_bit: bool,
    /// The effective user id.
    pub uid: u32,
    /// What this thread may do.
    pub capabilities: Capabilities,
    /// The most memory that may be locked, bytes; none for no limit.
    pub memlock_bytes: Option<u64>,
    /// Whether this process sees the processes of the whole machine.
    pub sees_all_processes: bool,
    /// Sockets of container runtimes that are there: name and path.
    pub runtimes: Vec<(&'static str, String)>,
}

/// Which part of a machine something is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Section {
    /// The kernel and its programs.
    Kernel,
    /// What this process may do.
    Privileges,
    /// Cgroups and namespaces.
    Cgroups,
    /// Container runtimes.
    Runtimes,
}

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// This process may not find out.
    Unknown,
}

/// What for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// No system call is captured without it.
    Core,
    /// More is captured, or it costs less, with it.
    Optional,
    /// Bailiwick does without; others may ask.
    NotUsed,
}

/// One thing that is there or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Feature {
    /// Where it belongs.
    pub section: Section,
    /// What it is called where people look for it.
    pub name: &'static str,
    /// Whether it is there.
    pub state: State,
    /// Whether that matters.
    pub need: Need,
    /// What was found.
    pub found: String,
    /// What Bailiwick does with it.
    pub used_for: &'static str,
    /// The next step for whoever wants it; empty where there is none.
    pub how_to_get_it: &'static str,
}

/// Whether system calls can be captured here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// They can.
    Able,
    /// They could with more privileges, as far as this process may know.
    NotPermitted,
    /// Not with this kernel as it is.
    NotSupported,
}

#[cfg(test)]
mod tests;
