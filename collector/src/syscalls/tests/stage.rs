//! Where a child makes calls and notes what each must look like as a row.

#![allow(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::super::{flags, paths};

/// Where a child leaves its expectations for the test that runs it.
pub(super) const NOTES: &str = "expected.json";

/// A child's folder, and the rows that it must leave behind.
pub(super) struct Stage {
    pub(super) at: PathBuf,
    /// The folder `sub`, opened.
    pub(super) sub: RawFd,
    expected: Vec<Value>,
}

/// One way to name a file.
pub(super) struct Form {
    /// Of the folder; `AT_FDCWD` for the working directory.
    pub(super) dirfd: RawFd,
    /// As the call gets it.
    pub(super) given: Vec<u8>,
    /// Where it really is.
    pub(super) real: PathBuf,
    /// What the row calls it.
    pub(super) text: String,
}

/// What a call is given: one name, and for those that take two, another.
pub(super) struct At<'a> {
    pub(super) dirfd: RawFd,
    pub(super) path: &'a CString,
    pub(super) new: &'a CString,
}

// === impl Stage ===

impl Stage {
    pub(super) fn new() -> Self {
        let at = std::env::current_dir().unwrap();
        std::fs::create_dir(at.join("sub")).unwrap();
        std::fs::create_dir(at.join("d".repeat(200))).unwrap();
        std::os::unix::fs::symlink("sub", at.join("link")).unwrap();
        let sub = std::fs::File::open(at.join("sub")).unwrap();
        Self { at, sub: std::os::fd::IntoRawFd::into_raw_fd(sub), expected: Vec::new() }
    }

    /// A path in the child's folder, as text.
    pub(super) fn text(&self, name: &str) -> String {
        format!("{}/{name}", self.at.display())
    }

    /// Exactly one row must be of this call, result, these cells and arguments.
    pub(super) fn expect(
        &mut self,
        evt_type: &str,
        ret: i64,
        cells: &[(&str, Value)],
        arguments: &[(&str, &str)],
    ) {
        self.expect_of(std::process::id(), evt_type, ret, cells, arguments);
    }

    /// Likewise of another process.
    pub(super) fn expect_of(
        &mut self,
        pid: u32,
        evt_type: &str,
        ret: i64,
        cells: &[(&str, Value)],
        arguments: &[(&str, &str)],
    ) {
        let mut row = Map::new();
        row.insert("evt_type".into(), evt_type.into());
        row.insert("proc_pid".into(), pid.into());
        row.insert("evt_rawres".into(), ret.into());
        row.insert("evt_res".into(), flags::result(ret).into());
        row.insert("evt_failed".into(), (ret < 0).into());
        for (name, value) in cells {
            row.insert((*name).into(), value.clone());
        }
        self.expected.push(json!({ "cells": row, "arguments": arguments }));
    }

