//! The fields of system calls, over `syscalls`.

use super::{Access, DevicePart, Lookup, MountPart, Part, PathOf, TimeForm};

/// Text fields whose column has the field's name with underscores, or another.
const TEXT: &[(&str, &str)] = &[
    ("evt.type", "evt_type"),
    ("syscall.type", "evt_type"),
    ("evt.res", "evt_res"),
    ("evt.hostname", "node"),
    ("proc.name", "proc_name"),
    ("proc.exe", "proc_exe"),
    ("proc.exepath", "proc_exepath"),
    ("proc.args", "proc_args"),
    ("proc.cmdline", "proc_cmdline"),
    ("proc.cwd", "proc_cwd"),
    ("proc.pname", "proc_pname"),
    ("proc.pexe", "proc_pexe"),
    ("proc.pexepath", "proc_pexepath"),
    ("proc.pcmdline", "proc_pcmdline"),
    ("proc.sname", "proc_sname"),
    ("thread.cap_permitted", "thread_cap_permitted"),
    ("thread.cap_effective", "thread_cap_effective"),
    ("thread.cap_inheritable", "thread_cap_inheritable"),
    ("user.name", "user_name"),
    ("user.loginname", "user_loginname"),
    ("group.name", "group_name"),
    ("fd.type", "fd_type"),
    ("fd.typechar", "fd_typechar"),
    ("fd.name", "fd_name"),
    ("fd.nameraw", "fd_nameraw"),
    ("fd.directory", "fd_directory"),
    ("fd.filename", "fd_filename"),
    ("fd.l4proto", "fd_l4proto"),
    ("fd.sockfamily", "fd_sockfamily"),
    ("container.full_id", "container_id"),
    ("container.name", "container_name"),
    ("container.type", "container_type"),
    ("container.image", "container_image"),
    ("container.image.repository", "container_image_repository"),
    ("container.image.tag", "container_image_tag"),
    ("container.image.digest", "container_image_digest"),
    ("k8s.ns.name", "k8s_ns_name"),
    ("k8s.pod.name", "k8s_pod_name"),
    ("k8s.pod.id", "k8s_pod_uid"),
    ("k8s.pod.uid", "k8s_pod_uid"),
    ("k8s.cluster.name", "cluster"),
    ("thread.cgroups", "cgroup_path"),
];

const INT: &[(&str, &str)] = &[
    ("evt.rawres", "evt_rawres"),
    ("proc.pid", "proc_pid"),
    ("proc.vpid", "proc_vpid"),
    ("proc.ppid", "proc_ppid"),
    ("proc.pvpid", "proc_pvpid"),
    ("proc.pgid", "proc_pgid"),
    ("proc.vpgid", "proc_vpgid"),
    ("proc.exe_ino", "proc_exe_ino"),
    ("proc.sid", "proc_sid"),
    ("proc.tty", "proc_tty"),
    ("thread.tid", "thread_tid"),
    ("user.uid", "user_uid"),
    ("user.loginuid", "user_loginuid"),
    ("group.gid", "group_gid"),
    ("fd.num", "fd_num"),
    ("fd.ino", "fd_ino"),
    ("fd.dev", "fd_dev"),
    ("fd.cport", "fd_cport"),
    ("fd.sport", "fd_sport"),
    ("fd.lport", "fd_lport"),
    ("fd.rport", "fd_rport"),
];

const BOOL: &[(&str, &str)] = &[
    ("evt.failed", "evt_failed"),
    ("evt.is_open_read", "evt_is_open_read"),
    ("evt.is_open_write", "evt_is_open_write"),
    ("evt.is_open_exec", "evt_is_open_exec"),
    ("evt.is_open_create", "evt_is_open_create"),
    ("proc.is_exe_writable", "proc_is_exe_writable"),
    ("proc.is_exe_upper_layer", "proc_is_exe_upper_layer"),
    ("proc.is_exe_from_memfd", "proc_is_exe_from_memfd"),
    ("proc.is_sid_leader", "proc_is_sid_leader"),
    ("proc.is_vpgid_leader", "proc_is_vpgid_leader"),
    ("fd.is_server", "fd_is_server"),
    ("fd.connected", "fd_connected"),
    ("fd.name_changed", "fd_name_changed"),
    ("container.privileged", "container_privileged"),
];

