//! The system calls that are captured: their names, and what a record of one holds.
//!
//! Numbers differ between architectures and are the loader's; here a call has
//! an id of our own, the index into [`CALLS`]. The kernel programs read of a
//! call only its [`Shape`].

use crate::class;

/// Which ring a record goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Ring {
    /// Processes and privileges.
    Process = 0,
    /// Sockets.
    Network = 1,
    /// Files.
    File = 2,
}

/// Which program makes the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Program {
    /// Paths, a descriptor, numbers: a `Call`.
    Call = 1,
    /// A `Socket`.
    Socket = 2,
    /// A `Call` of an execve that failed, with its arguments.
    FailedExec = 3,
}

/// No argument.
pub const NONE: u8 = 15;
/// Instead of a folder's descriptor: the working directory.
pub const CWD: u8 = 14;
/// Instead of an argument: what the call returned.
pub const RET: u8 = 13;

/// What a `Call` holds, by the indices of the call's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Shape {
    /// The first path.
    pub path: u8,
    /// The first path's folder.
    pub folder: u8,
    /// The second path.
    pub path2: u8,
    /// The second path's folder.
    pub folder2: u8,
    /// A further text.
    pub extra: u8,
    /// The descriptor it is about.
    pub file: u8,
    /// Class in the lower 4 bits, [`Ring`] in the upper.
    pub class_and_ring: u8,
    /// Further bits, see [`bits`].
    pub bits: u8,
}

/// Bits of [`Shape::bits`].
pub mod bits {
    /// The file's path is walked.
    pub const WALK: u8 = 1;
    /// The extra text is the task's `Capabilities` as the call left them.
    pub const CAPABILITIES: u8 = 2;
    /// The extra text is the working directory as the call left it: walked.
    pub const NEW_CWD: u8 = 4;
    /// It may be left out while sampling.
    pub const SAMPLED: u8 = 8;
    /// The extra text is the first bytes that the argument points to, as
    /// [`super::DATA_MAX`] many.
    pub const DATA: u8 = 16;
}

/// Bytes of data that [`bits::DATA`] copies.
pub const DATA_MAX: usize = 64;

/// One system call.
#[derive(Debug, Clone, Copy)]
pub struct CallInfo {
    /// The kernel's name, which is Falco's event type.
    pub name: &'static str,
    /// Which program makes its record.
    pub program: Program,
    /// Whether only calls that failed are recorded: others are seen elsewhere.
    pub only_failed: bool,
    /// What the record holds.
    pub shape: Shape,
}

const fn shape(ring: Ring, class: u32) -> Shape {
    Shape {
        path: NONE,
        folder: CWD,
        path2: NONE,
        folder2: CWD,
        extra: NONE,
        file: NONE,
        class_and_ring: class as u8 | (ring as u8) << 4,
        bits: 0,
    }
}

const PRIVILEGE: Shape = shape(Ring::Process, class::PRIVILEGE);
const CHANGE: Shape = shape(Ring::File, class::CHANGE);
const OPENED: Shape = Shape { file: RET, bits: bits::WALK | bits::SAMPLED, ..shape(Ring::File, class::OPEN) };
const DUPLICATED: Shape = Shape { file: RET, bits: bits::WALK, ..shape(Ring::File, class::DUP) };
const IDENTITY: Shape = Shape { bits: bits::CAPABILITIES, ..PRIVILEGE };
const EXEC: Shape = shape(Ring::Process, class::EXEC);
const FORK: Shape = shape(Ring::Process, class::FORK);
const SOCKET: Shape = shape(Ring::Network, class::SOCKET);
const MESSAGE: Shape = shape(Ring::Network, class::MESSAGE);

impl Shape {
    const fn path(self, path: u8, folder: u8) -> Self {
        Self { path, folder, ..self }
    }

    const fn path2(self, path2: u8, folder2: u8) -> Self {
        Self { path2, folder2, ..self }
    }

    const fn extra(self, extra: u8) -> Self {
        Self { extra, ..self }
    }

    const fn file(self, file: u8) -> Self {
        Self { file, bits: self.bits | bits::WALK, ..self }
    }

    const fn with(self, more: u8) -> Self {
        Self { bits: self.bits | more, ..self }
    }
}

const fn call(name: &'static str, shape: Shape) -> CallInfo {
    CallInfo { name, program: Program::Call, only_failed: false, shape }
}

const fn socket(name: &'static str, shape: Shape) -> CallInfo {
    CallInfo { name, program: Program::Socket, only_failed: false, shape }
}

const fn failed(name: &'static str, program: Program, shape: Shape) -> CallInfo {
    CallInfo { name, program, only_failed: true, shape }
}

macro_rules! calls {
    ($($id:ident = $info:expr;)*) => {
        /// Ids of calls, by name.
        #[allow(missing_docs)]
        pub mod id {
            #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
            #[repr(u16)]
            enum Ids { $($id,)* }
            $(pub const $id: u16 = Ids::$id as u16;)*
        }

        /// Every call, by id. The first is none.
        pub const CALLS: &[CallInfo] = &[$($info,)*];
    };
}

