//! Records, as the kernel programs write them, to rows.
//!
//! Made by hand, so that every order of events can be tried anywhere; the same
//! calls made for real are in the tests of the whole source.

mod speed;

use bailiwick_collector_ebpf::{ADDRESS_MAX, flag, kind};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

type Row = Map<String, Value>;

const SECOND: u64 = 1_000_000_000;
/// When the process of most tests starts: no other of this machine can be it.
const START: u64 = 4_000_000_000 * SECOND;
/// More than any pid, so that /proc cannot know it.
const PID: u32 = 5_000_000;

/// The root of cgroup v2.
const CGROUP_ID: u64 = 1;

/// A record as it grows.
#[derive(Clone)]
struct Made(Vec<u8>);

/// What is said of the process in a header.
#[derive(Debug, Clone, Copy)]
struct Who {
    pid: u32,
    start: u64,
    ppid: u32,
    uid: u32,
    loginuid: u32,
    comm: &'static str,
    flags: u16,
}

const WHO: Who =
    Who { pid: PID, start: START, ppid: 0, uid: 0, loginuid: u32::MAX, comm: "tester", flags: 0 };

impl Made {
    fn of(kind: u16, who: Who, boot_ns: u64) -> Self {
        let mut made = Self(vec![0; 4]).u16(kind).u16(who.flags).u64(boot_ns).u64(CGROUP_ID).u64(who.start);
        for number in [who.pid, who.pid, who.ppid, who.uid, 0, 7, 8, who.loginuid] {
            made = made.u32(number);
        }
        let mut comm = [0; 16];
        comm[..who.comm.len()].copy_from_slice(who.comm.as_bytes());
        made.bytes(&comm).u64(0)
    }

    fn u16(self, number: u16) -> Self {
        self.bytes(&number.to_ne_bytes())
    }

    fn u32(self, number: u32) -> Self {
        self.bytes(&number.to_ne_bytes())
    }

    fn u64(self, number: u64) -> Self {
        self.bytes(&number.to_ne_bytes())
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        let size = u32::try_from(self.0.len()).unwrap().to_ne_bytes();
        self.0[..4].copy_from_slice(&size);
        self
    }
}

/// A path as the kernel programs walk it.
fn walked(path: &str) -> Vec<u8> {
    let parts = path.split('/').rev().filter(|part| !part.is_empty());
    parts.flat_map(|part| [part.as_bytes(), b"\0"].concat()).collect()
}

fn exec(who: Who, boot_ns: u64, exe: &str, args: &[u8], cwd: &str) -> Vec<u8> {
    let (exe, cwd, environment) = (walked(exe), walked(cwd), b"A=1\0B=x y\0");
    let mut made = Made::of(kind::EXEC, who, boot_ns);
    for number in [0b11, 0b1, 0, 77] {
        made = made.u64(number);
    }
    made = made.u32(1 << 20).u32(0o100_755).u64(3_000).u64(2_000).u32(0).u32(0);
    // vpid, sid, pgid, vpgid, tty
    for number in [9, who.pid, who.pid, 9, 34_816] {
        made = made.u32(number);
    }
    let lengths = [args.len(), args.len(), 2, 2, exe.len(), cwd.len(), environment.len()];
    for length in lengths {
        made = made.u32(u32::try_from(length).unwrap());
    }
    made.bytes(args).bytes(b"f\0").bytes(b"i\0").bytes(&exe).bytes(&cwd).bytes(environment).0
}

fn fork(who: Who, boot_ns: u64, child: u32, child_start: u64) -> Vec<u8> {
    Made::of(kind::FORK, who, boot_ns).u64(child_start).u32(child).u32(child).0
}

fn exit(who: Who, boot_ns: u64, status: u32) -> Vec<u8> {
    Made::of(kind::EXIT, who, boot_ns).u32(status).u32(0).0
}

struct TestCall<'a> {
    id: u16,
    ret: i64,
    args: [u64; 6],
    file: (u64, u32, u32),
    weight: u32,
    texts: [&'a [u8]; text::COUNT],
}

