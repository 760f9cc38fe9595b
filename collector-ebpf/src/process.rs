//! Program starts, process creations and ends, and new cgroups.

#![allow(unsafe_code)]

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user};
use aya_ebpf::macros::{map, raw_tracepoint};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::RawTracePointContext;
use bailiwick_collector_ebpf::{
    ARGS_MAX, CGROUP_PATH_MAX, CgroupMade, ENVIRONMENT_MAX, Exec, Exit, Fork, Header, PATH_MAX, class, flag,
    kind,
};
use core::ffi::c_void;
use core::mem::size_of;

use crate::out;
use crate::task::{self, at, clear, current, follow, has, probe, reach, wanted};
use crate::typed;
use crate::walk::{self, WALK_MAX};

/// Room for arguments and three paths; a record of a CPU's scratch may not have
/// more than 32 KiB.
const TEXT_MAX: usize = 28 << 10;
/// The most bytes of one text.
const ONE_MAX: usize = 8192;
const _: () = assert!(ARGS_MAX <= ONE_MAX && ENVIRONMENT_MAX <= ONE_MAX && PATH_MAX <= ONE_MAX);
/// `SIGNAL_GROUP_EXIT`: the whole group ends with one status.
const GROUP_EXIT: u32 = 4;
/// `OVERLAYFS_SUPER_MAGIC`.
const OVERLAY: u64 = 0x794c_7630;
/// Places of process group and session among `signal->pids`.
const GROUP: usize = 2;
const SESSION: usize = 3;

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
#[inline(always)]
fn process_exec(ctx: RawTracePointContext) -> i32 {
    let task = current();
    if wanted(task) {
        if let Some(record) = EXEC_SCRATCH.get_ptr_mut(0) {
            // Safety: the scratch record is this program's alone while it runs.
            unsafe { exec(record, task, ctx.arg(2)) }
        }
    }
    0
}

#[inline(always)]
unsafe fn exec(record: *mut ExecRecord, task: *const u8, bprm: *const u8) {
    unsafe {
        let body = &raw mut (*record).body;
        let memory = follow(task, &task::TASK_MM);
        let mut flags = 0;
        let (start, end) = (at(memory, &task::MM_ARG_START), at(memory, &task::MM_ARG_END));
        let (arguments, trouble) = copy_block(record, 0, start, end, ARGS_MAX as u64);
        flags |= trouble;
        (*body).args_len = u64::wrapping_sub(end, start) as u32;
        (*body).args_copied = arguments as u32;
        let mut length = arguments;
        let filename = copy_string(record, length, probe(bprm, &task::BPRM_FILENAME));
        (*body).filename_len = filename as u32;
        length += filename;
        let interp = copy_string(record, length, probe(bprm, &task::BPRM_INTERP));
        (*body).interp_len = interp as u32;
        length += interp;
        let exe = if has(&task::MM_EXE_FILE) { reach(memory, &task::MM_EXE_FILE) } else { core::ptr::null() };
        flags |= executable(body, exe);
        let walked = walk_to(record, task, length, exe);
        (*body).exe_len = walked as u32;
        length += walked;
        let walked = walk_to(record, task, length, core::ptr::null());
        (*body).cwd_len = walked as u32;
        length += walked;
        (*body).environment_len = 0;
        if task::told(&task::WITH_ENVIRONMENT) != 0 && has(&task::MM_ENV_START) && has(&task::MM_ENV_END) {
            let (start, end) = (at(memory, &task::MM_ENV_START), at(memory, &task::MM_ENV_END));
            let (environment, trouble) = copy_block(record, length, start, end, ENVIRONMENT_MAX as u64);
            flags |= trouble & flag::TRUNCATED;
            (*body).environment_len = environment as u32;
            length += environment;
        }
        session(body, task);
        (*body).capabilities = task::capabilities(task);
        let mut size = (size_of::<Header>() + size_of::<Exec>() + length) as u32;
        task::fill(&raw mut (*record).header, task, kind::EXEC, flags, size);
        if size > size_of::<ExecRecord>() as u32 {
            size = size_of::<ExecRecord>() as u32;
        }
        out::process(class::EXEC, record as *mut c_void, size);
    }
}

/// Where the next text goes, if there is room for any.
#[inline(always)]
unsafe fn place(record: *mut ExecRecord, length: usize) -> Option<*mut u8> {
    if length > TEXT_MAX - ONE_MAX {
        return None;
    }
    unsafe { Some((&raw mut (*record).text as *mut u8).add(length)) }
}

