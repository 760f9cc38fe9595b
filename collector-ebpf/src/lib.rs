//! What the kernel programs write and the collector reads: records, lanes, counters.
//!
//! ```text
//!   sched_process_exec ─┐
//!   sched_process_fork ─┤
//!   sched_process_exit ─┼────────▶ PROCESS_RING ─┐
//!   cgroup_mkdir, rmdir ┘      ┌─▶               │        one record:
//!   sys_exit ─ CALLS[number] ──┼─▶ NETWORK_RING ─┼──────▶ ┌────────┬──────┬──────────────┐
//!     (each call of calls.rs)  └─▶ FILE_RING ────┤        │ Header │ body │ text ...     │
//!   cgroup_skb, port 53 ─────────▶ NETWORK_RING ─┤        └────────┴──────┴──────────────┘
//!   io_uring_submit ─────────────▶ FILE_RING ────┘         header.size bytes altogether
//!                                  │
//!                                  └─▶ COUNTERS: emitted, lost by reason
//! ```
//!
//! A system call is recorded when it ends: then its result is known, its
//! arguments are in memory for certain, and the descriptor that it is about can
//! be followed to the file or socket itself. Names that a thread could have
//! changed while the call ran stand beside what the kernel really opened.
//!
//! `main.rs` holds the programs and is only built for the bpf target, by
//! `build.sh`, into the committed `bailiwick.bpf.o`. Layouts are `repr(C)`
//! without padding, in the byte order of the machine both halves run on.

#![no_std]

pub mod calls;
pub mod told;

use core::mem::size_of;

/// The most bytes of argument text that an exec record carries.
pub const ARGS_MAX: usize = 8192;
/// The most bytes of environment that an exec record carries.
pub const ENVIRONMENT_MAX: usize = 8192;
/// The most bytes of one path, terminator included (the kernel's `PATH_MAX`).
pub const PATH_MAX: usize = 4096;
/// Room for a socket address; the longest, `AF_UNIX`, has 110 bytes.
pub const ADDRESS_MAX: usize = 112;
/// Room for a cgroup's path in its record.
pub const CGROUP_PATH_MAX: usize = 1024;
/// The most bytes of a DNS message that a record carries.
pub const DNS_MAX: usize = 512;
/// Where this is an instruction's immediate, with a place in [`told::NAMES`] as its
/// lowest bits, the loader writes what it tells of that name.
pub const TOLD_MARK: u32 = 0x5baf_1c00;
/// Where this is an instruction's immediate, it calls `bpf_rdonly_cast`: the loader
/// writes the number of that function in its place, or another instruction.
pub const CAST_MARK: u32 = 0x7ba1_11ca;

/// An offset that this kernel does not have: the program skips what needs it.
pub const ABSENT: u32 = u32::MAX;

/// What a record is about; [`Header::kind`].
pub mod kind {
    /// A program was started: [`super::Exec`].
    pub const EXEC: u16 = 1;
    /// A process was created: [`super::Fork`].
    pub const FORK: u16 = 2;
    /// A process ended: [`super::Exit`].
    pub const EXIT: u16 = 3;
    /// A cgroup was created: [`super::CgroupMade`].
    pub const CGROUP: u16 = 4;
    /// A cgroup was removed: [`super::CgroupMade`].
    pub const CGROUP_GONE: u16 = 5;
    /// A call about paths, descriptors or numbers ended: [`super::Call`].
    pub const CALL: u16 = 6;
    /// A call about a socket ended: [`super::Socket`].
    pub const SOCKET: u16 = 7;
    /// A DNS message left the machine: [`super::Dns`].
    pub const DNS: u16 = 8;
    /// An operation was handed to an io_uring: [`super::Uring`].
    pub const URING: u16 = 9;
}

/// Bits of [`Header::flags`].
pub mod flag {
    /// A text was longer than what is carried.
    pub const TRUNCATED: u16 = 1;
    /// The first path, an address or a program's arguments could not be read from
    /// the process.
    pub const UNREADABLE: u16 = 2;
    /// Open: this call created the file.
    pub const CREATED: u16 = 4;
    /// Socket: family and ends were read from the socket itself.
    pub const TUPLE: u16 = 8;
    /// Socket: it has a peer of its own (`connect` went through, or accepted).
    pub const CONNECTED: u16 = 16;
    /// A 32-bit call.
    pub const COMPAT: u16 = 32;
    /// Exec: the executable is in an overlay's upper layer.
    pub const UPPER_LAYER: u16 = 64;
    /// Exec: the executable has no name in any folder (memfd, or unlinked).
    pub const UNLINKED: u16 = 128;
    /// Exec: whether it is in an upper layer is known.
    pub const LAYER_KNOWN: u16 = 256;
    /// The call used the descriptor of the first path's folder; else that is
    /// the working directory.
    pub const BY_FOLDER: u16 = 512;
    /// Likewise for the second path.
    pub const BY_FOLDER2: u16 = 1024;
}

