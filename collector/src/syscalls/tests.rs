//! Real calls, in children of this process, found as rows.
//!
//! A child is this very test binary, told by an environment variable what to
//! do, so that it makes exactly the calls that a test names.

use std::ffi::{CString, OsString};
use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bailiwick_proto::ship::Outbox;
use serde_json::{Map, Value};

use super::*;
use crate::spool::Spool;

mod actors;
mod bad_input;
mod cgroup_v1;
mod child;
#[cfg(target_arch = "x86_64")]
mod compat;
mod containers;
mod every_call;
mod overload;
mod own;
mod stage;

type Row = Map<String, Value>;

/// Whether kernel programs cannot be loaded; prints why a test is skipped.
fn cannot_load() -> bool {
    if nix::unistd::geteuid().is_root() && Path::new("/sys/kernel/btf/vmlinux").exists() {
        return false;
    }
    assert!(std::env::var_os("BAILIWICK_REQUIRE_KERNEL").is_none(), "needs root and BTF");
    println!("skipped: needs root and a kernel with BTF");
    true
}

/// One capture at a time, so that none has to take another test's flood.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Captures while `work` runs, from the first call to the last: rows of
/// `syscalls` and of `losses`. What `work` answers is dropped when everything
/// was read: a child in it lives until then, so that /proc knows it.
async fn capture<T: Send + 'static>(
    change: impl FnOnce(&mut Config),
    work: impl FnOnce() -> T + Send + 'static,
) -> (Vec<Row>, Vec<Row>) {
    capture_with(Pods::default(), change, work).await
}

/// The same with pods that the API has told of.
async fn capture_with<T: Send + 'static>(
    pods: Pods,
    change: impl FnOnce(&mut Config),
    work: impl FnOnce() -> T + Send + 'static,
) -> (Vec<Row>, Vec<Row>) {
    let _turn = TURN.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config {
        node: "n1".into(),
        cluster: "c1".into(),
        spool_dir: dir.path().join("spool"),
        ..Config::default()
    };
    config.syscalls.enabled = Enabled::On;
    change(&mut config);
    let (stop, spool_stop) = (CancellationToken::new(), CancellationToken::new());
    let spool = Spool::open(&config, Metrics::default(), spool_stop).unwrap();
    let mut outbox = spool.outbox_maker()();
    let outlet = Outlet::new("n1".into(), "c1".into(), spool.sender(), Metrics::default());
    let metrics = Metrics::default();
    let started = start(&config, outlet.clone(), pods, Sightings::default(), metrics.clone(), stop.clone())
        .await
        .unwrap();
    assert!(matches!(started.status.state, SourceState::Running { .. }), "{:?}", started.status);
    let alive = tokio::task::spawn_blocking(work).await.unwrap();
    stop.cancel();
    started.task.unwrap().await.unwrap();
    // Whatever happened.
    let known = usize::try_from(metrics.processes.get()).unwrap();
    assert!(known > 0 && known <= config.syscalls.max_processes, "{known} processes");
    drop(alive);
    outlet.flush_losses().await;
    spool.close().await;
    let (mut rows, mut losses) = (Vec::new(), Vec::new());
    let mut seq = 0;
    while let Some(batch) = outbox.next(seq).await.unwrap() {
        seq += 1;
        let into = if batch.table == Table::Losses { &mut losses } else { &mut rows };
        let schema = batch.table.wire_schema();
        let batch = bailiwick_proto::wire::decode(&batch.arrow_ipc, batch.crc32c, &schema).unwrap();
        let mut json = arrow::json::ArrayWriter::new(Vec::new());
        // A time with a zone's name cannot be written so.
        let timeless = |index: &usize| {
            !matches!(schema.field(*index).data_type(), arrow::datatypes::DataType::Timestamp(..))
        };
        let columns: Vec<usize> = (0..batch.num_columns()).filter(timeless).collect();
        json.write(&batch.project(&columns).unwrap()).unwrap();
        json.finish().unwrap();
        into.extend(serde_json::from_slice::<Vec<Row>>(&json.into_inner()).unwrap());
    }
    (rows, losses)
}

/// The rows of the default capture of `work`.
async fn rows<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Vec<Row> {
    capture(|_| {}, work).await.0
}

