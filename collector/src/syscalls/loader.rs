//! Kernel programs loaded and attached, or a clear word about what is missing.

use std::fs;
use std::path::Path;

use aya::maps::{Array, MapData, PerCpuArray, ProgramArray, RingBuf};
use aya::programs::{
    BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, Program, ProgramError, RawTracePoint,
};
use aya::{Btf, Ebpf, EbpfLoader, VerifierLogLevel};
use bailiwick_collector_ebpf::{ABSENT, calls};

use super::cgroups::{Hierarchies, V1};
use super::offsets::{self, Resolved};
use super::{immediates, numbers};
use crate::config::Syscalls;

/// Built by `collector-ebpf/build.sh` from the sources beside it.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../collector-ebpf/bailiwick.bpf.o");

const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Programs on raw tracepoints, which cost nothing to who does not pass them.
const RAW: [(&str, &str, Presence); 6] = [
    ("process_exec", "sched_process_exec", Presence::Always),
    ("process_fork", "sched_process_fork", Presence::Always),
    ("process_exit", "sched_process_exit", Presence::Always),
    ("cgroup_made", "cgroup_mkdir", Presence::Always),
    ("cgroup_gone", "cgroup_rmdir", Presence::Sometimes),
    ("uring_submitted", "io_uring_submit_req", Presence::Sometimes),
];

/// The one program on the end of every call, and what it goes on with.
const CALLS: &str = "sys_exit";
const GOES_ON: [(u32, &str); 7] = [
    (calls::Program::Call as u32, "call_ended"),
    (calls::Program::Socket as u32, "socket_ended"),
    (calls::Program::FailedExec as u32, "exec_failed"),
    (4, "call_folder"),
    (5, "exec_arguments"),
    (6, "call_second"),
    (7, "call_last"),
];
const PACKETS: &str = "packet_out";
const CGROUP_MOUNTS: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Always,
    Sometimes,
}

/// Running programs and what they write to.
pub(super) struct Programs {
    pub(super) process: RingBuf<MapData>,
    pub(super) network: RingBuf<MapData>,
    pub(super) file: RingBuf<MapData>,
    pub(super) counters: PerCpuArray<MapData, u64>,
    /// One cell: of how many opens that read one is kept.
    pub(super) keep_one_of: Array<MapData, u32>,
    /// Those whose cgroups the programs tell.
    pub(super) hierarchies: Hierarchies,
    /// What had to be done to the machine, for a person; often nothing.
    pub(super) notes: Vec<String>,
    /// Detaches everything when dropped.
    pub(super) ebpf: Ebpf,
}

/// Why nothing can be captured here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) what: String,
    pub(super) how_to_get_it: String,
}

/// Loads and attaches everything. Takes some tens of milliseconds.
pub(super) fn load(config: &Syscalls) -> Result<Programs, Missing> {
    privileged()?;
    let mut hierarchies = Hierarchies::of_this_node();
    let mut kernel = kernel(&mut hierarchies)?;
    let mut notes = Vec::new();
    let mut ebpf = match attached(config, &kernel) {
        Err(missing) if kernel.cast.is_some() => {
            // All else may be as on a kernel that has no casts.
            kernel.forget_casts();
            let ebpf = attached(config, &kernel)?;
            notes.push(format!("paths cost more than they need to: {}", missing.what));
            ebpf
        }
        outcome => outcome?,
    };
    if !config.only_processes
        && let Err(missing) = attach_packets(&mut ebpf)
    {
        notes.push(format!("no DNS queries: {}", missing.what));
    }
    let mut ring = |name: &str| {
        let map = ebpf.take_map(name).ok_or_else(|| damaged(name))?;
        RingBuf::try_from(map).map_err(|error| refused("map", &error))
    };
    let (process, network, file) = (ring("PROCESS_RING")?, ring("NETWORK_RING")?, ring("FILE_RING")?);
    let counters = ebpf.take_map("COUNTERS").ok_or_else(|| damaged("COUNTERS"))?;
    let counters = PerCpuArray::try_from(counters).map_err(|error| refused("map", &error))?;
    let keep_one_of = ebpf.take_map("KEEP_ONE_OF").ok_or_else(|| damaged("KEEP_ONE_OF"))?;
    let keep_one_of = Array::try_from(keep_one_of).map_err(|error| refused("map", &error))?;
    Ok(Programs { process, network, file, counters, keep_one_of, hierarchies, notes, ebpf })
}

