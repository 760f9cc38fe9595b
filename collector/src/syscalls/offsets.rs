//! The kernel programs' globals and the members they stand for.

use super::btf::Btf;
use bailiwick_collector_ebpf::ABSENT;

/// A global of the programs and where its value comes from; `Needed` ones must
/// be found, without the others some columns stay empty.
struct Offset {
    global: &'static str,
    need: Need,
    /// Structure and path; the first that exists counts, since names change.
    places: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Needed,
    Useful,
}

use Need::{Needed, Useful};

const fn of(global: &'static str, need: Need, places: &'static [(&'static str, &'static str)]) -> Offset {
    Offset { global, need, places }
}

#[rustfmt::skip]
const OFFSETS: &[Offset] = &[
    of("TASK_PID", Needed, &[("task_struct", "pid")]),
    of("TASK_TGID", Needed, &[("task_struct", "tgid")]),
    of("TASK_REAL_PARENT", Needed, &[("task_struct", "real_parent")]),
    of("TASK_GROUP_LEADER", Needed, &[("task_struct", "group_leader")]),
    of("TASK_START_BOOTTIME", Needed, &[("task_struct", "start_boottime"), ("task_struct", "real_start_time")]),
    of("TASK_NSPROXY", Needed, &[("task_struct", "nsproxy")]),
    of("TASK_CRED", Needed, &[("task_struct", "cred")]),
    of("TASK_LOGINUID", Useful, &[("task_struct", "loginuid")]),
    of("TASK_MM", Needed, &[("task_struct", "mm")]),
    of("TASK_SIGNAL", Needed, &[("task_struct", "signal")]),
    of("TASK_EXIT_CODE", Needed, &[("task_struct", "exit_code")]),
    of("TASK_FILES", Needed, &[("task_struct", "files")]),
    of("TASK_THREAD_PID", Useful, &[("task_struct", "thread_pid")]),
    of("CRED_EUID", Needed, &[("cred", "euid")]),
    of("CRED_EGID", Needed, &[("cred", "egid")]),
    of("NSPROXY_MNT_NS", Needed, &[("nsproxy", "mnt_ns")]),
    of("NSPROXY_PID_NS", Needed, &[("nsproxy", "pid_ns_for_children"), ("nsproxy", "pid_ns")]),
    of("MNT_NS_INUM", Needed, &[("mnt_namespace", "ns.inum")]),
    of("PID_NS_INUM", Needed, &[("pid_namespace", "ns.inum")]),
    of("MM_ARG_START", Needed, &[("mm_struct", "arg_start")]),
    of("MM_ARG_END", Needed, &[("mm_struct", "arg_end")]),
    of("BPRM_FILENAME", Needed, &[("linux_binprm", "filename")]),
    of("BPRM_INTERP", Needed, &[("linux_binprm", "interp")]),
    of("SIGNAL_LIVE", Needed, &[("signal_struct", "live")]),
    of("SIGNAL_FLAGS", Needed, &[("signal_struct", "flags")]),
    of("SIGNAL_GROUP_EXIT_CODE", Needed, &[("signal_struct", "group_exit_code")]),
    of("SIGNAL_PIDS", Useful, &[("signal_struct", "pids")]),
    of("SIGNAL_TTY", Useful, &[("signal_struct", "tty")]),
    of("TTY_INDEX", Useful, &[("tty_struct", "index")]),
    of("TTY_DRIVER", Useful, &[("tty_struct", "driver")]),
    of("TTY_DRIVER_MAJOR", Useful, &[("tty_driver", "major")]),
    of("TTY_DRIVER_MINOR", Useful, &[("tty_driver", "minor_start")]),
    of("PID_LEVEL", Useful, &[("pid", "level")]),
    of("PID_NUMBERS", Useful, &[("pid", "numbers")]),
    of("CGROUP_KN", Needed, &[("cgroup", "kn")]),
    of("CGROUP_ROOT", Needed, &[("cgroup", "root")]),
    of("CGROUP_ROOT_HIERARCHY", Needed, &[("cgroup_root", "hierarchy_id")]),
    of("KERNFS_ID", Needed, &[("kernfs_node", "id")]),
    of("FILES_FDT", Needed, &[("files_struct", "fdt")]),
    of("FDT_MAX_FDS", Needed, &[("fdtable", "max_fds")]),
    of("FDT_FD", Needed, &[("fdtable", "fd")]),
    of("FILE_MODE", Useful, &[("file", "f_mode")]),
    of("FILE_INODE", Needed, &[("file", "f_inode")]),
    of("FILE_PRIVATE", Needed, &[("file", "private_data")]),
    of("INODE_MODE", Needed, &[("inode", "i_mode")]),
    of("SOCKET_SK", Useful, &[("socket", "sk")]),
    of("SOCK_FAMILY", Useful, &[("sock", "__sk_common.skc_family")]),
    of("SOCK_LOCAL_PORT", Needed, &[("sock", "__sk_common.skc_num")]),
    of("SOCK_REMOTE_PORT", Needed, &[("sock", "__sk_common.skc_dport")]),
    of("SOCK_LOCAL4", Needed, &[("sock", "__sk_common.skc_rcv_saddr")]),
    of("SOCK_REMOTE4", Needed, &[("sock", "__sk_common.skc_daddr")]),
    of("SOCK_LOCAL6", Needed, &[("sock", "__sk_common.skc_v6_rcv_saddr")]),
    of("SOCK_REMOTE6", Needed, &[("sock", "__sk_common.skc_v6_daddr")]),
    of("SOCK_PROTOCOL", Needed, &[("sock", "sk_protocol")]),
];

/// Every global with its value for the kernel whose BTF this is; the name of the
/// first member that is needed and missing otherwise.
pub(super) fn resolve(btf: &[u8]) -> Result<Vec<(&'static str, u32)>, String> {
    let mut wanted: Vec<_> = OFFSETS.iter().flat_map(|offset| offset.places).map(|place| place.0).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let btf = Btf::parse(btf, &wanted).ok_or("its type information cannot be read")?;
    let value = |offset: &Offset| {
        let found = offset.places.iter().find_map(|(structure, path)| btf.offset(structure, path));
        match (found, offset.need, offset.places.first()) {
            (Some(found), ..) => Ok((offset.global, found)),
            (None, Needed, Some((structure, path))) => Err(format!("it has no member {structure}.{path}")),
            (None, ..) => Ok((offset.global, ABSENT)),
        }
    };
    OFFSETS.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_btf_are_told_apart() {
        assert!(resolve(b"").is_err());
        assert!(resolve(&[0; 64]).is_err());
    }
}
