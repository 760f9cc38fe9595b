//! What the kernel programs are told, and the members it is about.

use super::btf::{Btf, SIZE};
use bailiwick_collector_ebpf::ABSENT;

/// Something that the programs are told and where it comes from; `Needed` ones must
/// be found, without the others some columns stay empty.
struct Offset {
    name: &'static str,
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

const fn of(name: &'static str, need: Need, places: &'static [(&'static str, &'static str)]) -> Offset {
    Offset { name, need, places }
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
    of("TASK_FS", Useful, &[("task_struct", "fs")]),
    of("TASK_CGROUPS", Useful, &[("task_struct", "cgroups")]),
    of("CRED_PERMITTED", Needed, &[("cred", "cap_permitted")]),
    of("CRED_EFFECTIVE", Needed, &[("cred", "cap_effective")]),
    of("CRED_INHERITABLE", Needed, &[("cred", "cap_inheritable")]),
    of("MM_ENV_START", Useful, &[("mm_struct", "env_start")]),
    of("MM_ENV_END", Useful, &[("mm_struct", "env_end")]),
    of("MM_EXE_FILE", Useful, &[("mm_struct", "exe_file")]),
    of("TASK_COMM", Useful, &[("task_struct", "comm")]),
    of("CSS_SET_DFL", Useful, &[("css_set", "dfl_cgrp")]),
    of("CSS_SET_SUBSYS", Useful, &[("css_set", "subsys")]),
    of("CSS_CGROUP", Useful, &[("cgroup_subsys_state", "cgroup")]),
    of("FILE_PATH", Needed, &[("file", "f_path")]),
    of("PATH_MNT", Needed, &[("path", "mnt")]),
    of("PATH_DENTRY", Needed, &[("path", "dentry")]),
    of("FS_ROOT", Needed, &[("fs_struct", "root")]),
    of("FS_PWD", Needed, &[("fs_struct", "pwd")]),
    of("DENTRY_PARENT", Needed, &[("dentry", "d_parent")]),
    of("DENTRY_NAME", Needed, &[("dentry", "d_name.name")]),
    of("MOUNT_MNT", Needed, &[("mount", "mnt")]),
    of("MOUNT_PARENT", Needed, &[("mount", "mnt_parent")]),
    of("MOUNT_MOUNTPOINT", Needed, &[("mount", "mnt_mountpoint")]),
    of("VFSMOUNT_ROOT", Needed, &[("vfsmount", "mnt_root")]),
    of("INODE_UID", Needed, &[("inode", "i_uid")]),
    of("INODE_GID", Needed, &[("inode", "i_gid")]),
    of("INODE_INO", Needed, &[("inode", "i_ino")]),
    of("INODE_NLINK", Useful, &[("inode", "i_nlink")]),
    of("INODE_SB", Needed, &[("inode", "i_sb")]),
    of("INODE_SIZE_OF", Useful, &[("inode", SIZE)]),
    of("INODE_CTIME_S", Useful, &[("inode", "i_ctime_sec"), ("inode", "__i_ctime.tv_sec"), ("inode", "i_ctime.tv_sec")]),
    of("INODE_CTIME_NS", Useful, &[("inode", "i_ctime_nsec"), ("inode", "__i_ctime.tv_nsec"), ("inode", "i_ctime.tv_nsec")]),
    of("INODE_MTIME_S", Useful, &[("inode", "i_mtime_sec"), ("inode", "__i_mtime.tv_sec"), ("inode", "i_mtime.tv_sec")]),
    of("INODE_MTIME_NS", Useful, &[("inode", "i_mtime_nsec"), ("inode", "__i_mtime.tv_nsec"), ("inode", "i_mtime.tv_nsec")]),
    of("SB_DEV", Needed, &[("super_block", "s_dev")]),
    of("SB_MAGIC", Useful, &[("super_block", "s_magic")]),
    of("SOCKET_TYPE", Useful, &[("socket", "type")]),
    of("SOCK_STATE", Needed, &[("sock", "__sk_common.skc_state")]),
    of("UNIX_ADDR", Useful, &[("unix_sock", "addr")]),
    of("UNIX_PEER", Useful, &[("unix_sock", "peer")]),
    of("UNIX_ADDRESS_LEN", Useful, &[("unix_address", "len")]),
    of("UNIX_ADDRESS_NAME", Useful, &[("unix_address", "name")]),
    of("KIOCB_OPCODE", Useful, &[("io_kiocb", "opcode")]),
    of("KIOCB_CQE_FD", Useful, &[("io_kiocb", "cqe.fd")]),
    of("IO_OPEN_DFD", Useful, &[("io_open", "dfd")]),
    of("IO_OPEN_FILENAME", Useful, &[("io_open", "filename")]),
    of("IO_OPEN_HOW", Useful, &[("io_open", "how")]),
    of("IO_CONNECT_ADDR", Useful, &[("io_connect", "addr")]),
    of("IO_CONNECT_LEN", Useful, &[("io_connect", "addr_len")]),
    of("IO_UNLINK_DFD", Useful, &[("io_unlink", "dfd")]),
    of("IO_RENAME_OLD_DFD", Useful, &[("io_rename", "old_dfd")]),
    of("IO_MKDIR_DFD", Useful, &[("io_mkdir", "dfd")]),
    of("IO_UNLINK_FILENAME", Useful, &[("io_unlink", "filename")]),
    of("IO_RENAME_OLDPATH", Useful, &[("io_rename", "oldpath")]),
    of("IO_MKDIR_FILENAME", Useful, &[("io_mkdir", "filename")]),
    of("FILENAME_NAME", Useful, &[("filename", "name")]),
];

/// Where `struct pt_regs` keeps a call's number and arguments on this machine,
/// and those of a 32-bit call.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const REGISTERS: &[Offset] = &[
    of("TASK_THREAD_STATUS", Useful, &[("task_struct", "thread_info.status")]),
    of("REGS_NUMBER", Needed, &[("pt_regs", "orig_ax")]),
    of("REGS_ARG0", Needed, &[("pt_regs", "di")]),
    of("REGS_ARG1", Needed, &[("pt_regs", "si")]),
    of("REGS_ARG2", Needed, &[("pt_regs", "dx")]),
    of("REGS_ARG3", Needed, &[("pt_regs", "r10")]),
    of("REGS_ARG4", Needed, &[("pt_regs", "r8")]),
    of("REGS_ARG5", Needed, &[("pt_regs", "r9")]),
    of("REGS_COMPAT0", Needed, &[("pt_regs", "bx")]),
    of("REGS_COMPAT1", Needed, &[("pt_regs", "cx")]),
    of("REGS_COMPAT2", Needed, &[("pt_regs", "dx")]),
    of("REGS_COMPAT3", Needed, &[("pt_regs", "si")]),
    of("REGS_COMPAT4", Needed, &[("pt_regs", "di")]),
    of("REGS_COMPAT5", Needed, &[("pt_regs", "bp")]),
];

