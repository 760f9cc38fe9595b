//! Texts that are longer than what a row keeps, which it says.

use std::ffi::CString;

use bailiwick_collector_ebpf::{ARGS_MAX, PATH_MAX};
use serde_json::Value;

use super::super::stage::{Stage, fd, p, s, spawned, sys};
use super::Actor;

pub(super) const ACTORS: &[Actor] =
    &[("arguments of megabytes", megabytes), ("paths without end", paths), ("programs that fail", failing)];

const CUT: (&str, Value) = ("evt_truncated", Value::Bool(true));
const WHOLE: (&str, Value) = ("evt_truncated", Value::Bool(false));

/// Starts `/bin/true` with these words, which follow its name.
fn start(words: &[&CString]) -> u32 {
    let path = CString::new("/bin/true").unwrap();
    let argv: Vec<u64> = [&path].into_iter().chain(words.iter().copied()).map(s).chain([0]).collect();
    let environment = [0_u64];
    spawned(|| {
        sys(libc::SYS_execve, &[s(&path), p(argv.as_slice()), p(&environment)]);
    })
}

fn word(length: usize) -> CString {
    CString::new(vec![b'm'; length]).unwrap()
}

/// What does not fit is left out, and the rest of the row is as ever.
fn megabytes(stage: &mut Stage) {
    let name = "/bin/true".len() + 1;
    let (long, fits, over) = (word(120_000), word(ARGS_MAX - name - 1), word(ARGS_MAX - name));
    for (words, cut, kept) in [
        (vec![&long; 12], CUT, ARGS_MAX - name),
        (vec![&fits], WHOLE, ARGS_MAX - name - 1),
        // Only the terminator is missing.
        (vec![&over], CUT, ARGS_MAX - name),
    ] {
        let pid = start(&words);
        let args = Value::from("m".repeat(kept));
        let cells = [("proc_name", "true".into()), ("proc_args", args), cut];
        stage.expect_of(pid, "execve", 0, &cells, &[("filename", "/bin/true")]);
    }
}

/// The longest path that the kernel takes is kept whole.
fn paths(stage: &mut Stage) {
    for (length, part, cut, res) in [
        (PATH_MAX - 2, "./", WHOLE, "SUCCESS"),
        (PATH_MAX - 1, "./", WHOLE, "SUCCESS"),
        (PATH_MAX, "./", CUT, "ENAMETOOLONG"),
        (3 * PATH_MAX, "x/", CUT, "ENAMETOOLONG"),
    ] {
        let path = format!("/{}", part.repeat(length));
        let path = CString::new(&path[..length]).unwrap();
        let ret = sys(libc::SYS_openat, &[fd(libc::AT_FDCWD), s(&path), 0, 0]);
        let kept = String::from_utf8_lossy(&path.as_bytes()[..length.min(PATH_MAX - 1)]).into_owned();
        let cells =
            [("fd_nameraw", kept.into()), cut, ("evt_res", res.into()), ("fd_num", ret.max(-1).into())];
        stage.expect("openat", ret, &cells, &[]);
    }
}

/// Of a program that does not start a few words are kept.
fn failing(stage: &mut Stage) {
    let words = |count: usize, length: usize| vec![word(length); count];
    for (number, (words, cut)) in
        [(words(20, 254), CUT), (words(3, 254), WHOLE), (words(3, 255), CUT), (words(25, 2), CUT)]
            .into_iter()
            .enumerate()
    {
        let missing = CString::new(format!("no-program-{number}")).unwrap();
        let argv: Vec<u64> = words.iter().map(s).chain([0]).collect();
        let environment = [0_u64];
        let ret = sys(libc::SYS_execve, &[s(&missing), p(argv.as_slice()), p(&environment)]);
        let filename = stage.text(missing.to_str().unwrap());
        stage.expect("execve", ret, &[cut], &[("res", "ENOENT"), ("filename", &filename)]);
    }
}
