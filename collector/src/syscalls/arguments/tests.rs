use std::fmt::Write;

use bailiwick_collector_ebpf::calls::{CALLS, Program, id};
use bailiwick_collector_ebpf::{ADDRESS_MAX, File, flag, text};
use proptest::prelude::*;

use super::decode::{Call, Socket};
use super::*;

const AT_FDCWD: u64 = 0xffff_ff9c;

fn call(id: u16, ret: i64, args: [u64; 6]) -> Call<'static> {
    let file = File { ino: 77, dev: 0x0010_0203, mode: 0o100_644 };
    Call { ret, args, file, weight: 1, call: id, texts: [&[]; text::COUNT] }
}

/// Two users and two groups.
fn users() -> Users {
    let dir = tempfile::tempdir().unwrap();
    let (passwd, group) = (dir.path().join("passwd"), dir.path().join("group"));
    std::fs::write(&passwd, "root:x:0:0::/:/bin/sh\nalice:x:3:3::/:/bin/sh\n").unwrap();
    std::fs::write(&group, "root:x:0:\nstaff:x:3:\n").unwrap();
    Users::of(passwd, group)
}

fn names<'a>(users: &'a Users) -> Names<'a> {
    Names {
        path: Some("/work/a"),
        path2: Some("/work/sub/b"),
        folder: Some("/work"),
        folder2: Some("/work/sub"),
        target: Some("/work/real"),
        raw: Some("a"),
        raw2: Some("b"),
        socket: None,
        users: Some(users),
    }
}

fn line(name: &str, pairs: &Pairs) -> String {
    pairs.iter().fold(name.to_owned(), |mut line, (name, value)| {
        let _ = write!(line, " {name}={value}");
        line
    })
}

/// A call of every id, in the order of their ids, then those that fail.
#[test]
fn every_call_in_falcos_words() {
    let users = users();
    let mut lines = Vec::new();
    for (id, info) in CALLS.iter().enumerate().skip(1) {
        let id = u16::try_from(id).unwrap();
        let args = [3, 1, 2, 0o644, 0x100, 0];
        if info.program == Program::Socket {
            let names = SocketNames {
                tuple: "10.0.0.1:4000->10.0.0.2:443",
                typechar: "4",
                address: "10.0.0.2:443",
                l4proto: Some("tcp"),
            };
            lines.push(line(info.name, &of_socket(&socket(id, 5, args), &names, Pairs::default())));
            continue;
        }
        let ret = if info.only_failed { -2 } else { 5 };
        let mut made = call(id, ret, args);
        let extra: [u8; 64] = std::array::from_fn(|at| if at % 8 == 0 { 1 } else { 0 });
        made.texts[text::EXTRA] = match info.shape.bits & 0b1_0010 {
            0 => b"word\0more\0",
            _ => &extra,
        };
        let flags = flag::BY_FOLDER | flag::BY_FOLDER2;
        lines.push(line(info.name, &of(&made, flags, &names(&users), Pairs::default())));
    }
    insta::assert_snapshot!(lines.join("\n"));
}

fn told(id: u16, ret: i64, args: [u64; 6], names: &Names<'_>) -> String {
    line("", &of(&call(id, ret, args), 0, names, Pairs::default())).trim_start().to_owned()
}

