//! Events and what is known about them, as cells of `syscalls`.

use bailiwick_collector_ebpf::{CGROUP_V1_BIT, Header, call, flag};
use bailiwick_proto::Table;

use super::cgroups::Cgroup;
use super::decode::{Connect, Exit, Open};
use super::processes::{Process, Processes};
use super::sockets::Socket;
use super::{flags, paths};
use crate::attribution::HOST;
use crate::columns::{Columns, Place, ProcessCells};
use crate::outlet::Lane;
use crate::pods::Pod;
use crate::users::Users;

macro_rules! places {
    ($($name:ident)*) => {
        struct Places { $($name: Place,)* }

        impl Places {
            fn of(columns: &Columns) -> Self {
                Self { $($name: columns.place(stringify!($name)),)* }
            }
        }
    };
}

places! {
    time node cluster observed exec_id seq lane repeats
    evt_type evt_res evt_rawres evt_failed evt_arg
    evt_is_open_read evt_is_open_write evt_is_open_exec evt_is_open_create
    proc_pid thread_tid proc_vpid proc_ppid proc_sid proc_tty proc_name proc_exe proc_exepath proc_args
    proc_cmdline proc_cwd proc_env proc_start_time proc_exit_code
    proc_pname proc_pexe proc_pexepath proc_pcmdline proc_ancestors
    proc_is_exe_writable proc_is_exe_from_memfd
    user_uid user_name user_loginuid group_gid group_name
    fd_num fd_type fd_typechar fd_name fd_nameraw fd_directory fd_filename fd_l4proto fd_sockfamily
    fd_cip fd_cport fd_sip fd_sport fd_lip fd_lport fd_rip fd_rport
    container_id container_name container_type container_image container_image_repository
    container_image_tag container_image_digest container_privileged container_mounts container_start_ts
    container_setup k8s_ns_name k8s_pod_name k8s_pod_uid k8s_pod_labels k8s_sa_name cgroup_id cgroup_path mnt_ns pid_ns
}

/// Rows that wait for their batch.
pub(super) struct Rows {
    /// The most important lane of any row in it.
    pub(super) lane: Lane,
    pub(super) columns: Columns,
    at: Places,
}

/// What every event has.
pub(super) struct Common<'a> {
    pub(super) lane: Lane,
    pub(super) node: &'a str,
    pub(super) cluster: &'a str,
    pub(super) header: &'a Header,
    pub(super) time_us: i64,
    pub(super) start_time_us: i64,
    pub(super) seq: u64,
    pub(super) process: &'a Process,
    pub(super) processes: &'a Processes,
    pub(super) cgroup: Option<&'a Cgroup>,
    pub(super) pod: Option<&'a Pod>,
    pub(super) users: &'a Users,
}

/// An open call's path, found out.
pub(super) struct OpenedPath<'a> {
    /// Absolute; `None` if the path could not be read from the process.
    pub(super) name: Option<String>,
    pub(super) raw: Option<std::borrow::Cow<'a, str>>,
    /// What `dirfd` refers to, if the call used it.
    pub(super) folder: Option<String>,
}

// === impl Rows ===

impl Rows {
    pub(super) fn new(lane: Lane) -> Self {
        let columns = Columns::new(Table::Syscalls);
        let at = Places::of(&columns);
        Self { lane, columns, at }
    }

    /// A program start.
    pub(super) fn exec(&mut self, common: &Common<'_>) {
        self.common(common, "execve", Some(0));
        let (columns, at) = (&mut self.columns, &self.at);
        let program = common.process.program_at(common.header.boot_ns);
        let arguments = [
            ("res", "0".into()),
            ("exe", program.exe.clone()),
            ("args", program.args.clone()),
            ("tid", common.header.tid.to_string()),
            ("pid", common.header.pid.to_string()),
            ("ptid", common.header.ppid.to_string()),
            ("cwd", with_slash(common.process.cwd.as_deref().unwrap_or_default())),
            ("comm", program.name.clone()),
            ("tty", common.process.tty.to_string()),
            ("loginuid", loginuid(common.header).to_string()),
            ("uid", common.header.uid.to_string()),
        ];
        columns.pairs(at.evt_arg, arguments);
        if let Some(environment) = &program.environment {
            columns.texts(at.proc_env, environment);
        }
        columns.end_row();
    }