/// The programs for this kernel, attached.
fn attached(config: &Syscalls, kernel: &Resolved) -> Result<Ebpf, Missing> {
    let tables = numbers::tables();
    let mut loader = EbpfLoader::new();
    // A verifier log costs megabytes; it is asked for when the load fails.
    loader.verifier_log_level(VerifierLogLevel::DISABLE).btf(None);
    loader.override_global("ONLY_CGROUP", &config.only_cgroup, true);
    loader.override_global("CALLS", &tables.calls, true);
    loader.override_global("WANTED", &tables.wanted, true);
    let rings = [
        ("PROCESS_RING", config.process_ring_bytes),
        ("NETWORK_RING", config.network_ring_bytes),
        ("FILE_RING", config.file_ring_bytes),
    ];
    for (name, bytes) in rings {
        loader.map_max_entries(name, bytes);
    }
    let mut values = kernel.told.clone();
    values.extend([
        ("OWN_PID", std::process::id()),
        ("WITH_ENVIRONMENT", config.environment.into()),
        ("PROCESS_WAKE_AT", wake_at(config.process_ring_bytes)),
        ("NETWORK_WAKE_AT", wake_at(config.network_ring_bytes)),
        ("FILE_WAKE_AT", wake_at(config.file_ring_bytes)),
    ]);
    let object = immediates::written(OBJECT, kernel.cast, &values).map_err(damaged)?;
    let mut ebpf = loader.load(&object).map_err(|error| refused("load", &error))?;
    attach(&mut ebpf, config.only_processes)?;
    Ok(ebpf)
}

/// How full a ring is when its reader is woken, bytes: late enough that its timer
/// mostly comes first, early enough that there is room until it runs.
fn wake_at(ring_bytes: u32) -> u32 {
    (ring_bytes / 4).min(1 << 20)
}

fn attach(ebpf: &mut Ebpf, only_processes: bool) -> Result<(), Missing> {
    let btf = Btf::from_sys_fs().map_err(|error| refused("its own types", &error))?;
    let names: Vec<String> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
    for name in names.iter().filter(|name| *name != PACKETS) {
        let program = ebpf.program_mut(name).ok_or_else(|| damaged(name))?;
        let mut load = || match program {
            Program::RawTracePoint(program) => program.load().map_err(|error| refused(name, &error)),
            Program::BtfTracePoint(program) => {
                program.load("sys_exit", &btf).map_err(|error| refused(name, &error))
            }
            _ => Err(damaged(name)),
        };
        // On a busy machine the kernel has once refused what it takes a moment later,
        // without a word of its verifier; what it refuses for good it refuses again.
        load().or_else(|_| load())?;
    }
    link_calls(ebpf)?;
    for (name, tracepoint, presence) in RAW {
        let program: &mut RawTracePoint = program(ebpf, name)?;
        match program.attach(tracepoint) {
            Err(error) if presence == Presence::Always => return Err(refused(tracepoint, &error)),
            _ => {}
        }
    }
    if only_processes {
        return Ok(());
    }
    let calls: &mut BtfTracePoint = program(ebpf, CALLS)?;
    calls.attach().map_err(|error| refused(CALLS, &error))?;
    Ok(())
}

/// Tells the program on every call's end which program goes on.
fn link_calls(ebpf: &mut Ebpf) -> Result<(), Missing> {
    let mut fds = Vec::new();
    for (at, name) in GOES_ON {
        let program: &mut BtfTracePoint = program(ebpf, name)?;
        let fd = program.fd().and_then(|fd| fd.try_clone().map_err(ProgramError::IOError));
        fds.push((at, fd.map_err(|error| refused(name, &error))?));
    }
    let map = ebpf.map_mut("PROGRAMS").ok_or_else(|| damaged("PROGRAMS"))?;
    let mut map = ProgramArray::try_from(map).map_err(|error| refused("map", &error))?;
    fds.iter().try_for_each(|(at, fd)| map.set(*at, fd, 0)).map_err(|error| refused("map", &error))
}

/// Attaches what reads DNS queries to all cgroups.
fn attach_packets(ebpf: &mut Ebpf) -> Result<(), Missing> {
    let packets: &mut CgroupSkb = program(ebpf, PACKETS)?;
    packets.load().map_err(|error| refused(PACKETS, &error))?;
    let mount = CGROUP_MOUNTS.iter().find(|mount| Path::new(mount).join("cgroup.procs").exists());
    let root = mount.and_then(|mount| fs::File::open(mount).ok()).ok_or_else(|| damaged("cgroup v2"))?;
    let attached = packets.attach(root, CgroupSkbAttachType::Egress, CgroupAttachMode::Single);
    attached.map(drop).map_err(|error| refused(PACKETS, &error))
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, Missing>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or_else(|| damaged(name))?;
    program.try_into().map_err(|error: ProgramError| refused(name, &error))
}