    /// Exactly one row must be of this event, which is no call and has no result.
    pub(super) fn expect_event(&mut self, evt_type: &str, cells: &[(&str, Value)], arguments: &[(&str, &str)]) {
        let mut row = Map::new();
        row.insert("evt_type".into(), evt_type.into());
        row.insert("proc_pid".into(), std::process::id().into());
        row.extend(cells.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.expected.push(json!({ "cells": row, "arguments": arguments }));
    }

    /// Leaves the expectations where the test finds them.
    pub(super) fn write(&self) {
        std::fs::write(self.at.join(NOTES), serde_json::to_vec(&self.expected).unwrap()).unwrap();
    }

    /// Names of every kind below the working directory.
    pub(super) fn forms(&self, base: &str) -> Vec<Form> {
        let long = format!("{}/{base}-{}", "d".repeat(200), "f".repeat(200));
        let strange = [base.as_bytes(), b"-\xff\xfe"].concat();
        let control = format!("{base}-\n\u{1b}[31m");
        let absolute = self.text(&format!("{base}-absolute"));
        let dotted = self.text(&format!("sub/../{base}-dotted"));
        let mut forms = vec![
            self.form(format!("{base}-relative").as_bytes(), format!("{base}-relative").as_bytes()),
            self.form(format!("./sub/..//{base}-dots").as_bytes(), format!("{base}-dots").as_bytes()),
            self.form(format!("link/{base}-linked").as_bytes(), format!("link/{base}-linked").as_bytes()),
            self.form(long.as_bytes(), long.as_bytes()),
            self.form(&strange, &strange),
            self.form(control.as_bytes(), control.as_bytes()),
        ];
        // An absolute path is told as it was given.
        for (given, name) in [(absolute, "absolute"), (dotted, "dotted")] {
            let form = self.form(given.as_bytes(), format!("{base}-{name}").as_bytes());
            forms.push(Form { text: given, ..form });
        }
        forms
    }

    /// A name below the folder whose descriptor is given.
    pub(super) fn below(&self, base: &str) -> Form {
        let name = format!("{base}-below");
        let form = self.form(name.as_bytes(), format!("sub/{name}").as_bytes());
        Form { dirfd: self.sub, ..form }
    }

    fn form(&self, given: &[u8], name: &[u8]) -> Form {
        let real = self.at.join(OsStr::from_bytes(name));
        let text = paths::text(real.as_os_str().as_bytes()).into_owned();
        Form { dirfd: libc::AT_FDCWD, given: given.to_owned(), real, text }
    }

    /// A name of a file that is there.
    pub(super) fn file(&self, name: &str) -> CString {
        let path = self.at.join(name);
        std::fs::write(&path, b"x").unwrap();
        c(&path)
    }
}

/// A path as calls take it.
pub(super) fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// A call by its number; what the kernel answered, errors as negative numbers.
pub(super) fn sys(number: libc::c_long, args: &[u64]) -> i64 {
    let arg = |at: usize| args.get(at).copied().unwrap_or(0);
    // Safety: callers give pointers to what they own, or to nothing on purpose.
    let ret = unsafe { libc::syscall(number, arg(0), arg(1), arg(2), arg(3), arg(4), arg(5)) };
    if ret == -1 { -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap()) } else { ret }
}

/// The number that a pointer is.
pub(super) fn p<T: ?Sized>(of: &T) -> u64 {
    std::ptr::from_ref(of).cast::<u8>() as u64
}

/// The number that a string's pointer is.
pub(super) fn s(of: &CString) -> u64 {
    of.as_ptr() as u64
}

/// The number that a descriptor is in a register.
pub(super) fn fd(number: RawFd) -> u64 {
    u64::from(number.cast_unsigned())
}

/// Runs `work` in a process of its own, with one thread, and gives its pid and
/// answer. It must not allocate.
pub(super) fn forked(work: impl FnOnce() -> i64) -> (u32, i64) {
    let (mut answers, mut told) = ([0; 2], [0_u8; 8]);
    // Safety: the child only makes calls and ends without cleaning up.
    unsafe {
        assert_eq!(libc::pipe(answers.as_mut_ptr()), 0);
        let pid = libc::fork();
        assert!(pid >= 0);
        if pid == 0 {
            let answer = work().to_ne_bytes();
            libc::write(answers[1], answer.as_ptr().cast(), answer.len());
            libc::_exit(0);
        }
        libc::close(answers[1]);
        let read = libc::read(answers[0], told.as_mut_ptr().cast(), told.len());
        assert_eq!(read, 8, "the forked child ended early");
        libc::waitpid(pid, std::ptr::null_mut(), 0);
        libc::close(answers[0]);
        (u32::try_from(pid).unwrap(), i64::from_ne_bytes(told))
    }
}

/// Runs `work`, which is to start another program, in a process of its own; its
/// pid, when that program has ended well.
pub(super) fn spawned(work: impl FnOnce()) -> u32 {
    let mut status = 0;
    // Safety: the child only makes calls and ends without cleaning up.
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0);
        if pid == 0 {
            work();
            libc::_exit(99);
        }
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "ended with {status:#x}");
        u32::try_from(pid).unwrap()
    }
}