const CALL: TestCall<'static> =
    TestCall { id: id::OPENAT, ret: 3, args: [0; 6], file: (0, 0, 0), weight: 1, texts: [b""; text::COUNT] };

fn call(who: Who, boot_ns: u64, call: &TestCall<'_>) -> Vec<u8> {
    let mut made = Made::of(kind::CALL, who, boot_ns).u64(call.ret.cast_unsigned());
    for arg in call.args {
        made = made.u64(arg);
    }
    made = made.u64(call.file.0).u32(call.file.1).u32(call.file.2).u32(call.weight).u16(call.id);
    for text in call.texts {
        made = made.u16(u16::try_from(text.len()).unwrap());
    }
    made = made.bytes(&[0; 6]);
    call.texts.iter().fold(made, |made, text| made.bytes(text)).0
}

/// Opens a path relative to /work that is really a link to `to`.
fn open(who: Who, boot_ns: u64, path: &str, to: &str) -> Vec<u8> {
    let (path, folder, target) = (format!("{path}\0"), walked("/work"), walked(to));
    let texts: [&[u8]; text::COUNT] = [path.as_bytes(), &folder, b"", b"", b"", &target];
    let at_cwd = u64::from(u32::MAX - 99);
    let opened =
        TestCall { args: [at_cwd, 1, 0o2, 0, 0, 0], file: (5, 8 << 20 | 1, 0o100_644), texts, ..CALL };
    call(who, boot_ns, &opened)
}

/// A call about the TCP socket 77 between 10.0.0.1:4000 and 10.0.0.2:443.
fn tcp(who: Who, boot_ns: u64, id: u16, ret: i64) -> Vec<u8> {
    let who = Who { flags: flag::TUPLE | flag::CONNECTED, ..who };
    let mut made = Made::of(kind::SOCKET, who, boot_ns).u64(ret.cast_unsigned());
    for arg in [6, 0, 0, 0, 0, 0, 77] {
        made = made.u64(arg);
    }
    for number in [2, 1, 6, 4_000, 443, id, 8, 0] {
        made = made.u16(number);
    }
    let ip = |last: u8| [&[10, 0, 0, last][..], &[0; 12]].concat();
    let mut address = [0; ADDRESS_MAX];
    address[..8].copy_from_slice(&[2, 0, 1, 187, 10, 0, 0, 2]);
    made.bytes(&ip(1)).bytes(&ip(2)).bytes(&address).0
}

fn capture() -> Capture {
    capture_with(&Syscalls::default())
}

fn capture_with(config: &Syscalls) -> Capture {
    let mut capture = Capture::begin(
        "n1",
        "c1",
        config,
        Pods::default(),
        Hierarchies::of_this_node(),
        Sightings::default(),
    );
    capture.inside = None;
    capture
}

/// The rows that wait, in the order of their numbers.
fn rows(capture: &mut Capture) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for waiting in capture.waiting() {
        let batch = bailiwick_proto::wire::plain(&waiting.columns.finish().unwrap()).unwrap();
        let schema = batch.schema();
        // A time with a zone's name cannot be written so.
        let timeless = |index: &usize| {
            !matches!(schema.field(*index).data_type(), arrow::datatypes::DataType::Timestamp(..))
        };
        let columns: Vec<usize> = (0..batch.num_columns()).filter(timeless).collect();
        let mut json = arrow::json::ArrayWriter::new(Vec::new());
        json.write(&batch.project(&columns).unwrap()).unwrap();
        json.finish().unwrap();
        if batch.num_rows() > 0 {
            rows.extend(serde_json::from_slice::<Vec<Row>>(&json.into_inner()).unwrap());
        }
    }
    rows.sort_by_key(|row| row["seq"].as_i64());
    rows
}

fn taken(records: &[Vec<u8>]) -> Vec<Row> {
    let mut capture = capture();
    records.iter().for_each(|record| capture.take(record));
    capture.end_all_repeats();
    assert_eq!(capture.take_malformed(), 0);
    rows(&mut capture)
}