    /// A process creation, seen from the parent.
    pub(super) fn fork(&mut self, common: &Common<'_>, child_pid: u32, child_vpid: u32) {
        self.common(common, "clone", Some(child_pid.into()));
        let arguments = [("res", child_pid.to_string()), ("vtid", child_vpid.to_string())];
        self.columns.pairs(self.at.evt_arg, arguments);
        self.columns.end_row();
    }

    /// A process's end.
    pub(super) fn exit(&mut self, common: &Common<'_>, exit: Exit) {
        self.common(common, "procexit", None);
        let (signal, code) = (exit.status & 0x7f, exit.status >> 8 & 0xff);
        let result = if signal == 0 { code } else { 128 + signal };
        let (columns, at) = (&mut self.columns, &self.at);
        columns.int(at.proc_exit_code, Some(result.into()));
        let arguments = [
            ("status", exit.status.to_string()),
            ("ret", code.to_string()),
            ("sig", signal.to_string()),
            ("core", (exit.status & 0x80 != 0).to_string()),
        ];
        columns.pairs(at.evt_arg, arguments);
        columns.end_row();
    }

    /// A call of the open family.
    pub(super) fn open(&mut self, common: &Common<'_>, open: &Open<'_>, path: &OpenedPath<'_>) {
        self.common(common, open_type(open.call), Some(open.ret));
        let (columns, at) = (&mut self.columns, &self.at);
        let created = common.header.flags & flag::CREATED != 0;
        let (reads, writes) = flags::access(open.flags);
        let makes = open.flags & (flags::O_CREAT | flags::O_TMPFILE_BIT) != 0;
        columns.boolean(at.evt_is_open_read, Some(reads));
        columns.boolean(at.evt_is_open_write, Some(writes));
        columns.boolean(at.evt_is_open_exec, Some(makes && open.mode & 0o111 != 0));
        columns.boolean(at.evt_is_open_create, Some(created));
        let is_folder = open.flags & flags::O_DIRECTORY != 0 && open.flags & flags::O_TMPFILE_BIT == 0;
        let (kind, letter) = if is_folder { ("directory", "d") } else { ("file", "f") };
        columns.text(at.fd_type, Some(kind));
        columns.text(at.fd_typechar, Some(letter));
        columns.int(at.fd_num, (open.ret >= 0).then_some(open.ret));
        columns.text(at.fd_nameraw, path.raw.as_deref());
        if let Some(name) = &path.name {
            let (folder, last) = paths::split(name);
            columns.text(at.fd_name, Some(name));
            columns.text(at.fd_directory, Some(folder));
            columns.text(at.fd_filename, Some(last));
        }
        columns.pairs(at.evt_arg, open_arguments(open, path, created, letter));
        columns.end_row();
    }

    /// A connect call.
    pub(super) fn connect(&mut self, common: &Common<'_>, call: &Connect, socket: &Socket) {
        self.common(common, "connect", Some(call.ret));
        let (columns, at) = (&mut self.columns, &self.at);
        columns.int(at.fd_num, Some(call.fd.into()));
        columns.text(at.fd_type, socket.fd_type);
        columns.text(at.fd_typechar, socket.typechar);
        columns.text(at.fd_sockfamily, socket.family);
        columns.text(at.fd_l4proto, socket.l4proto);
        columns.text(at.fd_name, socket.name.as_deref());
        // Who connects is the client.
        if let Some((ip, port)) = socket.local {
            let ip = ip.to_string();
            columns.text(at.fd_cip, Some(&ip));
            columns.int(at.fd_cport, Some(port.into()));
            columns.text(at.fd_lip, Some(&ip));
            columns.int(at.fd_lport, Some(port.into()));
        }
        if let Some((ip, port)) = socket.remote {
            let ip = ip.to_string();
            columns.text(at.fd_sip, Some(&ip));
            columns.int(at.fd_sport, Some(port.into()));
            columns.text(at.fd_rip, Some(&ip));
            columns.int(at.fd_rport, Some(port.into()));
        }
        let name = socket.name.as_deref().unwrap_or_default();
        let letter = socket.typechar.unwrap_or_default();
        let transport = match socket.l4proto {
            Some("tcp") => "t",
            Some("udp") => "u",
            _ => "",
        };
        let address = socket.remote.map_or_else(|| name.to_owned(), |(ip, port)| format!("{ip}:{port}"));
        let arguments = [
            ("res", flags::result(call.ret).into_owned()),
            ("tuple", name.to_owned()),
            ("fd", format!("<{letter}{transport}>{name}")),
            ("addr", address),
        ];
        columns.pairs(at.evt_arg, arguments);
        columns.end_row();
    }

