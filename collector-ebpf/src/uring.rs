//! Operations handed to an io_uring, which make no system call of their own.

#![allow(unsafe_code)]

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user};
use aya_ebpf::macros::{map, raw_tracepoint};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::RawTracePointContext;
use bailiwick_collector_ebpf::{ADDRESS_MAX, Header, PATH_MAX, Uring, class, kind};
use core::ffi::c_void;
use core::mem::size_of;

use crate::out;
use crate::task::{self, Told, clear, current, has, probe, reach, wanted};

/// `IORING_OP_*` of what is recorded; the numbers never change.
mod opcode {
    pub(super) const ACCEPT: u8 = 13;
    pub(super) const CONNECT: u8 = 16;
    pub(super) const OPENAT: u8 = 18;
    pub(super) const OPENAT2: u8 = 28;
    pub(super) const RENAMEAT: u8 = 35;
    pub(super) const UNLINKAT: u8 = 36;
    pub(super) const MKDIRAT: u8 = 37;
    pub(super) const LINKAT: u8 = 39;
    pub(super) const SOCKET: u8 = 45;
}

#[repr(C)]
struct UringRecord {
    header: Header,
    body: Uring,
    path: [u8; PATH_MAX],
}

#[map]
static URING_SCRATCH: PerCpuArray<UringRecord> = PerCpuArray::with_max_entries(1, 0);

/// `io_uring_submit_req(request)`, once its arguments were read.
#[raw_tracepoint(tracepoint = "io_uring_submit_req")]
#[inline(always)]
fn uring_submitted(ctx: RawTracePointContext) -> i32 {
    let request: *const u8 = ctx.arg(0);
    if !has(&task::KIOCB_OPCODE) || !wanted(current()) {
        return 0;
    }
    // Safety: the scratch record is this program's alone while it runs.
    unsafe {
        let code: u8 = probe(request, &task::KIOCB_OPCODE);
        let known = matches!(code, opcode::ACCEPT | opcode::CONNECT | opcode::OPENAT | opcode::OPENAT2)
            || (code >= opcode::RENAMEAT && code <= opcode::LINKAT)
            || code == opcode::SOCKET;
        if !known {
            return 0;
        }
        if let Some(record) = URING_SCRATCH.get_ptr_mut(0) {
            submitted(record, request, code);
        }
    }
    0
}

#[inline(always)]
unsafe fn submitted(record: *mut UringRecord, request: *const u8, code: u8) {
    unsafe {
        let body = &raw mut (*record).body;
        clear(body);
        (*body).opcode = code as u32;
        (*body).fd = if has(&task::KIOCB_CQE_FD) { probe(request, &task::KIOCB_CQE_FD) } else { -1 };
        let mut name = core::ptr::null();
        match code {
            opcode::OPENAT | opcode::OPENAT2 if has(&task::IO_OPEN_FILENAME) => {
                (*body).fd = probe(request, &task::IO_OPEN_DFD);
                let how = request.add(task::told(&task::IO_OPEN_HOW));
                let [flags, mode] =
                    aya_ebpf::helpers::bpf_probe_read_kernel(how as *const [u64; 2]).unwrap_or_default();
                (*body).open_flags = flags;
                (*body).mode = mode as u32;
                name = reach(request, &task::IO_OPEN_FILENAME);
            }
            opcode::UNLINKAT if has(&task::IO_UNLINK_FILENAME) => {
                (*body).fd = folder(request, &task::IO_UNLINK_DFD);
                name = reach(request, &task::IO_UNLINK_FILENAME);
            }
            opcode::RENAMEAT if has(&task::IO_RENAME_OLDPATH) => {
                (*body).fd = folder(request, &task::IO_RENAME_OLD_DFD);
                name = reach(request, &task::IO_RENAME_OLDPATH);
            }
            opcode::MKDIRAT if has(&task::IO_MKDIR_FILENAME) => {
                (*body).fd = folder(request, &task::IO_MKDIR_DFD);
                name = reach(request, &task::IO_MKDIR_FILENAME);
            }
            opcode::CONNECT if has(&task::IO_CONNECT_ADDR) => address(body, request),
            _ => {}
        }
        let length = path(record, name);
        (*body).path_len = length;
        let size = (size_of::<Header>() + size_of::<Uring>()) as u32 + length;
        task::fill(&raw mut (*record).header, current(), kind::URING, 0, size);
        out::file(class::URING, record as *mut c_void, size);
    }
}

/// The descriptor of the folder that a path begins at: only operations on an
/// open file keep theirs in the request itself.
#[inline(always)]
unsafe fn folder(request: *const u8, offset: &impl Told) -> i32 {
    if has(offset) { unsafe { probe(request, offset) } } else { -1 }
}

/// Copies the name of a `struct filename`.
#[inline(always)]
unsafe fn path(record: *mut UringRecord, filename: *const u8) -> u32 {
    if filename.is_null() {
        return 0;
    }
    unsafe {
        let name = reach(filename, &task::FILENAME_NAME);
        let to = &raw mut (*record).path as *mut c_void;
        let copied = bpf_probe_read_kernel_str(to, PATH_MAX as u32, name as *const c_void);
        if copied < 0 || copied > PATH_MAX as i64 { 0 } else { copied as u32 }
    }
}

/// Copies the address of a connection, which the process still has.
#[inline(always)]
unsafe fn address(body: *mut Uring, request: *const u8) {
    unsafe {
        let from = reach(request, &task::IO_CONNECT_ADDR);
        let length: u32 = probe(request, &task::IO_CONNECT_LEN);
        let length = if length > ADDRESS_MAX as u32 { ADDRESS_MAX as u32 } else { length };
        let to = &raw mut (*body).address as *mut c_void;
        if bpf_probe_read_user(to, length, from as *const c_void) >= 0 {
            (*body).address_len = length;
        }
    }
}