/// Copies arguments or environment, which lie in one piece at the top of the
/// stack; the bytes copied, and what went wrong as a flag.
#[inline(always)]
unsafe fn copy_block(
    record: *mut ExecRecord,
    length: usize,
    start: u64,
    end: u64,
    most: u64,
) -> (usize, u16) {
    unsafe {
        let Some(to) = place(record, length) else { return (0, flag::TRUNCATED) };
        let there = end.wrapping_sub(start);
        let wanted = if there > most { most } else { there };
        if bpf_probe_read_user(to as *mut c_void, wanted as u32, start as *const c_void) < 0 {
            return (0, flag::UNREADABLE);
        }
        (wanted as usize & (2 * ONE_MAX - 1), if there > most { flag::TRUNCATED } else { 0 })
    }
}

/// Copies a kernel string behind what is there; its bytes with terminator.
#[inline(always)]
unsafe fn copy_string(record: *mut ExecRecord, length: usize, from: u64) -> usize {
    unsafe {
        let Some(to) = place(record, length) else { return 0 };
        let copied = bpf_probe_read_kernel_str(to as *mut c_void, PATH_MAX as u32, from as *const c_void);
        if copied < 0 || copied > PATH_MAX as i64 { 0 } else { copied as usize }
    }
}

/// Walks an open file's path, or the working directory for none.
#[inline(always)]
unsafe fn walk_to(record: *mut ExecRecord, task: *const u8, length: usize, file: *const u8) -> usize {
    unsafe {
        let Some(to) = place(record, length) else { return 0 };
        let cell = &raw mut (*record).header.size;
        let walked = match file.is_null() {
            false if walk::is_typed() => {
                let file = typed::cast(file, &task::FILE_TYPE);
                walk::typed_walk(to, cell, task, file.add(task::told(&task::FILE_PATH)))
            }
            true => walk::walk_folder(to, cell, task, None),
            false => walk::walk_file(to, cell, task, &walk::opened(file)),
        };
        if walked as usize > WALK_MAX { 0 } else { walked as usize }
    }
}

/// What the executable's inode tells; flags of the record.
#[inline(always)]
unsafe fn executable(body: *mut Exec, file: *const u8) -> u16 {
    unsafe {
        let inode = reach(file, &task::FILE_INODE);
        (*body).file = walk::identity(inode);
        (*body).exe_uid = probe(inode, &task::INODE_UID);
        (*body).exe_gid = probe(inode, &task::INODE_GID);
        (&raw mut (*body).exe_ctime_ns).write_volatile(0);
        (&raw mut (*body).exe_mtime_ns).write_volatile(0);
        if has(&task::INODE_CTIME_NS) && has(&task::INODE_MTIME_NS) {
            let (c, m): (u64, u64) = (probe(inode, &task::INODE_CTIME_S), probe(inode, &task::INODE_MTIME_S));
            let part: (u32, u32) = (probe(inode, &task::INODE_CTIME_NS), probe(inode, &task::INODE_MTIME_NS));
            (*body).exe_ctime_ns = c * 1_000_000_000 + part.0 as u64;
            (*body).exe_mtime_ns = m * 1_000_000_000 + part.1 as u64;
        }
        let mut flags = 0;
        if has(&task::INODE_NLINK) && probe::<u32>(inode, &task::INODE_NLINK) == 0 {
            flags |= flag::UNLINKED;
        }
        if has(&task::INODE_SIZE_OF) && has(&task::SB_MAGIC) {
            flags |= flag::LAYER_KNOWN;
            // An overlay's inode is followed by its upper layer's dentry, if it has one.
            let overlay = probe::<u64>(reach(inode, &task::INODE_SB), &task::SB_MAGIC) == OVERLAY;
            if overlay && probe::<u64>(inode, &task::INODE_SIZE_OF) != 0 {
                flags |= flag::UPPER_LAYER;
            }
        }
        flags
    }
}

