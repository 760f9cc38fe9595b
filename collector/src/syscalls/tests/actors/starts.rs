//! Programs and processes that do not start.

use std::ffi::CString;

use super::super::stage::{Stage, c, fd, forked, p, s, sys};
use super::Actor;

pub(super) const ACTORS: &[Actor] = &[
    ("execve", |stage| {
        let (missing, plain) = (CString::new("no-program").unwrap(), stage.file("plain"));
        // No literals: a page of the program that nobody has read yet is not there
        // when the call ends.
        let words = ["no-program", "--with", "two  words"].map(|word| CString::new(word).unwrap());
        let argv = [s(&words[0]), s(&words[1]), s(&words[2]), 0];
        let environment = [0_u64];
        let ret = sys(libc::SYS_execve, &[s(&missing), p(&argv), p(&environment)]);
        let filename = stage.text("no-program");
        let arguments = [
            ("res", "ENOENT"),
            ("exe", "no-program"),
            ("args", "--with two  words"),
            ("filename", &filename),
        ];
        stage.expect("execve", ret, &[], &arguments);
        let ret = sys(libc::SYS_execve, &[s(&plain), p(&argv), p(&environment)]);
        let filename = stage.text("plain");
        stage.expect("execve", ret, &[], &[("res", "EACCES"), ("filename", &filename)]);
        // A program in a format that the kernel does not know.
        let odd = stage.file("odd");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions("odd", mode).unwrap();
        let ret = sys(libc::SYS_execve, &[s(&odd), p(&argv), p(&environment)]);
        let filename = stage.text("odd");
        stage.expect("execve", ret, &[], &[("res", "ENOEXEC"), ("filename", &filename)]);
        let long = "l".repeat(3_000);
        let long = CString::new(long).unwrap();
        let many = [s(&long), s(&long), 0];
        let ret = sys(libc::SYS_execve, &[s(&missing), p(&many), p(&environment)]);
        assert!(ret < 0);
    }),
    ("execveat", |stage| {
        let missing = CString::new("no-program").unwrap();
        let words = ["x", "y"].map(|word| CString::new(word).unwrap());
        let argv = [s(&words[0]), s(&words[1]), 0];
        let ret = sys(libc::SYS_execveat, &[fd(stage.sub), s(&missing), p(&argv), 0, 0x100]);
        let (folder, path) = (format!("<d>{}", stage.text("sub")), stage.text("sub/no-program"));
        let arguments = [
            ("res", "ENOENT"),
            ("exe", "x"),
            ("args", "y"),
            ("dirfd", &folder),
            ("pathname", &path),
            ("flags", "AT_SYMLINK_NOFOLLOW"),
        ];
        stage.expect("execveat", ret, &[], &arguments);
        let plain = c(&stage.at.join("plain"));
        stage.file("plain");
        let ret = sys(libc::SYS_execveat, &[fd(libc::AT_FDCWD), s(&plain), p(&argv), 0, 0]);
        let path = stage.text("plain");
        stage.expect("execveat", ret, &[], &[("res", "EACCES"), ("dirfd", "AT_FDCWD"), ("pathname", &path)]);
    }),
    ("clone", |stage| {
        // Signal handlers without the memory that they are in.
        let ret = sys(libc::SYS_clone, &[libc::CLONE_SIGHAND as u64, 0, 0, 0, 0]);
        assert_eq!(ret, -i64::from(libc::EINVAL));
        stage.expect("clone", ret, &[], &[("res", "EINVAL"), ("flags", "CLONE_SIGHAND")]);
    }),
    ("clone3", |stage| {
        let ret = sys(libc::SYS_clone3, &[0, 1]);
        assert_eq!(ret, -i64::from(libc::EINVAL));
        stage.expect("clone3", ret, &[], &[("res", "EINVAL")]);
    }),
    #[cfg(target_arch = "x86_64")]
    ("fork", |stage| not_made(stage, "fork", libc::SYS_fork)),
    #[cfg(target_arch = "x86_64")]
    ("vfork", |stage| not_made(stage, "vfork", libc::SYS_vfork)),
];

/// A user who may have no more processes asks for one.
#[cfg(target_arch = "x86_64")]
fn not_made(stage: &mut Stage, call: &str, number: libc::c_long) {
    let none = [0_u64, 0];
    let (pid, ret) = forked(|| {
        sys(libc::SYS_setrlimit, &[u64::from(libc::RLIMIT_NPROC), p(&none)]);
        sys(libc::SYS_setresgid, &[65_533, 65_533, 65_533]);
        sys(libc::SYS_setresuid, &[65_533, 65_533, 65_533]);
        sys(number, &[])
    });
    assert_eq!(ret, -i64::from(libc::EAGAIN));
    stage.expect_of(pid, call, ret, &[("user_uid", 65_533.into())], &[("res", "EAGAIN")]);
}
