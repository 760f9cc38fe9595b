//! The header of every record, read from the current task.
//!
//! Offsets into the kernel's structures come from the loader, which reads them
//! from the running kernel's BTF; frozen read-only data, so the verifier sees
//! constants and drops what they rule out.

#![allow(unsafe_code)]

use aya_ebpf::Global;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_task, bpf_get_current_task_btf,
    bpf_ktime_get_boot_ns,
};
use bailiwick_collector_ebpf::{ABSENT, Capabilities, Header};
use core::ffi::c_void;

macro_rules! offsets {
    ($($name:ident),* $(,)?) => { $(
        #[unsafe(no_mangle)]
        pub(crate) static $name: Global<u32> = Global::new(ABSENT);
    )* };
}

offsets! {
    TASK_PID, TASK_TGID, TASK_REAL_PARENT, TASK_GROUP_LEADER, TASK_START_BOOTTIME, TASK_NSPROXY, TASK_CRED,
    TASK_LOGINUID, TASK_MM, TASK_SIGNAL, TASK_EXIT_CODE, TASK_FILES, TASK_FS, TASK_THREAD_PID, TASK_CGROUPS,
    TASK_THREAD_STATUS, TASK_COMM,
    CRED_EUID, CRED_EGID, CRED_PERMITTED, CRED_EFFECTIVE, CRED_INHERITABLE,
    NSPROXY_MNT_NS, NSPROXY_PID_NS, MNT_NS_INUM, PID_NS_INUM,
    MM_ARG_START, MM_ARG_END, MM_ENV_START, MM_ENV_END, MM_EXE_FILE, BPRM_FILENAME, BPRM_INTERP,
    SIGNAL_LIVE, SIGNAL_FLAGS, SIGNAL_GROUP_EXIT_CODE, SIGNAL_PIDS, SIGNAL_TTY,
    TTY_INDEX, TTY_DRIVER, TTY_DRIVER_MAJOR, TTY_DRIVER_MINOR, PID_LEVEL, PID_NUMBERS,
    CSS_SET_SUBSYS, CSS_SET_DFL, CSS_CGROUP, CGROUP_KN, CGROUP_ROOT, CGROUP_ROOT_HIERARCHY, KERNFS_ID,
    FILES_FDT, FDT_MAX_FDS, FDT_FD, FILE_MODE, FILE_INODE, FILE_PRIVATE, FILE_PATH,
    PATH_MNT, PATH_DENTRY, FS_ROOT, FS_PWD, DENTRY_PARENT, DENTRY_NAME, MOUNT_MNT, MOUNT_PARENT,
    MOUNT_MOUNTPOINT, VFSMOUNT_ROOT,
    INODE_MODE, INODE_UID, INODE_GID, INODE_INO, INODE_NLINK, INODE_SB, INODE_SIZE_OF,
    INODE_CTIME_S, INODE_CTIME_NS, INODE_MTIME_S, INODE_MTIME_NS, SB_DEV, SB_MAGIC,
    SOCKET_SK, SOCKET_TYPE, SOCK_FAMILY, SOCK_STATE, SOCK_LOCAL_PORT, SOCK_REMOTE_PORT, SOCK_LOCAL4, SOCK_REMOTE4,
    SOCK_LOCAL6, SOCK_REMOTE6, SOCK_PROTOCOL, UNIX_ADDR, UNIX_PEER, UNIX_ADDRESS_LEN, UNIX_ADDRESS_NAME,
    KIOCB_OPCODE, KIOCB_CQE_FD, IO_OPEN_DFD, IO_OPEN_FILENAME, IO_OPEN_HOW, IO_CONNECT_ADDR, IO_CONNECT_LEN,
    IO_UNLINK_DFD, IO_UNLINK_FILENAME, IO_RENAME_OLD_DFD, IO_MKDIR_DFD, IO_RENAME_OLDPATH, IO_MKDIR_FILENAME, FILENAME_NAME,
}

