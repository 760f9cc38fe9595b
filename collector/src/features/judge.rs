//! What the facts mean for Bailiwick. Pure.

use super::{Attempt, Facts, Feature, Need, Part, Section, State, Verdict};
use crate::capabilities::Capabilities;

use Need::{Core, NotUsed, Optional};

/// The oldest kernel that the core works on: ring buffers came with it.
const OLDEST: (u32, u32) = (5, 8);
/// Since then maps no longer count as locked memory.
const MAPS_UNLOCKED: (u32, u32) = (5, 11);

/// A part of the kernel: what for, and how to get it.
struct Known {
    part: Part,
    name: &'static str,
    need: Need,
    used_for: &'static str,
    how_to_get_it: &'static str,
}

const fn known(
    part: Part,
    name: &'static str,
    need: Need,
    used_for: &'static str,
    how_to_get_it: &'static str,
) -> Known {
    Known { part, name, need, used_for, how_to_get_it }
}

/// The errors that `bpf(2)` answers most, by number: name and what they mostly mean there.
const ERRORS: [(i32, &str); 8] = [
    (libc::EPERM, "EPERM: privileges, lockdown or a security module forbid it"),
    (libc::EACCES, "EACCES: the verifier or a security module refuses it"),
    (libc::EINVAL, "EINVAL: this kernel does not know it"),
    (libc::ENOENT, "ENOENT: it is not there"),
    (libc::ENOSYS, "ENOSYS: this kernel has no bpf(2)"),
    (libc::E2BIG, "E2BIG: this kernel is older than the question"),
    (libc::ENOMEM, "ENOMEM: the limit of locked memory is too low"),
    // ENOTSUPP, which no header for programs has.
    (524, "ENOTSUPP: not on this architecture"),
];

#[rustfmt::skip]
const PARTS: [Known; 13] = [
    known(Part::Btf, "BTF", Core, "places of the kernel's data", "a kernel with CONFIG_DEBUG_INFO_BTF=y"),
    known(Part::RingBuffer, "ring buffer", Core, "events on their way here", "Linux 5.8 or newer"),
    known(Part::RawTracepoint, "raw tracepoint", Core, "exec, fork, exit, new cgroups", "a kernel with CONFIG_BPF_EVENTS=y"),
    known(Part::TypedTracepoint, "typed tracepoint (tp_btf)", Core, "system calls at their end", "Linux 5.8 or newer with CONFIG_BPF_EVENTS=y and CONFIG_DEBUG_INFO_BTF=y"),
    known(Part::TailCall, "tail calls", Core, "one program for each kind of call", "a kernel with CONFIG_BPF_SYSCALL=y"),
    known(Part::CallTracepoints, "system call tracepoints", Optional, "names of the calls of this kernel", "a kernel with CONFIG_FTRACE_SYSCALLS=y, and tracefs mounted"),
    known(Part::TaskIterator, "iter/task", Optional, "what runs already, without /proc", "Linux 5.8 or newer"),
    known(Part::CgroupSkb, "cgroup_skb", Optional, "names asked of DNS", "a kernel with CONFIG_CGROUP_BPF=y, and CAP_NET_ADMIN"),
    known(Part::IoUring, "io_uring tracepoint", Optional, "opens and connects by io_uring", "a kernel with CONFIG_IO_URING=y"),
    known(Part::Loop, "bpf_loop", NotUsed, "", "Linux 5.17 or newer"),
    known(Part::Fentry, "fentry", NotUsed, "", "a kernel with CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y, not locked down"),
    known(Part::Lsm, "LSM programs", NotUsed, "", "a kernel with CONFIG_BPF_LSM=y and `bpf` in its lsm= list"),
    known(Part::Kprobe, "kprobes", NotUsed, "", "a kernel with CONFIG_KPROBES=y"),
];