/// Kinds of event that are counted apart.
pub mod class {
    /// Program starts, failed ones too.
    pub const EXEC: u32 = 0;
    /// Process creations.
    pub const FORK: u32 = 1;
    /// Process ends.
    pub const EXIT: u32 = 2;
    /// Cgroups made and removed.
    pub const CGROUP: u32 = 3;
    /// Calls that change what a process may do or sees.
    pub const PRIVILEGE: u32 = 4;
    /// Connect calls.
    pub const CONNECT: u32 = 5;
    /// Sockets made, bound, listened at, accepted.
    pub const SOCKET: u32 = 6;
    /// Datagrams to or from a new peer.
    pub const MESSAGE: u32 = 7;
    /// DNS queries.
    pub const DNS: u32 = 8;
    /// Open calls.
    pub const OPEN: u32 = 9;
    /// Files renamed, removed, linked, made; their modes and owners.
    pub const CHANGE: u32 = 10;
    /// Descriptors duplicated.
    pub const DUP: u32 = 11;
    /// Operations handed to an io_uring.
    pub const URING: u32 = 12;
    /// How many there are.
    pub const COUNT: u32 = 13;
}

/// Cells of one class in the `COUNTERS` map: cell `class * slot::COUNT + slot`.
pub mod slot {
    /// Records written to a ring.
    pub const EMITTED: u32 = 0;
    /// Lost because the ring was full.
    pub const RING_FULL: u32 = 1;
    /// Left out by sampling; those that were kept say how many they stand for.
    pub const SAMPLED: u32 = 2;
    /// How many there are.
    pub const COUNT: u32 = 3;
}

/// What every record begins with.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Header {
    /// Bytes of the whole record.
    pub size: u32,
    /// What it is about; see [`kind`].
    pub kind: u16,
    /// See [`flag`].
    pub flags: u16,
    /// When, in nanoseconds since boot, suspended time included.
    pub boot_ns: u64,
    /// The task's cgroup in v2, the root's where v2 is not mounted.
    pub cgroup_id: u64,
    /// When the process (its group leader) started, nanoseconds since boot.
    pub start_boot_ns: u64,
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// The parent's process id.
    pub ppid: u32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Mount namespace's inode.
    pub mnt_ns: u32,
    /// Pid namespace's inode.
    pub pid_ns: u32,
    /// Login user id, `u32::MAX` when unset or unknown.
    pub loginuid: u32,
    /// The task's name, ended by a zero.
    pub comm: [u8; 16],
    /// The task's cgroup in the v1 hierarchy that is followed; 0 where none is.
    pub cgroup_v1_id: u64,
}

/// What a task may do, as bits of capabilities.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// May be made effective.
    pub permitted: u64,
    /// Checked by the kernel.
    pub effective: u64,
    /// Kept over execve.
    pub inheritable: u64,
}

/// The file behind a descriptor or a program; zeros where there is none.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct File {
    /// Inode number.
    pub ino: u64,
    /// Device: major in the upper 12 bits, minor in the lower 20.
    pub dev: u32,
    /// Type and permission bits, as `st_mode`.
    pub mode: u32,
}

/// A program start. Texts follow in the order of the lengths here.
///
/// A walked path (`exe`, `cwd`) is its parts from the last to the first, each
/// ended by a zero; see [`Call`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Exec {
    /// What the program may do.
    pub capabilities: Capabilities,
    /// The executable.
    pub file: File,
    /// When the executable's inode was changed, nanoseconds since 1970.
    pub exe_ctime_ns: u64,
    /// When the executable's content was changed, nanoseconds since 1970.
    pub exe_mtime_ns: u64,
    /// The executable's owner.
    pub exe_uid: u32,
    /// The executable's group.
    pub exe_gid: u32,
    /// Process id in the process's own pid namespace.
    pub vpid: u32,
    /// Session id.
    pub sid: u32,
    /// Process group id.
    pub pgid: u32,
    /// Process group id in the process's own pid namespace.
    pub vpgid: u32,
    /// Controlling terminal's device number, 0 for none.
    pub tty: u32,
    /// Bytes of all arguments, terminators included, as the process has them.
    pub args_len: u32,
    /// Bytes of the arguments in this record, each ended by a zero.
    pub args_copied: u32,
    /// Bytes of the file name as given to execve, terminator included.
    pub filename_len: u32,
    /// Bytes of the path of what the kernel loaded, terminator included.
    pub interp_len: u32,
    /// Bytes of the executable's walked path.
    pub exe_len: u32,
    /// Bytes of the working directory's walked path.
    pub cwd_len: u32,
    /// Bytes of the environment, each variable ended by a zero; 0 if not asked for.
    pub environment_len: u32,
}

/// A process creation; the header is the parent's.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Fork {
    /// When the child started, nanoseconds since boot.
    pub child_start_boot_ns: u64,
    /// The child's process id in the initial pid namespace.
    pub child_pid: u32,
    /// The child's process id in its own pid namespace.
    pub child_vpid: u32,
}

