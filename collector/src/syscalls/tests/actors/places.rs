//! What a process sees: working directory, root, mounts.

use std::ffi::CString;

use serde_json::Value;

use super::super::stage::{Stage, fd, forked, s, sys};
use super::Actor;

const PRIVATE: u64 = libc::MS_REC | libc::MS_PRIVATE;

pub(super) const ACTORS: &[Actor] = &[
    ("chdir", |stage| {
        for (given, cwd) in [("sub", "sub/"), ("../link", "sub/"), (".", "sub/"), ("..", "")] {
            let path = CString::new(given).unwrap();
            let ret = sys(libc::SYS_chdir, &[s(&path)]);
            assert_eq!(ret, 0);
            let cells = [("proc_cwd", Value::from(stage.text(cwd)))];
            stage.expect("chdir", ret, &cells, &[("res", "0"), ("path", given)]);
        }
        let ret = sys(libc::SYS_chdir, &[c"no/where".as_ptr() as u64]);
        stage.expect(
            "chdir",
            ret,
            &[("proc_cwd", stage.text("").into())],
            &[("res", "ENOENT"), ("path", "no/where")],
        );
        relative_after_moving(stage);
    }),
    ("fchdir", |stage| {
        let ret = sys(libc::SYS_fchdir, &[fd(stage.sub)]);
        let number = stage.sub.to_string();
        stage.expect(
            "fchdir",
            ret,
            &[("proc_cwd", stage.text("sub/").into())],
            &[("res", "0"), ("fd", &number)],
        );
        relative_after_moving(stage);
        let ret = sys(libc::SYS_fchdir, &[999]);
        stage.expect(
            "fchdir",
            ret,
            &[("proc_cwd", stage.text("").into())],
            &[("res", "EBADF"), ("fd", "999")],
        );
    }),
    ("chroot", |stage| {
        // In a process of its own each: the root stays.
        for form in stage.forms("chroot") {
            std::fs::create_dir(&form.real).unwrap();
            let path = CString::new(form.given).unwrap();
            let (pid, ret) = forked(|| sys(libc::SYS_chroot, &[s(&path)]));
            assert_eq!(ret, 0);
            stage.expect_of(pid, "chroot", ret, &[], &[("res", "0"), ("path", &form.text)]);
        }
        let ret = sys(libc::SYS_chroot, &[c"no/where".as_ptr() as u64]);
        let path = stage.text("no/where");
        stage.expect("chroot", ret, &[], &[("res", "ENOENT"), ("path", &path)]);
        opens_inside(stage);
    }),
    ("pivot_root", |stage| {
        let (new, old) = (CString::new("sub").unwrap(), CString::new("sub/../link").unwrap());
        let ret = sys(libc::SYS_pivot_root, &[s(&new), s(&old)]);
        let paths = (stage.text("sub"), stage.text("link"));
        let res = super::super::super::flags::result(ret);
        stage.expect("pivot_root", ret, &[], &[("res", &res), ("new_root", &paths.0), ("put_old", &paths.1)]);
        assert!(ret < 0);
        let (top, inside) = (stage.text("top"), CString::new(stage.text("top")).unwrap());
        std::fs::create_dir(&top).unwrap();
        let (pid, ret) = in_own_mounts(|| {
            sys(libc::SYS_mount, &[c"none".as_ptr() as u64, s(&inside), c"tmpfs".as_ptr() as u64, 0, 0]);
            sys(libc::SYS_chdir, &[s(&inside)]);
            sys(libc::SYS_pivot_root, &[c".".as_ptr() as u64, c".".as_ptr() as u64])
        });
        assert_eq!(ret, 0);
        stage.expect_of(pid, "pivot_root", ret, &[], &[("res", "0")]);
    }),
    ("mount", |stage| {
        let sub = CString::new("sub").unwrap();
        let (pid, ret) = in_own_mounts(|| {
            let flags = libc::MS_NOSUID | libc::MS_NODEV;
            sys(libc::SYS_mount, &[c"none".as_ptr() as u64, s(&sub), c"tmpfs".as_ptr() as u64, flags, 0])
        });
        assert_eq!(ret, 0);
        let dir = stage.text("sub");
        let arguments =
            [("res", "0"), ("dev", "none"), ("dir", &dir), ("type", "tmpfs"), ("flags", "NOSUID|NODEV")];
        stage.expect_of(pid, "mount", ret, &[], &arguments);
        // The call that made the mounts its own, of the same process.
        stage.expect_of(pid, "mount", 0, &[], &[("dir", "/"), ("flags", "REC|PRIVATE")]);
        let ret =
            sys(libc::SYS_mount, &[c"/dev/nothing".as_ptr() as u64, s(&sub), c"ext4".as_ptr() as u64, 1, 0]);
        let res = super::super::super::flags::result(ret);
        let arguments =
            [("res", &*res), ("dev", "/dev/nothing"), ("dir", &dir), ("type", "ext4"), ("flags", "RDONLY")];
        stage.expect("mount", ret, &[], &arguments);
    }),
    ("umount2", |stage| {
        let sub = CString::new("sub").unwrap();
        let (pid, ret) = in_own_mounts(|| {
            sys(libc::SYS_mount, &[c"none".as_ptr() as u64, s(&sub), c"tmpfs".as_ptr() as u64, 0, 0]);
            sys(libc::SYS_umount2, &[s(&sub), 2])
        });
        assert_eq!(ret, 0);
        let dir = stage.text("sub");
        stage.expect_of(pid, "umount2", ret, &[], &[("res", "0"), ("name", &dir), ("flags", "DETACH")]);
        let ret = sys(libc::SYS_umount2, &[s(&sub), 8]);
        stage.expect("umount2", ret, &[], &[("res", "EINVAL"), ("name", &dir), ("flags", "NOFOLLOW")]);
    }),
    ("move_mount", |stage| {
        let (from, to) = (CString::new("from").unwrap(), CString::new("sub").unwrap());
        std::fs::create_dir("from").unwrap();
        let (pid, ret) = in_own_mounts(|| {
            sys(libc::SYS_mount, &[c"none".as_ptr() as u64, s(&from), c"tmpfs".as_ptr() as u64, 0, 0]);
            sys(libc::SYS_move_mount, &[fd(libc::AT_FDCWD), s(&from), fd(libc::AT_FDCWD), s(&to), 0])
        });
        assert_eq!(ret, 0);
        let (from_text, to_text) = (stage.text("from"), stage.text("sub"));
        let arguments = [
            ("res", "0"),
            ("from_dirfd", "AT_FDCWD"),
            ("from_pathname", &*from_text),
            ("to_dirfd", "AT_FDCWD"),
            ("to_pathname", &to_text),
            ("flags", "0"),
        ];
        stage.expect_of(pid, "move_mount", ret, &[], &arguments);
        let ret = sys(libc::SYS_move_mount, &[fd(stage.sub), s(&from), fd(libc::AT_FDCWD), s(&to), 4]);
        let folder = format!("<d>{}", stage.text("sub"));
        let inside = stage.text("sub/from");
        let arguments =
            [("from_dirfd", &*folder), ("from_pathname", &inside), ("flags", "MOVE_MOUNT_F_EMPTY_PATH")];
        stage.expect("move_mount", ret, &[], &arguments);
    }),
    // Only 32-bit programs have the call without flags.
    #[cfg(target_arch = "x86_64")]
    ("umount", |stage| {
        let Some(low) = super::super::compat::Low::new() else { return };
        let ret = low.call(super::super::compat::UMOUNT, &[low.text("no/where")]);
        let name = stage.text("no/where");
        stage.expect("umount", ret, &[], &[("res", "ENOENT"), ("name", &name)]);
    }),
];