#[test]
fn bits_that_rules_ask_for() {
    let users = users();
    let names = &names(&users);
    for (id, args, expected) in [
        (id::UNSHARE, [0x1002_0000, 0, 0, 0, 0, 0], "res=0 flags=CLONE_NEWNS|CLONE_NEWUSER"),
        (id::UNSHARE, [0x1000_0000, 0, 0, 0, 0, 0], "res=0 flags=CLONE_NEWUSER"),
        (id::PTRACE, [0, 0, 0, 0, 0, 0], "res=0 addr=0 data=0 request=PTRACE_TRACEME pid=0"),
        (id::PTRACE, [5, 9, 0xab, 0xcd, 0, 0], "res=0 addr=AB data=CD request=PTRACE_POKEDATA pid=9"),
        (id::PTRACE, [4, 9, 0, 0, 0, 0], "res=0 addr=0 data=0 request=PTRACE_POKETEXT pid=9"),
        (id::PTRACE, [16, 9, 0, 0, 0, 0], "res=0 addr=0 data=0 request=PTRACE_ATTACH pid=9"),
        (id::PTRACE, [0x4206, 9, 0, 0, 0, 0], "res=0 addr=0 data=0 request=PTRACE_SEIZE pid=9"),
        (id::PTRACE, [7, 9, 0, 9, 0, 0], "res=0 addr=0 data=SIGKILL request=PTRACE_CONT pid=9"),
        (id::PTRACE, [999, 9, 0, 9, 0, 0], "res=0 addr=0 data=9 request=PTRACE_UNKNOWN pid=9"),
        (id::BPF, [5, 0, 0, 0, 0, 0], "fd=0 cmd=BPF_PROG_LOAD type=0"),
        (id::BPF, [10, 0, 0, 0, 0, 0], "fd=0 cmd=BPF_PROG_TEST_RUN|BPF_PROG_RUN"),
        (id::BPF, [99, 0, 0, 0, 0, 0], "fd=0 cmd=99"),
        (id::SETUID, [0, 0, 0, 0, 0, 0], "res=0 uid=root"),
        (id::SETUID, [4_000_000_000, 0, 0, 0, 0, 0], "res=0 uid=<NA>"),
        (id::SETREUID, [0xffff_ffff, 0, 0, 0, 0, 0], "res=0 ruid=<NONE> euid=root"),
        (id::MOUNT, [0, 0, 0, 0x1000 | 0x4000, 0, 0], "res=0 dev= dir=/work/a type=b flags=BIND|REC"),
        (id::MOUNT, [0, 0, 0, 0xc0ed_0021, 0, 0], "res=0 dev= dir=/work/a type=b flags=RDONLY|REMOUNT"),
        (id::UMOUNT2, [0, 2, 0, 0, 0, 0], "res=0 name=/work/a flags=DETACH"),
        (id::MEMFD_CREATE, [0, 3, 0, 0, 0, 0], "fd=<m> name= flags=MFD_CLOEXEC|MFD_ALLOW_SEALING"),
    ] {
        assert_eq!(told(id, 0, args, names), expected);
    }
    #[cfg(target_arch = "x86_64")]
    assert!(told(id::PTRACE, 0, [13, 9, 0, 0, 0, 0], names).contains("request=PTRACE_SETREGS"));
}

#[test]
fn modes_are_names_of_permissions_and_kind() {
    for (mode, expected) in [
        (0, "0"),
        (0o100, "S_IXUSR"),
        (0o4755, "S_IXOTH|S_IROTH|S_IXGRP|S_IRGRP|S_IXUSR|S_IWUSR|S_IRUSR|S_ISUID"),
        (0o2000, "S_ISGID"),
        (0o060_600, "S_IWUSR|S_IRUSR|S_IFBLK"),
        (0o020_000, "S_IFCHR"),
        (0o140_001, "S_IXOTH|S_IFSOCK"),
        (0o070_600, "070600"),
    ] {
        assert_eq!(forms::mode(mode), expected);
    }
}

#[test]
fn paths_are_absolute_or_as_given() {
    let users = users();
    let all = names(&users);
    assert_eq!(told(id::UNLINK, 0, [0; 6], &all), "res=0 path=/work/a");
    let given = Names { raw: Some("/work/../work/a"), ..all };
    assert_eq!(told(id::UNLINK, 0, [0; 6], &given), "res=0 path=/work/../work/a");
    let empty = Names { raw: Some(""), ..all };
    assert_eq!(told(id::UNLINK, -2, [0; 6], &empty), "res=ENOENT path=");
    let unread = Names { raw: None, path: None, ..all };
    assert_eq!(told(id::UNLINK, -14, [0; 6], &unread), "res=EFAULT path=<NA>");
    let cwd = [AT_FDCWD, 0, 0x200, 0, 0, 0];
    assert_eq!(told(id::UNLINKAT, 0, cwd, &all), "res=0 dirfd=AT_FDCWD name=/work/a flags=AT_REMOVEDIR");
    assert_eq!(told(id::CHDIR, 0, [0; 6], &all), "res=0 path=a", "what leads there is the new cwd");
}

