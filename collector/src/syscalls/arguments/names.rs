//! Names of numbers, in Falco's order, which decides where names share bits.

/// Bits, or a number, and their name.
pub(super) type Bits = &'static [(u64, &'static str)];

/// Address families.
pub(super) const FAMILIES: Bits = &[
    (39, "AF_NFC"),
    (38, "AF_ALG"),
    (37, "AF_CAIF"),
    (36, "AF_IEEE802154"),
    (35, "AF_PHONET"),
    (34, "AF_ISDN"),
    (33, "AF_RXRPC"),
    (32, "AF_IUCV"),
    (31, "AF_BLUETOOTH"),
    (30, "AF_TIPC"),
    (29, "AF_CAN"),
    (26, "AF_LLC"),
    (25, "AF_WANPIPE"),
    (24, "AF_PPPOX"),
    (23, "AF_IRDA"),
    (22, "AF_SNA"),
    (21, "AF_RDS"),
    (20, "AF_ATMSVC"),
    (19, "AF_ECONET"),
    (18, "AF_ASH"),
    (17, "AF_PACKET"),
    (16, "AF_ROUTE"),
    (16, "AF_NETLINK"),
    (15, "AF_KEY"),
    (14, "AF_SECURITY"),
    (13, "AF_NETBEUI"),
    (12, "AF_DECnet"),
    (11, "AF_ROSE"),
    (10, "AF_INET6"),
    (9, "AF_X25"),
    (8, "AF_ATMPVC"),
    (7, "AF_BRIDGE"),
    (6, "AF_NETROM"),
    (5, "AF_APPLETALK"),
    (4, "AF_IPX"),
    (3, "AF_AX25"),
    (2, "AF_INET"),
    (1, "AF_LOCAL"),
    (1, "AF_UNIX"),
    (0, "AF_UNSPEC"),
];

/// What a new process shares, and what is its own.
pub(super) const CLONE: Bits = &[
    (0x400, "CLONE_FILES"),
    (0x200, "CLONE_FS"),
    (0x8000_0000, "CLONE_IO"),
    (0x800_0000, "CLONE_NEWIPC"),
    (0x4000_0000, "CLONE_NEWNET"),
    (0x2_0000, "CLONE_NEWNS"),
    (0x2000_0000, "CLONE_NEWPID"),
    (0x400_0000, "CLONE_NEWUTS"),
    (0x8000, "CLONE_PARENT"),
    (0x10_0000, "CLONE_PARENT_SETTID"),
    (0x2000, "CLONE_PTRACE"),
    (0x800, "CLONE_SIGHAND"),
    (0x4_0000, "CLONE_SYSVSEM"),
    (0x1_0000, "CLONE_THREAD"),
    (0x80_0000, "CLONE_UNTRACED"),
    (0x100, "CLONE_VM"),
    (0x1000_0000, "CLONE_NEWUSER"),
    (0x20_0000, "CLONE_CHILD_CLEARTID"),
    (0x100_0000, "CLONE_CHILD_SETTID"),
    (0x8_0000, "CLONE_SETTLS"),
    (0x4000, "CLONE_VFORK"),
    (0x200_0000, "CLONE_NEWCGROUP"),
];

/// What a process no longer shares. The last is part of a signal's number in
/// `clone`, so it is only here.
pub(super) const UNSHARE: Bits = &[
    (0x400, "CLONE_FILES"),
    (0x200, "CLONE_FS"),
    (0x800_0000, "CLONE_NEWIPC"),
    (0x4000_0000, "CLONE_NEWNET"),
    (0x2_0000, "CLONE_NEWNS"),
    (0x2000_0000, "CLONE_NEWPID"),
    (0x400_0000, "CLONE_NEWUTS"),
    (0x800, "CLONE_SIGHAND"),
    (0x4_0000, "CLONE_SYSVSEM"),
    (0x1_0000, "CLONE_THREAD"),
    (0x100, "CLONE_VM"),
    (0x1000_0000, "CLONE_NEWUSER"),
    (0x200_0000, "CLONE_NEWCGROUP"),
    (0x80, "CLONE_NEWTIME"),
];

