//! The header of every record, read from the current task.
//!
//! Offsets into the kernel's structures come from the loader, which reads them
//! from the running kernel's BTF; frozen read-only data, so the verifier sees
//! constants and lets typed pointers be followed without a helper call.

#![allow(unsafe_code)]

use aya_ebpf::Global;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_task_btf,
    bpf_ktime_get_boot_ns,
};
use bailiwick_collector_ebpf::{ABSENT, Header};
use core::ffi::c_void;

macro_rules! offsets {
    ($($name:ident),* $(,)?) => { $(
        #[unsafe(no_mangle)]
        pub(crate) static $name: Global<u32> = Global::new(ABSENT);
    )* };
}

offsets! {
    TASK_PID, TASK_TGID, TASK_REAL_PARENT, TASK_GROUP_LEADER, TASK_START_BOOTTIME, TASK_NSPROXY, TASK_CRED,
    TASK_LOGINUID, TASK_MM, TASK_SIGNAL, TASK_EXIT_CODE, TASK_FILES, TASK_THREAD_PID,
    CRED_EUID, CRED_EGID, NSPROXY_MNT_NS, NSPROXY_PID_NS, MNT_NS_INUM, PID_NS_INUM,
    MM_ARG_START, MM_ARG_END, BPRM_FILENAME, BPRM_INTERP,
    SIGNAL_LIVE, SIGNAL_FLAGS, SIGNAL_GROUP_EXIT_CODE, SIGNAL_PIDS, SIGNAL_TTY,
    TTY_INDEX, TTY_DRIVER, TTY_DRIVER_MAJOR, TTY_DRIVER_MINOR, PID_LEVEL, PID_NUMBERS,
    CGROUP_KN, CGROUP_ROOT, CGROUP_ROOT_HIERARCHY, KERNFS_ID,
    FILES_FDT, FDT_MAX_FDS, FDT_FD, FILE_MODE, FILE_INODE, FILE_PRIVATE, INODE_MODE, SOCKET_SK,
    SOCK_FAMILY, SOCK_LOCAL_PORT, SOCK_REMOTE_PORT, SOCK_LOCAL4, SOCK_REMOTE4, SOCK_LOCAL6, SOCK_REMOTE6, SOCK_PROTOCOL,
}

/// The collector's own process, whose events are left out; 0 for none.
#[unsafe(no_mangle)]
pub(crate) static OWN_PID: Global<u32> = Global::new(0);
/// The only cgroup whose events are taken; 0 for all.
#[unsafe(no_mangle)]
pub(crate) static ONLY_CGROUP: Global<u64> = Global::new(0);

/// Whether the current task's events are taken at all.
#[inline(always)]
pub(crate) fn wanted() -> bool {
    // Safety: helpers without arguments.
    let (pid, only) = unsafe { (bpf_get_current_pid_tgid() >> 32, ONLY_CGROUP.load()) };
    if pid as u32 == OWN_PID.load() {
        return false;
    }
    only == 0 || only == unsafe { bpf_get_current_cgroup_id() }
}

/// The current task as a pointer that may be followed directly.
#[inline(always)]
pub(crate) fn current() -> *const u8 {
    // Safety: a helper without arguments.
    unsafe { bpf_get_current_task_btf() as *const u8 }
}

/// Reads a member through a typed pointer; a null pointer reads as zero.
#[inline(always)]
pub(crate) unsafe fn at<T: Copy>(base: *const u8, offset: &Global<u32>) -> T {
    unsafe { core::ptr::read_volatile(base.add(offset.load() as usize) as *const T) }
}

/// Reads a member through an untyped kernel pointer; what cannot be read is zero.
#[inline(always)]
pub(crate) unsafe fn probe<T: Copy + Default>(base: *const u8, offset: &Global<u32>) -> T {
    unsafe { bpf_probe_read_kernel(base.add(offset.load() as usize) as *const T).unwrap_or_default() }
}

/// Whether this kernel has the member.
#[inline(always)]
pub(crate) fn has(offset: &Global<u32>) -> bool {
    offset.load() != ABSENT
}

/// Fills the header from the current task.
#[inline(always)]
pub(crate) unsafe fn fill(header: *mut Header, kind: u16, flags: u16, size: u32) {
    unsafe {
        let task = current();
        let id = bpf_get_current_pid_tgid();
        (*header).size = size;
        (*header).kind = kind;
        (*header).flags = flags;
        (*header).boot_ns = bpf_ktime_get_boot_ns();
        (*header).cgroup_id = bpf_get_current_cgroup_id();
        (*header).pid = (id >> 32) as u32;
        (*header).tid = id as u32;
        let leader: *const u8 = at(task, &TASK_GROUP_LEADER);
        (*header).start_boot_ns = at(leader, &TASK_START_BOOTTIME);
        let parent: *const u8 = at(task, &TASK_REAL_PARENT);
        (*header).ppid = at(parent, &TASK_TGID);
        let cred: *const u8 = at(task, &TASK_CRED);
        (*header).uid = at(cred, &CRED_EUID);
        (*header).gid = at(cred, &CRED_EGID);
        let nsproxy: *const u8 = at(task, &TASK_NSPROXY);
        let mounts: *const u8 = at(nsproxy, &NSPROXY_MNT_NS);
        (*header).mnt_ns = at(mounts, &MNT_NS_INUM);
        let pids: *const u8 = at(nsproxy, &NSPROXY_PID_NS);
        (*header).pid_ns = at(pids, &PID_NS_INUM);
        (*header).loginuid = if has(&TASK_LOGINUID) { at(task, &TASK_LOGINUID) } else { u32::MAX };
        bpf_get_current_comm(&raw mut (*header).comm as *mut c_void, 16);
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
