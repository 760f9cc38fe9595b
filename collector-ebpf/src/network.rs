//! Connect calls: the address that was given, and the socket's own tuple.

#![allow(unsafe_code)]

use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_probe_read_user};
use aya_ebpf::macros::{map, tracepoint};
use aya_ebpf::maps::{HashMap, PerCpuArray};
use aya_ebpf::programs::TracePointContext;
use bailiwick_collector_ebpf::{ADDRESS_MAX, Connect, Header, class, flag, kind, slot};
use core::ffi::c_void;
use core::mem::size_of;

use crate::file::{arg, file_of};
use crate::out;
use crate::task::{self, has, probe, wanted};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// The file type bits of an inode's mode, and those of a socket.
const TYPE_BITS: u16 = 0o170000;
const SOCKET: u16 = 0o140000;

#[repr(C)]
struct ConnectRecord {
    header: Header,
    body: Connect,
}

#[map]
static CONNECTS: HashMap<u64, ConnectRecord> = HashMap::with_max_entries(8192, 0);
#[map]
static CONNECT_SCRATCH: PerCpuArray<ConnectRecord> = PerCpuArray::with_max_entries(1, 0);

/// `connect(fd, address, length)`.
#[tracepoint]
fn enter_connect(ctx: TracePointContext) -> u32 {
    if !wanted() {
        return 0;
    }
    let Some(record) = CONNECT_SCRATCH.get_ptr_mut(0) else { return 0 };
    // Safety: the scratch is this program's alone while it runs.
    unsafe {
        (*record).body = core::mem::zeroed();
        (*record).body.fd = arg(&ctx, 0) as i32;
        let given = arg(&ctx, 2) as u32;
        let length = if given > ADDRESS_MAX as u32 { ADDRESS_MAX as u32 } else { given };
        let to = &raw mut (*record).body.address as *mut c_void;
        let read = bpf_probe_read_user(to, length, arg(&ctx, 1) as *const c_void);
        (*record).body.address_len = if read < 0 { 0 } else { length };
        (*record).header.flags = if read < 0 { flag::UNREADABLE } else { 0 };
        if CONNECTS.insert(&bpf_get_current_pid_tgid(), &*record, 0).is_err() {
            out::count(class::CONNECT, slot::ATTEMPTED);
            out::count(class::CONNECT, slot::IN_FLIGHT_FULL);
        }
    }
    0
}

/// The call's end.
#[tracepoint]
fn exit_connect(ctx: TracePointContext) -> u32 {
    // Safety: the map's value is this thread's alone.
    unsafe {
        let id = bpf_get_current_pid_tgid();
        let Some(record) = CONNECTS.get_ptr_mut(&id) else { return 0 };
        (*record).body.ret = arg(&ctx, 0) as i64;
        let mut flags = (*record).header.flags;
        if has(&task::SOCK_FAMILY) && has(&task::SOCKET_SK) && tuple(&raw mut (*record).body) {
            flags |= flag::TUPLE;
        }
        let size = size_of::<ConnectRecord>() as u32;
        task::fill(&raw mut (*record).header, kind::CONNECT, flags, size);
        out::network(class::CONNECT, record as *mut c_void, size);
        let _ = CONNECTS.remove(&id);
    }
    0
}

/// Drops what a thread that ends had begun.
#[inline(always)]
pub(crate) fn forget_connect() {
    // Safety: a helper without arguments.
    let id = unsafe { bpf_get_current_pid_tgid() };
    let _ = CONNECTS.remove(&id);
}

/// Reads both ends from the socket behind the descriptor.
#[inline(always)]
unsafe fn tuple(body: *mut Connect) -> bool {
    unsafe {
        let file = file_of((*body).fd as u32) as *const u8;
        if file.is_null() {
            return false;
        }
        let inode = probe::<u64>(file, &task::FILE_INODE) as *const u8;
        if probe::<u16>(inode, &task::INODE_MODE) & TYPE_BITS != SOCKET {
            return false;
        }
        let socket = probe::<u64>(file, &task::FILE_PRIVATE) as *const u8;
        let sock = probe::<u64>(socket, &task::SOCKET_SK) as *const u8;
        (*body).family = probe(sock, &task::SOCK_FAMILY);
        (*body).protocol = probe(sock, &task::SOCK_PROTOCOL);
        if (*body).family != AF_INET && (*body).family != AF_INET6 {
            return false;
        }
        (*body).local_port = probe(sock, &task::SOCK_LOCAL_PORT);
        (*body).remote_port = u16::from_be(probe(sock, &task::SOCK_REMOTE_PORT));
        if (*body).family == AF_INET {
            let ends: ([u8; 4], [u8; 4]) =
                (probe(sock, &task::SOCK_LOCAL4), probe(sock, &task::SOCK_REMOTE4));
            *(&raw mut (*body).local as *mut [u8; 4]) = ends.0;
            *(&raw mut (*body).remote as *mut [u8; 4]) = ends.1;
        } else {
            (*body).local = probe(sock, &task::SOCK_LOCAL6);
            (*body).remote = probe(sock, &task::SOCK_REMOTE6);
        }
        true
    }
}