fn has(row: &Row, expected: Value) {
    let Value::Object(expected) = expected else { panic!("{expected} names no cells") };
    for (name, value) in expected {
        assert_eq!(row.get(&name).unwrap_or(&Value::Null), &value, "{name} of {row:#?}");
    }
}

#[test]
fn a_program_is_known_from_its_record_alone() {
    let who = Who { loginuid: 0, flags: flag::LAYER_KNOWN | flag::UPPER_LAYER, ..WHO };
    let started = exec(who, START + 5_000, "/usr/bin/cat", b"cat\0/etc/shadow\0", "/work/x");
    let rows = taken(&[started, open(WHO, START + 6_000, "a/../b", "/data/b")]);
    has(
        &rows[0],
        json!({
            "evt_type": "execve", "proc_exepath": "/usr/bin/cat", "proc_cmdline": "tester /etc/shadow",
            "proc_cwd": "/work/x/", "proc_vpid": 9, "proc_sid": PID, "proc_is_sid_leader": true,
            "proc_sname": "tester", "proc_pgid": PID, "proc_vpgid": 9, "proc_is_vpgid_leader": true,
            "proc_tty": 34_816, "proc_is_exe_writable": true, "proc_is_exe_upper_layer": true,
            "proc_is_exe_from_memfd": false, "proc_exe_ino": 77, "proc_duration": 5_000,
            "thread_cap_permitted": "CAP_CHOWN CAP_DAC_OVERRIDE", "thread_cap_effective": "CAP_CHOWN",
            "thread_cap_inheritable": "", "proc_env": ["A=1", "B=x y"], "weight": 1, "repeats": 0,
            "user_loginuid": 0, "user_loginname": "root",
        }),
    );
    has(
        &rows[1],
        json!({
            "evt_type": "openat", "fd_name": "/work/b", "fd_nameraw": "a/../b", "fd_name_resolved": "/data/b",
            "fd_directory": "/work", "fd_filename": "b", "fd_num": 3, "fd_typechar": "f", "fd_ino": 5,
            "fd_dev": 0x801, "evt_is_open_read": true, "evt_is_open_write": true, "evt_is_open_create": false,
            "proc_exepath": "/usr/bin/cat", "user_loginuid": -1, "user_loginname": "<NA>", "lane": "file",
        }),
    );
}

#[test]
fn a_program_from_a_memfd_is_told_from_a_file_of_that_name() {
    let args = b"x\0";
    let unlinked = Who { flags: flag::UNLINKED, ..WHO };
    let rows = taken(&[
        exec(unlinked, START + 1, "memfd:x", args, "/"),
        exec(WHO, START + 2, "/tmp/memfd:x", args, "/"),
    ]);
    has(&rows[0], json!({ "proc_exepath": "memfd:x", "proc_is_exe_from_memfd": true, "proc_cwd": "/" }));
    has(&rows[1], json!({ "proc_exepath": "/tmp/memfd:x", "proc_is_exe_from_memfd": false }));
}

