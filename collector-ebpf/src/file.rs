//! The open family: what was asked, kept from the call's start to its end.

#![allow(unsafe_code)]

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_probe_read_user_str};
use aya_ebpf::macros::{map, tracepoint};
use aya_ebpf::maps::{HashMap, PerCpuArray};
use aya_ebpf::programs::TracePointContext;
use bailiwick_collector_ebpf::{EARLY_PATH_MAX, Header, Open, PATH_MAX, call, class, flag, kind, slot};
use core::ffi::c_void;
use core::mem::size_of;

use crate::out;
use crate::task::{self, at, current, has, wanted};

const AT_FDCWD: i32 = -100;
const O_CREAT: u64 = 0o100;
/// What `creat(2)` means: write only, create, truncate.
const CREAT_FLAGS: u64 = 0o1 | O_CREAT | 0o1000;
/// `FMODE_CREATED` of `file->f_mode`.
const CREATED: u32 = 0x10_0000;

/// A call under way: its record, but for the header and what it will return.
#[repr(C)]
struct OpenCall {
    header: Header,
    body: Open,
    path: [u8; EARLY_PATH_MAX],
    address: u64,
}

#[repr(C)]
struct LongOpen {
    header: Header,
    body: Open,
    path: [u8; PATH_MAX],
}

#[map]
static OPENS: HashMap<u64, OpenCall> = HashMap::with_max_entries(8192, 0);
#[map]
static OPEN_SCRATCH: PerCpuArray<OpenCall> = PerCpuArray::with_max_entries(1, 0);
#[map]
static LONG_OPEN_SCRATCH: PerCpuArray<LongOpen> = PerCpuArray::with_max_entries(1, 0);

/// `open(path, flags, mode)`.
#[tracepoint]
fn enter_open(ctx: TracePointContext) -> u32 {
    let asked = Asked {
        call: call::OPEN,
        dirfd: AT_FDCWD,
        path: arg(&ctx, 0),
        flags: arg(&ctx, 1),
        mode: arg(&ctx, 2),
        resolve: 0,
    };
    enter(&asked)
}

/// `openat(dirfd, path, flags, mode)`.
#[tracepoint]
fn enter_openat(ctx: TracePointContext) -> u32 {
    let dirfd = arg(&ctx, 0) as i32;
    let asked = Asked {
        call: call::OPENAT,
        dirfd,
        path: arg(&ctx, 1),
        flags: arg(&ctx, 2),
        mode: arg(&ctx, 3),
        resolve: 0,
    };
    enter(&asked)
}

/// `openat2(dirfd, path, how, size)`, with `how` three numbers in the caller's memory.
#[tracepoint]
fn enter_openat2(ctx: TracePointContext) -> u32 {
    let dirfd = arg(&ctx, 0) as i32;
    // Safety: a copy from the caller's memory; what cannot be read is zero.
    let how = unsafe { bpf_probe_read_user(arg(&ctx, 2) as *const [u64; 3]).unwrap_or_default() };
    let asked = Asked {
        call: call::OPENAT2,
        dirfd,
        path: arg(&ctx, 1),
        flags: how[0],
        mode: how[1],
        resolve: how[2],
    };
    enter(&asked)
}

/// `creat(path, mode)`.
#[tracepoint]
fn enter_creat(ctx: TracePointContext) -> u32 {
    let asked = Asked {
        call: call::CREAT,
        dirfd: AT_FDCWD,
        path: arg(&ctx, 0),
        flags: CREAT_FLAGS,
        mode: arg(&ctx, 1),
        resolve: 0,
    };
    enter(&asked)
}

/// The end of any of them.
#[tracepoint]
fn exit_open(ctx: TracePointContext) -> u32 {
    // Safety: the map's value is this thread's alone.
    unsafe {
        let id = bpf_get_current_pid_tgid();
        let Some(open) = OPENS.get_ptr_mut(&id) else { return 0 };
        finish(open, arg(&ctx, 0) as i64);
        let _ = OPENS.remove(&id);
    }
    0
}

/// Drops what a thread that ends had begun.
#[inline(always)]
pub(crate) fn forget_open() {
    // Safety: a helper without arguments.
    let id = unsafe { bpf_get_current_pid_tgid() };
    let _ = OPENS.remove(&id);
}

