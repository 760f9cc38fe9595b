//! The open family.

use std::ffi::CString;

use serde_json::Value;

use super::super::stage::{At, Stage, fd, p, s, sys};
use super::Actor;
use super::names::{BASE, Named, play};

const CREATES: u64 = (libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC) as u64;
const READ_ONLY: &[(&str, &str)] = &[("flags", "O_RDONLY"), ("mode", "0")];

pub(super) const ACTORS: &[Actor] = &[
    #[cfg(target_arch = "x86_64")]
    ("open", |stage| {
        // A mode without anything to make is whatever the register held.
        let make = |at: &At<'_>| sys(libc::SYS_open, &[s(at.path), 0, 0o7777]);
        play(stage, &Named { call: "open", make, path: "name", more: READ_ONLY, opens: true, ..BASE });
        through_a_link(stage);
    }),
    ("openat", |stage| {
        let make = |at: &At<'_>| sys(libc::SYS_openat, &[fd(at.dirfd), s(at.path), 0, 0]);
        let folder = Some("dirfd");
        play(
            stage,
            &Named { call: "openat", make, folder, path: "name", more: READ_ONLY, opens: true, ..BASE },
        );
        creating(stage);
        unreadable(stage);
    }),
    ("openat2", |stage| {
        let make = |at: &At<'_>| sys(libc::SYS_openat2, &[fd(at.dirfd), s(at.path), p(&[0_u64; 3]), 24]);
        let folder = Some("dirfd");
        let more = &[("flags", "O_RDONLY"), ("mode", "0"), ("resolve", "0")];
        play(stage, &Named { call: "openat2", make, folder, path: "name", more, opens: true, ..BASE });
        resolving(stage);
    }),
    #[cfg(target_arch = "x86_64")]
    ("creat", |stage| {
        let make = |at: &At<'_>| sys(libc::SYS_creat, &[s(at.path), 0o640]);
        play(
            stage,
            &Named { call: "creat", make, path: "name", more: &[("mode", "0640")], opens: true, ..MADE },
        );
    }),
    ("open_by_handle_at", by_handle),
];

const MADE: Named = Named { before: super::names::Before::Nothing, ..BASE };

/// Files that the call itself makes.
fn creating(stage: &mut Stage) {
    for form in stage.forms("made") {
        let path = CString::new(form.given).unwrap();
        let ret = sys(libc::SYS_openat, &[fd(libc::AT_FDCWD), s(&path), CREATES, 0o4750]);
        assert!(ret >= 0, "{}: {ret}", form.text);
        let is = |name, yes: bool| (name, Value::Bool(yes));
        let cells = [
            is("evt_is_open_create", true),
            is("evt_is_open_write", true),
            is("evt_is_open_read", false),
            is("evt_is_open_exec", true),
            ("fd_typechar", "f".into()),
        ];
        let flags = "O_EXCL|O_CREAT|O_WRONLY|O_CLOEXEC|O_F_CREATED";
        let arguments = [("name", form.text.as_str()), ("flags", flags), ("mode", "04750")];
        stage.expect("openat", ret, &cells, &arguments);
    }
}

/// A path that is nowhere in memory.
fn unreadable(stage: &mut Stage) {
    let ret = sys(libc::SYS_openat, &[fd(libc::AT_FDCWD), 8, 0]);
    assert_eq!(ret, -i64::from(libc::EFAULT));
    stage.expect("openat", ret, &[("fd_name", Value::Null)], &[("name", "<NA>"), ("fd", "EFAULT")]);
}

/// The row says what was asked for, and what was opened.
#[cfg(target_arch = "x86_64")]
fn through_a_link(stage: &mut Stage) {
    stage.file("behind");
    std::os::unix::fs::symlink("behind", "before").unwrap();
    let ret = sys(libc::SYS_open, &[c"before".as_ptr() as u64, 2]);
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata("behind").unwrap());
    let cells = [
        ("fd_name", stage.text("before").into()),
        ("fd_name_resolved", stage.text("behind").into()),
        ("fd_nameraw", "before".into()),
        ("fd_ino", inode.into()),
        ("fd_filename", "before".into()),
        ("fd_directory", stage.at.to_str().unwrap().into()),
    ];
    let (name, inode) = (stage.text("before"), inode.to_string());
    stage.expect("open", ret, &cells, &[("name", &name), ("flags", "O_RDWR"), ("ino", &inode)]);
    let folder = sys(libc::SYS_open, &[c"sub".as_ptr() as u64, libc::O_DIRECTORY as u64]);
    let cells =
        [("fd_type", "directory".into()), ("fd_typechar", "d".into()), ("fd_name_resolved", Value::Null)];
    let (name, text) = (stage.text("sub"), format!("<d>{}", stage.text("sub")));
    stage.expect(
        "open",
        folder,
        &cells,
        &[("name", &name), ("fd", &text), ("flags", "O_DIRECTORY|O_RDONLY")],
    );
}

fn resolving(stage: &mut Stage) {
    stage.file("plain");
    std::os::unix::fs::symlink("plain", "to-plain").unwrap();
    let how =
        [(libc::O_RDWR | libc::O_CREAT) as u64, 0o600, libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_BENEATH];
    let ret = sys(libc::SYS_openat2, &[fd(libc::AT_FDCWD), c"to-plain".as_ptr() as u64, p(&how), 24]);
    assert_eq!(ret, -i64::from(libc::ELOOP));
    let resolve = "RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS";
    let name = stage.text("to-plain");
    let arguments = [
        ("fd", "ELOOP"),
        ("name", &name),
        ("flags", "O_CREAT|O_RDWR"),
        ("mode", "0600"),
        ("resolve", resolve),
    ];
    stage.expect("openat2", ret, &[("fd_num", (-1).into())], &arguments);
    // A structure that is too short for the kernel.
    let short = sys(libc::SYS_openat2, &[fd(libc::AT_FDCWD), c"plain".as_ptr() as u64, p(&how), 8]);
    stage.expect("openat2", short, &[], &[("fd", "EINVAL")]);
}

fn by_handle(stage: &mut Stage) {
    let path = stage.file("handled");
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        id: [u8; 128],
    }
    let (handle, mount) = (Handle { bytes: 128, kind: 0, id: [0; 128] }, 0_i32);
    let named = sys(libc::SYS_name_to_handle_at, &[fd(libc::AT_FDCWD), s(&path), p(&handle), p(&mount), 0]);
    assert_eq!(named, 0);
    let ret = sys(libc::SYS_open_by_handle_at, &[fd(stage.sub), p(&handle), 0]);
    assert!(ret >= 0, "{ret}");
    let name = stage.text("handled");
    stage.expect(
        "open_by_handle_at",
        ret,
        &[("fd_num", ret.into())],
        &[("path", &name), ("flags", "O_RDONLY")],
    );
    let failed = sys(libc::SYS_open_by_handle_at, &[fd(stage.sub), 8, 0]);
    stage.expect(
        "open_by_handle_at",
        failed,
        &[("fd_num", (-1).into())],
        &[("fd", "EFAULT"), ("path", "<NA>")],
    );
}