/// The one row for which all of these hold.
fn the<'a>(rows: &'a [Row], wanted: &[(&str, Value)]) -> &'a Row {
    let found: Vec<_> =
        rows.iter().filter(|row| wanted.iter().all(|(name, value)| row.get(*name) == Some(value))).collect();
    if found.len() != 1 {
        let name = wanted.last().unwrap().0;
        let near =
            rows.iter().map(|row| row.get(name).cloned().unwrap_or_default()).take(200).collect::<Vec<_>>();
        panic!("{} rows with {wanted:?} of {}; {name} is {near:?}", found.len(), rows.len());
    }
    found[0]
}

fn has(row: &Row, expected: &[(&str, Value)]) {
    for (name, value) in expected {
        assert_eq!(row.get(*name).unwrap_or(&Value::Null), value, "{name} of {row:#?}");
    }
}

fn argument<'a>(row: &'a Row, name: &str) -> &'a str {
    let pairs = row["evt_arg"].as_array().unwrap();
    let pair = pairs.iter().find(|pair| pair["name"] == name);
    pair.unwrap_or_else(|| panic!("no argument {name} in {pairs:?}"))["value"].as_str().unwrap()
}

fn unique(name: &str) -> String {
    format!("bwk-{name}-{}", std::process::id())
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_and_its_child_are_rows_from_start_to_end() {
    if cannot_load() {
        return;
    }
    let marker = unique("life");
    let script = format!(": '{marker}  x'; /bin/true; exit 3");
    let command = script.clone();
    let rows = rows(move || {
        let status = quiet(Command::new("/bin/sh").args(["-c", &command])).status().unwrap();
        assert_eq!(status.code(), Some(3));
    })
    .await;
    let shell = std::fs::canonicalize("/bin/sh").unwrap();
    let cmdline = format!("sh -c {script}");
    let exec = the(&rows, &[("evt_type", "execve".into()), ("proc_cmdline", cmdline.clone().into())]);
    let own = std::fs::read_to_string("/proc/self/comm").unwrap();
    let user = if nix::unistd::geteuid().is_root() { "root" } else { "<NA>" };
    has(
        exec,
        &[
            ("node", "n1".into()),
            ("cluster", "c1".into()),
            ("observed", "live".into()),
            ("lane", "process".into()),
            ("evt_res", "SUCCESS".into()),
            ("evt_failed", false.into()),
            ("proc_name", "sh".into()),
            ("proc_exe", "/bin/sh".into()),
            ("proc_exepath", shell.to_str().unwrap().into()),
            ("proc_args", format!("-c {script}").into()),
            ("proc_ppid", std::process::id().into()),
            ("user_uid", 0.into()),
            ("user_name", user.into()),
            ("group_name", "root".into()),
            ("container_id", "host".into()),
            ("proc_is_exe_from_memfd", false.into()),
        ],
    );
    assert!(own.trim().starts_with(exec["proc_pname"].as_str().unwrap()), "{own}");
    assert_eq!(exec["proc_ancestors"][0]["pid"], std::process::id());
    assert_eq!(argument(exec, "comm"), "sh");

    let pid = &exec["proc_pid"];
    let fork = the(&rows, &[("evt_type", "clone".into()), ("proc_pid", pid.clone())]);
    let child = &fork["evt_rawres"];
    has(fork, &[("exec_id", exec["exec_id"].clone()), ("proc_cmdline", cmdline.clone().into())]);
    let truth = the(&rows, &[("evt_type", "execve".into()), ("proc_pid", child.clone())]);
    has(
        truth,
        &[
            ("proc_name", "true".into()),
            ("proc_cmdline", "true".into()),
            ("proc_pname", "sh".into()),
            ("proc_pcmdline", cmdline.clone().into()),
            ("proc_ppid", pid.clone()),
        ],
    );
    assert_ne!(truth["exec_id"], exec["exec_id"]);
    let end = the(&rows, &[("evt_type", "procexit".into()), ("proc_pid", child.clone())]);
    has(end, &[("proc_exit_code", 0.into()), ("exec_id", truth["exec_id"].clone())]);
    let end = the(&rows, &[("evt_type", "procexit".into()), ("proc_pid", pid.clone())]);
    has(
        end,
        &[
            ("proc_exit_code", 3.into()),
            ("proc_cmdline", cmdline.into()),
            ("exec_id", exec["exec_id"].clone()),
        ],
    );
    // In capture order, within one run.
    assert!(exec["seq"].as_i64() < fork["seq"].as_i64() && fork["seq"].as_i64() < end["seq"].as_i64());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_and_one_that_runs_two_programs() {
    if cannot_load() {
        return;
    }
    let marker = unique("two");
    let script = format!("exec /bin/sh -c 'kill -9 $$' {marker}");
    let (first, second) = (format!("sh -c {script}"), format!("sh -c kill -9 $$ {marker}"));
    let rows = rows(move || {
        let status = quiet(Command::new("/bin/sh").args(["-c", &script])).status().unwrap();
        assert_eq!(status.signal(), Some(9));
    })
    .await;
    let first = the(&rows, &[("evt_type", "execve".into()), ("proc_cmdline", first.into())]);
    let second = the(&rows, &[("evt_type", "execve".into()), ("proc_cmdline", second.into())]);
    assert_eq!(first["exec_id"], second["exec_id"], "an execve makes no new process");
    let end = the(&rows, &[("evt_type", "procexit".into()), ("proc_pid", first["proc_pid"].clone())]);
    has(end, &[("proc_exit_code", 137.into()), ("proc_cmdline", second["proc_cmdline"].clone())]);
    assert_eq!(argument(end, "sig"), "9");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_and_strange_arguments() {
    if cannot_load() {
        return;
    }
    let marker = unique("args");
    let long = "l".repeat(3_000);
    let strange = OsString::from_vec(b"\xff\xfe\n tab\t".to_vec());
    let arguments = [OsString::from(&marker), long.clone().into(), strange, "".into(), "end".into()];
    let rows = rows(move || {
        quiet(Command::new("/bin/echo").args(arguments)).status().unwrap();
    })
    .await;
    let expected = format!("echo {marker} {long} \\xff\\xfe\n tab\t  end");
    let exec = the(&rows, &[("evt_type", "execve".into()), ("proc_cmdline", expected.into())]);
    has(exec, &[("proc_exe", "/bin/echo".into())]);
}

/// The rows of `opens`, and the folder that they were made in.
async fn opens() -> (Vec<Row>, String) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().canonicalize().unwrap();
    let ran = folder.clone();
    let rows = rows(move || child::run("opens", &ran)).await;
    (rows, folder.to_str().unwrap().to_owned())
}

/// The one open of this path by a child that works in `at`.
fn opened<'a>(rows: &'a [Row], at: &str, evt_type: &str, name: &str) -> &'a Row {
    let row = the(rows, &[("evt_type", evt_type.into()), ("fd_name", name.into())]);
    has(row, &[("lane", "file".into()), ("proc_cwd", format!("{at}/").into()), ("fd_typechar", "f".into())]);
    row
}