/// Goal: what a call changes of its process is in its own row, in later rows and
/// in those of children, and in no row of others.
#[test]
fn calls_change_their_process() {
    let child = Who { pid: PID + 1, start: START + 50, ppid: PID, ..WHO };
    let (none, cwd) = ([0; 24], walked("/srv"));
    let extra = |extra| [&b""[..], b"", b"", b"", extra, b""];
    let capset = TestCall { id: id::CAPSET, ret: 0, texts: extra(&none), ..CALL };
    let moved = TestCall { id: id::FCHDIR, ret: 0, texts: extra(&cwd), ..CALL };
    let not_moved = TestCall { ret: -2, texts: extra(&none[..2]), ..moved };
    let session = TestCall { id: id::SETSID, ret: 10, ..CALL };
    let rows = taken(&[
        exec(WHO, START + 10, "/bin/sh", b"sh\0", "/work"),
        fork(WHO, START + 50, child.pid, child.start),
        call(child, START + 60, &capset),
        call(child, START + 70, &moved),
        call(child, START + 75, &not_moved),
        call(child, START + 80, &session),
        exit(child, START + 90, 7 << 8),
        exit(WHO, START + 95, 9),
    ]);
    has(&rows[1], json!({ "evt_type": "clone", "evt_rawres": child.pid, "proc_pid": PID }));
    has(
        &rows[2],
        json!({ "evt_type": "capset", "thread_cap_permitted": "", "proc_sid": PID, "proc_pname": "tester" }),
    );
    has(&rows[3], json!({ "evt_type": "fchdir", "proc_cwd": "/srv/" }));
    has(&rows[4], json!({ "proc_cwd": "/srv/", "evt_failed": true }));
    let leader = json!({ "proc_sid": child.pid, "proc_is_sid_leader": true, "proc_is_vpgid_leader": true, "proc_tty": 0 });
    has(&rows[5], leader);
    has(&rows[6], json!({ "evt_type": "procexit", "proc_exit_code": 7, "proc_pvpid": 9 }));
    let own = json!({
        "proc_exit_code": 137, "thread_cap_permitted": "CAP_CHOWN CAP_DAC_OVERRIDE", "proc_cwd": "/work/",
        "proc_sid": PID,
    });
    has(&rows[7], own);
}

#[test]
fn an_execve_that_failed_changes_nothing() {
    let texts: [&[u8]; text::COUNT] = [b"/bin/no\0", b"", b"", b"", b"no\0-x\0", b""];
    let failed = TestCall { id: id::EXECVE, ret: -2, texts, ..CALL };
    let rows = taken(&[
        exec(WHO, START + 10, "/bin/sh", b"sh\0", "/work"),
        call(WHO, START + 20, &failed),
        call(WHO, START + 30, &failed),
        call(WHO, START + 40, &failed),
        exit(WHO, START + 50, 0),
    ]);
    has(
        &rows[1],
        json!({ "evt_type": "execve", "evt_res": "ENOENT", "evt_failed": true, "proc_exepath": "/bin/sh" }),
    );
    has(&rows[2], json!({ "evt_type": "execve", "evt_res": "ENOENT", "repeats": 1 }));
    has(&rows[3], json!({ "evt_type": "procexit", "proc_exepath": "/bin/sh" }));
    assert_eq!(rows.len(), 4);
}

#[test]
fn a_descriptor_that_is_inherited_or_duplicated_keeps_its_names() {
    let other = Who { pid: PID + 1, start: START + 5, ..WHO };
    let socket = TestCall { id: id::DUP2, ret: 1, file: (77, 8, 0o140_777), ..CALL };
    let target = walked("/dev/null");
    let file = TestCall { file: (9, 8, 0o020_666), texts: [b"", b"", b"", b"", b"", &target], ..socket };
    let pipe = TestCall { file: (11, 8, 0o010_600), texts: [b"", b"", b"", b"", b"", b"\0"], ..socket };
    let unknown = TestCall { file: (78, 8, 0o140_777), texts: [b"", b"", b"", b"", b"", b"\0"], ..socket };
    let rows = taken(&[
        tcp(WHO, START + 10, id::CONNECT, 0),
        call(other, START + 20, &socket),
        call(other, START + 30, &file),
        call(other, START + 40, &pipe),
        call(other, START + 50, &unknown),
        tcp(other, START + 60, id::ACCEPT4, 8),
    ]);
    let name = "10.0.0.1:4000->10.0.0.2:443";
    has(
        &rows[0],
        json!({
            "evt_type": "connect", "fd_num": 6, "fd_name": name, "fd_typechar": "4", "fd_l4proto": "tcp",
            "fd_cip": "10.0.0.1", "fd_cport": 4000, "fd_sip": "10.0.0.2", "fd_sport": 443, "fd_lport": 4000,
            "fd_rip": "10.0.0.2", "fd_is_server": false, "fd_connected": true, "fd_name_changed": true,
            "lane": "network", "fd_ino": 77,
        }),
    );
    let dup = json!({
        "evt_type": "dup2", "fd_num": 1, "fd_name": name, "fd_typechar": "4", "fd_sip": "10.0.0.2",
        "fd_connected": true, "fd_name_changed": false, "lane": "file",
    });
    has(&rows[1], dup);
    has(&rows[2], json!({ "fd_name": "/dev/null", "fd_typechar": "f", "fd_directory": "/dev" }));
    has(&rows[3], json!({ "fd_name": "pipe:[11]", "fd_typechar": "p", "fd_directory": null }));
    has(&rows[4], json!({ "fd_name": "socket:[78]", "fd_num": 1 }));
    let accepted = json!({
        "evt_type": "accept4", "fd_num": 8, "fd_name": "10.0.0.2:443->10.0.0.1:4000", "fd_cip": "10.0.0.2",
        "fd_sip": "10.0.0.1", "fd_lip": "10.0.0.1", "fd_is_server": true,
    });
    has(&rows[5], accepted);
}

