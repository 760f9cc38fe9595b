//! What reaches into other processes and into the kernel.

use std::ffi::CString;
use std::os::fd::AsRawFd;

use serde_json::Value;

use super::super::super::flags;
use super::super::stage::{Stage, fd, forked, p, s, sys};
use super::Actor;

const NAMESPACES: u64 = (libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC) as u64;

pub(super) const ACTORS: &[Actor] = &[
    ("ptrace", |stage| {
        let (pid, ret) = forked(|| sys(libc::SYS_ptrace, &[0, 0, 0, 0]));
        assert_eq!(ret, 0);
        stage.expect_of(
            pid,
            "ptrace",
            ret,
            &[],
            &[("res", "0"), ("request", "PTRACE_TRACEME"), ("pid", "0")],
        );
        for (request, name) in [(16, "PTRACE_ATTACH"), (0x4206, "PTRACE_SEIZE"), (5, "PTRACE_POKEDATA")] {
            let ret = sys(libc::SYS_ptrace, &[request, 4_000_000, 0x10, 0x20]);
            let arguments =
                [("res", "ESRCH"), ("request", name), ("pid", "4000000"), ("addr", "10"), ("data", "20")];
            stage.expect("ptrace", ret, &[], &arguments);
        }
    }),
    ("setns", |stage| {
        let uts = std::fs::File::open("/proc/self/ns/uts").unwrap();
        let number = uts.as_raw_fd();
        let ret = sys(libc::SYS_setns, &[fd(number), libc::CLONE_NEWUTS as u64]);
        assert_eq!(ret, 0);
        let cells = [("fd_num", number.into())];
        stage.expect("setns", ret, &cells, &[("res", "0"), ("nstype", "CLONE_NEWUTS")]);
        let ret = sys(libc::SYS_setns, &[999, 0]);
        stage.expect(
            "setns",
            ret,
            &[("fd_name", Value::Null)],
            &[("res", "EBADF"), ("fd", "999"), ("nstype", "0")],
        );
    }),
    ("unshare", |stage| {
        let (pid, ret) = forked(|| sys(libc::SYS_unshare, &[NAMESPACES]));
        assert_eq!(ret, 0);
        let names = "CLONE_NEWIPC|CLONE_NEWNS|CLONE_NEWUTS";
        stage.expect_of(pid, "unshare", ret, &[], &[("res", "0"), ("flags", names)]);
        let (pid, ret) = forked(|| sys(libc::SYS_unshare, &[libc::CLONE_NEWUSER as u64]));
        assert_eq!(ret, 0);
        stage.expect_of(pid, "unshare", ret, &[], &[("res", "0"), ("flags", "CLONE_NEWUSER")]);
        let ret = sys(libc::SYS_unshare, &[libc::CLONE_PTRACE as u64]);
        stage.expect("unshare", ret, &[], &[("res", "EINVAL")]);
    }),
    ("bpf", |stage| {
        // A map of the kind array: key and value of 4 bytes, one entry.
        let map = [2_u32, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let ret = sys(libc::SYS_bpf, &[0, p(&map), 64]);
        assert!(ret >= 0, "{ret}");
        stage.expect("bpf", ret, &[], &[("fd", &ret.to_string()), ("cmd", "BPF_MAP_CREATE")]);
        let program = [1_u32; 16];
        let ret = sys(libc::SYS_bpf, &[5, p(&program), 64]);
        assert!(ret < 0);
        stage.expect("bpf", ret, &[], &[("fd", &flags::result(ret)), ("cmd", "BPF_PROG_LOAD")]);
    }),
    ("init_module", |stage| {
        let ret = sys(libc::SYS_init_module, &[p(b"not a module"), 12, s(&words("par=1"))]);
        let arguments = [("res", &*flags::result(ret)), ("length", "12"), ("uargs", "par=1")];
        stage.expect("init_module", ret, &[], &arguments);
    }),
    ("finit_module", |stage| {
        stage.file("module.ko");
        let file = std::fs::File::open("module.ko").unwrap();
        let ret = sys(libc::SYS_finit_module, &[fd(file.as_raw_fd()), s(&words("par=2")), 2]);
        let name = stage.text("module.ko");
        let text = format!("<f>{name}");
        let arguments = [
            ("res", &*flags::result(ret)),
            ("fd", &text),
            ("uargs", "par=2"),
            ("flags", "MODULE_INIT_IGNORE_VERMAGIC"),
        ];
        stage.expect("finit_module", ret, &[("fd_name", name.as_str().into())], &arguments);
    }),
    ("delete_module", |stage| {
        let ret = sys(libc::SYS_delete_module, &[s(&words("no_such_module")), 0o4_000]);
        let arguments = [("res", &*flags::result(ret)), ("name", "no_such_module"), ("flags", "O_NONBLOCK")];
        stage.expect("delete_module", ret, &[], &arguments);
    }),
    ("memfd_create", |stage| {
        let ret = sys(libc::SYS_memfd_create, &[c"payload".as_ptr() as u64, 1]);
        assert!(ret >= 0);
        let cells = [("fd_num", ret.into()), ("fd_type", "memfd".into()), ("fd_typechar", "m".into())];
        stage.expect("memfd_create", ret, &cells, &[("name", "payload"), ("flags", "MFD_CLOEXEC")]);
        let ret = sys(libc::SYS_memfd_create, &[c"wrong".as_ptr() as u64, 0x40]);
        stage.expect("memfd_create", ret, &[], &[("fd", "EINVAL"), ("name", "wrong")]);
    }),
    ("userfaultfd", |stage| {
        let ret = sys(libc::SYS_userfaultfd, &[libc::O_CLOEXEC as u64]);
        let res = if ret < 0 { flags::result(ret).into_owned() } else { ret.to_string() };
        stage.expect("userfaultfd", ret, &[], &[("res", &res), ("flags", "O_CLOEXEC")]);
        let ret = sys(libc::SYS_userfaultfd, &[0x4000]);
        stage.expect("userfaultfd", ret, &[], &[("res", &flags::result(ret))]);
    }),
    ("process_vm_readv", |stage| reach(stage, "process_vm_readv", libc::SYS_process_vm_readv)),
    ("process_vm_writev", |stage| reach(stage, "process_vm_writev", libc::SYS_process_vm_writev)),
    ("pidfd_getfd", |stage| {
        let pidfd = sys(libc::SYS_pidfd_open, &[std::process::id().into(), 0]);
        let ret = sys(libc::SYS_pidfd_getfd, &[pidfd.cast_unsigned(), fd(stage.sub), 0]);
        assert!(ret >= 0, "{ret}");
        let (made, pidfd, target) = (ret.to_string(), pidfd.to_string(), stage.sub.to_string());
        let arguments = [("fd", &*made), ("pid_fd", &pidfd), ("target_fd", &target), ("flags", "0")];
        stage.expect("pidfd_getfd", ret, &[], &arguments);
        let ret = sys(libc::SYS_pidfd_getfd, &[999, 0, 0]);
        stage.expect("pidfd_getfd", ret, &[], &[("fd", "EBADF"), ("pid_fd", "999")]);
    }),
    ("io_uring_setup", |stage| {
        let mut parameters = [0_u32; 30];
        parameters[2] = 0x8; // A completion queue of a size of its own.
        parameters[1] = 16;
        let ret = sys(libc::SYS_io_uring_setup, &[4, p(&parameters)]);
        assert!(ret >= 0, "{ret}");
        let arguments = [
            ("entries", "4"),
            ("sq_entries", "4"),
            ("cq_entries", "16"),
            ("flags", "IORING_SETUP_CQSIZE"),
            ("res", &*ret.to_string()),
        ];
        stage.expect("io_uring_setup", ret, &[], &arguments);
        let ret = sys(libc::SYS_io_uring_setup, &[0, p(&parameters)]);
        stage.expect("io_uring_setup", ret, &[], &[("res", "EINVAL"), ("entries", "0")]);
    }),
];

/// A text in memory that was just written: a kernel that refuses a call without
/// a look at its text leaves it where it is, which may be on disk.
fn words(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// Reads or writes memory of this very process, then of none.
fn reach(stage: &mut Stage, call: &str, number: libc::c_long) {
    let (here, there) = ([0_u8; 16], [0_u8; 16]);
    let (local, remote) = ([p(&here), 16_u64], [p(&there), 16_u64]);
    let own = u64::from(std::process::id());
    let ret = sys(number, &[own, p(&local), 1, p(&remote), 1, 0]);
    assert_eq!(ret, 16);
    stage.expect(call, ret, &[], &[("res", "16"), ("pid", &own.to_string())]);
    let ret = sys(number, &[4_000_000, p(&local), 1, p(&remote), 1, 0]);
    stage.expect(call, ret, &[], &[("res", "-3"), ("pid", "4000000")]);
}
