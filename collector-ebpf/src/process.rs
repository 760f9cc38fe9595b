//! Program starts, process creations and ends, and new cgroups.

#![allow(unsafe_code)]

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user};
use aya_ebpf::macros::{map, raw_tracepoint};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::RawTracePointContext;
use bailiwick_collector_ebpf::{
    ARGS_MAX, CGROUP_PATH_MAX, CgroupMade, Exec, Exit, Fork, Header, PATH_MAX, class, flag, kind,
};
use core::ffi::c_void;
use core::mem::size_of;

use crate::file::forget_open;
use crate::network::forget_connect;
use crate::out;
use crate::task::{self, at, current, has, probe, wanted};

const TEXT_MAX: usize = ARGS_MAX + 2 * PATH_MAX;
/// `SIGNAL_GROUP_EXIT`: the whole group ends with one status.
const GROUP_EXIT: u32 = 4;

#[repr(C)]
struct ExecRecord {
    header: Header,
    body: Exec,
    text: [u8; TEXT_MAX],
}

#[repr(C)]
struct CgroupRecord {
    header: Header,
    body: CgroupMade,
    path: [u8; CGROUP_PATH_MAX],
}

#[repr(C)]
struct Record<T> {
    header: Header,
    body: T,
}

// Too large for the stack of 512 bytes; preemption is off while a program runs.
#[map]
static EXEC_SCRATCH: PerCpuArray<ExecRecord> = PerCpuArray::with_max_entries(1, 0);
#[map]
static CGROUP_SCRATCH: PerCpuArray<CgroupRecord> = PerCpuArray::with_max_entries(1, 0);

/// `sched_process_exec(task, old_pid, bprm)`, with the new program in place.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn process_exec(ctx: RawTracePointContext) -> i32 {
    if wanted() {
        if let Some(record) = EXEC_SCRATCH.get_ptr_mut(0) {
            // Safety: the scratch record is this program's alone while it runs.
            unsafe { exec(record, ctx.arg(2)) }
        }
    }
    0
}

#[inline(always)]
unsafe fn exec(record: *mut ExecRecord, bprm: *const u8) {
    unsafe {
        let task = current();
        let text = &raw mut (*record).text as *mut u8;
        let (flags, args) = copy_args(record, task, text);
        let filename =
            copy_string(text, args as usize & (2 * ARGS_MAX - 1), probe(bprm, &task::BPRM_FILENAME));
        let middle = args + filename;
        let interp = copy_string(text, middle as usize & (2 * ARGS_MAX - 1), probe(bprm, &task::BPRM_INTERP));
        (*record).body.args_copied = args;
        (*record).body.filename_len = filename;
        (*record).body.interp_len = interp;
        (*record).body.reserved = 0;
        session(&raw mut (*record).body, task);
        let mut size = (size_of::<Header>() + size_of::<Exec>()) as u32 + middle + interp;
        task::fill(&raw mut (*record).header, kind::EXEC, flags, size);
        if size > size_of::<ExecRecord>() as u32 {
            size = size_of::<ExecRecord>() as u32;
        }
        out::process(class::EXEC, record as *mut c_void, size);
    }
}

/// Copies the argument text, which lies in one piece at the top of the stack.
#[inline(always)]
unsafe fn copy_args(record: *mut ExecRecord, task: *const u8, text: *mut u8) -> (u16, u32) {
    unsafe {
        let memory: *const u8 = at(task, &task::TASK_MM);
        let start: u64 = at(memory, &task::MM_ARG_START);
        let end: u64 = at(memory, &task::MM_ARG_END);
        let length = end.wrapping_sub(start);
        (*record).body.args_len = length as u32;
        let wanted = if length > ARGS_MAX as u64 { ARGS_MAX as u64 } else { length };
        if bpf_probe_read_user(text as *mut c_void, wanted as u32, start as *const c_void) < 0 {
            return (flag::UNREADABLE, 0);
        }
        (if length > ARGS_MAX as u64 { flag::TRUNCATED } else { 0 }, wanted as u32)
    }
}

/// Copies a kernel string behind what is there; its bytes with terminator.
#[inline(always)]
unsafe fn copy_string(text: *mut u8, offset: usize, from: u64) -> u32 {
    if offset > TEXT_MAX - PATH_MAX {
        return 0;
    }
    unsafe {
        let copied = bpf_probe_read_kernel_str(
            text.add(offset) as *mut c_void,
            PATH_MAX as u32,
            from as *const c_void,
        );
        if copied < 0 || copied > PATH_MAX as i64 { 0 } else { copied as u32 }
    }
}