const IP: &[(&str, &str)] =
    &[("fd.cip", "fd_cip"), ("fd.sip", "fd_sip"), ("fd.lip", "fd_lip"), ("fd.rip", "fd_rip")];

const NET: &[(&str, &str)] =
    &[("fd.cnet", "fd_cip"), ("fd.snet", "fd_sip"), ("fd.lnet", "fd_lip"), ("fd.rnet", "fd_rip")];

/// The arguments of calls and process events, by Falco's names.
pub(super) const ARGUMENTS: &[&str] = &[
    "addr",
    "args",
    "backlog",
    "cap_effective",
    "cap_inheritable",
    "cap_permitted",
    "class",
    "cmd",
    "comm",
    "core",
    "cq_entries",
    "cwd",
    "data",
    "dev",
    "dir",
    "dirfd",
    "domain",
    "egid",
    "entries",
    "euid",
    "exe",
    "fd",
    "features",
    "filename",
    "flags",
    "from_dirfd",
    "from_pathname",
    "gid",
    "id",
    "ino",
    "length",
    "linkdirfd",
    "linkpath",
    "loginuid",
    "mode",
    "mountfd",
    "name",
    "new_root",
    "newdir",
    "newdirfd",
    "newfd",
    "newpath",
    "nstype",
    "olddir",
    "olddirfd",
    "oldfd",
    "oldpath",
    "opcode",
    "path",
    "pathname",
    "pgid",
    "pid",
    "pid_fd",
    "proto",
    "ptid",
    "put_old",
    "request",
    "res",
    "resolve",
    "ret",
    "rgid",
    "ruid",
    "sgid",
    "sig",
    "size",
    "sq_entries",
    "sq_thread_cpu",
    "sq_thread_idle",
    "status",
    "suid",
    "target",
    "target_fd",
    "tid",
    "to_dirfd",
    "to_pathname",
    "trusted_exepath",
    "tty",
    "tuple",
    "type",
    "uargs",
    "uid",
    "vpgid",
    "vtid",
];
/// Arguments that Falco prints as decimal numbers.
const RAW: &[&str] = &["backlog", "ino", "length", "pgid", "pid", "size"];

/// Calls that take data from a descriptor, by Falco's and by the kernel's names.
const READS: &[&str] =
    &["read", "pread", "pread64", "readv", "preadv", "recv", "recvfrom", "recvmsg", "recvmmsg"];
/// Calls that give data to a descriptor.
const WRITES: &[&str] =
    &["write", "pwrite", "pwrite64", "writev", "pwritev", "send", "sendto", "sendmsg", "sendmmsg"];
const READS_OR_WRITES: &[&str] = &[
    "read", "pread", "pread64", "readv", "preadv", "recv", "recvfrom", "recvmsg", "recvmmsg", "write",
    "pwrite", "pwrite64", "writev", "pwritev", "send", "sendto", "sendmsg", "sendmmsg",
];
/// Calls that let the thread wait.
const WAITS: &[&str] = &["select", "poll", "ppoll", "epoll_wait", "nanosleep"];

/// Fields that take an argument in brackets.
const WITH_ARGUMENT: &[&str] = &[
    "container.label",
    "container.mount",
    "container.mount.dest",
    "container.mount.mode",
    "container.mount.propagation",
    "container.mount.rdwr",
    "container.mount.source",
    "evt.arg",
    "evt.around",
    "evt.rawarg",
    "evt.type.is",
    "fd.types",
    "k8s.ns.label",
    "k8s.pod.label",
    "k8s.rc.label",
    "k8s.rs.label",
    "k8s.svc.label",
    "k8s.deployment.label",
    "proc.acmdline",
    "proc.aenv",
    "proc.aexe",
    "proc.aexepath",
    "proc.aname",
    "proc.apid",
    "proc.env",
    "thread.cgroup",
];