    fn common(&mut self, common: &Common<'_>, evt_type: &str, ret: Option<i64>) {
        let (columns, at) = (&mut self.columns, &self.at);
        columns.time(at.time, Some(common.time_us));
        columns.text(at.node, Some(common.node));
        columns.text(at.cluster, Some(common.cluster));
        columns.text(at.observed, Some("live"));
        columns.int(at.seq, i64::try_from(common.seq).ok());
        columns.text(at.lane, Some(common.lane.name()));
        columns.int(at.repeats, Some(0));
        columns.text(at.evt_type, Some(evt_type));
        columns.text(at.evt_res, ret.map(flags::result));
        columns.int(at.evt_rawres, ret);
        columns.boolean(at.evt_failed, Some(ret.is_some_and(|ret| ret < 0)));
        self.process(common);
        self.whose(common);
    }

    fn process(&mut self, common: &Common<'_>) {
        let (columns, at) = (&mut self.columns, &self.at);
        let (header, process) = (common.header, common.process);
        let program = process.program_at(header.boot_ns);
        columns.text(at.exec_id, Some(&process.exec_id));
        columns.int(at.proc_pid, Some(header.pid.into()));
        columns.int(at.thread_tid, Some(header.tid.into()));
        columns.int(at.proc_vpid, Some(process.vpid.into()));
        columns.int(at.proc_ppid, Some(header.ppid.into()));
        columns.int(at.proc_sid, Some(process.sid.into()));
        columns.int(at.proc_tty, Some(process.tty.into()));
        columns.text(at.proc_name, Some(paths::text(comm(header))));
        columns.text(at.proc_exe, Some(&program.exe));
        columns.text(at.proc_exepath, Some(&program.exepath));
        columns.text(at.proc_args, Some(&program.args));
        columns.text(at.proc_cmdline, Some(&program.cmdline));
        columns.text(at.proc_cwd, process.cwd.as_deref().map(with_slash));
        columns.time(at.proc_start_time, Some(common.start_time_us));
        columns.boolean(at.proc_is_exe_writable, program.is_writable);
        columns.boolean(at.proc_is_exe_from_memfd, Some(program.is_from_memfd));
        let ancestors = common.processes.ancestors(process);
        if let Some(parent) = ancestors.first().map(|parent| parent.program()) {
            columns.text(at.proc_pname, Some(&parent.name));
            columns.text(at.proc_pexe, Some(&parent.exe));
            columns.text(at.proc_pexepath, Some(&parent.exepath));
            columns.text(at.proc_pcmdline, Some(&parent.cmdline));
        }
        columns.processes(at.proc_ancestors, ancestors.iter().map(|ancestor| cells(ancestor)));
    }

