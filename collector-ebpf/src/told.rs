//! What the programs are told when they are loaded: where the running kernel's
//! structures have their members, and a few numbers more.
//!
//! Each is the immediate of an instruction, into which the loader writes it: to read
//! it from memory would cost as much as what is read with it. An offset that this
//! kernel does not have is [`crate::ABSENT`].

/// Something that the programs are told.
pub trait Told {
    /// Its place in [`NAMES`].
    const PLACE: u32;
}

macro_rules! told {
    ($($name:ident),* $(,)?) => {
        /// Everything that is told, by place.
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];

        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(u32)]
        enum Places { $($name),* }

        $(
            #[allow(missing_docs, non_camel_case_types, clippy::upper_case_acronyms)]
            #[derive(Debug, Clone, Copy)]
            pub struct $name;

            impl Told for $name {
                const PLACE: u32 = Places::$name as u32;
            }
        )*
    };
}

// The collector's own process, whose events are left out, 0 for none. Whether the
// environment is wanted. Whether the kernel gives tasks as typed pointers (5.11 and
// newer), which are followed without a helper call.
told! { OWN_PID, WITH_ENVIRONMENT, TYPED_TASK,
    // How full a ring is when its reader is woken, bytes.
    PROCESS_WAKE_AT, NETWORK_WAKE_AT, FILE_WAKE_AT,
    // Whether `struct file` and `struct inode` have what is read of them in their first
    // words. Whether a `struct dentry` has parent, name and the room for a short name in
    // a row, and a `struct mount` parent, place and `struct vfsmount`.
    FILE_TOGETHER, DENTRY_TOGETHER,
    // Numbers of structures among this kernel's types; 0 where they cannot be cast to.
    FILE_TYPE, MOUNT_TYPE, LIST_TYPE,
    // The place of the cgroup v1 controller that is followed among those of a task.
    CGROUP_SUBSYS,
    // Where `struct pt_regs` keeps the number and the arguments of a call, and of a
    // 32-bit one.
    REGS_NUMBER, REGS_ARG0, REGS_ARG1, REGS_ARG2, REGS_ARG3, REGS_ARG4, REGS_ARG5,
    REGS_COMPAT0, REGS_COMPAT1, REGS_COMPAT2, REGS_COMPAT3, REGS_COMPAT4, REGS_COMPAT5,
    // Members, by structure.
    TASK_PID, TASK_TGID, TASK_REAL_PARENT, TASK_GROUP_LEADER, TASK_START_BOOTTIME, TASK_NSPROXY, TASK_CRED,
    TASK_LOGINUID, TASK_MM, TASK_SIGNAL, TASK_EXIT_CODE, TASK_FILES, TASK_FS, TASK_THREAD_PID, TASK_CGROUPS,
    TASK_THREAD_STATUS, TASK_COMM,
    CRED_EUID, CRED_EGID, CRED_PERMITTED, CRED_EFFECTIVE, CRED_INHERITABLE,
    NSPROXY_MNT_NS, NSPROXY_PID_NS, MNT_NS_INUM, PID_NS_INUM,
    MM_ARG_START, MM_ARG_END, MM_ENV_START, MM_ENV_END, MM_EXE_FILE, BPRM_FILENAME, BPRM_INTERP,
    SIGNAL_LIVE, SIGNAL_FLAGS, SIGNAL_GROUP_EXIT_CODE, SIGNAL_PIDS, SIGNAL_TTY,
    TTY_INDEX, TTY_DRIVER, TTY_DRIVER_MAJOR, TTY_DRIVER_MINOR, PID_LEVEL, PID_NUMBERS,
    CSS_SET_SUBSYS, CSS_SET_DFL, CSS_CGROUP, CGROUP_KN, CGROUP_ROOT, CGROUP_ROOT_HIERARCHY, KERNFS_ID,
    FILES_FDT, FDT_MAX_FDS, FDT_FD, FILE_MODE, FILE_INODE, FILE_PRIVATE, FILE_PATH,
    PATH_MNT, PATH_DENTRY, FS_ROOT, FS_PWD, DENTRY_PARENT, DENTRY_NAME, MOUNT_MNT, MOUNT_PARENT,
    MOUNT_MOUNTPOINT, VFSMOUNT_ROOT,
    INODE_MODE, INODE_UID, INODE_GID, INODE_INO, INODE_NLINK, INODE_SB, INODE_SIZE_OF,
    INODE_CTIME_S, INODE_CTIME_NS, INODE_MTIME_S, INODE_MTIME_NS, SB_DEV, SB_MAGIC,
    SOCKET_SK, SOCKET_TYPE, SOCK_FAMILY, SOCK_STATE, SOCK_LOCAL_PORT, SOCK_REMOTE_PORT, SOCK_LOCAL4, SOCK_REMOTE4,
    SOCK_LOCAL6, SOCK_REMOTE6, SOCK_PROTOCOL, UNIX_ADDR, UNIX_PEER, UNIX_ADDRESS_LEN, UNIX_ADDRESS_NAME,
    KIOCB_OPCODE, KIOCB_CQE_FD, IO_OPEN_DFD, IO_OPEN_FILENAME, IO_OPEN_HOW, IO_CONNECT_ADDR, IO_CONNECT_LEN,
    IO_UNLINK_DFD, IO_UNLINK_FILENAME, IO_RENAME_OLD_DFD, IO_MKDIR_DFD, IO_RENAME_OLDPATH, IO_MKDIR_FILENAME, FILENAME_NAME,
}

const _: () = assert!(NAMES.len() <= 1 << 10 && crate::TOLD_MARK & 0x3ff == 0);
