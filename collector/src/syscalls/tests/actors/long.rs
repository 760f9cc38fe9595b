//! Texts that are longer than what a row keeps, which it says.

use std::ffi::CString;

use bailiwick_collector_ebpf::{ARGS_MAX, PATH_MAX};
use serde_json::Value;

use super::super::stage::{Stage, c, fd, p, s, spawned, sys};
use super::Actor;

pub(super) const ACTORS: &[Actor] = &[
    ("arguments of megabytes", megabytes),
    ("paths without end", paths),
    ("programs that fail", failing),
    ("folders without end", folders),
    ("folders of long names", long_names),
];

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

/// Parts of a path that the programs walk at most.
const PARTS: usize = 48;
const HERE: u64 = libc::AT_FDCWD.cast_unsigned() as u64;

/// Makes folders in each other, named by number and so long, and goes down them.
fn go_down(count: usize, length: usize) -> Vec<String> {
    let names: Vec<_> = (0..count).map(|number| format!("{number:0length$}")).collect();
    for name in &names {
        let name = CString::new(name.as_str()).unwrap();
        assert_eq!(sys(libc::SYS_mkdirat, &[HERE, s(&name), 0o755]), 0);
        assert_eq!(sys(libc::SYS_chdir, &[s(&name)]), 0);
    }
    names
}

/// The last so many of these folders, as a path that has more.
fn cut(names: &[String], kept: usize) -> String {
    format!("<UNKNOWN>/{}", names[names.len() - kept..].join("/"))
}

fn make(stage: &mut Stage, dirfd: u64, given: &str, name: &str, truncated: (&str, Value)) -> i64 {
    let path = CString::new(given).unwrap();
    let made = sys(libc::SYS_openat, &[dirfd, s(&path), u64::from(libc::O_CREAT.cast_unsigned()), 0o644]);
    assert!(made >= 0, "{given}");
    let cells = [
        ("fd_nameraw", given.into()),
        ("fd_name", name.into()),
        ("fd_name_resolved", Value::Null),
        ("evt_is_open_create", true.into()),
        truncated,
    ];
    stage.expect("openat", made, &cells, &[]);
    made
}

/// Of a path with more parts than are walked the last are told, and that there
/// were more: whatever they are called, it does not look like one from the root.
fn folders(stage: &mut Stage) {
    let few = go_down(30, 3);
    let whole = stage.text(&few.join("/"));
    make(stage, HERE, "few", &format!("{whole}/few"), WHOLE);

    let names = go_down(60, 3);
    let (folder, file_folder) = (cut(&names, PARTS), cut(&names, PARTS - 1));
    let made = make(stage, HERE, "many", &format!("{folder}/many"), CUT);
    make(stage, HERE, "../../../up", &format!("{}/up", cut(&names[..57], PARTS - 3)), CUT);
    let absolute = format!("{whole}/{}/absolute", names.join("/"));
    make(stage, HERE, &absolute, &absolute, CUT);
    // As many dots as lead to the root of the file system.
    let dots = format!("{}no/such", "../".repeat(200));
    let none = CString::new(dots).unwrap();
    let missing = sys(libc::SYS_openat, &[HERE, s(&none), 0]);
    stage.expect("openat", missing, &[("fd_name", "<UNKNOWN>/no/such".into()), CUT], &[]);

    let target = format!("{file_folder}/many");
    let mode = [made.cast_unsigned(), 0o600];
    assert_eq!(sys(libc::SYS_fchmod, &mode), 0);
    stage.expect("fchmod", 0, &[("fd_name", target.into()), CUT], &[]);

    let (old, new) = (c("many".as_ref()), c("renamed".as_ref()));
    assert_eq!(sys(libc::SYS_renameat2, &[HERE, s(&old), HERE, s(&new), 0]), 0);
    let both = [format!("{folder}/many"), format!("{folder}/renamed")];
    stage.expect("renameat2", 0, &[CUT], &[("oldpath", &both[0]), ("newpath", &both[1])]);

    assert_eq!(sys(libc::SYS_chdir, &[s(&c(".".as_ref()))]), 0);
    stage.expect("chdir", 0, &[CUT], &[("path", ".")]);

    started_deep(stage, &folder, &file_folder);

    let here = c(".".as_ref());
    let below = sys(libc::SYS_openat, &[HERE, s(&here), u64::from(libc::O_DIRECTORY.cast_unsigned())]);
    std::env::set_current_dir("/").unwrap();
    make(stage, below.cast_unsigned(), "below", &format!("{folder}/below"), CUT);
}

/// A program in a folder of which not all parts are told, started in it.
fn started_deep(stage: &mut Stage, folder: &str, file_folder: &str) {
    std::fs::copy("/bin/true", "deep").unwrap();
    let path = c("./deep".as_ref());
    let (argv, environment) = ([s(&path), 0], [0_u64]);
    let pid = spawned(|| {
        sys(libc::SYS_execve, &[s(&path), p(&argv), p(&environment)]);
    });
    let (exepath, cwd) = (format!("{file_folder}/deep"), format!("{folder}/"));
    let cells = [("proc_exepath", exepath.into()), ("proc_cwd", cwd.into()), CUT];
    stage.expect_of(pid, "execve", 0, &cells, &[("filename", "./deep")]);
}

/// A walk also ends where there is no room for another name.
fn long_names(stage: &mut Stage) {
    let names = go_down(20, 250);
    // The 15th name leaves room for one more, that one does not.
    make(stage, HERE, "far", &format!("{}/far", cut(&names, 16)), CUT);
}