#[test]
fn dns_and_io_uring_are_rows() {
    let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x1c\0\x01";
    let mut dns = Made::of(kind::DNS, WHO, START + 10).u16(2).u16(5_000).u16(53);
    dns = dns.u16(u16::try_from(question.len()).unwrap());
    let dns =
        dns.bytes(&[&[10, 0, 0, 1][..], &[0; 12]].concat()).bytes(&[&[10, 0, 0, 9][..], &[0; 12]].concat());
    let mut address = [0; ADDRESS_MAX];
    address[..8].copy_from_slice(&[2, 0, 1, 187, 10, 0, 0, 2]);
    let uring = |opcode, fd: i32, address: &[u8], address_len, path: &[u8]| {
        let made = Made::of(kind::URING, WHO, START + 20).u32(opcode).u32(fd.cast_unsigned()).u64(0o1).u32(0);
        let made = made.u32(u32::try_from(path.len()).unwrap()).bytes(address);
        made.u32(address_len).u32(0).bytes(path).0
    };
    let rows = taken(&[
        exec(WHO, START + 5, "/bin/sh", b"sh\0", "/work"),
        dns.bytes(question).0,
        uring(18, -100, &[0; ADDRESS_MAX], 0, b"../etc/passwd\0"),
        uring(16, 5, &address, 16, b""),
    ]);
    has(
        &rows[1],
        json!({
            "evt_type": "dns", "dns_name": "example.com", "fd_name": "10.0.0.1:5000->10.0.0.9:53",
            "fd_sport": 53, "fd_l4proto": "udp", "lane": "network", "evt_failed": false,
        }),
    );
    assert_eq!(rows[1]["evt_arg"][2], json!({ "name": "type", "value": "AAAA" }));
    let opened = json!({
        "evt_type": "io_uring_submit", "fd_name": "/etc/passwd", "evt_is_open_write": true, "lane": "file",
    });
    has(&rows[2], opened);
    assert_eq!(rows[2]["evt_arg"][0], json!({ "name": "opcode", "value": "OPENAT" }));
    has(&rows[3], json!({ "fd_sip": "10.0.0.2", "fd_sport": 443, "fd_num": 5, "fd_typechar": "4" }));
}

/// Goal: rows that copy cells of an earlier row are those that a fresh batch has.
#[test]
fn rows_do_not_depend_on_those_before_them() {
    let other = Who { pid: PID + 1, start: START + 5, ppid: PID, uid: 7, ..WHO };
    let renamed = Who { comm: "renamed", ..WHO };
    let records = [
        exec(WHO, START + 10, "/bin/sh", b"sh\0", "/work"),
        fork(WHO, START + 11, other.pid, other.start),
        open(WHO, START + 12, "a", "/work/a"),
        open(other, START + 13, "a", "/work/a"),
        open(renamed, START + 14, "b", "/work/b"),
        exec(other, START + 15, "/bin/cat", b"cat\0", "/"),
        open(other, START + 16, "c", "/work/c"),
        // Older than the program: through the slower ring.
        open(other, START + 14, "d", "/work/d"),
        open(Who { uid: 9, ..other }, START + 17, "e", "/work/e"),
        exec(WHO, START + 18, "/bin/bash", b"bash\0", "/"),
        open(other, START + 19, "f", "/work/f"),
    ];
    let together = taken(&records);
    let mut alone = capture();
    let mut singly = Vec::new();
    for record in &records {
        alone.take(record);
        singly.extend(rows(&mut alone));
    }
    assert_eq!(together, singly);
    let path = |index: usize| together[index]["proc_exepath"].as_str().unwrap();
    assert_eq!((path(6), path(7)), ("/bin/cat", "/bin/sh"));
    has(&together[4], json!({ "proc_name": "renamed" }));
    has(&together[8], json!({ "user_uid": 9 }));
    has(&together[10], json!({ "proc_pexepath": "/bin/bash" }));
}

