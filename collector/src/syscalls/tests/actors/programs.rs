//! Programs that start: from where, by whom, with what they inherit.

use std::ffi::CString;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::Value;

use super::super::stage::{Stage, c, fd, p, s, spawned, sys};
use super::Actor;

pub(super) const ACTORS: &[Actor] = &[
    ("a program in memory", in_memory),
    ("a program in layers", in_layers),
    ("a program that may be written", writable),
    ("a descriptor that is inherited", inherited),
    ("a terminal", terminal),
    ("a script", script),
    ("a program of a strange name", strange),
];

/// The facts of a file that a program is started from.
fn facts(path: &Path) -> [(&'static str, Value); 2] {
    let metadata = std::fs::metadata(path).unwrap();
    [("proc_exe_ino", metadata.ino().into()), ("evt_rawres", 0.into())]
}

/// A program that ends at once, and that any user may start.
fn copy_of_true(to: &Path) {
    std::fs::copy("/bin/true", to).unwrap();
    std::fs::set_permissions(to, PermissionsExt::from_mode(0o755)).unwrap();
}

/// Starts a program with these words.
fn start(path: &CString, argv: &[u64]) {
    let environment = [c"LANG=C".as_ptr() as u64, 0];
    sys(libc::SYS_execve, &[s(path), p(argv), p(&environment)]);
}

fn in_memory(stage: &mut Stage) {
    let made = sys(libc::SYS_memfd_create, &[c"payload".as_ptr() as u64, 0]);
    let path = format!("/proc/self/fd/{made}");
    std::fs::write(&path, std::fs::read("/bin/true").unwrap()).unwrap();
    let argv = [c"innocent".as_ptr() as u64, 0];
    let environment = [0_u64];
    let pid = spawned(|| {
        let empty = c"".as_ptr() as u64;
        sys(libc::SYS_execveat, &[made.cast_unsigned(), empty, p(&argv), p(&environment), 0x1000]);
    });
    let cells = [
        ("proc_is_exe_from_memfd", Value::Bool(true)),
        ("proc_exe", "innocent".into()),
        ("proc_exepath", "memfd:payload".into()),
    ];
    stage.expect_of(pid, "execve", 0, &cells, &[("flags", "EXE_WRITABLE|EXE_FROM_MEMFD")]);
    let path = CString::new(path).unwrap();
    let pid = spawned(|| start(&path, &argv));
    stage.expect_of(pid, "execve", 0, &cells, &[("filename", path.to_str().unwrap())]);
    // A file whose name is gone is no memory.
    copy_of_true(Path::new("gone"));
    let gone = std::fs::File::open("gone").unwrap();
    std::fs::remove_file("gone").unwrap();
    let pid = spawned(|| {
        let empty = c"".as_ptr() as u64;
        sys(libc::SYS_execveat, &[fd(gone.as_raw_fd()), empty, p(&argv), p(&environment), 0x1000]);
    });
    stage.expect_of(pid, "execve", 0, &[("proc_is_exe_from_memfd", Value::Bool(false))], &[]);
}

fn in_layers(stage: &mut Stage) {
    let at = stage.text("layers");
    std::fs::create_dir(&at).unwrap();
    // Of this thread only; whatever is mounted goes with it.
    assert_eq!(sys(libc::SYS_unshare, &[libc::CLONE_NEWNS as u64]), 0);
    let private = libc::MS_REC | libc::MS_PRIVATE;
    assert_eq!(sys(libc::SYS_mount, &[0, c"/".as_ptr() as u64, 0, private, 0]), 0);
    let mount = |kind: &CString, on: &CString, data: &CString| {
        assert_eq!(sys(libc::SYS_mount, &[s(kind), s(on), s(kind), 0, s(data)]), 0);
    };
    let word = |text: &str| CString::new(text).unwrap();
    mount(&word("tmpfs"), &word(&at), &word("mode=755"));
    for folder in ["lower", "upper", "work", "merged"] {
        std::fs::create_dir(format!("{at}/{folder}")).unwrap();
    }
    copy_of_true(Path::new(&format!("{at}/lower/low")));
    let data = format!("lowerdir={at}/lower,upperdir={at}/upper,workdir={at}/work");
    mount(&word("overlay"), &word(&format!("{at}/merged")), &word(&data));
    copy_of_true(Path::new(&format!("{at}/merged/high")));
    for (name, upper) in [("low", false), ("high", true)] {
        let path = word(&format!("{at}/merged/{name}"));
        let argv = [s(&path), 0];
        let pid = spawned(|| start(&path, &argv));
        let cells = [
            ("proc_is_exe_upper_layer", Value::Bool(upper)),
            ("proc_exepath", path.to_str().unwrap().into()),
            ("proc_name", name.into()),
        ];
        let flags = if upper { "EXE_WRITABLE|EXE_UPPER_LAYER" } else { "EXE_WRITABLE" };
        stage.expect_of(pid, "execve", 0, &cells, &[("flags", flags)]);
    }
    let plain = CString::new("/bin/true").unwrap();
    let argv = [s(&plain), 0];
    let pid = spawned(|| start(&plain, &argv));
    stage.expect_of(pid, "execve", 0, &[("proc_is_exe_upper_layer", Value::Bool(false))], &[]);
}

fn writable(stage: &mut Stage) {
    std::fs::set_permissions(&stage.at, PermissionsExt::from_mode(0o755)).unwrap();
    let mine = stage.at.join("mine");
    copy_of_true(&mine);
    let path = c(&mine);
    let argv = [s(&path), 0];
    for (user, yes) in [(0, true), (65_533, false)] {
        let pid = spawned(|| {
            sys(libc::SYS_setresuid, &[user, user, user]);
            start(&path, &argv);
        });
        let [ino, res] = facts(&mine);
        let cells = [ino, res, ("proc_is_exe_writable", Value::Bool(yes)), ("user_uid", user.into())];
        stage.expect_of(pid, "execve", 0, &cells, &[("exe", path.to_str().unwrap())]);
    }
}

/// A shell takes over a connection that it was given.
fn inherited(stage: &mut Stage) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let name = format!("{}->{}", stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    let of = fd(stream.as_raw_fd());
    let (shell, script) = (CString::new("/bin/sh").unwrap(), c"exec 5<&7".as_ptr() as u64);
    let argv = [s(&shell), c"-c".as_ptr() as u64, script, 0];
    let pid = spawned(|| {
        sys(libc::SYS_dup3, &[of, 7, 0]);
        start(&shell, &argv);
    });
    let cells = [
        ("fd_num", 5.into()),
        ("fd_name", name.as_str().into()),
        ("fd_type", "ipv4".into()),
        ("proc_name", "sh".into()),
    ];
    let text = format!("<4t>{name}");
    stage.expect_of(pid, "dup2", 5, &cells, &[("res", &text), ("oldfd", &text), ("newfd", &text)]);
}

fn terminal(stage: &mut Stage) {
    let master = sys(libc::SYS_openat, &[0, c"/dev/ptmx".as_ptr() as u64, 2]);
    assert!(master >= 0, "{master}");
    let (unlock, number) = (0_i32, 0_i32);
    sys(libc::SYS_ioctl, &[master.cast_unsigned(), libc::TIOCSPTLCK, p(&unlock)]);
    sys(libc::SYS_ioctl, &[master.cast_unsigned(), libc::TIOCGPTN, p(&number)]);
    let slave = CString::new(format!("/dev/pts/{number}")).unwrap();
    let device = std::fs::metadata(slave.to_str().unwrap()).unwrap().rdev();
    let path = CString::new("/bin/true").unwrap();
    let argv = [s(&path), 0];
    let pid = spawned(|| {
        sys(libc::SYS_setsid, &[]);
        let slave = sys(libc::SYS_openat, &[0, s(&slave), 2]);
        sys(libc::SYS_ioctl, &[slave.cast_unsigned(), libc::TIOCSCTTY, 0]);
        start(&path, &argv);
    });
    let cells = [
        ("proc_tty", device.into()),
        ("proc_sid", pid.into()),
        ("proc_is_sid_leader", Value::Bool(true)),
        ("proc_sname", "true".into()),
    ];
    stage.expect_of(pid, "execve", 0, &cells, &[("tty", &device.to_string())]);
}

fn script(stage: &mut Stage) {
    std::fs::write("script", "#!/bin/sh\nexit 0\n").unwrap();
    std::fs::set_permissions("script", PermissionsExt::from_mode(0o755)).unwrap();
    let path = CString::new("./script").unwrap();
    let argv = [s(&path), c"word".as_ptr() as u64, 0];
    let pid = spawned(|| start(&path, &argv));
    let shell = std::fs::canonicalize("/bin/sh").unwrap();
    let cells = [
        ("proc_name", "script".into()),
        ("proc_exepath", shell.to_str().unwrap().into()),
        ("proc_cmdline", "script ./script word".into()),
    ];
    stage.expect_of(pid, "execve", 0, &cells, &[("filename", "./script"), ("exe", "/bin/sh")]);
}

/// A name is whatever its file's is, a line break and a terminal's commands too.
fn strange(stage: &mut Stage) {
    let name = "odd\n\u{1b}[31m\r\u{7}";
    let path = stage.at.join(name);
    copy_of_true(&path);
    let argument = CString::new("first\nsecond\u{1b}]0;owned\u{7}").unwrap();
    let path = c(&path);
    let pid = spawned(|| start(&path, &[s(&path), s(&argument), 0]));
    let args = argument.to_str().unwrap();
    let cells = [
        ("proc_name", name.into()),
        ("proc_args", args.into()),
        ("proc_cmdline", format!("{name} {args}").into()),
        ("proc_exepath", path.to_str().unwrap().into()),
    ];
    stage.expect_of(pid, "execve", 0, &cells, &[("comm", name)]);
}