/// Own pid, session and terminal; each zero where the kernel does not tell.
#[inline(always)]
unsafe fn session(body: *mut Exec, task: *const u8) {
    /// Place of the session among `signal->pids`.
    const SESSION: usize = 3;
    unsafe {
        (*body).vpid =
            if has(&task::TASK_THREAD_PID) { task::virtual_pid(at(task, &task::TASK_THREAD_PID)) } else { 0 };
        let signal: *const u8 = at(task, &task::TASK_SIGNAL);
        (*body).sid = 0;
        if has(&task::SIGNAL_PIDS) && has(&task::PID_NUMBERS) {
            let pids = signal.add(task::SIGNAL_PIDS.load() as usize + SESSION * 8);
            let session: u64 = core::ptr::read_volatile(pids as *const u64);
            (*body).sid = probe(session as *const u8, &task::PID_NUMBERS);
        }
        (*body).tty = if has(&task::SIGNAL_TTY) { terminal(at(signal, &task::SIGNAL_TTY)) } else { 0 };
    }
}

/// A terminal's device number in the form of /proc/PID/stat.
#[inline(always)]
unsafe fn terminal(tty: u64) -> u32 {
    if tty == 0 || !has(&task::TTY_DRIVER_MINOR) {
        return 0;
    }
    unsafe {
        let tty = tty as *const u8;
        let driver = probe::<u64>(tty, &task::TTY_DRIVER) as *const u8;
        let major: u32 = probe(driver, &task::TTY_DRIVER_MAJOR);
        let minor = probe::<u32>(driver, &task::TTY_DRIVER_MINOR) + probe::<u32>(tty, &task::TTY_INDEX);
        (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
    }
}

/// `sched_process_fork(parent, child)`; threads are not processes.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
fn process_fork(ctx: RawTracePointContext) -> i32 {
    let child: *const u8 = ctx.arg(1);
    // Safety: the child is a live task; a failed read gives zeroes.
    unsafe {
        let (pid, tgid): (u32, u32) = (probe(child, &task::TASK_PID), probe(child, &task::TASK_TGID));
        if pid != tgid || !wanted() {
            return 0;
        }
        let mut record = core::mem::zeroed::<Record<Fork>>();
        record.body.child_pid = pid;
        record.body.child_start_boot_ns = probe(child, &task::TASK_START_BOOTTIME);
        if has(&task::TASK_THREAD_PID) {
            record.body.child_vpid =
                task::virtual_pid(probe::<u64>(child, &task::TASK_THREAD_PID) as *const u8);
        }
        let size = size_of::<Record<Fork>>() as u32;
        task::fill(&raw mut record.header, kind::FORK, 0, size);
        out::process(class::FORK, &raw mut record as *mut c_void, size);
    }
    0
}

/// `sched_process_exit(task)`: a record when the last thread of a process ends.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn process_exit(_ctx: RawTracePointContext) -> i32 {
    // A thread that dies inside of a call never reaches its end.
    forget_open();
    forget_connect();
    if !wanted() {
        return 0;
    }
    // Safety: the current task is the one that ends.
    unsafe {
        let task = current();
        let signal: *const u8 = at(task, &task::TASK_SIGNAL);
        if at::<u32>(signal, &task::SIGNAL_LIVE) != 0 {
            return 0;
        }
        let leader: *const u8 = at(task, &task::TASK_GROUP_LEADER);
        let together = at::<u32>(signal, &task::SIGNAL_FLAGS) & GROUP_EXIT != 0;
        let mut record = core::mem::zeroed::<Record<Exit>>();
        record.body.status = match together {
            true => at(signal, &task::SIGNAL_GROUP_EXIT_CODE),
            false => at(leader, &task::TASK_EXIT_CODE),
        };
        let size = size_of::<Record<Exit>>() as u32;
        task::fill(&raw mut record.header, kind::EXIT, 0, size);
        out::process(class::EXIT, &raw mut record as *mut c_void, size);
    }
    0
}

/// `cgroup_mkdir(cgroup, path)`: known before the first task is in it.
#[raw_tracepoint(tracepoint = "cgroup_mkdir")]
fn cgroup_made(ctx: RawTracePointContext) -> i32 {
    let cgroup: *const u8 = ctx.arg(0);
    let path: *const u8 = ctx.arg(1);
    let Some(record) = CGROUP_SCRATCH.get_ptr_mut(0) else { return 0 };
    // Safety: the scratch record is this program's alone while it runs.
    unsafe {
        let node = probe::<u64>(cgroup, &task::CGROUP_KN) as *const u8;
        let root = probe::<u64>(cgroup, &task::CGROUP_ROOT) as *const u8;
        (*record).body.id = probe(node, &task::KERNFS_ID);
        (*record).body.hierarchy = probe(root, &task::CGROUP_ROOT_HIERARCHY);
        let to = &raw mut (*record).path as *mut c_void;
        let copied = bpf_probe_read_kernel_str(to, CGROUP_PATH_MAX as u32, path as *const c_void);
        let length = if copied < 0 || copied > CGROUP_PATH_MAX as i64 { 0 } else { copied as u32 };
        (*record).body.path_len = length;
        let size = (size_of::<Header>() + size_of::<CgroupMade>()) as u32 + length;
        task::fill(&raw mut (*record).header, kind::CGROUP, 0, size);
        out::process(class::CGROUP, record as *mut c_void, size);
    }
    0
}