/// How a file system is mounted.
pub(super) const MOUNT: Bits = &[
    (0x1, "RDONLY"),
    (0x2, "NOSUID"),
    (0x4, "NODEV"),
    (0x8, "NOEXEC"),
    (0x10, "SYNCHRONOUS"),
    (0x20, "REMOUNT"),
    (0x40, "MANDLOCK"),
    (0x80, "DIRSYNC"),
    (0x400, "NOATIME"),
    (0x800, "NODIRATIME"),
    (0x1000, "BIND"),
    (0x2000, "MOVE"),
    (0x4000, "REC"),
    (0x8000, "SILENT"),
    (0x1_0000, "POSIXACL"),
    (0x2_0000, "UNBINDABLE"),
    (0x4_0000, "PRIVATE"),
    (0x8_0000, "SLAVE"),
    (0x10_0000, "SHARED"),
    (0x20_0000, "RELATIME"),
    (0x40_0000, "KERNMOUNT"),
    (0x80_0000, "I_VERSION"),
    (0x100_0000, "STRICTATIME"),
    (0x200_0000, "LAZYTIME"),
    (0x1000_0000, "NOSEC"),
    (0x2000_0000, "BORN"),
    (0x4000_0000, "ACTIVE"),
    (0x8000_0000, "NOUSER"),
];

/// How one is unmounted.
pub(super) const UMOUNT: Bits = &[(0x1, "FORCE"), (0x2, "DETACH"), (0x4, "EXPIRE"), (0x8, "NOFOLLOW")];

/// How a mount is moved; Falco has no names for these.
pub(super) const MOVE_MOUNT: Bits = &[
    (0x1, "MOVE_MOUNT_F_SYMLINKS"),
    (0x2, "MOVE_MOUNT_F_AUTOMOUNTS"),
    (0x4, "MOVE_MOUNT_F_EMPTY_PATH"),
    (0x10, "MOVE_MOUNT_T_SYMLINKS"),
    (0x20, "MOVE_MOUNT_T_AUTOMOUNTS"),
    (0x40, "MOVE_MOUNT_T_EMPTY_PATH"),
    (0x100, "MOVE_MOUNT_SET_GROUP"),
    (0x200, "MOVE_MOUNT_BENEATH"),
];

/// `unlinkat`.
pub(super) const UNLINK: Bits = &[(0x200, "AT_REMOVEDIR")];

/// How a path is followed.
pub(super) const AT: Bits =
    &[(0x100, "AT_SYMLINK_NOFOLLOW"), (0x400, "AT_SYMLINK_FOLLOW"), (0x1000, "AT_EMPTY_PATH")];

/// `renameat2`.
pub(super) const RENAME: Bits =
    &[(0x1, "RENAME_NOREPLACE"), (0x2, "RENAME_EXCHANGE"), (0x4, "RENAME_WHITEOUT")];

/// `openat2`.
pub(super) const RESOLVE: Bits = &[
    (0x8, "RESOLVE_BENEATH"),
    (0x10, "RESOLVE_IN_ROOT"),
    (0x2, "RESOLVE_NO_MAGICLINKS"),
    (0x4, "RESOLVE_NO_SYMLINKS"),
    (0x1, "RESOLVE_NO_XDEV"),
    (0x20, "RESOLVE_CACHED"),
];

/// Permissions, and the three bits above them.
pub(super) const PERMISSIONS: Bits = &[
    (0o1, "S_IXOTH"),
    (0o2, "S_IWOTH"),
    (0o4, "S_IROTH"),
    (0o10, "S_IXGRP"),
    (0o20, "S_IWGRP"),
    (0o40, "S_IRGRP"),
    (0o100, "S_IXUSR"),
    (0o200, "S_IWUSR"),
    (0o400, "S_IRUSR"),
    (0o1000, "S_ISVTX"),
    (0o2000, "S_ISGID"),
    (0o4000, "S_ISUID"),
];

