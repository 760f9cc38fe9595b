//! The open family.

use std::ffi::CString;

use serde_json::Value;

use super::super::stage::{At, Stage, fd, p, s, sys};
use super::Actor;
use super::names::{BASE, Before, Named, play};

const O_RDONLY: u64 = 0;
const O_CREATES: u64 = 0o2_001_301;

pub(super) const ACTORS: &[Actor] = &[
    #[cfg(target_arch = "x86_64")]
    ("open", |stage| {
        let make = |at: &At<'_>| sys(libc::SYS_open, &[s(at.path), O_RDONLY, 0o7777]);
        let more = &[("flags", "O_RDONLY"), ("mode", "0")];
        play(stage, &Named { call: "open", make, path: "name", more, opens: true, ..BASE });
        through_a_link(stage);
    }),
    ("openat", |stage| {
        let make = |at: &At<'_>| sys(libc::SYS_openat, &[fd(at.dirfd), s(at.path), O_CREATES, 0o4750]);
        let more = &[("flags", "O_TRUNC|O_EXCL|O_CREAT|O_WRONLY|O_CLOEXEC|O_F_CREATED"), ("mode", "04750")];
        let named =
            Named { call: "openat", make, before: Before::Nothing, folder: Some("dirfd"), path: "name", opens: true, ..BASE };
        // Only those that go through make the file.
        let mut went = Vec::new();
        for form in stage.forms("made") {
            let path = CString::new(form.given).unwrap();
            let ret = sys(libc::SYS_openat, &[fd(libc::AT_FDCWD), s(&path), O_CREATES, 0o4750]);
            went.push((form.text, ret));
        }
        for (text, ret) in went {
            let cells = [
                ("evt_is_open_create", Value::Bool(true)),
                ("evt_is_open_write", Value::Bool(true)),
                ("evt_is_open_read", Value::Bool(false)),
                ("evt_is_open_exec", Value::Bool(true)),
            ];
            let arguments = [&[("name", text.as_str())][..], more].concat();
            stage.expect("openat", ret, &cells, &arguments);
        }
        play(stage, &named);
    }),
    ("openat2", |stage| {
        let make = |at: &At<'_>| {
            let how = [O_RDONLY, 0, 0x08];
            sys(libc::SYS_openat2, &[fd(at.dirfd), s(at.path), p(&how), 24])
        };
        // Within the folder only: so neither absolute paths nor those that go up.
        let more: &[(&str, &str)] = &[("flags", "O_RDONLY"), ("mode", "0"), ("resolve", "RESOLVE_NO_SYMLINKS")];
        let _ = make;
        let make = |at: &At<'_>| {
            let how = [O_RDONLY, 0, 0x20];
            let first = sys(libc::SYS_openat2, &[fd(at.dirfd), s(at.path), p(&how), 24]);
            if first == -i64::from(libc::EAGAIN) { first } else { first }
        };
        let _ = (make, more);
        let plain = |at: &At<'_>| sys(libc::SYS_openat2, &[fd(at.dirfd), s(at.path), p(&[O_RDONLY, 0, 0]), 24]);
        let more = &[("flags", "O_RDONLY"), ("mode", "0"), ("resolve", "0")];
        play(stage, &Named { call: "openat2", make: plain, folder: Some("dirfd"), path: "name", more, opens: true, ..BASE });
        resolving(stage);
    }),
    #[cfg(target_arch = "x86_64")]
    ("creat", |stage| {
        let make = |at: &At<'_>| sys(libc::SYS_creat, &[s(at.path), 0o640]);
        let more = &[("mode", "0640")];
        play(stage, &Named { call: "creat", make, before: Before::Nothing, path: "name", more, opens: true, ..BASE });
    }),
    ("open_by_handle_at", by_handle),
];
