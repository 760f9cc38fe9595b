//! The fields of system calls, over `syscalls`.

use super::{Access, Lookup, Part, TimeForm};

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
    ("proc.exeline", "proc_cmdline"),
    ("proc.cwd", "proc_cwd"),
    ("proc.pname", "proc_pname"),
    ("proc.pexe", "proc_pexe"),
    ("proc.pexepath", "proc_pexepath"),
    ("proc.pcmdline", "proc_pcmdline"),
    ("user.name", "user_name"),
    ("group.name", "group_name"),
    ("fd.type", "fd_type"),
    ("fd.typechar", "fd_typechar"),
    ("fd.name", "fd_name"),
    ("fd.nameraw", "fd_nameraw"),
    ("fd.directory", "fd_directory"),
    ("fd.filename", "fd_filename"),
    ("fd.l4proto", "fd_l4proto"),
    ("fd.sockfamily", "fd_sockfamily"),
    ("container.id", "container_id"),
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
    ("thread.cgroups", "cgroup_path"),
];

const INT: &[(&str, &str)] = &[
    ("evt.rawres", "evt_rawres"),
    ("proc.pid", "proc_pid"),
    ("proc.vpid", "proc_vpid"),
    ("proc.ppid", "proc_ppid"),
    ("proc.sid", "proc_sid"),
    ("proc.tty", "proc_tty"),
    ("thread.tid", "thread_tid"),
    ("user.uid", "user_uid"),
    ("user.loginuid", "user_loginuid"),
    ("group.gid", "group_gid"),
    ("fd.num", "fd_num"),
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
    ("container.privileged", "container_privileged"),
];

const IP: &[(&str, &str)] =
    &[("fd.cip", "fd_cip"), ("fd.sip", "fd_sip"), ("fd.lip", "fd_lip"), ("fd.rip", "fd_rip")];

const NET: &[(&str, &str)] =
    &[("fd.cnet", "fd_cip"), ("fd.snet", "fd_sip"), ("fd.lnet", "fd_lip"), ("fd.rnet", "fd_rip")];

/// Fields that Falco has and no column of ours fills.
const UNFILLED: &[&str] = &[
    "container.cni.json",
    "container.healthcheck",
    "container.host_ipc",
    "container.host_network",
    "container.host_pid",
    "container.image.id",
    "container.ip",
    "container.labels",
    "container.label",
    "container.liveness_probe",
    "container.mount",
    "container.mount.dest",
    "container.mount.mode",
    "container.mount.propagation",
    "container.mount.rdwr",
    "container.mount.source",
    "container.readiness_probe",
    "evt.abspath",
    "evt.around",
    "evt.buffer",
    "evt.buflen",
    "evt.category",
    "evt.count",
    "evt.cpu",
    "evt.deltatime",
    "evt.hostname",
    "evt.info",
    "evt.io_dir",
    "evt.is_async",
    "evt.is_io",
    "evt.is_io_read",
    "evt.is_io_write",
    "evt.is_syslog",
    "evt.is_wait",
    "evt.latency",
    "evt.pluginname",
    "evt.reltime",
    "evt.wait_latency",
    "evt.asynctype",
    "fd.cip.name",
    "fd.connected",
    "fd.containerdirectory",
    "fd.containername",
    "fd.cproto",
    "fd.dev",
    "fd.dev.major",
    "fd.dev.minor",
    "fd.fd",
    "fd.ino",
    "fd.is_server",
    "fd.is_upper_layer",
    "fd.is_lower_layer",
    "fd.lip.name",
    "fd.lproto",
    "fd.name_changed",
    "fd.proto",
    "fd.rip.name",
    "fd.rproto",
    "fd.sip.name",
    "fd.sproto",
    "fd.types",
    "fd.uid",
    "fs.path.name",
    "fs.path.nameraw",
    "fs.path.source",
    "fs.path.sourceraw",
    "fs.path.target",
    "fs.path.targetraw",
    "k8s.cluster.name",
    "k8s.deployment.id",
    "k8s.deployment.name",
    "k8s.ns.id",
    "k8s.ns.label",
    "k8s.ns.labels",
    "k8s.pod.cni.json",
    "k8s.pod.full_sandbox_id",
    "k8s.pod.ip",
    "k8s.pod.sandbox_id",
    "k8s.rc.name",
    "k8s.rs.name",
    "k8s.svc.name",
    "proc.aexe_ino",
    "proc.child",
    "proc.cmdlenargs",
    "proc.cmdnargs",
    "proc.exe_ino",
    "proc.exe_ino.ctime",
    "proc.exe_ino.ctime_duration_pidns_start",
    "proc.exe_ino.ctime_duration_proc_start",
    "proc.exe_ino.mtime",
    "proc.fdlimit",
    "proc.fdopencount",
    "proc.fdusage",
    "proc.is_container_healthcheck",
    "proc.is_container_liveness_probe",
    "proc.is_container_readiness_probe",
    "proc.is_exe_lower_layer",
    "proc.is_sid_leader",
    "proc.is_vpgid_leader",
    "proc.is_pgid_leader",
    "proc.loginshellid",
    "proc.nchilds",
    "proc.nthreads",
    "proc.pexe_ino",
    "proc.pgid",
    "proc.pgid.exe",
    "proc.pgid.exepath",
    "proc.pgid.name",
    "proc.pid.ts",
    "proc.pidns_init_start_ts",
    "proc.ppid.duration",
    "proc.ppid.ts",
    "proc.pvpid",
    "proc.sid.exe",
    "proc.sid.exepath",
    "proc.sname",
    "proc.stdin.name",
    "proc.stdin.type",
    "proc.stdout.name",
    "proc.stdout.type",
    "proc.stderr.name",
    "proc.stderr.type",
    "proc.thread_cpu",
    "proc.vmrss",
    "proc.vmsize",
    "proc.vmswap",
    "proc.vpgid",
    "proc.vpgid.exe",
    "proc.vpgid.exepath",
    "proc.vpgid.name",
    "thread.cap_effective",
    "thread.cap_inheritable",
    "thread.cap_permitted",
    "thread.cpu",
    "thread.exectime",
    "thread.ismain",
    "thread.pfmajor",
    "thread.pfminor",
    "thread.vtid",
    "user.homedir",
    "user.loginname",
    "user.shell",
    "evt.rawarg",
    "evt.source",
];