#[test]
fn an_open_says_what_was_asked_and_what_was_opened() {
    let users = users();
    let all = names(&users);
    let opened =
        "fd=<f>/work/a name=/work/a flags=O_CREAT|O_WRONLY|O_CLOEXEC|O_F_CREATED mode=0640 dev=103 ino=77";
    let mut made = call(id::OPEN, 3, [0, 0o2_000_101, 0o640, 0, 0, 0]);
    made.file.dev = 0x0010_0003;
    assert_eq!(line("", &of(&made, flag::CREATED, &all, Pairs::default())).trim_start(), opened);
    let failed = told(id::OPENAT, -2, [AT_FDCWD, 0, 0, 0o7777, 0, 0], &all);
    assert!(failed.starts_with("fd=ENOENT dirfd=AT_FDCWD name=/work/a flags=O_RDONLY mode=0 "), "{failed}");
    let folder = told(id::OPENAT, 3, [AT_FDCWD, 0, super::super::flags::O_DIRECTORY, 0, 0, 0], &all);
    assert!(folder.starts_with("fd=<d>/work/a "), "{folder}");
}

#[test]
fn a_program_that_did_not_start_has_its_arguments() {
    let users = users();
    let mut made = call(id::EXECVE, -13, [0; 6]);
    made.texts[text::EXTRA] = b"sh\0-c\0echo  x\0\0";
    let text = line("", &of(&made, 0, &names(&users), Pairs::default()));
    assert_eq!(text, " res=EACCES exe=sh args=-c echo  x  filename=/work/a");
}

fn socket(call: u16, ret: i64, args: [u64; 6]) -> Socket {
    Socket {
        ret,
        args,
        ino: 5,
        family: 2,
        socket_type: 1,
        protocol: 6,
        local_port: 4000,
        remote_port: 443,
        call,
        address_len: 0,
        local: [0; 16],
        remote: [0; 16],
        address: [0; ADDRESS_MAX],
    }
}

#[test]
fn a_socket_says_its_family() {
    let none = SocketNames::default();
    let text = |domain, kind, ret| {
        line("", &of_socket(&socket(id::SOCKET, ret, [domain, kind, 768, 0, 0, 0]), &none, Pairs::default()))
    };
    assert_eq!(text(17, 3, 4), " fd=4 domain=AF_PACKET type=3 proto=768");
    assert_eq!(text(1, 0o2_000_001, 4), " fd=4 domain=AF_LOCAL|AF_UNIX type=524289 proto=768");
    assert_eq!(text(99, 1, -97), " fd=EAFNOSUPPORT domain=99 type=1 proto=768");
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(
        id in 0_u16..200,
        ret in any::<i64>(),
        args in any::<[u64; 6]>(),
        extra in proptest::collection::vec(any::<u8>(), 0..80),
        flags in any::<u16>(),
        name in proptest::option::of(".{0,8}"),
        mode in any::<u32>(),
    ) {
        let mut made = call(id, ret, args);
        made.texts[text::EXTRA] = &extra;
        made.file = File { ino: args[0], dev: mode, mode };
        let name = name.as_deref();
        let names = Names { path: name, path2: None, folder: name, folder2: name, target: name, raw: name, raw2: None, socket: None, users: None };
        let pairs = of(&made, flags, &names, Pairs::default());
        prop_assert!(pairs.iter().next().is_some());
        let of_socket = of_socket(&socket(id, ret, args), &SocketNames { typechar: "4", ..SocketNames::default() }, Pairs::default());
        prop_assert!(of_socket.iter().next().is_some());
    }

    #[test]
    fn every_bit_is_told_once(number in any::<u64>()) {
        for known in [names::CLONE, names::MOUNT, names::PERMISSIONS, names::IO_URING_FEATURES] {
            let text = forms::bits(number, known);
            let told: u64 = text.split('|').filter_map(|name| known.iter().find(|(_, known)| *known == name)).map(|(bits, _)| bits).sum();
            let all: u64 = known.iter().map(|(bits, _)| bits).sum();
            prop_assert_eq!(told, number & all);
        }
    }
}