/// Fields that Falco has and no column of ours fills. What ends in `.` stands
/// for every field below it.
pub(super) const UNFILLED: &[&str] = &[
    "container.cni.json",
    "container.healthcheck",
    "container.host_ipc",
    "container.host_network",
    "container.host_pid",
    "container.image.id",
    "container.ip",
    "container.label",
    "container.labels",
    "container.liveness_probe",
    "container.readiness_probe",
    "evt.buffer",
    "evt.buflen",
    "evt.buflen.",
    "evt.category",
    "evt.count.",
    "evt.cpu",
    "evt.deltatime",
    "evt.deltatime.",
    "evt.infra.",
    "evt.is_syslog",
    "evt.latency",
    "evt.latency.",
    "evt.outputtime",
    "evt.rawarg",
    "evt.rawarg.",
    "evt.reltime",
    "evt.reltime.",
    "evt.wait_latency",
    "fd.is_lower_layer",
    "fd.is_upper_layer",
    "fd.types",
    "fdlist.",
    "fs.path.nameraw",
    "fs.path.sourceraw",
    "fs.path.targetraw",
    "k8s.deployment.",
    "k8s.ns.id",
    "k8s.ns.label",
    "k8s.ns.labels",
    "k8s.pod.cni.json",
    "k8s.pod.full_sandbox_id",
    "k8s.pod.ip",
    "k8s.pod.sandbox_id",
    "k8s.rc.",
    "k8s.rs.",
    "k8s.svc.",
    "proc.aenv",
    "proc.aexe_ino",
    "proc.child",
    "proc.cmdlenargs",
    "proc.cmdnargs",
    "proc.exe_ino.ctime_duration_pidns_start",
    "proc.fdlimit",
    "proc.fdopencount",
    "proc.fdusage",
    "proc.is_container_healthcheck",
    "proc.is_container_liveness_probe",
    "proc.is_container_readiness_probe",
    "proc.is_exe_lower_layer",
    "proc.nchilds",
    "proc.nthreads",
    "proc.pexe_ino",
    "proc.pgid.exe",
    "proc.pgid.exepath",
    "proc.pgid.name",
    "proc.pidns_init_start_ts",
    "proc.ppid.duration",
    "proc.ppid.ts",
    "proc.sid.exe",
    "proc.sid.exepath",
    "proc.stderr.",
    "proc.stdin.",
    "proc.stdout.",
    "proc.thread_cpu",
    "proc.vmrss",
    "proc.vmsize",
    "proc.vmswap",
    "proc.vpgid.exe",
    "proc.vpgid.exepath",
    "proc.vpgid.name",
    "syslog.",
    "thread.cpu",
    "thread.cpu.",
    "thread.exectime",
    "thread.nametid",
    "thread.pfmajor",
    "thread.pfminor",
    "thread.totexectime",
    "thread.vmrss",
    "thread.vmsize",
    "thread.vtid",
    "user.homedir",
    "user.shell",
];

pub(super) fn lookup(name: &str, arg: Option<&str>) -> Lookup {
    if arg.is_some() && !WITH_ARGUMENT.contains(&name) {
        let known = lookup(name, None) != Lookup::Unknown;
        return if known { Lookup::BadArgument("the field takes no argument") } else { Lookup::Unknown };
    }
    by_column(name)
        .or_else(|| of_event(name))
        .or_else(|| of_process(name, arg))
        .or_else(|| of_descriptor(name))
        .map(Lookup::Filled)
        .or_else(|| with_argument(name, arg))
        .unwrap_or_else(|| if is_unfilled(name) { Lookup::Unfilled } else { Lookup::Unknown })
}

fn is_unfilled(name: &str) -> bool {
    let covers = |known: &&str| **known == *name || (known.ends_with('.') && name.starts_with(*known));
    UNFILLED.iter().any(covers)
}