#[tokio::test(flavor = "multi_thread")]
async fn opens_with_every_kind_of_path() {
    if cannot_load() {
        return;
    }
    let (rows, at) = opens().await;
    let at = at.as_str();
    let created = opened(&rows, at, "openat", &format!("{at}/created"));
    has(
        created,
        &[
            ("evt_res", "SUCCESS".into()),
            ("evt_is_open_create", true.into()),
            ("evt_is_open_write", true.into()),
            ("evt_is_open_read", false.into()),
            ("evt_is_open_exec", false.into()),
            ("fd_directory", at.into()),
            ("fd_filename", "created".into()),
            ("fd_nameraw", format!("{at}/./x/../created").into()),
            ("fd_num", created["evt_rawres"].clone()),
        ],
    );
    assert_eq!(argument(created, "flags"), "O_TRUNC|O_CREAT|O_WRONLY|O_CLOEXEC|O_F_CREATED");
    assert_eq!(argument(created, "mode"), "0640");
    assert_eq!(argument(created, "fd"), format!("<f>{at}/created"));
    let relative = opened(&rows, at, "openat", &format!("{at}/relative"));
    let wanted = [
        ("fd_nameraw", "relative".into()),
        ("evt_is_open_read", true.into()),
        ("evt_is_open_create", false.into()),
    ];
    has(relative, &wanted);
    assert_eq!(argument(relative, "dirfd"), "AT_FDCWD");
    let below = opened(&rows, at, "openat", &format!("{at}/sub/below"));
    has(below, &[("fd_nameraw", "below".into())]);
    assert_eq!(argument(below, "dirfd"), format!("<d>{at}/sub"));
    opened(&rows, at, "openat", &format!("{at}/non\\xff-utf8"));
    let long = format!("{at}/{}/{}", "d".repeat(200), "f".repeat(200));
    has(opened(&rows, at, "openat", &long), &[("evt_res", "SUCCESS".into())]);
    let folder = the(&rows, &[("evt_type", "openat".into()), ("fd_name", format!("{at}/sub").into())]);
    has(folder, &[("fd_type", "directory".into()), ("fd_typechar", "d".into())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn opens_by_every_call_and_those_that_fail() {
    if cannot_load() {
        return;
    }
    let (rows, at) = opens().await;
    let at = at.as_str();
    let exec = the(&rows, &[("evt_type", "execve".into()), ("proc_cwd", format!("{at}/").into())]);
    let own = std::env::current_exe().unwrap();
    has(exec, &[("proc_exepath", own.to_str().unwrap().into()), ("proc_is_exe_writable", true.into())]);

    let plain = opened(&rows, at, "open", &format!("{at}/relative"));
    has(plain, &[("evt_is_open_read", true.into()), ("evt_is_open_write", true.into())]);
    let made = opened(&rows, at, "creat", &format!("{at}/made"));
    for name in ["evt_is_open_write", "evt_is_open_create", "evt_is_open_exec"] {
        has(made, &[(name, true.into())]);
    }
    let second = opened(&rows, at, "openat2", &format!("{at}/relative"));
    has(second, &[("evt_res", "ELOOP".into())]);
    assert_eq!(argument(second, "resolve"), "RESOLVE_NO_SYMLINKS");

    let missing = opened(&rows, at, "openat", &format!("{at}/missing"));
    let wanted = [
        ("evt_res", "ENOENT".into()),
        ("evt_rawres", (-2).into()),
        ("evt_failed", true.into()),
        ("fd_num", (-1).into()),
    ];
    has(missing, &wanted);
    assert_eq!(argument(missing, "fd"), "ENOENT");
    let bad = the(&rows, &[("evt_type", "openat".into()), ("fd_nameraw", "bad-folder".into())]);
    has(bad, &[("evt_res", "EBADF".into()), ("fd_name", "<UNKNOWN>/bad-folder".into())]);
    let nowhere = the(&rows, &[("exec_id", exec["exec_id"].clone()), ("evt_res", "EFAULT".into())]);
    has(nowhere, &[("fd_name", Value::Null), ("evt_type", "openat".into())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_kept_only_when_asked_for() {
    if cannot_load() {
        return;
    }
    for asked in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().canonicalize().unwrap();
        let ran = folder.clone();
        let change = move |config: &mut Config| config.syscalls.environment = asked;
        let (rows, _) = capture(change, move || child::run("opens", &ran)).await;
        let cwd = format!("{}/", folder.display());
        let exec = the(&rows, &[("evt_type", "execve".into()), ("proc_cwd", cwd.into())]);
        let variables = exec.get("proc_env").and_then(Value::as_array);
        let found =
            variables.is_some_and(|variables| variables.contains(&"BAILIWICK_TEST_CALLS=opens".into()));
        assert_eq!((variables.is_some(), found), (asked, asked));
    }
}

/// Goal: without privilege the reason is told, and is an error only where capture
/// was demanded. Method: a child that gives its privileges up.
#[test]
fn without_privilege_it_says_so() {
    if cannot_load() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    drop(child::run("unprivileged", dir.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_every_family() {
    if cannot_load() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().canonicalize().unwrap();
    let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).ok();
    let (_reserved, closed) = reserved_port();
    let _unix = UnixListener::bind(folder.join("door")).unwrap();
    let (open4, open6) =
        (v4.local_addr().unwrap(), v6.as_ref().map(|listener| listener.local_addr().unwrap()));
    let ports = format!("{} {} {}", open4.port(), closed.port(), open6.map_or(0, |addr| addr.port()));
    std::fs::write(folder.join("ports"), ports).unwrap();
    let ran = folder.clone();
    let rows = rows(move || child::run("connects", &ran)).await;
    let at = folder.to_str().unwrap();
    let accepted = v4.accept().unwrap().1;
    let went =
        the(&rows, &[("evt_type", "connect".into()), ("fd_name", format!("{accepted}->{open4}").into())]);
    has(
        went,
        &[
            ("lane", "network".into()),
            ("evt_res", "SUCCESS".into()),
            ("fd_type", "ipv4".into()),
            ("fd_typechar", "4".into()),
            ("fd_l4proto", "tcp".into()),
            ("fd_sockfamily", "ip".into()),
            ("fd_cip", "127.0.0.1".into()),
            ("fd_cport", accepted.port().into()),
            ("fd_sip", "127.0.0.1".into()),
            ("fd_sport", open4.port().into()),
            ("fd_lport", accepted.port().into()),
            ("fd_rport", open4.port().into()),
        ],
    );
    assert_eq!(argument(went, "fd"), format!("<4t>{accepted}->{open4}"));
    let to = |addr: SocketAddr, res: &str, proto: &str| {
        let wanted = [
            ("evt_type", "connect".into()),
            ("fd_sip", addr.ip().to_string().into()),
            ("fd_sport", addr.port().into()),
            ("evt_res", res.into()),
            ("fd_l4proto", proto.into()),
            ("proc_cwd", format!("{at}/").into()),
        ];
        the(&rows, &wanted)
    };
    has(to(closed, "ECONNREFUSED", "tcp"), &[("evt_failed", true.into()), ("evt_rawres", (-111).into())]);
    to(open4, "SUCCESS", "udp");
    to(SocketAddr::from(([127, 9, 9, 9], 9)), "EBADF", "<NA>");
    if let Some(open6) = open6 {
        has(to(open6, "SUCCESS", "tcp"), &[("fd_typechar", "6".into()), ("fd_cip", "::1".into())]);
    }
    let door = the(&rows, &[("evt_type", "connect".into()), ("fd_name", format!("{at}/door").into())]);
    has(door, &[("fd_type", "unix".into()), ("fd_typechar", "u".into()), ("evt_res", "SUCCESS".into())]);
    let wall = the(&rows, &[("evt_type", "connect".into()), ("fd_name", format!("{at}/wall").into())]);
    has(wall, &[("evt_res", "ENOENT".into())]);
    let abstracted = the(&rows, &[("evt_type", "connect".into()), ("fd_name", format!("@{at}").into())]);
    has(abstracted, &[("evt_res", "ECONNREFUSED".into())]);
}

/// An address that is taken and that nobody listens at.
fn reserved_port() -> (OwnedFd, SocketAddr) {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, socket};
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).unwrap();
    bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    let port = getsockname::<SockaddrIn>(socket.as_raw_fd()).unwrap().port();
    (socket, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// A cgroup's folder, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(top: &str, rest: &str) -> Self {
        let mount = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(PathBuf::from);
        let mount = mount.into_iter().find(|mount| mount.join("cgroup.procs").exists()).unwrap();
        Self::at(mount.join(top).join(rest))
    }

    fn at(folder: PathBuf) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let mut folder = self.0.clone();
        for _ in 0..200 {
            while std::fs::remove_dir(&folder).is_ok() && folder.pop() {}
            if !self.0.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Goal: a process's container and pod are known from its cgroup, whether that
/// was made before the capture began or during it.
#[tokio::test(flavor = "multi_thread")]
async fn containers_are_told_from_cgroups() {
    if cannot_load() {
        return;
    }
    let id = "c".repeat(63) + "1";
    let uid = "0a11ce00-0000-4000-8000-0000000000ff";
    let inside = format!("kubepods/burstable/pod{uid}/{id}");
    let top = unique("cgroup");
    let before = Folder::new(&top, &inside);
    let made = top.clone() + "-late";
    let (marker, within, early) = (unique("inside"), inside.clone(), before.0.clone());
    let rows = rows(move || {
        let late = Folder::new(&made, &within);
        for (name, folder) in [("early", &early), ("late", &late.0)] {
            let script =
                format!("echo $$ > {}/cgroup.procs && exec /bin/sh -c ': {name} {marker}'", folder.display());
            assert!(quiet(Command::new("/bin/sh").args(["-c", &script])).status().unwrap().success());
        }
        late
    })
    .await;
    for (name, top) in [("early", top.clone()), ("late", top + "-late")] {
        let cmdline = format!("sh -c : {name} {}", unique("inside"));
        let row = the(&rows, &[("evt_type", "execve".into()), ("proc_cmdline", cmdline.into())]);
        has(
            row,
            &[
                ("cgroup_path", format!("/{top}/{inside}").into()),
                ("container_id", id.clone().into()),
                ("k8s_pod_uid", uid.into()),
            ],
        );
        assert!(row["cgroup_id"].as_i64().unwrap() > 1);
    }
}
