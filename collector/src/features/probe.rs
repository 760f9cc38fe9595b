//! Finding out, by trying what can be tried.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use super::bpf::{self, Program};
use super::btf_ids::{self, FUNCTION, TYPEDEF, Wanted};
use super::{Attempt, Facts, Part};
use crate::capabilities::Capabilities;

const BTF: &str = "/sys/kernel/btf/vmlinux";

/// The machine's first pid namespace, on every Linux.
const FIRST_PID_NS: &str = "pid:[4026531836]";

/// Numbers of `enum bpf_map_type`.
const PROG_ARRAY: u32 = 3;
const RINGBUF: u32 = 27;
/// A power of two that is whole pages on every architecture.
const RING_BYTES: u32 = 1 << 16;

/// Numbers of `enum bpf_prog_type`.
const CGROUP_SKB: u32 = 8;
const RAW_TRACEPOINT: u32 = 17;
const TRACING: u32 = 26;
const LSM: u32 = 29;

/// Numbers of `enum bpf_attach_type`.
const AT_EGRESS: u32 = 1;
const AT_RAW_TRACEPOINT: u32 = 23;
const AT_FENTRY: u32 = 24;
const AT_LSM: u32 = 27;
const AT_ITERATOR: u32 = 28;

const SYSCALL_END: Wanted = (TYPEDEF, "btf_trace_sys_exit");
const TASKS: Wanted = (FUNCTION, "bpf_iter_task");
const HOOK: Wanted = (FUNCTION, "bpf_lsm_bpf");
/// Functions that exist to be tried on, and that nothing calls by itself.
const TO_TRY: Wanted = (FUNCTION, "bpf_fentry_test1");
/// The helper's own declaration: it is there where the helper is.
const LOOP: Wanted = (FUNCTION, "bpf_loop");
/// Its name since Linux 6.3, and before.
const RING_REQUESTS: [Wanted; 2] =
    [(TYPEDEF, "btf_trace_io_uring_submit_req"), (TYPEDEF, "btf_trace_io_uring_submit_sqe")];

/// Sockets by which the runtimes can be asked, below the host's root.
const RUNTIMES: [(&str, &str); 6] = [
    ("containerd", "/run/containerd/containerd.sock"),
    ("CRI-O", "/run/crio/crio.sock"),
    ("Docker", "/run/docker.sock"),
    ("Podman", "/run/podman/podman.sock"),
    ("k3s", "/run/k3s/containerd/containerd.sock"),
    ("MicroK8s", "/var/snap/microk8s/common/run/containerd.sock"),
];