fn of_event(name: &str) -> Option<Access> {
    Some(match name {
        "evt.num" => Access::EventNumber,
        "evt.dir" => Access::Constant("<"),
        "evt.source" => Access::Constant("syscall"),
        "evt.pluginname" | "evt.plugininfo" | "evt.asynctype" => Access::Nothing,
        "evt.is_async" => Access::Truth(false),
        "evt.count" | "evt.count.exit" => Access::Number(1),
        "evt.count.error" => Access::ErrorCount,
        "evt.time" => Access::TimeText("time", TimeForm::Clock),
        "evt.time.s" => Access::TimeText("time", TimeForm::ClockSeconds),
        "evt.time.iso8601" => Access::TimeText("time", TimeForm::Iso8601),
        "evt.datetime" => Access::TimeText("time", TimeForm::DateTime),
        "evt.datetime.s" => Access::TimeText("time", TimeForm::DateTimeSeconds),
        "evt.rawtime" => Access::TimeNs("time"),
        "evt.rawtime.s" => Access::TimeSeconds("time"),
        "evt.rawtime.ns" => Access::TimeRest("time"),
        "evt.is_io" => Access::TypeAmong(READS_OR_WRITES),
        "evt.is_io_read" => Access::TypeAmong(READS),
        "evt.is_io_write" => Access::TypeAmong(WRITES),
        "evt.is_wait" => Access::TypeAmong(WAITS),
        "evt.io_dir" => Access::IoDirection,
        "evt.args" | "evt.info" => Access::Pairs("evt_arg", "=", " "),
        "evt.abspath" | "evt.abspath.src" => Access::Path(PathOf::AbsoluteSource),
        "evt.abspath.dst" => Access::Path(PathOf::AbsoluteTarget),
        "fs.path.name" => Access::Path(PathOf::Name),
        "fs.path.source" => Access::Path(PathOf::Source),
        "fs.path.target" => Access::Path(PathOf::Target),
        "k8s.pod.labels" => Access::Pairs("k8s_pod_labels", ":", ", "),
        "container.id" => Access::ShortId("container_id"),
        "container.start_ts" => Access::TimeNs("container_start_ts"),
        "container.duration" => Access::DurationNs("container_start_ts", "time"),
        "container.mounts" => Access::Joined("container_mounts"),
        _ => {
            let wanted = name.strip_prefix("evt.type.is.")?;
            Access::TypeIs(wanted.to_owned())
        }
    })
}

fn of_process(name: &str, arg: Option<&str>) -> Option<Access> {
    Some(match name {
        // Not from `proc_duration`, so that rows without it have it too.
        "proc.duration" => Access::DurationNs("proc_start_time", "time"),
        "proc.pid.ts" => Access::TimeNs("proc_start_time"),
        "proc.exe_ino.ctime" => Access::TimeNs("proc_exe_ino_ctime"),
        "proc.exe_ino.mtime" => Access::TimeNs("proc_exe_ino_mtime"),
        // How old the executable was when the process that runs it began.
        "proc.exe_ino.ctime_duration_proc_start" => {
            Access::DurationNs("proc_exe_ino_ctime", "proc_start_time")
        }
        "proc.exeline" => Access::ExeLine,
        "proc.loginshellid" => Access::LoginShell,
        "proc.is_pgid_leader" => Access::Same("proc_pgid", "proc_pid"),
        "thread.ismain" => Access::Same("thread_tid", "proc_pid"),
        "proc.env" => match arg {
            Some(name) => Access::Variable("proc_env", name.to_owned()),
            None => Access::Joined("proc_env"),
        },
        _ => return None,
    })
}

fn of_descriptor(name: &str) -> Option<Access> {
    Some(match name {
        "fd.ip" => Access::AnyIp,
        "fd.net" => Access::AnyNet,
        "fd.port" | "fd.proto" => Access::AnyPort,
        // Falco names ports only when it is told to resolve names.
        "fd.cproto" => Access::IntText("fd_cport"),
        "fd.sproto" => Access::IntText("fd_sport"),
        "fd.lproto" => Access::IntText("fd_lport"),
        "fd.rproto" => Access::IntText("fd_rport"),
        "fd.cip.name" => Access::Domain("fd_cip"),
        "fd.sip.name" => Access::Domain("fd_sip"),
        "fd.lip.name" => Access::Domain("fd_lip"),
        "fd.rip.name" => Access::Domain("fd_rip"),
        "fd.uid" => Access::FdUid,
        "fd.containername" => Access::InContainer("fd_name"),
        "fd.containerdirectory" => Access::InContainer("fd_directory"),
        "fd.dev.major" => Access::Device("fd_dev", DevicePart::Major),
        "fd.dev.minor" => Access::Device("fd_dev", DevicePart::Minor),
        _ => return None,
    })
}