/// Own pid, group, session and terminal; each zero where the kernel does not tell.
#[inline(always)]
unsafe fn session(body: *mut Exec, task: *const u8) {
    unsafe {
        (*body).vpid = if has(&task::TASK_THREAD_PID) {
            task::virtual_pid(reach(task, &task::TASK_THREAD_PID))
        } else {
            0
        };
        let signal = follow(task, &task::TASK_SIGNAL);
        (*body).sid = 0;
        (*body).pgid = 0;
        (*body).vpgid = 0;
        if has(&task::SIGNAL_PIDS) && has(&task::PID_NUMBERS) {
            let pids = signal.add(task::told(&task::SIGNAL_PIDS));
            let [group, session] =
                aya_ebpf::helpers::bpf_probe_read_kernel(pids.add(GROUP * 8) as *const [u64; 2])
                    .unwrap_or_default();
            const { assert!(SESSION == GROUP + 1) };
            (*body).sid = probe(session as *const u8, &task::PID_NUMBERS);
            (*body).pgid = probe(group as *const u8, &task::PID_NUMBERS);
            (*body).vpgid = task::virtual_pid(group as *const u8);
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
#[inline(always)]
fn process_fork(ctx: RawTracePointContext) -> i32 {
    let child: *const u8 = ctx.arg(1);
    let task = current();
    // Safety: the child is a live task; a failed read gives zeroes.
    unsafe {
        let (pid, tgid): (u32, u32) = (probe(child, &task::TASK_PID), probe(child, &task::TASK_TGID));
        if pid != tgid || !wanted(task) {
            return 0;
        }
        let mut record = core::mem::MaybeUninit::<Record<Fork>>::uninit();
        clear(record.as_mut_ptr());
        let record = record.assume_init_mut();
        record.body.child_pid = pid;
        record.body.child_start_boot_ns = probe(child, &task::TASK_START_BOOTTIME);
        if has(&task::TASK_THREAD_PID) {
            record.body.child_vpid =
                task::virtual_pid(probe::<u64>(child, &task::TASK_THREAD_PID) as *const u8);
        }
        let size = size_of::<Record<Fork>>() as u32;
        task::fill(&raw mut record.header, task, kind::FORK, 0, size);
        out::process(class::FORK, &raw mut *record as *mut c_void, size);
    }
    0
}

/// `sched_process_exit(task)`: a record when the last thread of a process ends.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
#[inline(always)]
fn process_exit(_ctx: RawTracePointContext) -> i32 {
    let task = current();
    if !wanted(task) {
        return 0;
    }
    // Safety: the current task is the one that ends.
    unsafe {
        let signal = follow(task, &task::TASK_SIGNAL);
        if at::<u32>(signal, &task::SIGNAL_LIVE) != 0 {
            return 0;
        }
        let leader = follow(task, &task::TASK_GROUP_LEADER);
        let together = at::<u32>(signal, &task::SIGNAL_FLAGS) & GROUP_EXIT != 0;
        let mut record = core::mem::MaybeUninit::<Record<Exit>>::uninit();
        clear(record.as_mut_ptr());
        let record = record.assume_init_mut();
        record.body.status = match together {
            true => at(signal, &task::SIGNAL_GROUP_EXIT_CODE),
            false => at(leader, &task::TASK_EXIT_CODE),
        };
        let size = size_of::<Record<Exit>>() as u32;
        task::fill(&raw mut record.header, task, kind::EXIT, 0, size);
        out::process(class::EXIT, &raw mut *record as *mut c_void, size);
    }
    0
}

/// `cgroup_mkdir(cgroup, path)`: known before the first task is in it.
#[raw_tracepoint(tracepoint = "cgroup_mkdir")]
#[inline(always)]
fn cgroup_made(ctx: RawTracePointContext) -> i32 {
    // Safety: the tracepoint's arguments.
    unsafe { cgroup(ctx.arg(0), ctx.arg(1), kind::CGROUP) };
    0
}

/// `cgroup_rmdir(cgroup, path)`: its id may be another's from now on.
#[raw_tracepoint(tracepoint = "cgroup_rmdir")]
#[inline(always)]
fn cgroup_gone(ctx: RawTracePointContext) -> i32 {
    // Safety: the tracepoint's arguments.
    unsafe { cgroup(ctx.arg(0), ctx.arg(1), kind::CGROUP_GONE) };
    0
}

#[inline(always)]
unsafe fn cgroup(cgroup: *const u8, path: *const u8, kind: u16) {
    let Some(record) = CGROUP_SCRATCH.get_ptr_mut(0) else { return };
    // Safety: the scratch record is this program's alone while it runs.
    unsafe {
        (*record).body.id = probe(reach(cgroup, &task::CGROUP_KN), &task::KERNFS_ID);
        (*record).body.hierarchy = probe(reach(cgroup, &task::CGROUP_ROOT), &task::CGROUP_ROOT_HIERARCHY);
        let to = &raw mut (*record).path as *mut c_void;
        let copied = bpf_probe_read_kernel_str(to, CGROUP_PATH_MAX as u32, path as *const c_void);
        let length = if copied < 0 || copied > CGROUP_PATH_MAX as i64 { 0 } else { copied as u32 };
        (*record).body.path_len = length;
        let size = (size_of::<Header>() + size_of::<CgroupMade>()) as u32 + length;
        task::fill(&raw mut (*record).header, current(), kind, 0, size);
        out::process(class::CGROUP, record as *mut c_void, size);
    }
}