#[test]
fn a_flood_is_one_row_more_and_sampling_says_its_weight() {
    let mut records: Vec<_> = (0..1_000).map(|at| open(WHO, START + at, "same", "/work/same")).collect();
    let path = b"x\0";
    let sampled = TestCall { weight: 16, texts: [path, b"", b"", b"", b"", b""], ..CALL };
    records.push(call(WHO, START + 2_000, &sampled));
    let rows = taken(&records);
    assert_eq!(rows.len(), 3);
    has(&rows[0], json!({ "repeats": 0, "weight": 1 }));
    let (counted, other) = if rows[1]["repeats"] == 0 { (&rows[2], &rows[1]) } else { (&rows[1], &rows[2]) };
    has(counted, json!({ "repeats": 998, "fd_name": "/work/same" }));
    has(other, json!({ "repeats": 0, "weight": 16 }));
}

/// Goal: a machine with more processes than the table holds is captured all the
/// same, each event with what it says itself.
#[test]
fn a_full_table_still_makes_rows() {
    let mut capture = capture_with(&Syscalls { max_processes: 64, ..Syscalls::default() });
    for pid in PID..PID + 5_000 {
        capture.take(&open(Who { pid, start: START + u64::from(pid), ..WHO }, START * 2, "x", "/work/x"));
        assert!(capture.process_count() <= 64 && capture.unknown.len() <= MAX_UNKNOWN);
    }
    let rows = rows(&mut capture);
    assert_eq!(rows.len(), 5_000);
    assert!(rows.iter().all(|row| row["proc_name"] == "tester"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Goal: whatever bytes are in a record, nothing panics and every record that
    /// can be read is in a row, its own or another's `repeats`.
    #[test]
    fn hostile_records_are_rows_or_malformed(
        records in proptest::collection::vec(
            (1_u16..11, any::<u16>(), 0_u64..4, proptest::collection::vec(any::<u8>(), 0..400), 0_u16..100), 1..40,
        ),
    ) {
        let mut capture = capture();
        let mut expected = 0;
        for (at, (kind, flags, pid, body, id)) in (0..).zip(records) {
            let who = Who { pid: PID + u32::try_from(pid).unwrap(), flags, ..WHO };
            let mut body = body;
            if kind == kind::CALL && body.len() > 96 {
                body[76..78].copy_from_slice(&id.to_ne_bytes());
                body[78..90].fill(0);
            }
            let record = Made::of(kind, who, START + at).bytes(&body).0;
            let counts = !matches!(kind, kind::CGROUP | kind::CGROUP_GONE) && decode::decode(&record).is_ok();
            expected += i64::from(counts);
            capture.take(&record);
        }
        capture.end_all_repeats();
        let stand_for: u64 = capture.waiting().iter().map(|rows| rows.events).sum();
        prop_assert_eq!(i64::try_from(stand_for).unwrap(), expected);
        let rows = rows(&mut capture);
        let counted: i64 = rows.iter().map(|row| 1 + row["repeats"].as_i64().unwrap()).sum();
        prop_assert_eq!(counted, expected);
    }
}

/// Goal: a calendar that is set back does not change which event comes after
/// which, how long anything took, or which process it is; only the times follow.
#[test]
fn a_clock_that_is_set_back() {
    const HOUR_NS: i64 = 3_600_000_000_000;
    let mut capture = capture();
    let at = 1_800_000_000_000_000_000;
    let mut times = Vec::new();
    let mut told = Vec::new();
    for (number, set_by) in [0, -HOUR_NS, -HOUR_NS, -2 * at, HOUR_NS].into_iter().enumerate() {
        capture.clock = Clock::started_at(at + set_by);
        let boot_ns = START + SECOND * (1 + number as u64);
        capture.take(&exec(WHO, boot_ns, "/bin/true", b"true\0", "/"));
        capture.end_repeats(boot_ns);
        let [few, ..] = capture.waiting();
        let batch = few.columns.finish().unwrap();
        let time = batch.column_by_name("time").unwrap();
        let time = arrow::array::AsArray::as_primitive::<arrow::datatypes::TimestampMicrosecondType>(time);
        times.push(time.value(0) - set_by / 1_000);
        let number = |name: &str| {
            let column = batch.column_by_name(name).unwrap();
            arrow::util::display::array_value_to_string(column, 0).unwrap()
        };
        told.push((number("seq"), number("proc_duration"), number("exec_id")));
    }
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 1_000_000), "{times:?}");
    for (number, (seq, duration, exec_id)) in told.iter().enumerate() {
        assert_eq!(*seq, (number + 1).to_string());
        assert_eq!(*duration, (SECOND * (1 + number as u64)).to_string());
        assert_eq!(exec_id, &told[0].2);
    }
}

