//! Calls that are all about a path, by every kind of name.

use std::ffi::CString;
use std::path::Path;

use serde_json::Value;

use super::super::stage::{At, Form, Stage, fd, s, sys};
use super::Actor;

/// A call that takes a path, or two.
pub(super) struct Named {
    pub(super) call: &'static str,
    pub(super) make: fn(&At<'_>) -> i64,
    /// What must be there before.
    pub(super) before: Before,
    /// Names of the arguments: of the folder's descriptor, of the path, and of
    /// the same for a second path.
    pub(super) folder: Option<&'static str>,
    pub(super) path: &'static str,
    pub(super) folder2: Option<&'static str>,
    pub(super) path2: Option<&'static str>,
    /// Further arguments.
    pub(super) more: &'static [(&'static str, &'static str)],
    /// Whether it makes a descriptor.
    pub(super) opens: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Nothing,
    File,
    Folder,
}

pub(super) const BASE: Named = Named {
    call: "",
    make: |_| 0,
    before: Before::File,
    folder: None,
    path: "path",
    folder2: None,
    path2: None,
    more: &[],
    opens: false,
};

pub(super) const ACTORS: &[Actor] = &[
    #[cfg(target_arch = "x86_64")]
    ("unlink", |stage| {
        play(stage, &Named { call: "unlink", make: |at| sys(libc::SYS_unlink, &[s(at.path)]), ..BASE });
    }),
    ("unlinkat", |stage| {
        let make = |at: &At<'_>| sys(libc::SYS_unlinkat, &[fd(at.dirfd), s(at.path), 0]);
        let more = &[("flags", "0")];
        play(stage, &Named { call: "unlinkat", make, folder: Some("dirfd"), path: "name", more, ..BASE });
        let folder = CString::new("empty").unwrap();
        std::fs::create_dir("empty").unwrap();
        let ret = sys(libc::SYS_unlinkat, &[fd(libc::AT_FDCWD), s(&folder), 0x200]);
        let name = stage.text("empty");
        stage.expect("unlinkat", ret, &[], &[("name", &name), ("flags", "AT_REMOVEDIR")]);
        assert_eq!(ret, 0);
    }),
    #[cfg(target_arch = "x86_64")]
    ("rmdir", |stage| {
        let make = |at: &At<'_>| sys(libc::SYS_rmdir, &[s(at.path)]);
        play(stage, &Named { call: "rmdir", make, before: Before::Folder, ..BASE });
    }),
    #[cfg(target_arch = "x86_64")]
    ("mkdir", |stage| {
        let make = |at: &At<'_>| sys(libc::SYS_mkdir, &[s(at.path), 0o755]);
        play(
            stage,
            &Named { call: "mkdir", make, before: Before::Nothing, more: &[("mode", "1ED")], ..BASE },
        );
    }),
    ("mkdirat", |stage| {
        let make = |at: &At<'_>| sys(libc::SYS_mkdirat, &[fd(at.dirfd), s(at.path), 0o755]);
        let more = &[("mode", "1ED")];
        play(
            stage,
            &Named { call: "mkdirat", make, before: Before::Nothing, folder: Some("dirfd"), more, ..BASE },
        );
    }),
    #[cfg(target_arch = "x86_64")]
    ("mknod", |stage| {
        let make = |at: &At<'_>| sys(libc::SYS_mknod, &[s(at.path), 0o010_600, 0]);
        let more = &[("mode", "S_IWUSR|S_IRUSR|S_IFIFO"), ("dev", "0")];
        play(stage, &Named { call: "mknod", make, before: Before::Nothing, more, ..BASE });
    }),
    ("mknodat", |stage| {
        let make = |at: &At<'_>| sys(libc::SYS_mknodat, &[fd(at.dirfd), s(at.path), 0o020_600, 0x103]);
        let more = &[("mode", "S_IWUSR|S_IRUSR|S_IFCHR"), ("dev", "259")];
        play(
            stage,
            &Named { call: "mknodat", make, before: Before::Nothing, folder: Some("dirfd"), more, ..BASE },
        );
    }),
    #[cfg(target_arch = "x86_64")]
    ("symlink", |stage| {
        let make = |at: &At<'_>| sys(libc::SYS_symlink, &[c"/etc/shadow".as_ptr() as u64, s(at.path)]);
        let more = &[("target", "/etc/shadow")];
        play(
            stage,
            &Named { call: "symlink", make, before: Before::Nothing, path: "linkpath", more, ..BASE },
        );
    }),
    ("symlinkat", |stage| {
        let target = c"../etc".as_ptr() as u64;
        let _ = target;
        let make =
            |at: &At<'_>| sys(libc::SYS_symlinkat, &[c"../etc".as_ptr() as u64, fd(at.dirfd), s(at.path)]);
        let more = &[("target", "../etc")];
        let named = Named {
            call: "symlinkat",
            make,
            before: Before::Nothing,
            folder: Some("linkdirfd"),
            path: "linkpath",
            more,
            ..BASE
        };
        play(stage, &named);
    }),
    #[cfg(target_arch = "x86_64")]
    ("rename", |stage| {
        let make = |at: &At<'_>| sys(libc::SYS_rename, &[s(at.path), s(at.new)]);
        play(stage, &Named { call: "rename", make, path: "oldpath", path2: Some("newpath"), ..BASE });
    }),
    ("renameat", |stage| {
        let make =
            |at: &At<'_>| sys(libc::SYS_renameat, &[fd(at.dirfd), s(at.path), fd(at.dirfd), s(at.new)]);
        play(stage, &Named { call: "renameat", make, ..RENAMES });
    }),
    ("renameat2", |stage| {
        let make =
            |at: &At<'_>| sys(libc::SYS_renameat2, &[fd(at.dirfd), s(at.path), fd(at.dirfd), s(at.new), 1]);
        play(stage, &Named { call: "renameat2", make, more: &[("flags", "RENAME_NOREPLACE")], ..RENAMES });
    }),
    #[cfg(target_arch = "x86_64")]
    ("link", |stage| {
        let make = |at: &At<'_>| sys(libc::SYS_link, &[s(at.path), s(at.new)]);
        play(stage, &Named { call: "link", make, path: "oldpath", path2: Some("newpath"), ..BASE });
    }),
    ("linkat", |stage| {
        let make =
            |at: &At<'_>| sys(libc::SYS_linkat, &[fd(at.dirfd), s(at.path), fd(at.dirfd), s(at.new), 0x400]);
        let more = &[("flags", "AT_SYMLINK_FOLLOW")];
        let (folder, folder2) = (Some("olddir"), Some("newdir"));
        play(stage, &Named { call: "linkat", make, folder, folder2, more, ..RENAMES });
    }),
];

const RENAMES: Named = Named {
    path: "oldpath",
    path2: Some("newpath"),
    folder: Some("olddirfd"),
    folder2: Some("newdirfd"),
    ..BASE
};

/// Makes the call with every kind of name, then with those that cannot work.
pub(super) fn play(stage: &mut Stage, named: &Named) {
    let mut forms = stage.forms(named.call);
    forms.extend(named.folder.map(|_| stage.below(named.call)));
    for form in &forms {
        prepare(&form.real, named.before);
        let ret = make(stage, named, form, None);
        assert!(ret >= 0, "{} of {:?} gave {ret}", named.call, form.text);
    }
    if named.before != Before::Nothing {
        let missing = stage.forms(&format!("{}-missing", named.call)).remove(0);
        assert_eq!(make(stage, named, &missing, None), -i64::from(libc::ENOENT));
    }
    let nowhere = Form { given: b"no/where".to_vec(), text: stage.text("no/where"), ..stage.below("x") };
    let nowhere = Form { dirfd: libc::AT_FDCWD, ..nowhere };
    assert_eq!(make(stage, named, &nowhere, None), -i64::from(libc::ENOENT));
    if named.folder.is_some() {
        let closed = Form {
            dirfd: 999,
            text: "<UNKNOWN>/closed".into(),
            given: b"closed".to_vec(),
            ..stage.below("y")
        };
        assert_eq!(make(stage, named, &closed, Some("999")), -i64::from(libc::EBADF));
    }
}

fn prepare(real: &Path, before: Before) {
    match before {
        Before::Nothing => {}
        Before::File => std::fs::write(real, b"x").unwrap(),
        Before::Folder => std::fs::create_dir(real).unwrap(),
    }
}

fn make(stage: &mut Stage, named: &Named, form: &Form, folder: Option<&str>) -> i64 {
    let path = CString::new(form.given.clone()).unwrap();
    let new = CString::new([&form.given[..], b"2"].concat()).unwrap();
    let ret = (named.make)(&At { dirfd: form.dirfd, path: &path, new: &new });
    let below = format!("<d>{}", stage.text("sub"));
    let folder = folder.unwrap_or(if form.dirfd == libc::AT_FDCWD { "AT_FDCWD" } else { &below });
    let second = format!("{}2", form.text);
    let mut arguments = vec![(named.path, form.text.as_str())];
    arguments.extend(named.folder.map(|name| (name, folder)));
    arguments.extend(named.path2.map(|name| (name, second.as_str())));
    arguments.extend(named.folder2.map(|name| (name, folder)));
    arguments.extend_from_slice(named.more);
    let (fd_text, res) = (format!("<f>{}", absolute(stage, form)), super::super::super::flags::result(ret));
    let mut cells: Vec<(&str, Value)> = Vec::new();
    if named.opens {
        arguments.push(("fd", if ret >= 0 { &fd_text } else { &res }));
        cells.push(("fd_name", absolute(stage, form).into()));
        cells.push(("fd_num", ret.max(-1).into()));
    } else if ret >= 0 {
        arguments.push(("res", "0"));
    } else {
        arguments.push(("res", &res));
    }
    stage.expect(named.call, ret, &cells, &arguments);
    ret
}

/// The name without dots, which is that of the descriptor.
fn absolute(stage: &Stage, form: &Form) -> String {
    form.text.replace(&stage.text("sub/../"), &stage.text(""))
}
