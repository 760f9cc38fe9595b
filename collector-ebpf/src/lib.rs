//! What the kernel programs write and the collector reads: records, lanes, counters.
//!
//! ```text
//!   sched_process_exec ──┐
//!   sched_process_fork ──┼─▶ PROCESS_RING ─┐
//!   sched_process_exit ──┤                 │        one record:
//!   cgroup_mkdir ────────┘                 │        ┌────────┬──────┬──────────────┐
//!   sys_enter/exit_connect ─▶ NETWORK_RING ┼──────▶ │ Header │ body │ text ...     │
//!   sys_enter/exit_open* ───▶ FILE_RING ───┘        └────────┴──────┴──────────────┘
//!                                  │                  header.size bytes altogether
//!                                  └─▶ COUNTERS: attempted, emitted, dropped by reason
//! ```
//!
//! `main.rs` holds the programs and is only built for the bpf target, by
//! `build.sh`, into the committed `bailiwick.bpf.o`. Layouts are `repr(C)`
//! without padding, in the byte order of the machine both halves run on.

#![no_std]

use core::mem::size_of;

/// The most bytes of argument text that an exec record carries.
pub const ARGS_MAX: usize = 8192;
/// The most bytes of one path, terminator included (the kernel's `PATH_MAX`).
pub const PATH_MAX: usize = 4096;
/// The most bytes of a path copied when an open call is entered. Only a longer
/// path, or one whose page was not in memory, is read again when the call ends.
pub const EARLY_PATH_MAX: usize = 256;
/// Room for a socket address; the longest, `AF_UNIX`, has 110 bytes.
pub const ADDRESS_MAX: usize = 112;
/// Room for a cgroup's path in its record.
pub const CGROUP_PATH_MAX: usize = 1024;
/// Set in [`Header::cgroup_id`] where the rest is the id of a cgroup v1 folder.
pub const CGROUP_V1_BIT: u64 = 1 << 63;

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
    /// A connect call ended: [`super::Connect`].
    pub const CONNECT: u16 = 5;
    /// An open call ended: [`super::Open`].
    pub const OPEN: u16 = 6;
}

/// Bits of [`Header::flags`].
pub mod flag {
    /// The text was longer than what is carried.
    pub const TRUNCATED: u16 = 1;
    /// The text could not be read from the process.
    pub const UNREADABLE: u16 = 2;
    /// The text was read when the call ended, not when it was entered, so the
    /// process had time to change it.
    pub const READ_LATE: u16 = 4;
    /// Open: this call created the file.
    pub const CREATED: u16 = 8;
    /// Connect: the tuple was read from the socket.
    pub const TUPLE: u16 = 16;
}

/// Which call of the open family; [`Open::call`].
pub mod call {
    /// `open(2)`.
    pub const OPEN: u32 = 0;
    /// `openat(2)`.
    pub const OPENAT: u32 = 1;
    /// `openat2(2)`.
    pub const OPENAT2: u32 = 2;
    /// `creat(2)`.
    pub const CREAT: u32 = 3;
}

/// Kinds of event that are counted apart.
pub mod class {
    /// Program starts.
    pub const EXEC: u32 = 0;
    /// Process creations.
    pub const FORK: u32 = 1;
    /// Process ends.
    pub const EXIT: u32 = 2;
    /// Cgroup creations.
    pub const CGROUP: u32 = 3;
    /// Connect calls.
    pub const CONNECT: u32 = 4;
    /// Open calls.
    pub const OPEN: u32 = 5;
    /// How many there are.
    pub const COUNT: u32 = 6;
}

/// Cells of one class in the `COUNTERS` map: cell `class * slot::COUNT + slot`.
pub mod slot {
    /// Events that should have become a record.
    pub const ATTEMPTED: u32 = 0;
    /// Records written to a ring.
    pub const EMITTED: u32 = 1;
    /// Lost because the ring was full.
    pub const RING_FULL: u32 = 2;
    /// Lost because too many calls were under way at once.
    pub const IN_FLIGHT_FULL: u32 = 3;
    /// How many there are.
    pub const COUNT: u32 = 4;
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
    /// The cgroup v2 id of the task; that of a v1 controller with
    /// [`CGROUP_V1_BIT`] where the task is in the root of v2 and v1 is in use.
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
}

/// A program start; `args_copied` bytes of arguments, then file name and
/// interpreter, each of the length given here, follow.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Exec {
    /// Bytes of all arguments, terminators included, as the process has them.
    pub args_len: u32,
    /// Bytes of them in this record.
    pub args_copied: u32,
    /// Bytes of the file name as given to execve, terminator included.
    pub filename_len: u32,
    /// Bytes of the path of what the kernel loaded, terminator included.
    pub interp_len: u32,
    /// Process id in the process's own pid namespace.
    pub vpid: u32,
    /// Session id.
    pub sid: u32,
    /// Controlling terminal's device number, 0 for none.
    pub tty: u32,
    /// Zero.
    pub reserved: u32,
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

/// A new cgroup; `path_len` bytes of its path follow.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct CgroupMade {
    /// Its id.
    pub id: u64,
    /// Which hierarchy: 0 for cgroup v2.
    pub hierarchy: u32,
    /// Bytes of the path, terminator included.
    pub path_len: u32,
}

/// A connect call that ended.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Connect {
    /// What it returned.
    pub ret: i64,
    /// The socket's descriptor.
    pub fd: i32,
    /// Bytes of `address` that were given.
    pub address_len: u32,
    /// The socket's address family.
    pub family: u16,
    /// Its protocol, e.g. 6 for TCP.
    pub protocol: u16,
    /// Local port.
    pub local_port: u16,
    /// Remote port.
    pub remote_port: u16,
    /// Local address; IPv4 in the first four bytes.
    pub local: [u8; 16],
    /// Remote address; IPv4 in the first four bytes.
    pub remote: [u8; 16],
    /// The address as the process gave it.
    pub address: [u8; ADDRESS_MAX],
}

/// An open call that ended; `path_len` bytes of path follow.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Open {
    /// What it returned.
    pub ret: i64,
    /// `O_*` bits.
    pub flags: u64,
    /// `RESOLVE_*` bits of `openat2`.
    pub resolve: u64,
    /// The folder's descriptor, `AT_FDCWD` where there is none.
    pub dirfd: i32,
    /// Permission bits for a new file.
    pub mode: u32,
    /// Which call; see [`call`].
    pub call: u32,
    /// Bytes of the path, terminator included.
    pub path_len: u32,
}

// Both halves are built by different compilers: the sizes are part of the contract.
const _: () = {
    assert!(size_of::<Header>() == 80);
    assert!(size_of::<Exec>() == 32);
    assert!(size_of::<Fork>() == 16);
    assert!(size_of::<Exit>() == 8);
    assert!(size_of::<CgroupMade>() == 16);
    assert!(size_of::<Connect>() == 168);
    assert!(size_of::<Open>() == 40);
};