pub(super) fn lookup(name: &str, arg: Option<&str>) -> Lookup {
    if let Some(found) = by_column(name) {
        return Lookup::Filled(found);
    }
    match name {
        "evt.num" => Lookup::Filled(Access::EventNumber),
        "evt.dir" => Lookup::Filled(Access::Constant("<")),
        "evt.time" => Lookup::Filled(Access::TimeText("time", TimeForm::Clock)),
        "evt.time.iso8601" => Lookup::Filled(Access::TimeText("time", TimeForm::Iso8601)),
        "evt.datetime" => Lookup::Filled(Access::TimeText("time", TimeForm::DateTime)),
        "evt.rawtime" => Lookup::Filled(Access::TimeNs("time")),
        "container.start_ts" => Lookup::Filled(Access::TimeNs("container_start_ts")),
        "container.duration" => Lookup::Filled(Access::DurationNs("container_start_ts", "time")),
        "container.mounts" => Lookup::Filled(Access::Joined("container_mounts")),
        "proc.duration" => Lookup::Filled(Access::DurationNs("proc_start_time", "time")),
        "fd.ip" => Lookup::Filled(Access::AnyIp),
        "fd.net" => Lookup::Filled(Access::AnyNet),
        "fd.port" => Lookup::Filled(Access::AnyPort),
        "evt.args" => Lookup::Filled(Access::Pairs("evt_arg", "=", " ")),
        "evt.arg" => argument(arg),
        "proc.env" => Lookup::Filled(match arg {
            Some(name) => Access::Variable("proc_env", name.to_owned()),
            None => Access::Joined("proc_env"),
        }),
        "k8s.pod.labels" => Lookup::Filled(Access::Pairs("k8s_pod_labels", ":", ", ")),
        "k8s.pod.label" => match arg {
            Some(label) => Lookup::Filled(Access::Pair("k8s_pod_labels", label.to_owned())),
            None => Lookup::BadArgument("the label's name is missing, e.g. k8s.pod.label[app]"),
        },
        "proc.apid" => ancestor(arg, Part::Pid, Access::Int("proc_pid")),
        "proc.aname" => ancestor(arg, Part::Name, Access::Text("proc_name")),
        "proc.aexe" => ancestor(arg, Part::Exe, Access::Text("proc_exe")),
        "proc.aexepath" => ancestor(arg, Part::ExePath, Access::Text("proc_exepath")),
        "proc.acmdline" => ancestor(arg, Part::CmdLine, Access::Text("proc_cmdline")),
        _ => match name.strip_prefix("evt.arg.").or_else(|| name.strip_prefix("evt.rawarg.")) {
            Some(argument) => Lookup::Filled(Access::Pair("evt_arg", argument.to_owned())),
            None if UNFILLED.contains(&name) => Lookup::Unfilled,
            None => Lookup::Unknown,
        },
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
    match arg {
        Some(arg) if arg.parse::<usize>().is_ok() => {
            Lookup::BadArgument("arguments have names here, write e.g. evt.arg[flags]")
        }
        Some(arg) => Lookup::Filled(Access::Pair("evt_arg", arg.to_owned())),
        None => Lookup::BadArgument("the argument's name is missing, e.g. evt.arg[flags]"),
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
