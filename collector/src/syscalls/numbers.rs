//! Numbers of system calls on this machine, and of those of 32-bit programs.

use bailiwick_collector_ebpf::calls::{CALLS, CallInfo};

/// Numbers that the programs' table has room for, of each kind.
const NUMBERS: usize = 512;
const PROGRAM_SHIFT: u16 = 8;
const ONLY_FAILED: u16 = 0x8000;

/// What the programs are told of the calls: an entry by number, those of 32-bit
/// programs behind the others; and whether a number of either kind counts.
pub(super) struct Tables {
    pub(super) calls: [u16; 2 * NUMBERS],
    pub(super) wanted: [u8; NUMBERS],
}

/// The tables of this architecture.
pub(super) fn tables() -> Tables {
    let mut tables = Tables { calls: [0; 2 * NUMBERS], wanted: [0; NUMBERS] };
    for (id, info) in (0..).zip(CALLS).skip(1) {
        let entry = entry(id, info);
        let native = NATIVE.iter().filter(|(name, _)| *name == info.name).map(|(_, number)| (*number, 0));
        let compat = COMPAT.iter().filter(|(name, _)| *name == info.name).map(|(_, number)| (*number, NUMBERS));
        for (number, base) in native.chain(compat) {
            let number = usize::from(number);
            if let (Some(place), Some(wanted)) = (tables.calls.get_mut(base + number), tables.wanted.get_mut(number)) {
                *place = entry;
                *wanted = 1;
            }
        }
    }
    tables
}

fn entry(id: u16, info: &CallInfo) -> u16 {
    let program = info.program as u16;
    id | program << PROGRAM_SHIFT | if info.only_failed { ONLY_FAILED } else { 0 }
}

/// By name; some have two.
type Numbers = &'static [(&'static str, u16)];

#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const NATIVE: Numbers = &[
    ("open", 2), ("dup", 32), ("dup2", 33), ("socket", 41), ("connect", 42), ("accept", 43), ("sendto", 44),
    ("recvfrom", 45), ("sendmsg", 46), ("recvmsg", 47), ("bind", 49), ("listen", 50), ("clone", 56), ("fork", 57),
    ("vfork", 58), ("execve", 59), ("chdir", 80), ("fchdir", 81), ("rename", 82), ("mkdir", 83), ("rmdir", 84),
    ("creat", 85), ("link", 86), ("unlink", 87), ("symlink", 88), ("chmod", 90), ("fchmod", 91), ("chown", 92),
    ("fchown", 93), ("lchown", 94), ("ptrace", 101), ("setuid", 105), ("setgid", 106), ("setpgid", 109),
    ("setsid", 112), ("setreuid", 113), ("setregid", 114), ("setresuid", 117), ("setresgid", 119), ("capset", 126),
    ("mknod", 133), ("pivot_root", 155), ("chroot", 161), ("mount", 165), ("umount2", 166), ("init_module", 175),
    ("delete_module", 176), ("openat", 257), ("mkdirat", 258), ("mknodat", 259), ("fchownat", 260), ("unlinkat", 263),
    ("renameat", 264), ("linkat", 265), ("symlinkat", 266), ("fchmodat", 268), ("unshare", 272), ("accept4", 288),
    ("dup3", 292), ("recvmmsg", 299), ("open_by_handle_at", 304), ("sendmmsg", 307), ("setns", 308),
    ("process_vm_readv", 310), ("process_vm_writev", 311), ("finit_module", 313), ("renameat2", 316),
    ("memfd_create", 319), ("bpf", 321), ("execveat", 322), ("userfaultfd", 323), ("io_uring_setup", 425),
    ("move_mount", 429), ("clone3", 435), ("openat2", 437), ("pidfd_getfd", 438), ("fchmodat2", 452),
];