struct Asked {
    call: u32,
    dirfd: i32,
    path: u64,
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// The n-th argument, or what was returned: they follow 8 bytes of the trace's
/// own and 8 of the call's number.
#[inline(always)]
pub(crate) fn arg(ctx: &TracePointContext, n: usize) -> u64 {
    // Safety: within the context, which the verifier checks.
    unsafe { *(ctx.as_ptr().add(16 + 8 * n) as *const u64) }
}

#[inline(always)]
fn enter(asked: &Asked) -> u32 {
    if !wanted() {
        return 0;
    }
    let Some(open) = OPEN_SCRATCH.get_ptr_mut(0) else { return 0 };
    // Safety: the scratch is this program's alone while it runs.
    unsafe {
        (*open).body.call = asked.call;
        (*open).body.dirfd = asked.dirfd;
        (*open).body.flags = asked.flags;
        (*open).body.mode = asked.mode as u32;
        (*open).body.resolve = asked.resolve;
        (*open).address = asked.path;
        let to = &raw mut (*open).path as *mut c_void;
        let copied = bpf_probe_read_user_str(to, EARLY_PATH_MAX as u32, asked.path as *const c_void);
        (*open).body.path_len = if copied < 0 || copied > EARLY_PATH_MAX as i64 { 0 } else { copied as u32 };
        if OPENS.insert(&bpf_get_current_pid_tgid(), &*open, 0).is_err() {
            out::count(class::OPEN, slot::ATTEMPTED);
            out::count(class::OPEN, slot::IN_FLIGHT_FULL);
        }
    }
    0
}

#[inline(always)]
unsafe fn finish(open: *mut OpenCall, ret: i64) {
    unsafe {
        (*open).body.ret = ret;
        let created = if ret >= 0 && (*open).body.flags & O_CREAT != 0 && was_created(ret as u32) {
            flag::CREATED
        } else {
            0
        };
        let length = (*open).body.path_len;
        if length == 0 || length >= EARLY_PATH_MAX as u32 {
            return finish_long(open, created);
        }
        let size = (size_of::<Header>() + size_of::<Open>()) as u32 + length;
        task::fill(&raw mut (*open).header, kind::OPEN, created, size);
        out::file(class::OPEN, open as *mut c_void, size);
    }
}

/// For a path that was too long, or not in memory, when the call was entered.
#[inline(always)]
unsafe fn finish_long(open: *const OpenCall, created: u16) {
    let Some(record) = LONG_OPEN_SCRATCH.get_ptr_mut(0) else { return };
    unsafe {
        (*record).body = (*open).body;
        let to = &raw mut (*record).path as *mut c_void;
        let copied = bpf_probe_read_user_str(to, PATH_MAX as u32, (*open).address as *const c_void);
        let length = if copied < 0 || copied > PATH_MAX as i64 { 0 } else { copied as u32 };
        let trouble = match length {
            0 => flag::UNREADABLE,
            length if length == PATH_MAX as u32 => flag::TRUNCATED | flag::READ_LATE,
            _ => flag::READ_LATE,
        };
        (*record).body.path_len = length;
        let size = (size_of::<Header>() + size_of::<Open>()) as u32 + length;
        task::fill(&raw mut (*record).header, kind::OPEN, created | trouble, size);
        out::file(class::OPEN, record as *mut c_void, size);
    }
}

/// Whether the file behind a fresh descriptor was created by the call.
#[inline(always)]
unsafe fn was_created(fd: u32) -> bool {
    if !has(&task::FILE_MODE) || !has(&task::FDT_FD) {
        return false;
    }
    unsafe {
        let file = file_of(fd);
        file != 0 && task::probe::<u32>(file as *const u8, &task::FILE_MODE) & CREATED != 0
    }
}

/// The address of the `struct file` behind a descriptor of the current task.
#[inline(always)]
pub(crate) unsafe fn file_of(fd: u32) -> u64 {
    unsafe {
        let files: *const u8 = at(current(), &task::TASK_FILES);
        let table: *const u8 = at(files, &task::FILES_FDT);
        if fd >= at::<u32>(table, &task::FDT_MAX_FDS) {
            return 0;
        }
        let entries = at::<u64>(table, &task::FDT_FD) as *const u64;
        aya_ebpf::helpers::bpf_probe_read_kernel(entries.add(fd as usize)).unwrap_or_default()
    }
}