/// The end of a process, written when its last thread ends.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Exit {
    /// As `waitpid` gives it: `code << 8`, or a signal number, with 0x80 for a core dump.
    pub status: u32,
    /// Zero.
    pub reserved: u32,
}

/// A cgroup made or removed; `path_len` bytes of its path follow.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct CgroupMade {
    /// Its id in its hierarchy.
    pub id: u64,
    /// Which hierarchy, as in /proc/cgroups: 0 for cgroup v2.
    pub hierarchy: u32,
    /// Bytes of the path, terminator included.
    pub path_len: u32,
}

/// Texts of a [`Call`], in the order in which they follow.
pub mod text {
    /// The first path, as the process gave it.
    pub const PATH: usize = 0;
    /// Where the first path begins, if it is relative: walked.
    pub const FOLDER: usize = 1;
    /// The second path.
    pub const PATH2: usize = 2;
    /// Where the second path begins, if it is relative: walked.
    pub const FOLDER2: usize = 3;
    /// What [`super::calls::Shape::extra`] says, else the first text of another kind.
    pub const EXTRA: usize = 4;
    /// The path of the file behind the descriptor: walked.
    pub const TARGET: usize = 5;
    /// How many there are.
    pub const COUNT: usize = 6;
}

/// A call that ended. Texts follow in the order of [`text`].
///
/// A walked path is read from the kernel's own tree, up to the process's root:
/// its parts come from the last to the first, each ended by a zero. What is in
/// no folder (a pipe, a memfd) is one part. Where there would be more parts than
/// are carried, the last zero is missing.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// What it returned.
    pub ret: i64,
    /// Its arguments.
    pub args: [u64; 6],
    /// The file behind the descriptor that it is about.
    pub file: File,
    /// How many events of its kind it stands for: 1, or more while sampling.
    pub weight: u32,
    /// Which call; see [`calls`].
    pub call: u16,
    /// Bytes of each text, terminators included.
    pub text_len: [u16; text::COUNT],
    /// Zero.
    pub reserved: [u16; 3],
}

/// A call about a socket that ended.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Socket {
    /// What it returned.
    pub ret: i64,
    /// Its arguments.
    pub args: [u64; 6],
    /// The socket's inode number, its name for as long as it lives.
    pub ino: u64,
    /// The socket's address family.
    pub family: u16,
    /// Its type, e.g. 1 for a stream.
    pub socket_type: u16,
    /// Its protocol, e.g. 6 for TCP.
    pub protocol: u16,
    /// Local port.
    pub local_port: u16,
    /// Remote port.
    pub remote_port: u16,
    /// Which call; see [`calls`].
    pub call: u16,
    /// Bytes of `address` that are there.
    pub address_len: u16,
    /// Zero.
    pub reserved: u16,
    /// Local address; IPv4 in the first four bytes.
    pub local: [u8; 16],
    /// Remote address; IPv4 in the first four bytes.
    pub remote: [u8; 16],
    /// The address that the process gave or was given; of a Unix socket that was
    /// accepted, the listener's.
    pub address: [u8; ADDRESS_MAX],
}

/// A DNS message that leaves the machine by UDP; `data_len` bytes of it follow.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Dns {
    /// The address family.
    pub family: u16,
    /// Local port.
    pub local_port: u16,
    /// Remote port.
    pub remote_port: u16,
    /// Bytes of the message in this record.
    pub data_len: u16,
    /// Local address; IPv4 in the first four bytes.
    pub local: [u8; 16],
    /// Remote address; IPv4 in the first four bytes.
    pub remote: [u8; 16],
}

/// An operation handed to an io_uring; `path_len` bytes of path follow.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Uring {
    /// `IORING_OP_*`.
    pub opcode: u32,
    /// The descriptor that it is about, or of the folder; -1 for none.
    pub fd: i32,
    /// `O_*` bits of an open.
    pub open_flags: u64,
    /// Permission bits of an open.
    pub mode: u32,
    /// Bytes of the path, terminator included.
    pub path_len: u32,
    /// A connection's address; `address_len` of these bytes.
    pub address: [u8; ADDRESS_MAX],
    /// See `address`.
    pub address_len: u32,
    /// Zero.
    pub reserved: u32,
}

// Both halves are built by different compilers: the sizes are part of the contract.
const _: () = {
    assert!(size_of::<Header>() == 88);
    assert!(size_of::<Exec>() == 112);
    assert!(size_of::<Fork>() == 16);
    assert!(size_of::<Exit>() == 8);
    assert!(size_of::<CgroupMade>() == 16);
    assert!(size_of::<Call>() == 96);
    assert!(size_of::<Socket>() == 224);
    assert!(size_of::<Dns>() == 40);
    assert!(size_of::<Uring>() == 144);
};