/// Kinds of file. A plain one may also be asked for by nothing.
pub(super) const KINDS: Bits = &[
    (0o100_000, "S_IFREG"),
    (0o020_000, "S_IFCHR"),
    (0o060_000, "S_IFBLK"),
    (0o010_000, "S_IFIFO"),
    (0o140_000, "S_IFSOCK"),
    (0o040_000, "S_IFDIR"),
    (0o120_000, "S_IFLNK"),
];

/// What else a new descriptor is; of a call that can only say one thing, nothing has
/// a name too.
pub(super) const CLOEXEC: Bits = &[(0o4_000, "O_NONBLOCK"), (0o2_000_000, "O_CLOEXEC"), (0, "O_NONE")];

/// `memfd_create`.
pub(super) const MEMFD: Bits = &[
    (0x1, "MFD_CLOEXEC"),
    (0x2, "MFD_ALLOW_SEALING"),
    (0x4, "MFD_HUGETLB"),
    (0x8, "MFD_NOEXEC_SEAL"),
    (0x10, "MFD_EXEC"),
];

/// `finit_module`.
pub(super) const FINIT_MODULE: Bits = &[
    (0x1, "MODULE_INIT_IGNORE_MODVERSIONS"),
    (0x2, "MODULE_INIT_IGNORE_VERMAGIC"),
    (0x4, "MODULE_INIT_COMPRESSED_FILE"),
];

/// `delete_module`.
pub(super) const DELETE_MODULE: Bits = &[(0o4_000, "O_NONBLOCK"), (0o1_000, "O_TRUNC")];

/// How an io_uring is set up.
pub(super) const IO_URING_SETUP: Bits = &[
    (0x1, "IORING_SETUP_IOPOLL"),
    (0x2, "IORING_SETUP_SQPOLL"),
    (0x4, "IORING_SETUP_SQ_AFF"),
    (0x8, "IORING_SETUP_CQSIZE"),
    (0x10, "IORING_SETUP_CLAMP"),
    (0x20, "IORING_SETUP_ATTACH_RW"),
    (0x40, "IORING_SETUP_R_DISABLED"),
];

/// What an io_uring can do.
pub(super) const IO_URING_FEATURES: Bits = &[
    (0x1, "IORING_FEAT_SINGLE_MMAP"),
    (0x2, "IORING_FEAT_NODROP"),
    (0x4, "IORING_FEAT_SUBMIT_STABLE"),
    (0x8, "IORING_FEAT_RW_CUR_POS"),
    (0x10, "IORING_FEAT_CUR_PERSONALITY"),
    (0x20, "IORING_FEAT_FAST_POLL"),
    (0x40, "IORING_FEAT_POLL_32BITS"),
    (0x80, "IORING_FEAT_SQPOLL_NONFIXED"),
    (0x100, "IORING_FEAT_ENTER_EXT_ARG"),
    (0x200, "IORING_FEAT_NATIVE_WORKERS"),
    (0x400, "IORING_FEAT_RSRC_TAGS"),
];