/// The collector's own process, whose events are left out; 0 for none.
#[unsafe(no_mangle)]
pub(crate) static OWN_PID: Global<u32> = Global::new(0);
/// The only cgroup whose events are taken; 0 for all.
#[unsafe(no_mangle)]
pub(crate) static ONLY_CGROUP: Global<u64> = Global::new(0);
/// The place of the cgroup v1 controller that is followed among those of a task.
#[unsafe(no_mangle)]
pub(crate) static CGROUP_SUBSYS: Global<u32> = Global::new(ABSENT);
/// Whether the kernel gives tasks as typed pointers (5.11 and newer), which are
/// followed without a helper call.
#[unsafe(no_mangle)]
pub(crate) static TYPED_TASK: Global<u32> = Global::new(1);

/// Whether the events of `task`, the current one, are taken at all.
#[inline(always)]
pub(crate) fn wanted(task: *const u8) -> bool {
    // Safety: the current task is there.
    if unsafe { at::<u32>(task, &TASK_TGID) } == OWN_PID.load() {
        return false;
    }
    // Safety: as above.
    ONLY_CGROUP.load() == 0 || ONLY_CGROUP.load() == unsafe { bpf_get_current_cgroup_id() }
}

/// The current task.
#[inline(always)]
pub(crate) fn current() -> *const u8 {
    // Safety: helpers without arguments.
    unsafe {
        if TYPED_TASK.load() != 0 {
            bpf_get_current_task_btf() as *const u8
        } else {
            bpf_get_current_task() as *const u8
        }
    }
}

/// Reads a member of what was reached from the current task or from a typed
/// argument; through a null pointer it is zero.
#[inline(always)]
pub(crate) unsafe fn at<T: Copy + Default>(base: *const u8, offset: &Global<u32>) -> T {
    unsafe {
        if TYPED_TASK.load() != 0 {
            core::ptr::read_volatile(base.add(offset.load() as usize) as *const T)
        } else {
            probe(base, offset)
        }
    }
}

/// Likewise, a pointer.
#[inline(always)]
pub(crate) unsafe fn follow(base: *const u8, offset: &Global<u32>) -> *const u8 {
    unsafe {
        if TYPED_TASK.load() != 0 {
            core::ptr::read_volatile(base.add(offset.load() as usize) as *const *const u8)
        } else {
            probe::<u64>(base, offset) as *const u8
        }
    }
}

/// Reads a member through an untyped kernel pointer; what cannot be read is zero.
#[inline(always)]
pub(crate) unsafe fn probe<T: Copy + Default>(base: *const u8, offset: &Global<u32>) -> T {
    unsafe { bpf_probe_read_kernel(base.add(offset.load() as usize) as *const T).unwrap_or_default() }
}

/// Likewise, a pointer.
#[inline(always)]
pub(crate) unsafe fn reach(base: *const u8, offset: &Global<u32>) -> *const u8 {
    unsafe { probe::<u64>(base, offset) as *const u8 }
}

/// Fills with zeros, a word at a time: what the compiler makes of an assignment is a
/// function that is called, and writes byte by byte.
#[inline(always)]
pub(crate) unsafe fn clear<T>(to: *mut T) {
    unsafe {
        if align_of::<T>() >= 8 || size_of::<T>() % 8 == 0 {
            let words = to as *mut u64;
            let mut at = 0;
            while at < size_of::<T>() / 8 {
                words.add(at).write_volatile(0);
                at += 1;
            }
            return;
        }
        let halves = to as *mut u16;
        let mut at = 0;
        while at < size_of::<T>() / 2 {
            halves.add(at).write_volatile(0);
            at += 1;
        }
    }
}

/// Whether this kernel has the member.
#[inline(always)]
pub(crate) fn has(offset: &Global<u32>) -> bool {
    offset.load() != ABSENT
}