/// Which cgroup v1 controller the programs follow: its place in a task's `css_set`.
pub(super) const SUBSYSTEM: &str = "CGROUP_SUBSYS";
/// What they need to follow it.
const TO_SUBSYSTEM: [&str; 3] = ["TASK_CGROUPS", "CSS_SET_SUBSYS", "CSS_CGROUP"];
/// Whether the kernel gives tasks as typed pointers, which 5.11 and newer do.
const TYPED_TASK: &str = "TYPED_TASK";

/// The kernel's function that makes typed pointers of plain ones.
const CAST: &str = "bpf_rdonly_cast";
/// What is cast to: each a name with the structure's number, 0 for none.
const TYPES: [(&str, &str); 3] = [("FILE_TYPE", "file"), ("MOUNT_TYPE", "mount"), ("LIST_TYPE", "list_head")];

/// What the programs need to know of a kernel.
#[derive(Debug)]
pub(super) struct Resolved {
    /// Numbers by name, see `bailiwick_collector_ebpf::told`.
    pub(super) told: Vec<(&'static str, u32)>,
    /// The number of `bpf_rdonly_cast`, where there is one (Linux 6.2).
    pub(super) cast: Option<u32>,
}

// === impl Resolved ===

impl Resolved {
    /// As on a kernel without that function.
    pub(super) fn forget_casts(&mut self) {
        self.cast = None;
        let is_type = |name: &str| TYPES.iter().any(|(told, _)| *told == name);
        self.told.iter_mut().filter(|(name, _)| is_type(name)).for_each(|(_, id)| *id = 0);
    }
}

/// Everything that is told of the kernel whose BTF this is; the name of the
/// first member that is needed and missing otherwise. `subsystem` is what the
/// kernel calls the cgroup v1 controller to follow, if there is one.
pub(super) fn resolve(btf: &[u8], subsystem: Option<&str>) -> Result<Resolved, String> {
    let mut wanted: Vec<_> =
        OFFSETS.iter().chain(REGISTERS).flat_map(|offset| offset.places).map(|place| place.0).collect();
    wanted.extend(TYPES.map(|(_, structure)| structure));
    wanted.sort_unstable();
    wanted.dedup();
    let btf = Btf::parse(btf, &wanted).ok_or("its type information cannot be read")?;
    let value = |offset: &Offset| {
        let found = offset.places.iter().find_map(|(structure, path)| btf.offset(structure, path));
        match (found, offset.need, offset.places.first()) {
            (Some(found), ..) => Ok((offset.name, found)),
            (None, Needed, Some((structure, path))) => Err(format!("it has no member {structure}.{path}")),
            (None, ..) => Ok((offset.name, ABSENT)),
        }
    };
    let mut values = OFFSETS.iter().chain(REGISTERS).map(value).collect::<Result<Vec<_>, String>>()?;
    let unreachable = values.iter().any(|(name, at)| TO_SUBSYSTEM.contains(name) && *at == ABSENT);
    let place = subsystem.filter(|_| !unreachable).and_then(|name| btf.enumerator(name));
    values.push((SUBSYSTEM, place.unwrap_or(ABSENT)));
    let together = together(&values, btf.offset("dentry", "d_name.hash_len"), short_name(&btf));
    values.extend(together.map(|(name, holds)| (name, u32::from(holds))));
    let cast = btf.function(CAST);
    let types = TYPES.map(|(name, structure)| (name, btf.structure(structure).filter(|_| cast.is_some())));
    values.extend(types.map(|(name, id)| (name, id.unwrap_or(0))));
    let typed = btf.enumerator("BPF_FUNC_get_current_task_btf").is_some();
    values.push((TYPED_TASK, typed.into()));
    Ok(Resolved { told: values, cast })
}

/// Where a short name lies in its dentry.
fn short_name(btf: &Btf<'_>) -> Option<u32> {
    btf.offset("dentry", "d_shortname").or_else(|| btf.offset("dentry", "d_iname"))
}

/// Whether members lie as close as the programs that read them at once expect;
/// see `collector-ebpf/src/walk.rs`.
fn together(
    values: &[(&'static str, u32)],
    hash_len: Option<u32>,
    short_name: Option<u32>,
) -> [(&'static str, bool); 2] {
    let at = |name: &str| values.iter().find(|value| value.0 == name).map_or(ABSENT, |value| value.1);
    let within = |names: &[&str], bytes: u32| names.iter().all(|name| at(name) <= bytes - 8);
    let follow = |from: u32, next: &[(u32, u32)]| {
        from != ABSENT && next.iter().all(|(at, after)| *at == from.saturating_add(*after))
    };
    let file = within(&["FILE_MODE", "FILE_INODE"], 96)
        && within(&["INODE_MODE", "INODE_SB", "INODE_INO"], 80)
        && at("FILE_PATH") <= 80
        && at("FILE_PATH").is_multiple_of(8);
    let absent = |offset: Option<u32>| offset.unwrap_or(ABSENT);
    let dentry = follow(
        at("DENTRY_PARENT"),
        &[(absent(hash_len), 8), (at("DENTRY_NAME"), 16), (absent(short_name), 32)],
    );
    let mount = follow(at("MOUNT_PARENT"), &[(at("MOUNT_MOUNTPOINT"), 8), (at("MOUNT_MNT"), 16)])
        && at("VFSMOUNT_ROOT") == 0;
    [("FILE_TOGETHER", file), ("DENTRY_TOGETHER", dentry && mount && cfg!(target_endian = "little"))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_depends_on_the_kernel_is_asked_of_it() {
        let Ok(btf) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            println!("skipped: this kernel has no BTF");
            assert!(std::env::var_os("BAILIWICK_REQUIRE_KERNEL").is_none());
            return;
        };
        let value = |told: &str, subsystem| {
            let values = resolve(&btf, subsystem).unwrap().told;
            values.iter().find(|(name, _)| *name == told).map(|(_, value)| *value)
        };
        assert!(value(SUBSYSTEM, Some("cpu_cgrp_id")).is_some_and(|place| place < 16));
        assert_eq!(value(SUBSYSTEM, Some("no_cgrp_id")), Some(ABSENT));
        assert_eq!(value(SUBSYSTEM, None), Some(ABSENT));
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
        let version = (numbers.next().unwrap(), numbers.next().unwrap());
        assert_eq!(value(TYPED_TASK, None), Some(u32::from(version >= (5, 11))), "{release}");
    }

    #[test]
    fn bytes_that_are_no_btf_are_told_apart() {
        assert!(resolve(b"", None).is_err());
        assert!(resolve(&[0; 64], Some("memory_cgrp_id")).is_err());
    }
}