/// Goal: processes that vanish while they are read leave a table without holes.
/// Method: children that end at once, as fast as they can be made, while the
/// capture begins again and again.
#[test]
fn processes_that_vanish_while_they_are_read() {
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (mut read, mut vanished) = (0, 0);
    std::thread::scope(|scope| {
        let storms: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut made = 0;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        made += usize::from(std::process::Command::new("/bin/true").status().is_ok());
                    }
                    made
                })
            })
            .collect();
        for _ in 0..30 {
            let pids = proc_fs::pids();
            for pid in pids {
                match proc_fs::process(pid) {
                    Some(found) => {
                        assert!(found.pid == pid && found.start_ticks > 0);
                        read += 1;
                    }
                    None => vanished += 1,
                }
            }
            let own = std::process::id();
            let capture = capture();
            let process = capture.processes.latest(own).unwrap();
            assert_eq!(process.ppid, std::os::unix::process::parent_id());
            assert!(process.program().exepath.ends_with(std::env::current_exe().unwrap().to_str().unwrap()));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let made: usize = storms.into_iter().map(|storm| storm.join().unwrap()).sum();
        println!("{read} read, {vanished} vanished of {made} that ended at once");
        assert!(made > 30 && read > 0);
    });
}

#[test]
fn what_was_left_in_registers_makes_no_other_event() {
    let opened = |boot_ns, address, rest, flags, mode| {
        let texts: [&[u8]; text::COUNT] = [b"/same\0", b"", b"", b"", b"", b""];
        let args = [u64::from(u32::MAX - 99), address, flags, mode, rest, rest];
        call(WHO, boot_ns, &TestCall { args, texts, ..CALL })
    };
    let rows = taken(&[
        opened(START, 0x7000, 0, 0, 0o600),
        opened(START + 1, 0x8000, 7, 0, 0o644),
        opened(START + 2, 0x9000, 8, 0, 0),
        // Where a file may be made its mode counts.
        opened(START + 3, 0x7000, 0, 0o101, 0o600),
        opened(START + 4, 0x8000, 9, 0o101, 0o644),
    ]);
    let repeats: Vec<_> = rows.iter().map(|row| (&row["evt_arg"][3]["value"], &row["repeats"])).collect();
    let expected = [("O_RDONLY", 0), ("O_CREAT|O_WRONLY", 0), ("O_CREAT|O_WRONLY", 0), ("O_RDONLY", 1)];
    let expected = expected.map(|(flags, repeats)| (json!(flags), json!(repeats)));
    assert_eq!(repeats, expected.iter().map(|(flags, repeats)| (flags, repeats)).collect::<Vec<_>>());
}
