//! What a running service may still do, and what it says to a terminal.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::harness::cgroup::Cgroup;
use crate::harness::scene::{ARGUMENTS, unique};
use crate::harness::{Up, scene, skip, wait_until};

/// Nobody.
const NOBODY: u32 = 65_534;
/// Bits of capabilities.
const DAC_OVERRIDE: u64 = 1 << 1;
const LASTING: u64 = 1 << 2 | 1 << 19;
const BPF: u64 = 1 << 39;

/// A thread's name, and its effective and bounding sets.
type Thread = (String, u64, u64);

fn threads(pid: u32) -> Vec<Thread> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |task: fs::DirEntry| {
        // It may have ended meanwhile.
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        let set = |name: &str| u64::from_str_radix(line(name), 16).unwrap();
        assert_eq!(line("NoNewPrivs:"), "1", "{status}");
        assert_eq!(set("CapPrm:"), set("CapEff:"), "{status}");
        assert_eq!(set("CapInh:") | set("CapAmb:"), 0, "{status}");
        Some((line("Name:").to_owned(), set("CapEff:"), set("CapBnd:")))
    };
    tasks.filter_map(|task| of(task.unwrap())).collect()
}

/// Goal: once a service runs, none of its threads has more than it needs, and it
/// still sees what it should. Method: the sets of every thread; a program of
/// another user, whose executable and folder only the privileged may see.
#[test]
fn a_running_service_has_given_up_its_privileges() {
    if skip::without_kernel() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let marker = unique("protect");
    scene::files(dir.path(), &marker);
    let up = Up::start(dir.path(), &ARGUMENTS);
    let threads = threads(up.pid());
    assert!(threads.len() > 3, "{threads:?}");
    for (name, effective, bounding) in &threads {
        let most = if name == "syscalls" { LASTING | BPF } else { LASTING };
        assert_eq!((effective & !most, bounding & !most), (0, 0), "{name}: {effective:x}, {bounding:x}");
    }
    assert!(threads.iter().any(|(name, ..)| name == "syscalls"), "{threads:?}");

    let hidden = dir.path().join("hidden");
    fs::create_dir(&hidden).unwrap();
    chown(&hidden, Some(NOBODY), None).unwrap();
    let mut other = Command::new("/bin/sleep");
    let mut other = other.arg("60").current_dir(&hidden).uid(NOBODY).gid(NOBODY).spawn().unwrap();
    let row = format!(
        "SELECT count(*) FROM syscalls WHERE evt_type = 'execve' AND proc_pid = {} AND proc_cwd = '{}/' AND proc_exepath LIKE '%/sleep'",
        other.id(),
        hidden.canonicalize().unwrap().display()
    );
    let seen = up.wait_for_count(&row, 1);
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(seen, 1);
    up.terminate();
}

/// Goal: what a person made as an ordinary user, root's service can write to.
#[test]
fn a_folder_of_somebody_elses_stays_usable() {
    if skip::without_kernel() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    scene::files(dir.path(), &unique("owner"));
    fs::create_dir(dir.path().join("data")).unwrap();
    chown(dir.path().join("data"), Some(NOBODY), Some(NOBODY)).unwrap();
    let up = Up::start(dir.path(), &ARGUMENTS);
    for (name, effective, _) in threads(up.pid()) {
        // The thread that empties the rings writes nothing.
        assert_eq!(effective & DAC_OVERRIDE != 0, name != "syscalls", "{name}: {effective:x}");
    }
    up.wait_for_count("SELECT count(*) FROM syscalls", 1);
    up.terminate();
}

/// Goal: who has no privilege runs a server as before, and its memory is not
/// its user's to read. Method: the owner of its /proc entry.
#[test]
fn a_server_without_privileges_runs_and_is_not_to_be_looked_into() {
    if skip::without_kernel() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    scene::files(dir.path(), &unique("nobody"));
    for path in [dir.path().to_owned(), dir.path().join("tenants.yaml"), dir.path().join("bailiwick.toml")] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let up = Up::start_by("serve", dir.path(), &[], Some(NOBODY));
    let owner = fs::metadata(format!("/proc/{}/environ", up.pid())).unwrap().uid();
    assert_eq!(owner, 0, "a process that can be dumped belongs to its user");
    assert!(threads(up.pid()).iter().all(|(_, effective, _)| *effective == 0));
    up.terminate();
}

/// Goal: a process cannot give orders to the terminal of who watches, nor make
/// one alert look like two; and what programs read is exact. Method: arguments
/// with every trick, through the real binary.
#[test]
fn an_alert_is_one_line_whatever_a_process_calls_itself() {
    if skip::without_kernel() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let marker = unique("escape");
    scene::files(dir.path(), &marker);
    let watched = dir.path().join("it-watched-file");
    fs::write(&watched, "x").unwrap();
    let mut up = Up::start(dir.path(), &ARGUMENTS);
    let acme = Cgroup::new(&marker, "acme");
    let tricks = "\x1b[2J\n12:00:00.000 Critical forged\r\u{9b}31m\u{202e}\x7f\x07";
    let script = format!("exec cat {} \"$1\"", watched.display());
    let mut cat = acme.shell(&script);
    cat.args(["sh", tricks]).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();

    let line = up.wait_for_line("watched file opened");
    assert!(line.contains("\\u{1b}[2J\\n12:00:00.000 Critical forged\\r"), "{line:?}");
    let obeyed = |c: char| c.is_control() || c == '\u{202e}';
    let lines = up.lines();
    assert!(lines.iter().all(|line| !line.contains(obeyed)), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("12:00:00.000")), "{lines:?}");

    let asked = "SELECT DISTINCT proc_cmdline FROM syscalls WHERE tenant = 'acme' AND proc_name = 'cat' AND proc_cmdline LIKE '%forged%'";
    wait_until(|| up.rows(asked).len() == 1);
    assert!(up.rows(asked)[0][0].as_str().unwrap().ends_with(tricks), "the table has it exactly");
    let told = |format: &str| {
        let mut sql = Command::new(env!("CARGO_BIN_EXE_bailiwick"));
        sql.current_dir(dir.path()).args([
            "--data-dir",
            "data",
            "sql",
            "--url",
            &up.url(),
            "--format",
            format,
            asked,
        ]);
        String::from_utf8(sql.output().unwrap().stdout).unwrap()
    };
    let table = told("table");
    assert!(table.contains("\\u{1b}") && table.lines().all(|line| !line.contains(obeyed)), "{table:?}");
    // A program gets what the row holds.
    let json: serde_json::Value = serde_json::from_str(&told("json")).unwrap();
    assert!(json["rows"][0][0].as_str().unwrap().ends_with(tricks), "{json}");
    assert!(told("csv").contains(tricks));
    up.terminate();
}