#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const COMPAT: Numbers = &[
    ("fork", 2), ("open", 5), ("creat", 8), ("link", 9), ("unlink", 10), ("execve", 11), ("chdir", 12), ("mknod", 14),
    ("chmod", 15), ("lchown", 16), ("mount", 21), ("umount", 22), ("setuid", 23), ("ptrace", 26), ("rename", 38),
    ("mkdir", 39), ("rmdir", 40), ("dup", 41), ("setgid", 46), ("umount2", 52), ("setpgid", 57), ("chroot", 61),
    ("dup2", 63), ("setsid", 66), ("setreuid", 70), ("setregid", 71), ("symlink", 83), ("fchmod", 94), ("fchown", 95),
    ("clone", 120), ("init_module", 128), ("delete_module", 129), ("fchdir", 133), ("setresuid", 164),
    ("setresgid", 170), ("chown", 182), ("capset", 185), ("vfork", 190), ("lchown", 198), ("setreuid", 203),
    ("setregid", 204), ("fchown", 207), ("setresuid", 208), ("setresgid", 210), ("chown", 212), ("setuid", 213),
    ("setgid", 214), ("pivot_root", 217), ("openat", 295), ("mkdirat", 296), ("mknodat", 297), ("fchownat", 298),
    ("unlinkat", 301), ("renameat", 302), ("linkat", 303), ("symlinkat", 304), ("fchmodat", 306), ("unshare", 310),
    ("dup3", 330), ("recvmmsg", 337), ("open_by_handle_at", 342), ("sendmmsg", 345), ("setns", 346),
    ("process_vm_readv", 347), ("process_vm_writev", 348), ("finit_module", 350), ("renameat2", 353),
    ("memfd_create", 356), ("bpf", 357), ("execveat", 358), ("socket", 359), ("bind", 361), ("connect", 362),
    ("listen", 363), ("accept4", 364), ("sendto", 369), ("sendmsg", 370), ("recvfrom", 371), ("recvmsg", 372),
    ("userfaultfd", 374), ("io_uring_setup", 425), ("move_mount", 429), ("clone3", 435), ("openat2", 437),
    ("pidfd_getfd", 438), ("fchmodat2", 452),
];

#[cfg(not(target_arch = "x86_64"))]
#[rustfmt::skip]
const NATIVE: Numbers = &[
    ("dup", 23), ("dup3", 24), ("mknodat", 33), ("mkdirat", 34), ("unlinkat", 35), ("symlinkat", 36), ("linkat", 37),
    ("renameat", 38), ("umount2", 39), ("mount", 40), ("pivot_root", 41), ("chdir", 49), ("fchdir", 50),
    ("chroot", 51), ("fchmod", 52), ("fchmodat", 53), ("fchownat", 54), ("fchown", 55), ("openat", 56), ("capset", 91),
    ("unshare", 97), ("init_module", 105), ("delete_module", 106), ("ptrace", 117), ("setregid", 143), ("setgid", 144),
    ("setreuid", 145), ("setuid", 146), ("setresuid", 147), ("setresgid", 149), ("setpgid", 154), ("setsid", 157),
    ("socket", 198), ("bind", 200), ("listen", 201), ("accept", 202), ("connect", 203), ("sendto", 206),
    ("recvfrom", 207), ("sendmsg", 211), ("recvmsg", 212), ("clone", 220), ("execve", 221), ("accept4", 242),
    ("recvmmsg", 243), ("open_by_handle_at", 265), ("setns", 268), ("sendmmsg", 269), ("process_vm_readv", 270),
    ("process_vm_writev", 271), ("finit_module", 273), ("renameat2", 276), ("memfd_create", 279), ("bpf", 280),
    ("execveat", 281), ("userfaultfd", 282), ("io_uring_setup", 425), ("move_mount", 429), ("clone3", 435),
    ("openat2", 437), ("pidfd_getfd", 438), ("fchmodat2", 452),
];

#[cfg(not(target_arch = "x86_64"))]
const COMPAT: Numbers = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_a_number() {
        let numbered = |name: &str| NATIVE.iter().chain(COMPAT).any(|(known, _)| *known == name);
        let missing: Vec<_> = CALLS.iter().skip(1).map(|call| call.name).filter(|name| !numbered(name)).collect();
        if cfg!(target_arch = "x86_64") {
            assert!(missing.is_empty(), "{missing:?}");
        }
        for (name, _) in NATIVE.iter().chain(COMPAT) {
            assert!(CALLS.iter().any(|call| call.name == *name), "{name} is no call");
        }
    }

    #[test]
    fn numbers_are_those_of_this_machine() {
        let number = |name: &str| NATIVE.iter().find(|(known, _)| *known == name).map(|(_, number)| i64::from(*number));
        assert_eq!(number("openat"), Some(libc::SYS_openat));
        assert_eq!(number("connect"), Some(libc::SYS_connect));
        assert_eq!(number("setresgid"), Some(libc::SYS_setresgid));
        assert_eq!(number("io_uring_setup"), Some(libc::SYS_io_uring_setup));
        let tables = tables();
        assert_eq!(tables.wanted[usize::try_from(libc::SYS_getppid).unwrap()], 0);
        assert_eq!(tables.wanted[usize::try_from(libc::SYS_openat).unwrap()], 1);
    }
}