/// Capabilities with what they are needed for, and whether root may lack them.
#[rustfmt::skip]
const CAPABILITIES: [(Capabilities, &str, Need, &str); 7] = [
    (Capabilities::BPF, "CAP_BPF", Core, "load programs, read their counters"),
    (Capabilities::PERFMON, "CAP_PERFMON", Core, "let programs read the kernel's data"),
    (Capabilities::SYS_PTRACE, "CAP_SYS_PTRACE", Optional, "executables, folders and descriptors of other users' processes"),
    (Capabilities::DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH", Optional, "audit log and paths that only others may read"),
    (Capabilities::NET_ADMIN, "CAP_NET_ADMIN", Optional, "attach to what cgroups send and receive"),
    (Capabilities::SYS_ADMIN, "CAP_SYS_ADMIN", Optional, "mount tracefs where it is not"),
    (Capabilities::SYS_RESOURCE, "CAP_SYS_RESOURCE", Optional, "maps on kernels before 5.11"),
];

const HOW_TO_BE_ABLE: &str =
    "run it as root, or give it the capability; deploy/kubernetes/collector.yaml does";

/// Every feature of the machine, by section, in the order in which a person would ask.
pub fn judge(facts: &Facts) -> Vec<Feature> {
    let mut features = kernel(facts).to_vec();
    features.extend(PARTS.iter().map(|known| part(facts, known)));
    features.extend(privileges(facts));
    features.extend(cgroups(facts));
    features.extend(runtimes(facts));
    features
}

/// Whether the core can run, from [`judge`]'s answer.
pub fn verdict(features: &[Feature]) -> Verdict {
    let core = || features.iter().filter(|feature| feature.need == Core);
    let missing = |section| core().any(|feature| feature.section == section && feature.state == State::No);
    if missing(Section::Kernel) {
        Verdict::NotSupported
    } else if missing(Section::Privileges) || core().any(|feature| feature.state == State::Unknown) {
        Verdict::NotPermitted
    } else {
        Verdict::Able
    }
}

fn kernel(facts: &Facts) -> [Feature; 6] {
    let feature = |name, state, need, found: String, used_for, how_to_get_it| Feature {
        section: Section::Kernel,
        name,
        state,
        need,
        found,
        used_for,
        how_to_get_it,
    };
    let lockdown = facts.lockdown.clone();
    let unlocked = lockdown.as_ref().map(|mode| mode != "confidentiality");
    let modules = facts.security_modules.clone();
    let asked = modules.as_ref().map(|list| list.split(',').any(|module| module == "bpf"));
    let unseen = || "securityfs cannot be read".to_owned();
    [
        feature(
            "Linux 5.8 or newer",
            is(version(&facts.release).map(|version| version >= OLDEST)),
            Core,
            format!("{} on {}", facts.release, facts.machine),
            "ring buffers, CAP_BPF",
            "upgrade the kernel",
        ),
        feature(
            "no confidential lockdown",
            // Where securityfs is not mounted the attempts below tell.
            yes(unlocked.unwrap_or(true)),
            Core,
            lockdown.map_or_else(unseen, |mode| format!("lockdown is {mode}")),
            "programs that read the kernel's data",
            "boot without lockdown=confidentiality",
        ),
        feature(
            "security module `bpf`",
            is(asked),
            NotUsed,
            modules.unwrap_or_else(unseen),
            "",
            "add bpf to the list after lsm= on the kernel's command line",
        ),
        feature(
            "32-bit programs",
            yes(facts.runs_32_bit),
            NotUsed,
            if facts.runs_32_bit { "can run here" } else { "cannot run here" }.to_owned(),
            "",
            "",
        ),
        feature(
            "tracefs",
            yes(facts.tracefs.is_some()),
            Optional,
            at(&facts.tracefs),
            "what this kernel's calls are named",
            "mount -t tracefs tracefs /sys/kernel/tracing",
        ),
        feature("bpffs", yes(facts.bpffs.is_some()), NotUsed, at(&facts.bpffs), "", ""),
    ]
}

fn part(facts: &Facts, known: &Known) -> Feature {
    let attempt = facts.attempts.get(&known.part).copied().unwrap_or(Attempt::Absent);
    let blind = !facts.capabilities.may_load();
    let (state, found) = match attempt {
        Attempt::Works => (State::Yes, "works".to_owned()),
        Attempt::Refused(error) if blind && matches!(error, libc::EPERM | libc::EACCES) => {
            (State::Unknown, "cannot be tried without privileges".to_owned())
        }
        Attempt::Refused(error) => (State::No, words(error)),
        Attempt::Absent => (State::No, "not there".to_owned()),
    };
    Feature {
        section: Section::Kernel,
        name: known.name,
        state,
        need: known.need,
        found,
        used_for: known.used_for,
        how_to_get_it: known.how_to_get_it,
    }
}

fn privileges(facts: &Facts) -> Vec<Feature> {
    let held = facts.capabilities;
    let old = version(&facts.release).is_some_and(|version| version < MAPS_UNLOCKED);
    let mut features = Vec::new();
    for (capability, name, need, used_for) in CAPABILITIES {
        // What the old, large one stands in for.
        let stands_in = matches!(capability, Capabilities::BPF | Capabilities::PERFMON)
            && held.has(Capabilities::SYS_ADMIN);
        let state = if held.has(capability) || stands_in { State::Yes } else { State::No };
        let need = match capability {
            Capabilities::SYS_RESOURCE if !old => NotUsed,
            Capabilities::SYS_ADMIN if facts.tracefs.is_some() => NotUsed,
            _ => need,
        };
        let found = match (held.has(capability), stands_in) {
            (true, _) => "held".to_owned(),
            (false, true) => "CAP_SYS_ADMIN stands in".to_owned(),
            (false, false) => format!("not held by uid {}", facts.uid),
        };
        let section = Section::Privileges;
        features.push(Feature { section, name, state, need, found, used_for, how_to_get_it: HOW_TO_BE_ABLE });
    }
    features.push(Feature {
        section: Section::Privileges,
        name: "locked memory",
        state: if facts.memlock_bytes.is_some() && old { State::No } else { State::Yes },
        need: if old { Optional } else { NotUsed },
        found: facts.memlock_bytes.map_or_else(|| "no limit".into(), |bytes| format!("{} KiB", bytes >> 10)),
        used_for: "ring buffers on kernels before 5.11",
        how_to_get_it: "ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit",
    });
    features
}

fn cgroups(facts: &Facts) -> [Feature; 3] {
    let feature = |name, there: bool, need, found: String, used_for, how_to_get_it| Feature {
        section: Section::Cgroups,
        name,
        state: yes(there),
        need,
        found,
        used_for,
        how_to_get_it,
    };
    let v1 = match facts.cgroup_v1.join(", ") {
        none if none.is_empty() => "not mounted".to_owned(),
        controllers => controllers,
    };
    let sight = if facts.sees_all_processes { "the machine's own" } else { "a pid namespace of its own" };
    [
        feature(
            "cgroup v2",
            facts.cgroup_v2.is_some(),
            Optional,
            at(&facts.cgroup_v2),
            "containers, usage",
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified",
        ),
        feature(
            "cgroup v1",
            !facts.cgroup_v1.is_empty(),
            // Who has none has v2 for all.
            if facts.cgroup_v1.is_empty() { NotUsed } else { Optional },
            v1,
            "containers of runtimes that use v1 alone",
            "",
        ),
        feature(
            "all processes in /proc",
            facts.sees_all_processes,
            Optional,
            sight.to_owned(),
            "names of what ran before the start",
            "hostPID: true in the pod, or start it outside of a container",
        ),
    ]
}

fn runtimes(facts: &Facts) -> Vec<Feature> {
    let feature = |name, state, found| Feature {
        section: Section::Runtimes,
        name,
        state,
        need: Optional,
        found,
        used_for: "names and images of containers",
        how_to_get_it: "",
    };
    match facts.runtimes.as_slice() {
        [] => vec![feature("container runtime", State::No, "no socket of one is here".to_owned())],
        found => found.iter().map(|(name, path)| feature(name, State::Yes, path.clone())).collect(),
    }
}

fn is(known: Option<bool>) -> State {
    known.map_or(State::Unknown, yes)
}

fn yes(it_is: bool) -> State {
    if it_is { State::Yes } else { State::No }
}

fn at(place: &Option<String>) -> String {
    place.clone().unwrap_or_else(|| "not mounted".to_owned())
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn words(error: i32) -> String {
    let known = ERRORS.iter().find(|(number, _)| *number == error);
    known.map_or_else(|| nix::errno::Errno::from_raw(error).to_string(), |(_, words)| (*words).to_owned())
}
