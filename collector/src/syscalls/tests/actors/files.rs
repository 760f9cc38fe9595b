//! Modes, owners, and descriptors that are copied.

use serde_json::Value;

use super::super::stage::{At, Stage, fd, s, sys};
use super::Actor;
use super::names::{BASE, Named, play};

const MODE: &str = "S_IXOTH|S_IXGRP|S_IXUSR|S_IWUSR|S_IRUSR|S_ISUID";
const OWNER: &[(&str, &str)] = &[("uid", "7"), ("gid", "-1")];

pub(super) const ACTORS: &[Actor] = &[
    #[cfg(target_arch = "x86_64")]
    ("chmod", |stage| {
        let make = |at: &At<'_>| sys(libc::SYS_chmod, &[s(at.path), 0o4711]);
        play(stage, &Named { call: "chmod", make, path: "filename", more: &[("mode", MODE)], ..BASE });
    }),
    ("fchmod", |stage| {
        by_descriptor(stage, "fchmod", libc::SYS_fchmod, &[0o4711], &[("mode", MODE)]);
    }),
    ("fchmodat", |stage| {
        let make = |at: &At<'_>| sys(libc::SYS_fchmodat, &[fd(at.dirfd), s(at.path), 0o4711]);
        play(
            stage,
            &Named {
                call: "fchmodat",
                make,
                path: "filename",
                folder: Some("dirfd"),
                more: &[("mode", MODE)],
                ..BASE
            },
        );
    }),
    ("fchmodat2", |stage| {
        // Not in libc yet; the same number everywhere.
        let make = |at: &At<'_>| sys(452, &[fd(at.dirfd), s(at.path), 0o4711, 0]);
        let more = &[("mode", MODE), ("flags", "0")];
        play(
            stage,
            &Named { call: "fchmodat2", make, path: "filename", folder: Some("dirfd"), more, ..BASE },
        );
    }),
    #[cfg(target_arch = "x86_64")]
    ("chown", |stage| {
        let make = |at: &At<'_>| sys(libc::SYS_chown, &[s(at.path), 7, u64::MAX]);
        play(stage, &Named { call: "chown", make, more: OWNER, ..BASE });
    }),
    #[cfg(target_arch = "x86_64")]
    ("lchown", |stage| {
        let make = |at: &At<'_>| sys(libc::SYS_lchown, &[s(at.path), 7, u64::MAX]);
        play(stage, &Named { call: "lchown", make, more: OWNER, ..BASE });
    }),
    ("fchown", |stage| {
        by_descriptor(stage, "fchown", libc::SYS_fchown, &[7, u64::MAX], OWNER);
    }),
    ("fchownat", |stage| {
        let make = |at: &At<'_>| sys(libc::SYS_fchownat, &[fd(at.dirfd), s(at.path), 7, u64::MAX, 0x100]);
        let more = &[("uid", "7"), ("gid", "-1"), ("flags", "AT_SYMLINK_NOFOLLOW")];
        play(stage, &Named { call: "fchownat", make, path: "pathname", folder: Some("dirfd"), more, ..BASE });
    }),
    ("dup", |stage| {
        let old = file(stage, "one");
        let ret = sys(libc::SYS_dup, &[fd(old)]);
        copied(stage, "dup", ret, &[]);
        let failed = sys(libc::SYS_dup, &[999]);
        stage.expect("dup", failed, &[("fd_num", Value::Null)], &[("res", "EBADF"), ("oldfd", "999")]);
        socket_onto_standard_input(stage);
    }),
    #[cfg(target_arch = "x86_64")]
    ("dup2", |stage| {
        let old = file(stage, "one");
        let ret = sys(libc::SYS_dup2, &[fd(old), 77]);
        assert_eq!(ret, 77);
        copied(stage, "dup2", ret, &["newfd"]);
        let failed = sys(libc::SYS_dup2, &[999, 78]);
        stage.expect("dup2", failed, &[], &[("res", "EBADF"), ("oldfd", "999"), ("newfd", "78")]);
    }),
    ("dup3", |stage| {
        let old = file(stage, "one");
        let ret = sys(libc::SYS_dup3, &[fd(old), 77, libc::O_CLOEXEC as u64]);
        assert_eq!(ret, 77);
        copied(stage, "dup3", ret, &["newfd"]);
        let failed = sys(libc::SYS_dup3, &[fd(old), fd(old), 0]);
        stage.expect("dup3", failed, &[], &[("res", "EINVAL"), ("flags", "O_NONE")]);
    }),
];

/// A descriptor of a file of this name.
fn file(stage: &Stage, name: &str) -> i32 {
    stage.file(name);
    std::os::fd::IntoRawFd::into_raw_fd(std::fs::File::open(stage.at.join(name)).unwrap())
}

fn by_descriptor(stage: &mut Stage, call: &str, number: libc::c_long, rest: &[u64], more: &[(&str, &str)]) {
    for (name, letter) in [("one", "f"), ("sub", "d")] {
        let of = if name == "sub" { stage.sub } else { file(stage, name) };
        let ret = sys(number, &[&[fd(of)], rest].concat());
        assert_eq!(ret, 0);
        let name = stage.text(name);
        let text = format!("<{letter}>{name}");
        let cells =
            [("fd_name", name.as_str().into()), ("fd_num", of.into()), ("fd_typechar", letter.into())];
        stage.expect(call, ret, &cells, &[&[("res", "0"), ("fd", &text)], more].concat());
    }
    let failed = sys(number, &[&[999], rest].concat());
    stage.expect(
        call,
        failed,
        &[("fd_name", Value::Null)],
        &[&[("res", "EBADF"), ("fd", "999")], more].concat(),
    );
}

fn copied(stage: &mut Stage, call: &str, ret: i64, further: &[&str]) {
    let name = stage.text("one");
    let text = format!("<f>{name}");
    let cells = [("fd_num", ret.into()), ("fd_name", name.as_str().into()), ("fd_type", "file".into())];
    let mut arguments = vec![("res", text.as_str()), ("oldfd", &text)];
    arguments.extend(further.iter().map(|name| (*name, text.as_str())));
    stage.expect(call, ret, &cells, &arguments);
}

/// What a reverse shell does.
fn socket_onto_standard_input(stage: &mut Stage) {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let server = listener.local_addr().unwrap();
    let stream = std::net::TcpStream::connect(server).unwrap();
    let client = stream.local_addr().unwrap();
    let of = std::os::fd::AsRawFd::as_raw_fd(&stream);
    let keep = sys(libc::SYS_dup, &[0]);
    let ret = sys(libc::SYS_dup3, &[fd(of), 0, 0]);
    assert_eq!(ret, 0);
    let name = format!("{client}->{server}");
    let text = format!("<4t>{name}");
    let cells = [
        ("fd_num", 0.into()),
        ("fd_type", "ipv4".into()),
        ("fd_typechar", "4".into()),
        ("fd_l4proto", "tcp".into()),
        ("fd_name", name.as_str().into()),
        ("fd_sip", "127.0.0.1".into()),
        ("fd_sport", server.port().into()),
        ("fd_cport", client.port().into()),
    ];
    stage.expect("dup3", ret, &cells, &[("res", &text), ("oldfd", &text), ("newfd", &text)]);
    sys(libc::SYS_dup3, &[u64::try_from(keep).unwrap(), 0, 0]);
}
