//! The header of every record, read from the current task.
//!
//! Offsets into the kernel's structures come from the loader, which reads them
//! from the running kernel's BTF and writes them into the instructions, so that the
//! verifier sees constants and drops what they rule out.

#![allow(unsafe_code)]

use aya_ebpf::Global;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_task, bpf_get_current_task_btf,
    bpf_ktime_get_boot_ns,
};
pub(crate) use bailiwick_collector_ebpf::told::*;
use bailiwick_collector_ebpf::{ABSENT, Capabilities, Header, TOLD_MARK};
use core::ffi::c_void;

/// The only cgroup whose events are taken; 0 for all.
#[unsafe(no_mangle)]
pub(crate) static ONLY_CGROUP: Global<u64> = Global::new(0);
/// What the loader tells of this.
#[inline(always)]
pub(crate) fn told<T: Told>(_of: &T) -> usize {
    let told: u64;
    // Safety: one instruction that writes a register.
    unsafe {
        core::arch::asm!(
            "{told} = {mark}",
            told = lateout(reg) told,
            mark = const TOLD_MARK | T::PLACE,
            options(nomem, nostack, preserves_flags),
        );
    }
    told as usize
}

/// Whether the events of `task`, the current one, are taken at all.
#[inline(always)]
pub(crate) fn wanted(task: *const u8) -> bool {
    // Safety: the current task is there.
    if unsafe { at::<u32>(task, &TASK_TGID) } == told(&OWN_PID) as u32 {
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
        if told(&TYPED_TASK) != 0 {
            bpf_get_current_task_btf() as *const u8
        } else {
            bpf_get_current_task() as *const u8
        }
    }
}

/// Reads a member of what was reached from the current task or from a typed
/// argument; through a null pointer it is zero.
#[inline(always)]
pub(crate) unsafe fn at<T: Copy + Default>(base: *const u8, offset: &impl Told) -> T {
    unsafe {
        if told(&TYPED_TASK) != 0 {
            core::ptr::read_volatile(base.add(told(offset)) as *const T)
        } else {
            probe(base, offset)
        }
    }
}

/// Likewise, a pointer.
#[inline(always)]
pub(crate) unsafe fn follow(base: *const u8, offset: &impl Told) -> *const u8 {
    unsafe {
        if told(&TYPED_TASK) != 0 {
            core::ptr::read_volatile(base.add(told(offset)) as *const *const u8)
        } else {
            probe::<u64>(base, offset) as *const u8
        }
    }
}

/// Reads a member through an untyped kernel pointer; what cannot be read is zero.
#[inline(always)]
pub(crate) unsafe fn probe<T: Copy + Default>(base: *const u8, offset: &impl Told) -> T {
    unsafe { bpf_probe_read_kernel(base.add(told(offset)) as *const T).unwrap_or_default() }
}

/// Likewise, a pointer.
#[inline(always)]
pub(crate) unsafe fn reach(base: *const u8, offset: &impl Told) -> *const u8 {
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
pub(crate) fn has(offset: &impl Told) -> bool {
    told(offset) as u32 != ABSENT
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
        if told(&TYPED_TASK) != 0 && has(&TASK_COMM) {
            let name = task.add(told(&TASK_COMM)) as *const u64;
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
        if told(&TYPED_TASK) == 0 || !has(&CSS_SET_DFL) || !has(&TASK_CGROUPS) {
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
        let state = follow(set.add((told(&CGROUP_SUBSYS) & 15) * 8), &CSS_SET_SUBSYS);
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
        let number = pid.add(told(&PID_NUMBERS) + (level & 31) as usize * UPID_BYTES);
        bpf_probe_read_kernel(number as *const u32).unwrap_or_default()
    }
}