    fn whose(&mut self, common: &Common<'_>) {
        let (columns, at) = (&mut self.columns, &self.at);
        let header = common.header;
        columns.int(at.user_uid, Some(header.uid.into()));
        columns.text(at.user_name, Some(common.users.user(header.uid)));
        columns.int(at.user_loginuid, Some(loginuid(header)));
        columns.int(at.group_gid, Some(header.gid.into()));
        columns.text(at.group_name, Some(common.users.group(header.gid)));
        columns.int(at.cgroup_id, i64::try_from(header.cgroup_id & !CGROUP_V1_BIT).ok());
        columns.int(at.mnt_ns, Some(header.mnt_ns.into()));
        columns.int(at.pid_ns, Some(header.pid_ns.into()));
        let Some(cgroup) = common.cgroup else { return };
        columns.text(at.cgroup_path, Some(&cgroup.path));
        columns.text(at.container_id, Some(&cgroup.container.id));
        columns.text(at.k8s_pod_uid, cgroup.container.pod_uid.as_deref());
        let outside = common.process.program_at(header.boot_ns).outside_mnt_ns.is_some();
        columns.boolean(at.container_setup, Some(outside && cgroup.container.id != HOST));
        let known = common.pod.and_then(|pod| pod.container(&cgroup.container.id));
        let runtime = known.and_then(|known| known.runtime).unwrap_or(cgroup.container.runtime);
        columns.text(at.container_type, Some(runtime));
        let Some(pod) = common.pod else { return };
        columns.text(at.k8s_ns_name, Some(&pod.namespace));
        columns.text(at.k8s_pod_name, Some(&pod.name));
        columns.pairs(at.k8s_pod_labels, pod.labels.iter().map(|(name, value)| (name, value)));
        columns.text(at.k8s_sa_name, Some(&pod.service_account).filter(|name| !name.is_empty()));
        let Some(container) = known else { return };
        let (repository, tag) = container.image_parts();
        columns.text(at.container_name, Some(&container.name));
        columns.text(at.container_image, Some(&container.image));
        columns.text(at.container_image_repository, Some(repository));
        columns.text(at.container_image_tag, tag);
        columns.text(at.container_image_digest, container.image_digest.as_deref());
        columns.boolean(at.container_privileged, Some(container.privileged));
        columns.texts(at.container_mounts, &container.mounts);
        columns.time(at.container_start_ts, container.start_us);
    }
}

fn open_type(call: u32) -> &'static str {
    match call {
        call::OPEN => "open",
        call::OPENAT2 => "openat2",
        call::CREAT => "creat",
        _ => "openat",
    }
}

fn open_arguments(
    open: &Open<'_>,
    path: &OpenedPath<'_>,
    created: bool,
    letter: &str,
) -> Vec<(&'static str, String)> {
    let name = path.name.clone().unwrap_or_default();
    let fd = if open.ret >= 0 { format!("<{letter}>{name}") } else { flags::result(open.ret).into_owned() };
    let mut arguments = vec![("fd", fd)];
    if matches!(open.call, call::OPENAT | call::OPENAT2) {
        let folder =
            path.folder.clone().map_or_else(|| "AT_FDCWD".to_owned(), |folder| format!("<d>{folder}"));
        arguments.push(("dirfd", folder));
    }
    arguments.push(("name", path.raw.as_deref().unwrap_or_default().to_owned()));
    if open.call != call::CREAT {
        arguments.push(("flags", flags::open_flags(open.flags, created)));
    }
    arguments.push(("mode", flags::mode(open.mode)));
    if open.call == call::OPENAT2 {
        arguments.push(("resolve", flags::resolve(open.resolve)));
    }
    arguments
}

/// The task's name without its padding.
pub(super) fn comm(header: &Header) -> &[u8] {
    header.comm.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn cells(process: &Process) -> ProcessCells<'_> {
    let program = process.program();
    ProcessCells {
        pid: process.pid.into(),
        name: Some(&program.name),
        exe: Some(&program.exe),
        exepath: Some(&program.exepath),
        cmdline: Some(&program.cmdline),
    }
}

/// Falco's form of a working directory.
fn with_slash(folder: &str) -> String {
    if folder.is_empty() || folder.ends_with('/') { folder.to_owned() } else { format!("{folder}/") }
}

/// Unset is -1.
fn loginuid(header: &Header) -> i64 {
    if header.loginuid == u32::MAX { -1 } else { header.loginuid.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_a_column() {
        // Naming a column that the table does not have panics in debug builds.
        let rows = Rows::new(Lane::File);
        assert!(rows.columns.is_empty());
    }
}
