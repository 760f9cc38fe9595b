//! Calls about sockets: both ends from the socket itself, and the address given.

#![allow(unsafe_code)]

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user as copy_from_user};
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::{LruHashMap, PerCpuArray};
use aya_ebpf::programs::BtfTracePointContext;
use bailiwick_collector_ebpf::calls::id;
use bailiwick_collector_ebpf::{ADDRESS_MAX, Header, Socket, class, flag, kind};
use core::ffi::c_void;
use core::mem::size_of;

use crate::call::{arguments, entry, number};
use crate::out;
use crate::task::{self, clear, current, has, probe, reach};
use crate::walk::file_of;

pub(crate) const AF_UNIX: u16 = 1;
pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;
const SOCK_STREAM: u16 = 1;
/// A socket that is connected, a datagram one too.
const ESTABLISHED: u8 = 1;
/// The file type bits of an inode's mode, and those of a socket.
const TYPE_BITS: u16 = 0o170000;
const SOCKET: u16 = 0o140000;
const ID_BITS: u16 = 0xff;

#[repr(C)]
struct SocketRecord {
    header: Header,
    body: Socket,
}

/// Whom a datagram socket was last seen to talk to.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Peer {
    address: [u64; 2],
    port: u64,
}

#[map]
static SOCKET_SCRATCH: PerCpuArray<SocketRecord> = PerCpuArray::with_max_entries(1, 0);
/// Peers by the socket's place in memory. A socket that is forgotten, or that
/// has another's old place, is at worst told once more or once less.
#[map]
static PEERS: LruHashMap<u64, Peer> = LruHashMap::with_max_entries(16_384, 0);

/// A call about a socket.
#[btf_tracepoint(function = "sys_exit")]
#[inline(always)]
fn socket_ended(ctx: BtfTracePointContext) -> i32 {
    let regs: *const u8 = ctx.arg(0);
    let Some(number) = number(regs) else { return 0 };
    let task = current();
    let Some((entry, compat)) = entry(number, task) else { return 0 };
    let Some(record) = SOCKET_SCRATCH.get_ptr_mut(0) else { return 0 };
    // Safety: the scratch record is this program's alone while it runs.
    unsafe {
        let body = &raw mut (*record).body;
        clear(body);
        (*body).ret = ctx.arg(1);
        (*body).call = entry & ID_BITS;
        arguments(&raw mut (*body).args, regs, compat);
        (*record).header.flags = if compat { flag::COMPAT } else { 0 };
        record_socket(record, task, compat);
    }
    0
}

#[inline(always)]
unsafe fn record_socket(record: *mut SocketRecord, task: *const u8, compat: bool) {
    unsafe {
        let body = &raw mut (*record).body;
        let call = (*body).call;
        let fd = match call {
            id::SOCKET | id::ACCEPT | id::ACCEPT4 | id::DUP | id::DUP2 | id::DUP3 => (*body).ret,
            _ => (*body).args[0] as i32 as i64,
        };
        let sock = if fd < 0 { core::ptr::null() } else { socket_behind(record, task, fd as u32) };
        let is_message = matches!(
            call,
            id::SENDTO | id::SENDMSG | id::SENDMMSG | id::RECVFROM | id::RECVMSG | id::RECVMMSG
        );
        if is_message && !is_loose_datagram(record) {
            return;
        }
        let (address, length) = given(body, compat);
        if address != 0 {
            let length = if length > ADDRESS_MAX as u32 { ADDRESS_MAX as u32 } else { length };
            let to = &raw mut (*body).address as *mut c_void;
            if copy_from_user(to, length, address as *const c_void) < 0 {
                (*record).header.flags |= flag::UNREADABLE;
            } else {
                (*body).address_len = length as u16;
            }
        } else if (*body).family == AF_UNIX {
            unix_address(body, sock);
        }
        if is_message && !is_new_peer(body, sock) {
            return;
        }
        let class = match call {
            id::CONNECT => class::CONNECT,
            id::DUP | id::DUP2 | id::DUP3 => class::DUP,
            _ if is_message => class::MESSAGE,
            _ => class::SOCKET,
        };
        let size = size_of::<SocketRecord>() as u32;
        let flags = (*record).header.flags;
        task::fill(&raw mut (*record).header, task, kind::SOCKET, flags, size);
        match class {
            class::DUP => out::file(class, record as *mut c_void, size),
            class => out::network(class, record as *mut c_void, size),
        }
    }
}

/// Fills what the socket behind the descriptor tells; the `struct sock`, null if
/// it is no socket.
#[inline(always)]
unsafe fn socket_behind(record: *mut SocketRecord, task: *const u8, fd: u32) -> *const u8 {
    unsafe {
        let body = &raw mut (*record).body;
        let file = file_of(task, fd);
        if file.is_null() || !has(&task::SOCKET_SK) {
            return core::ptr::null();
        }
        let inode = reach(file, &task::FILE_INODE);
        if !is_socket(inode) {
            return core::ptr::null();
        }
        let socket = reach(file, &task::FILE_PRIVATE);
        let sock = reach(socket, &task::SOCKET_SK);
        (*body).ino = probe(inode, &task::INODE_INO);
        (*body).socket_type = probe(socket, &task::SOCKET_TYPE);
        (*body).family = probe(sock, &task::SOCK_FAMILY);
        (*body).protocol = probe(sock, &task::SOCK_PROTOCOL);
        (*record).header.flags |= flag::TUPLE;
        if probe::<u8>(sock, &task::SOCK_STATE) == ESTABLISHED {
            (*record).header.flags |= flag::CONNECTED;
        }
        let ends = Ends::of(sock, (*body).family);
        (*body).local_port = ends.local_port;
        (*body).remote_port = ends.remote_port;
        (*body).local = ends.local;
        (*body).remote = ends.remote;
        sock
    }
}

