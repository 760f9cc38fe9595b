//! Operations of io_uring by name. Pure.

/// Names by number, as in `io_uring.h` without `IORING_OP_`.
#[rustfmt::skip]
const NAMES: [&str; 58] = [
    "NOP", "READV", "WRITEV", "FSYNC", "READ_FIXED", "WRITE_FIXED", "POLL_ADD", "POLL_REMOVE",
    "SYNC_FILE_RANGE", "SENDMSG", "RECVMSG", "TIMEOUT", "TIMEOUT_REMOVE", "ACCEPT", "ASYNC_CANCEL",
    "LINK_TIMEOUT", "CONNECT", "FALLOCATE", "OPENAT", "CLOSE", "FILES_UPDATE", "STATX", "READ", "WRITE",
    "FADVISE", "MADVISE", "SEND", "RECV", "OPENAT2", "EPOLL_CTL", "SPLICE", "PROVIDE_BUFFERS",
    "REMOVE_BUFFERS", "TEE", "SHUTDOWN", "RENAMEAT", "UNLINKAT", "MKDIRAT", "SYMLINKAT", "LINKAT",
    "MSG_RING", "FSETXATTR", "SETXATTR", "FGETXATTR", "GETXATTR", "SOCKET", "URING_CMD", "SEND_ZC",
    "SENDMSG_ZC", "READ_MULTISHOT", "WAITID", "FUTEX_WAIT", "FUTEX_WAKE", "FUTEX_WAITV",
    "FIXED_FD_INSTALL", "FTRUNCATE", "BIND", "LISTEN",
];

/// The operation's name, or its number if it has none here.
pub(super) fn name(opcode: u32) -> String {
    let known = usize::try_from(opcode).ok().and_then(|at| NAMES.get(at));
    known.map_or_else(|| opcode.to_string(), |name| (*name).to_owned())
}

/// Whether it opens a file.
pub(super) fn opens(opcode: u32) -> bool {
    matches!(opcode, 18 | 28)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_have_their_names() {
        assert_eq!((name(16), name(18), name(28)), ("CONNECT".into(), "OPENAT".into(), "OPENAT2".into()));
        assert_eq!((name(57), name(5000)), ("LISTEN".into(), "5000".into()));
        assert_eq!(
            (0..100).filter(|opcode| opens(*opcode)).map(name).collect::<Vec<_>>(),
            ["OPENAT", "OPENAT2"]
        );
    }
}