fn with_argument(name: &str, arg: Option<&str>) -> Option<Lookup> {
    let named = |what, make: &dyn Fn(String) -> Access| match arg {
        Some(arg) => Lookup::Filled(make(arg.to_owned())),
        None => Lookup::BadArgument(what),
    };
    let mount = |part| {
        let what = "the mount is missing, e.g. container.mount.dest[/proc*] or [0]";
        named(what, &|key| Access::Mount(part, key))
    };
    Some(match name {
        "evt.arg" => argument(arg),
        "evt.rawarg" => return raw_argument(arg?).map(Lookup::Filled),
        "evt.type.is" => named("the type is missing, e.g. evt.type.is.open", &Access::TypeIs),
        "evt.around" => around(arg),
        "thread.cgroup" => {
            named("the controller is missing, e.g. thread.cgroup[cpu]", &|_| Access::Text("cgroup_path"))
        }
        "k8s.pod.label" => named("the label's name is missing, e.g. k8s.pod.label[app]", &|label| {
            Access::Pair("k8s_pod_labels", label)
        }),
        "container.mount" => mount(MountPart::Whole),
        "container.mount.source" => mount(MountPart::Source),
        "container.mount.dest" => mount(MountPart::Destination),
        "container.mount.mode" => mount(MountPart::Mode),
        "container.mount.rdwr" => mount(MountPart::Writable),
        "container.mount.propagation" => mount(MountPart::Propagation),
        "proc.apid" => ancestor(arg, Part::Pid, Access::Int("proc_pid")),
        "proc.aname" => ancestor(arg, Part::Name, Access::Text("proc_name")),
        "proc.aexe" => ancestor(arg, Part::Exe, Access::Text("proc_exe")),
        "proc.aexepath" => ancestor(arg, Part::ExePath, Access::Text("proc_exepath")),
        "proc.acmdline" => ancestor(arg, Part::CmdLine, Access::Text("proc_cmdline")),
        _ => match name.strip_prefix("evt.rawarg.") {
            Some(wanted) => Lookup::Filled(raw_argument(wanted)?),
            None => named_argument(name.strip_prefix("evt.arg.")?),
        },
    })
}

/// Arguments are kept as Falco prints them: only of these the number is known.
fn raw_argument(name: &str) -> Option<Access> {
    match name {
        "res" => Some(Access::Int("evt_rawres")),
        _ => RAW.contains(&name).then(|| Access::PairInt("evt_arg", name.to_owned())),
    }
}

fn by_column(name: &str) -> Option<Access> {
    let find = |table: &[(&str, &'static str)]| {
        table.iter().find(|(field, _)| *field == name).map(|(_, column)| *column)
    };
    let text = find(TEXT).map(Access::Text);
    let int = || find(INT).map(Access::Int);
    let boolean = || find(BOOL).map(Access::Bool);
    let ip = || find(IP).map(Access::Ip);
    let net = || find(NET).map(Access::Net);
    text.or_else(int).or_else(boolean).or_else(ip).or_else(net)
}

fn argument(arg: Option<&str>) -> Lookup {
    match arg.map(|arg| (arg, arg.parse::<usize>())) {
        Some((_, Ok(index))) => Lookup::Filled(Access::PairAt("evt_arg", index)),
        Some((name, Err(_))) => named_argument(name),
        None => Lookup::BadArgument("the argument's name is missing, e.g. evt.arg[flags]"),
    }
}

/// An argument that no call has would make every comparison false in silence.
fn named_argument(name: &str) -> Lookup {
    match ARGUMENTS.contains(&name) {
        true => Lookup::Filled(Access::Pair("evt_arg", name.to_owned())),
        false => Lookup::Unfilled,
    }
}

fn around(arg: Option<&str>) -> Lookup {
    match arg.map(str::parse::<i64>) {
        Some(Ok(time)) => Lookup::Filled(Access::Around(time)),
        _ => Lookup::BadArgument("a time is missing, in nanoseconds as evt.rawtime has it"),
    }
}

/// Level 0 is the process itself.
fn ancestor(arg: Option<&str>, part: Part, own: Access) -> Lookup {
    match arg.map(str::parse::<usize>) {
        None => Lookup::Filled(Access::AnyAncestor(part)),
        Some(Ok(0)) => Lookup::Filled(own),
        Some(Ok(level)) => Lookup::Filled(Access::Ancestor(level - 1, part)),
        Some(Err(_)) => Lookup::BadArgument("the level must be a number, the parent is 1"),
    }
}