/// A relative path is told by the directory that the process is in by then.
fn relative_after_moving(stage: &mut Stage) {
    let sub = CString::new(stage.text("sub")).unwrap();
    assert_eq!(sys(libc::SYS_chdir, &[s(&sub)]), 0);
    let ret = sys(libc::SYS_openat, &[fd(libc::AT_FDCWD), c"../not/here".as_ptr() as u64, 0]);
    let name = stage.text("not/here");
    let cells = [("fd_name", name.as_str().into()), ("proc_cwd", stage.text("sub/").into())];
    stage.expect("openat", ret, &cells, &[("name", &name), ("dirfd", "AT_FDCWD")]);
    let at = CString::new(stage.at.to_str().unwrap()).unwrap();
    assert_eq!(sys(libc::SYS_chdir, &[s(&at)]), 0);
}

/// After a change of root, paths are those that the process itself sees.
fn opens_inside(stage: &mut Stage) {
    std::fs::create_dir("root").unwrap();
    stage.file("root/inside");
    let root = CString::new("root").unwrap();
    let (pid, ret) = forked(|| {
        sys(libc::SYS_chroot, &[s(&root)]);
        sys(libc::SYS_chdir, &[c"/".as_ptr() as u64]);
        sys(libc::SYS_openat, &[fd(libc::AT_FDCWD), c"inside".as_ptr() as u64, 0])
    });
    assert!(ret >= 0);
    let cells = [("fd_name", "/inside".into()), ("proc_cwd", "/".into()), ("fd_name_resolved", Value::Null)];
    stage.expect_of(pid, "openat", ret, &cells, &[("name", "/inside")]);
}

/// Runs `work` in a process whose mounts nobody else sees.
fn in_own_mounts(work: impl FnOnce() -> i64) -> (u32, i64) {
    forked(|| {
        sys(libc::SYS_unshare, &[libc::CLONE_NEWNS as u64]);
        sys(libc::SYS_mount, &[0, c"/".as_ptr() as u64, 0, PRIVATE, 0]);
        work()
    })
}