/// Commands of `bpf`.
pub(super) const BPF: Bits = &[
    (0, "BPF_MAP_CREATE"),
    (1, "BPF_MAP_LOOKUP_ELEM"),
    (2, "BPF_MAP_UPDATE_ELEM"),
    (3, "BPF_MAP_DELETE_ELEM"),
    (4, "BPF_MAP_GET_NEXT_KEY"),
    (5, "BPF_PROG_LOAD"),
    (6, "BPF_OBJ_PIN"),
    (7, "BPF_OBJ_GET"),
    (8, "BPF_PROG_ATTACH"),
    (9, "BPF_PROG_DETACH"),
    (10, "BPF_PROG_TEST_RUN"),
    (10, "BPF_PROG_RUN"),
    (11, "BPF_PROG_GET_NEXT_ID"),
    (12, "BPF_MAP_GET_NEXT_ID"),
    (13, "BPF_PROG_GET_FD_BY_ID"),
    (14, "BPF_MAP_GET_FD_BY_ID"),
    (15, "BPF_OBJ_GET_INFO_BY_FD"),
    (16, "BPF_PROG_QUERY"),
    (17, "BPF_RAW_TRACEPOINT_OPEN"),
    (18, "BPF_BTF_LOAD"),
    (19, "BPF_BTF_GET_FD_BY_ID"),
    (20, "BPF_TASK_FD_QUERY"),
    (21, "BPF_MAP_LOOKUP_AND_DELETE_ELEM"),
    (22, "BPF_MAP_FREEZE"),
    (23, "BPF_BTF_GET_NEXT_ID"),
    (24, "BPF_MAP_LOOKUP_BATCH"),
    (25, "BPF_MAP_LOOKUP_AND_DELETE_BATCH"),
    (26, "BPF_MAP_UPDATE_BATCH"),
    (27, "BPF_MAP_DELETE_BATCH"),
    (28, "BPF_LINK_CREATE"),
    (29, "BPF_LINK_UPDATE"),
    (30, "BPF_LINK_GET_FD_BY_ID"),
    (31, "BPF_LINK_GET_NEXT_ID"),
    (32, "BPF_ENABLE_STATS"),
    (33, "BPF_ITER_CREATE"),
    (34, "BPF_LINK_DETACH"),
    (35, "BPF_PROG_BIND_MAP"),
    (36, "BPF_TOKEN_CREATE"),
];

/// Requests of `ptrace`; those of registers by their own call are only of x86.
pub(super) const PTRACE: Bits = &[
    (0, "PTRACE_TRACEME"),
    (1, "PTRACE_PEEKTEXT"),
    (2, "PTRACE_PEEKDATA"),
    (3, "PTRACE_PEEKUSR"),
    (4, "PTRACE_POKETEXT"),
    (5, "PTRACE_POKEDATA"),
    (6, "PTRACE_POKEUSR"),
    (7, "PTRACE_CONT"),
    (8, "PTRACE_KILL"),
    (9, "PTRACE_SINGLESTEP"),
    (16, "PTRACE_ATTACH"),
    (17, "PTRACE_DETACH"),
    (24, "PTRACE_SYSCALL"),
    (31, "PTRACE_SYSEMU"),
    (32, "PTRACE_SYSEMU_SINGLESTEP"),
    #[cfg(target_arch = "x86_64")]
    (12, "PTRACE_GETREGS"),
    #[cfg(target_arch = "x86_64")]
    (13, "PTRACE_SETREGS"),
    #[cfg(target_arch = "x86_64")]
    (14, "PTRACE_GETFPREGS"),
    #[cfg(target_arch = "x86_64")]
    (15, "PTRACE_SETFPREGS"),
    #[cfg(target_arch = "x86_64")]
    (18, "PTRACE_GETFPXREGS"),
    #[cfg(target_arch = "x86_64")]
    (19, "PTRACE_SETFPXREGS"),
    #[cfg(target_arch = "x86_64")]
    (21, "PTRACE_OLDSETOPTIONS"),
    #[cfg(target_arch = "x86_64")]
    (25, "PTRACE_GET_THREAD_AREA"),
    #[cfg(target_arch = "x86_64")]
    (26, "PTRACE_SET_THREAD_AREA"),
    #[cfg(target_arch = "x86_64")]
    (30, "PTRACE_ARCH_PRCTL"),
    #[cfg(target_arch = "x86_64")]
    (33, "PTRACE_SINGLEBLOCK"),
    (0x4200, "PTRACE_SETOPTIONS"),
    (0x4201, "PTRACE_GETEVENTMSG"),
    (0x4202, "PTRACE_GETSIGINFO"),
    (0x4203, "PTRACE_SETSIGINFO"),
    (0x4204, "PTRACE_GETREGSET"),
    (0x4205, "PTRACE_SETREGSET"),
    (0x4206, "PTRACE_SEIZE"),
    (0x4207, "PTRACE_INTERRUPT"),
    (0x4208, "PTRACE_LISTEN"),
    (0x4209, "PTRACE_PEEKSIGINFO"),
    (0x420a, "PTRACE_GETSIGMASK"),
    (0x420b, "PTRACE_SETSIGMASK"),
];