fn privileged() -> Result<(), Missing> {
    privileged_by(&fs::read_to_string("/proc/thread-self/status").unwrap_or_default())
}

/// Whether a process with this /proc/PID/status may load programs.
fn privileged_by(status: &str) -> Result<(), Missing> {
    /// Bits of the capabilities of Linux: perfmon, bpf, sys_admin.
    const PERFMON_AND_BPF: u64 = 1 << 38 | 1 << 39;
    const SYS_ADMIN: u64 = 1 << 21;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    if effective & SYS_ADMIN != 0 || effective & PERFMON_AND_BPF == PERFMON_AND_BPF {
        return Ok(());
    }
    Err(Missing {
        what: "no privilege to load kernel programs".into(),
        how_to_get_it: "run it as root, or with CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
            .into(),
    })
}

/// What the programs need to know of this kernel; a v1 hierarchy that they cannot
/// tell cgroups of here is left out.
fn kernel(hierarchies: &mut Hierarchies) -> Result<Resolved, Missing> {
    let unusable = |what| Missing {
        what,
        how_to_get_it: "use Linux 5.8 or newer, built with CONFIG_DEBUG_INFO_BTF=y".into(),
    };
    let btf = fs::read(BTF)
        .map_err(|error| unusable(format!("this kernel does not describe its types: {BTF}: {error}")))?;
    let subsystem = hierarchies.v1().map(V1::subsystem);
    let kernel = offsets::resolve(&btf, subsystem.as_deref())
        .map_err(|what| unusable(format!("this kernel is not known well enough: {what}")))?;
    if kernel.told.contains(&(offsets::SUBSYSTEM, ABSENT)) {
        hierarchies.leave_v1();
    }
    Ok(kernel)
}

fn damaged(name: &str) -> Missing {
    Missing {
        what: format!("the kernel programs of this build are damaged: {name} is not as expected"),
        how_to_get_it: "rebuild them with collector-ebpf/build.sh, then build again".into(),
    }
}

/// Something the kernel said no to.
fn refused(what: &str, error: &(dyn std::error::Error + 'static)) -> Missing {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    // A verifier's log is not for a line.
    let text: String = text.lines().next().unwrap_or_default().chars().take(300).collect();
    let locked = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    let how_to_get_it = if locked.contains("[confidentiality]") {
        "the kernel is locked down for confidentiality, which forbids it".into()
    } else {
        "use Linux 5.8 or newer with CONFIG_BPF_EVENTS and CONFIG_FTRACE_SYSCALLS; 6.18 is known to work"
            .into()
    };
    Missing { what: format!("the kernel refuses {what}: {text}"), how_to_get_it }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privilege_is_read_from_the_effective_capabilities() {
        let status = |hex: &str| format!("Name:\tx\nCapPrm:\tffffffffffffffff\nCapEff:\t{hex}\n");
        for enough in ["000001ffffffffff", "0000000000200000", "000000c000000000"] {
            assert!(privileged_by(&status(enough)).is_ok(), "{enough}");
        }
        for less in ["0000000000000000", "0000008000000000", "0000000000100000", "what"] {
            let missing = privileged_by(&status(less)).unwrap_err();
            assert!(missing.how_to_get_it.contains("root"), "{missing:?}");
        }
        assert!(privileged_by("").is_err());
    }

    /// Goal: what only older kernels go through is taken by the verifier too.
    /// Method: this kernel is said to lack one thing after the other.
    #[test]
    fn programs_load_as_on_kernels_that_offer_less() {
        let is_root = nix::unistd::geteuid().is_root() && std::path::Path::new(BTF).exists();
        if !is_root {
            assert!(std::env::var_os("BAILIWICK_REQUIRE_KERNEL").is_none(), "needs root and BTF");
            return println!("skipped: needs root and a kernel with BTF");
        }
        let mut kernel = kernel(&mut Hierarchies::of_this_node()).unwrap();
        let config = Syscalls::default();
        assert!(attached(&config, &kernel).is_ok());
        kernel.forget_casts();
        for lacks in ["", "DENTRY_TOGETHER", "FILE_TOGETHER", "TYPED_TASK"] {
            kernel.told.iter_mut().filter(|told| told.0 == lacks).for_each(|told| told.1 = 0);
            let attached = attached(&config, &kernel).map(drop);
            assert_eq!(attached, Ok(()), "without casts and what {lacks} says");
        }
    }
}