/// Fills the header from `task`, the current one. Its members are read without a
/// helper where the kernel gives typed pointers: each call would cost as much as
/// all of them.
#[inline(always)]
pub(crate) unsafe fn fill(header: *mut Header, task: *const u8, kind: u16, flags: u16, size: u32) {
    unsafe {
        (*header).size = size;
        (*header).kind = kind;
        (*header).flags = flags;
        (*header).boot_ns = bpf_ktime_get_boot_ns();
        (*header).cgroup_id = cgroup_id(task);
        (*header).cgroup_v1_id = cgroup_v1_id(task);
        (*header).pid = at(task, &TASK_TGID);
        (*header).tid = at(task, &TASK_PID);
        let leader = follow(task, &TASK_GROUP_LEADER);
        (*header).start_boot_ns = at(leader, &TASK_START_BOOTTIME);
        let parent = follow(task, &TASK_REAL_PARENT);
        (*header).ppid = at(parent, &TASK_TGID);
        let cred = follow(task, &TASK_CRED);
        (*header).uid = at(cred, &CRED_EUID);
        (*header).gid = at(cred, &CRED_EGID);
        let nsproxy = follow(task, &TASK_NSPROXY);
        (*header).mnt_ns = at(follow(nsproxy, &NSPROXY_MNT_NS), &MNT_NS_INUM);
        (*header).pid_ns = at(follow(nsproxy, &NSPROXY_PID_NS), &PID_NS_INUM);
        (*header).loginuid = if has(&TASK_LOGINUID) { at(task, &TASK_LOGINUID) } else { u32::MAX };
        if TYPED_TASK.load() != 0 && has(&TASK_COMM) {
            let name = task.add(TASK_COMM.load() as usize) as *const u64;
            let to = &raw mut (*header).comm as *mut u64;
            to.write_unaligned(name.read_volatile());
            to.add(1).write_unaligned(name.add(1).read_volatile());
        } else {
            bpf_get_current_comm(&raw mut (*header).comm as *mut c_void, 16);
        }
    }
}

/// The task's cgroup in v2.
#[inline(always)]
unsafe fn cgroup_id(task: *const u8) -> u64 {
    unsafe {
        if TYPED_TASK.load() == 0 || !has(&CSS_SET_DFL) || !has(&TASK_CGROUPS) {
            return bpf_get_current_cgroup_id();
        }
        let set = follow(task, &TASK_CGROUPS);
        at(follow(follow(set, &CSS_SET_DFL), &CGROUP_KN), &KERNFS_ID)
    }
}

/// The task's cgroup in the followed v1 hierarchy: a runtime may use v1 alone.
#[inline(always)]
unsafe fn cgroup_v1_id(task: *const u8) -> u64 {
    if !has(&CGROUP_SUBSYS) || !has(&CSS_SET_SUBSYS) {
        return 0;
    }
    unsafe {
        let set = follow(task, &TASK_CGROUPS);
        let state = follow(set.add((CGROUP_SUBSYS.load() & 15) as usize * 8), &CSS_SET_SUBSYS);
        at(follow(follow(state, &CSS_CGROUP), &CGROUP_KN), &KERNFS_ID)
    }
}

/// What a task may do.
#[inline(always)]
pub(crate) unsafe fn capabilities(task: *const u8) -> Capabilities {
    unsafe {
        let cred = follow(task, &TASK_CRED);
        Capabilities {
            permitted: probe(cred, &CRED_PERMITTED),
            effective: probe(cred, &CRED_EFFECTIVE),
            inheritable: probe(cred, &CRED_INHERITABLE),
        }
    }
}

/// The number of a `struct pid` in the namespace it was created in.
#[inline(always)]
pub(crate) unsafe fn virtual_pid(pid: *const u8) -> u32 {
    /// `struct upid`: a number and the namespace's address.
    const UPID_BYTES: usize = 16;
    if !has(&PID_LEVEL) || !has(&PID_NUMBERS) {
        return 0;
    }
    unsafe {
        let level: u32 = probe(pid, &PID_LEVEL);
        let number = pid.add(PID_NUMBERS.load() as usize + (level & 31) as usize * UPID_BYTES);
        bpf_probe_read_kernel(number as *const u32).unwrap_or_default()
    }
}