/// Looks at everything. What this process may not see is told as such.
pub fn probe() -> Facts {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounted = |kind| mounts_of(&mounts, kind).next().map(|(place, _)| place.to_owned());
    let read = |path: &str| fs::read_to_string(path).ok();
    let tracefs = mounted("tracefs");
    Facts {
        release: read("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        machine: std::env::consts::ARCH.to_owned(),
        attempts: attempts(tracefs.as_deref()),
        lockdown: read("/sys/kernel/security/lockdown").as_deref().and_then(chosen),
        security_modules: read("/sys/kernel/security/lsm").map(|list| list.trim().to_owned()),
        tracefs,
        bpffs: mounted("bpf"),
        cgroup_v2: mounted("cgroup2"),
        cgroup_v1: v1_controllers(&mounts),
        runs_32_bit: Path::new("/proc/sys/abi/vsyscall32").exists(),
        uid: nix::unistd::geteuid().as_raw(),
        capabilities: Capabilities::effective(),
        memlock_bytes: memlock_bytes(),
        sees_all_processes: fs::read_link("/proc/self/ns/pid")
            .is_ok_and(|link| link == Path::new(FIRST_PID_NS)),
        runtimes: runtimes(),
    }
}

fn attempts(tracefs: Option<&str>) -> BTreeMap<Part, Attempt> {
    let btf = fs::read(BTF);
    let wanted =
        [SYSCALL_END, TASKS, HOOK, TO_TRY, LOOP].into_iter().chain(RING_REQUESTS).collect::<Vec<_>>();
    let ids = btf.as_deref().map(|btf| btf_ids::find(btf, &wanted)).unwrap_or_default();
    let presence = |there: bool| if there { Attempt::Works } else { Attempt::Absent };
    let calls = tracefs.is_some_and(|at| Path::new(at).join("events/syscalls").exists());
    // A kernel with the PMU has the probes; opening one is left to who needs it.
    let kprobes = Path::new("/sys/bus/event_source/devices/kprobe/type").exists();
    BTreeMap::from([
        (Part::Btf, answer(btf.map(drop).map_err(|error| error.raw_os_error().unwrap_or(libc::EIO)))),
        (Part::RingBuffer, answer(bpf::map(RINGBUF, 0, 0, RING_BYTES).map(drop))),
        (Part::TailCall, answer(bpf::map(PROG_ARRAY, 4, 4, 1).map(drop))),
        (Part::RawTracepoint, raw_tracepoint()),
        (Part::TypedTracepoint, typed(&ids, SYSCALL_END, TRACING, AT_RAW_TRACEPOINT)),
        (Part::TaskIterator, loaded(&ids, TASKS, TRACING, AT_ITERATOR)),
        (Part::Fentry, typed(&ids, TO_TRY, TRACING, AT_FENTRY)),
        (Part::Lsm, typed(&ids, HOOK, LSM, AT_LSM)),
        (
            Part::CgroupSkb,
            answer(bpf::load(Program { kind: CGROUP_SKB, attach: AT_EGRESS, btf_id: 0, value: 1 }).map(drop)),
        ),
        (Part::IoUring, presence(RING_REQUESTS.iter().any(|name| ids.contains_key(name)))),
        (Part::Loop, presence(ids.contains_key(&LOOP))),
        (Part::Kprobe, presence(kprobes)),
        (Part::CallTracepoints, presence(calls)),
    ])
}

fn answer(answer: bpf::Answer<()>) -> Attempt {
    answer.map_or_else(Attempt::Refused, |()| Attempt::Works)
}

fn raw_tracepoint() -> Attempt {
    let program = Program { kind: RAW_TRACEPOINT, ..Program::default() };
    answer(
        bpf::load(program).and_then(|program| bpf::attach(&program, Some(c"sched_process_exit"))).map(drop),
    )
}

/// Loads and attaches a program to a type of the kernel's BTF.
fn typed(ids: &HashMap<Wanted, u32>, place: Wanted, kind: u32, attach: u32) -> Attempt {
    let Some(btf_id) = ids.get(&place).copied() else { return Attempt::Absent };
    let program = bpf::load(Program { kind, attach, btf_id, value: 0 });
    answer(program.and_then(|program| bpf::attach(&program, None)).map(drop))
}

fn loaded(ids: &HashMap<Wanted, u32>, place: Wanted, kind: u32, attach: u32) -> Attempt {
    let Some(btf_id) = ids.get(&place).copied() else { return Attempt::Absent };
    answer(bpf::load(Program { kind, attach, btf_id, value: 0 }).map(drop))
}

/// Mount points and options of a file system's kind, in the order of mounting.
fn mounts_of<'a>(mounts: &'a str, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    mounts.lines().filter_map(move |line| {
        let mut fields = line.split(' ').skip(1);
        let (place, found, options) = (fields.next()?, fields.next()?, fields.next()?);
        (found == kind).then_some((place, options))
    })
}

/// Controllers are told as options, beside those that every mount has.
fn v1_controllers(mounts: &str) -> Vec<String> {
    const KNOWN: [&str; 13] = [
        "cpu",
        "cpuacct",
        "cpuset",
        "memory",
        "devices",
        "freezer",
        "blkio",
        "pids",
        "net_cls",
        "net_prio",
        "perf_event",
        "hugetlb",
        "rdma",
    ];
    let options = mounts_of(mounts, "cgroup").flat_map(|(_, options)| options.split(','));
    options.filter(|option| KNOWN.contains(option)).map(str::to_owned).collect()
}

/// `integrity` of `none [integrity] confidentiality`.
fn chosen(modes: &str) -> Option<String> {
    Some(modes.split_once('[')?.1.split_once(']')?.0.to_owned())
}

fn memlock_bytes() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn runtimes() -> Vec<(&'static str, String)> {
    let there = |(_, path): &(&str, &str)| Path::new(path).exists();
    RUNTIMES.into_iter().filter(there).map(|(name, path)| (name, path.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
";

    #[test]
    fn mounts_are_told_by_kind() {
        assert_eq!(mounts_of(MOUNTS, "cgroup2").next(), Some(("/sys/fs/cgroup/unified", "rw,relatime")));
        assert_eq!(v1_controllers(MOUNTS), ["cpu", "cpuacct"]);
        assert_eq!(mounts_of("", "bpf").next(), None);
    }

    #[test]
    fn the_chosen_mode_is_in_brackets() {
        assert_eq!(chosen("none [integrity] confidentiality\n").as_deref(), Some("integrity"));
        assert_eq!(chosen("what"), None);
    }
}