calls! {
    NO_CALL = call("", PRIVILEGE);
    OPEN = call("open", OPENED.path(0, CWD));
    OPENAT = call("openat", OPENED.path(1, 0));
    OPENAT2 = call("openat2", OPENED.path(1, 0).extra(2).with(bits::DATA));
    CREAT = call("creat", OPENED.path(0, CWD));
    OPEN_BY_HANDLE_AT = call("open_by_handle_at", OPENED);
    CHMOD = call("chmod", CHANGE.path(0, CWD));
    FCHMOD = call("fchmod", CHANGE.file(0));
    FCHMODAT = call("fchmodat", CHANGE.path(1, 0));
    FCHMODAT2 = call("fchmodat2", CHANGE.path(1, 0));
    CHOWN = call("chown", CHANGE.path(0, CWD));
    LCHOWN = call("lchown", CHANGE.path(0, CWD));
    FCHOWN = call("fchown", CHANGE.file(0));
    FCHOWNAT = call("fchownat", CHANGE.path(1, 0));
    RENAME = call("rename", CHANGE.path(0, CWD).path2(1, CWD));
    RENAMEAT = call("renameat", CHANGE.path(1, 0).path2(3, 2));
    RENAMEAT2 = call("renameat2", CHANGE.path(1, 0).path2(3, 2));
    UNLINK = call("unlink", CHANGE.path(0, CWD));
    UNLINKAT = call("unlinkat", CHANGE.path(1, 0));
    RMDIR = call("rmdir", CHANGE.path(0, CWD));
    MKDIR = call("mkdir", CHANGE.path(0, CWD));
    MKDIRAT = call("mkdirat", CHANGE.path(1, 0));
    MKNOD = call("mknod", CHANGE.path(0, CWD));
    MKNODAT = call("mknodat", CHANGE.path(1, 0));
    LINK = call("link", CHANGE.path(0, CWD).path2(1, CWD));
    LINKAT = call("linkat", CHANGE.path(1, 0).path2(3, 2));
    // The target of a symbolic link is only text: the extra, not a path.
    SYMLINK = call("symlink", CHANGE.path(1, CWD).extra(0));
    SYMLINKAT = call("symlinkat", CHANGE.path(2, 1).extra(0));
    DUP = call("dup", DUPLICATED);
    DUP2 = call("dup2", DUPLICATED);
    DUP3 = call("dup3", DUPLICATED);
    SOCKET = socket("socket", SOCKET);
    BIND = socket("bind", SOCKET);
    CONNECT = socket("connect", shape(Ring::Network, class::CONNECT));
    LISTEN = socket("listen", SOCKET);
    ACCEPT = socket("accept", SOCKET);
    ACCEPT4 = socket("accept4", SOCKET);
    SENDTO = socket("sendto", MESSAGE);
    SENDMSG = socket("sendmsg", MESSAGE);
    SENDMMSG = socket("sendmmsg", MESSAGE);
    RECVFROM = socket("recvfrom", MESSAGE);
    RECVMSG = socket("recvmsg", MESSAGE);
    RECVMMSG = socket("recvmmsg", MESSAGE);
    EXECVE = failed("execve", Program::FailedExec, EXEC.path(0, CWD).extra(1));
    EXECVEAT = failed("execveat", Program::FailedExec, EXEC.path(1, 0).extra(2));
    CLONE = failed("clone", Program::Call, FORK);
    CLONE3 = failed("clone3", Program::Call, FORK);
    FORK = failed("fork", Program::Call, FORK);
    VFORK = failed("vfork", Program::Call, FORK);
    PTRACE = call("ptrace", PRIVILEGE);
    SETNS = call("setns", PRIVILEGE.file(0));
    UNSHARE = call("unshare", PRIVILEGE);
    SETUID = call("setuid", IDENTITY);
    SETGID = call("setgid", IDENTITY);
    SETREUID = call("setreuid", IDENTITY);
    SETREGID = call("setregid", IDENTITY);
    SETRESUID = call("setresuid", IDENTITY);
    SETRESGID = call("setresgid", IDENTITY);
    CAPSET = call("capset", IDENTITY);
    SETSID = call("setsid", PRIVILEGE);
    SETPGID = call("setpgid", PRIVILEGE);
    CHDIR = call("chdir", PRIVILEGE.path(0, CWD).with(bits::NEW_CWD));
    FCHDIR = call("fchdir", PRIVILEGE.with(bits::NEW_CWD));
    CHROOT = call("chroot", PRIVILEGE.path(0, CWD));
    PIVOT_ROOT = call("pivot_root", PRIVILEGE.path(0, CWD).path2(1, CWD));
    // The source of a mount is often no path: the extra. Its type is the second.
    MOUNT = call("mount", PRIVILEGE.path(1, CWD).path2(2, NONE).extra(0));
    UMOUNT = call("umount", PRIVILEGE.path(0, CWD));
    UMOUNT2 = call("umount2", PRIVILEGE.path(0, CWD));
    MOVE_MOUNT = call("move_mount", PRIVILEGE.path(1, 0).path2(3, 2));
    BPF = call("bpf", PRIVILEGE.extra(1).with(bits::DATA));
    INIT_MODULE = call("init_module", PRIVILEGE.extra(2));
    FINIT_MODULE = call("finit_module", PRIVILEGE.file(0).extra(1));
    DELETE_MODULE = call("delete_module", PRIVILEGE.extra(0));
    MEMFD_CREATE = call("memfd_create", PRIVILEGE.extra(0));
    USERFAULTFD = call("userfaultfd", PRIVILEGE);
    PROCESS_VM_READV = call("process_vm_readv", PRIVILEGE);
    PROCESS_VM_WRITEV = call("process_vm_writev", PRIVILEGE);
    PIDFD_GETFD = call("pidfd_getfd", PRIVILEGE);
    IO_URING_SETUP = call("io_uring_setup", PRIVILEGE.extra(1).with(bits::DATA));
}

/// How many calls the programs' tables have room for.
pub const MAX_CALLS: usize = 128;
const _: () = assert!(CALLS.len() <= MAX_CALLS);

/// The shapes alone, for the kernel programs.
pub const SHAPES: [Shape; MAX_CALLS] = {
    let mut shapes = [PRIVILEGE; MAX_CALLS];
    let mut at = 0;
    while at < CALLS.len() {
        shapes[at] = CALLS[at].shape;
        at += 1;
    }
    shapes
};