/// Whether an inode is a socket's.
#[inline(always)]
pub(crate) unsafe fn is_socket(inode: *const u8) -> bool {
    unsafe { probe::<u16>(inode, &task::INODE_MODE) & TYPE_BITS == SOCKET }
}

/// Both ends of an internet socket; zeros of any other.
pub(crate) struct Ends {
    pub(crate) local: [u8; 16],
    pub(crate) remote: [u8; 16],
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
}

// === impl Ends ===

impl Ends {
    #[inline(always)]
    pub(crate) unsafe fn of(sock: *const u8, family: u16) -> Self {
        let mut ends = Self { local: [0; 16], remote: [0; 16], local_port: 0, remote_port: 0 };
        if family != AF_INET && family != AF_INET6 {
            return ends;
        }
        unsafe {
            ends.local_port = probe(sock, &task::SOCK_LOCAL_PORT);
            ends.remote_port = u16::from_be(probe(sock, &task::SOCK_REMOTE_PORT));
            if family == AF_INET {
                let (local, remote): ([u8; 4], [u8; 4]) =
                    (probe(sock, &task::SOCK_LOCAL4), probe(sock, &task::SOCK_REMOTE4));
                *(&raw mut ends.local as *mut [u8; 4]) = local;
                *(&raw mut ends.remote as *mut [u8; 4]) = remote;
            } else {
                ends.local = probe(sock, &task::SOCK_LOCAL6);
                ends.remote = probe(sock, &task::SOCK_REMOTE6);
            }
        }
        ends
    }
}

/// Whether it is an internet socket that is neither a stream nor connected: of
/// others every message has the peer that its connection told.
#[inline(always)]
unsafe fn is_loose_datagram(record: *const SocketRecord) -> bool {
    unsafe {
        let family = (*record).body.family;
        (family == AF_INET || family == AF_INET6)
            && (*record).body.socket_type != SOCK_STREAM
            && (*record).header.flags & flag::CONNECTED == 0
    }
}

/// Where the process keeps the address of this call, and its bytes; 0 for none.
#[inline(always)]
unsafe fn given(body: *const Socket, compat: bool) -> (u64, u32) {
    unsafe {
        let args = &(*body).args;
        match (*body).call {
            id::CONNECT | id::BIND => (args[1], args[2] as u32),
            id::SENDTO => (args[4], args[5] as u32),
            id::RECVFROM if args[4] != 0 && (*body).ret >= 0 => {
                (args[4], bpf_probe_read_user(args[5] as *const u32).unwrap_or(0))
            }
            id::SENDMSG | id::SENDMMSG | id::RECVMSG | id::RECVMMSG if (*body).ret >= 0 => {
                message_name(args[1], compat)
            }
            _ => (0, 0),
        }
    }
}

/// `msg_name` and `msg_namelen` of a `struct msghdr`, or of the first of many.
#[inline(always)]
unsafe fn message_name(message: u64, compat: bool) -> (u64, u32) {
    unsafe {
        if compat {
            let name = bpf_probe_read_user(message as *const [u32; 2]).unwrap_or([0; 2]);
            return (name[0] as u64, name[1]);
        }
        let name = bpf_probe_read_user(message as *const [u64; 2]).unwrap_or([0; 2]);
        (name[0], name[1] as u32)
    }
}

/// The name of a Unix socket: its own, which one that was accepted has from its
/// listener, else its peer's.
#[inline(always)]
unsafe fn unix_address(body: *mut Socket, sock: *const u8) {
    if sock.is_null() || !has(&task::UNIX_ADDR) || !has(&task::UNIX_PEER) {
        return;
    }
    unsafe {
        let mut address = reach(sock, &task::UNIX_ADDR);
        if address.is_null() {
            let peer = reach(sock, &task::UNIX_PEER);
            if !peer.is_null() {
                address = reach(peer, &task::UNIX_ADDR);
            }
        }
        if address.is_null() {
            return;
        }
        let length: u32 = probe(address, &task::UNIX_ADDRESS_LEN);
        let length = if length > ADDRESS_MAX as u32 { ADDRESS_MAX as u32 } else { length };
        let name = address.add(task::told(&task::UNIX_ADDRESS_NAME)) as *const c_void;
        if bpf_probe_read_kernel(&raw mut (*body).address as *mut c_void, length, name) >= 0 {
            (*body).address_len = length as u16;
        }
    }
}

/// Whether a datagram socket talks to somebody else than before.
#[inline(always)]
unsafe fn is_new_peer(body: *const Socket, sock: *const u8) -> bool {
    unsafe {
        let address = &raw const (*body).address as *const u8;
        let port = core::ptr::read_unaligned(address.add(2) as *const u16) as u64;
        let peer = match (*body).family {
            AF_INET => {
                Peer { address: [core::ptr::read_unaligned(address.add(4) as *const u32) as u64, 0], port }
            }
            _ => Peer { address: core::ptr::read_unaligned(address.add(8) as *const [u64; 2]), port },
        };
        let key = sock as u64;
        if let Some(known) = PEERS.get_ptr(&key)
            && (*known).port == peer.port
            && (*known).address[0] == peer.address[0]
            && (*known).address[1] == peer.address[1]
        {
            return false;
        }
        let _ = PEERS.insert(&key, &peer, 0);
        true
    }
}
