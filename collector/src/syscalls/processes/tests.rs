//! What becomes of processes, event by event.

use super::*;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

fn table() -> Processes {
    let mut table = Processes::new("b".into(), 100);
    table.seen(1, 10, 0, "init");
    table
}

fn program(name: &str, args: &[u8]) -> Program {
    Program::new(name, args, format!("/bin/{name}"))
}

fn start(table: &mut Processes, pid: u32, start_boot_ns: u64, boot_ns: u64, program: Program) {
    table.started(pid, start_boot_ns, boot_ns, program, Started { sid: 1, ..Started::default() });
}

fn found(pid: u32, start_ticks: u64) -> Found {
    Found { pid, start_ticks, name: "found".into(), ..Found::default() }
}

#[test]
fn a_command_line_is_name_and_arguments() {
    let program = program("sh", b"/bin/sh\0-c\0echo  hi\0\0");
    assert_eq!(program.exe, "/bin/sh");
    assert_eq!(program.args, "-c echo  hi ");
    assert_eq!(program.cmdline, "sh -c echo  hi ");
    assert_eq!(Program::new("x", b"", "/x".into()).exe, "/x");
    assert!(Program::new("x", b"", "/memfd:a".into()).is_from_memfd);
    let long = vec![b'a'; 10 << 20];
    assert!(Program::new("x", &long, String::new()).exe.len() < 1 << 20);
}

#[test]
fn an_event_is_named_by_the_program_of_its_time() {
    let mut table = table();
    table.forked(1, 10, 7, SECOND, 3);
    start(&mut table, 7, SECOND, 5 * SECOND, program("sh", b"sh\0"));
    start(&mut table, 7, SECOND, 6 * SECOND, program("cat", b"cat\0/etc/shadow\0"));
    let process = table.get(7, SECOND).unwrap();
    assert_eq!(process.program_at(4 * SECOND).name, "init");
    assert_eq!(process.program_at(5 * SECOND).name, "sh");
    assert_eq!(process.program_at(6 * SECOND).cmdline, "cat /etc/shadow");
    assert_eq!((process.is_newest_at(6 * SECOND), process.is_newest_at(6 * SECOND - 1)), (true, false));
    assert_eq!(process.vpid, 3);
    assert_eq!(table.ancestors(process).iter().map(|parent| parent.pid).collect::<Vec<_>>(), [1]);
    assert_eq!(table.session_leader(process).unwrap().pid, 1);
    assert!(table.get(7, 2 * SECOND).is_none(), "another process had that pid then");
}

/// Goal: what a process has is its child's too, until either changes it.
#[test]
fn a_child_is_a_copy_that_goes_its_own_way() {
    let mut table = table();
    let all = Capabilities { permitted: 7, effective: 7, inheritable: 0 };
    let parent = table.change(1, 10).unwrap();
    (parent.sid, parent.pgid, parent.vpgid, parent.tty) = (1, 1, 1, 4);
    (parent.cwd, parent.capabilities) = (Some("/work".into()), Some(all));
    table.forked(1, 10, 7, 20, 7);
    let child = table.get(7, 20).unwrap();
    assert_eq!((child.sid, child.pgid, child.vpgid, child.tty), (1, 1, 1, 4));
    assert_eq!((child.cwd.as_deref(), child.capabilities), (Some("/work"), Some(all)));
    table.change(7, 20).unwrap().capabilities = Some(Capabilities::default());
    assert_eq!(table.get(1, 10).unwrap().capabilities, Some(all));
}

#[test]
fn a_pid_used_again_within_a_tick_is_another_process() {
    let mut table = table();
    table.forked(1, 10, 7, SECOND, 7);
    table.ended(7, SECOND, SECOND + 5);
    table.forked(1, 10, 7, SECOND + 10, 7);
    assert_eq!(table.get(7, SECOND).unwrap().exec_id.as_ref(), format!("b-7-{SECOND}"));
    assert_eq!(table.get(7, SECOND + 10).unwrap().exec_id.as_ref(), format!("b-7-{}", SECOND + 10));
    assert!(table.confirm(7, SECOND, 9), "a late event is the first's");
    assert!(!table.confirm(7, SECOND + 1, 9), "there was none between them");
    assert_eq!(table.get(7, SECOND + 10).unwrap().ppid, 1);
    // Its predecessor goes alone.
    table.sweep(SECOND + 5 + TOMBSTONE_NS);
    assert!(table.get(7, SECOND).is_none());
    assert!(table.get(7, SECOND + 10).is_some());
}

#[test]
fn a_start_read_from_proc_becomes_exact_with_the_first_event() {
    let mut table = table();
    table.found(found(7, 100));
    assert!(table.get(7, SECOND + 3).is_some(), "the same tick");
    assert!(table.confirm(7, SECOND + 3, 1));
    assert!(table.get(7, SECOND + 4).is_none());
    assert_eq!(table.get(7, SECOND + 3).unwrap().exec_id.as_ref(), format!("b-7-{}", SECOND + 3));
    table.found(found(7, 100));
    assert_eq!(table.get(7, SECOND + 3).unwrap().start_boot_ns, SECOND + 3, "known is known");
}

#[test]
fn the_ended_are_named_for_a_while() {
    let mut table = table();
    table.forked(1, 10, 7, 20, 7);
    table.ended(7, 20, 1_000);
    table.sweep(1_000 + TOMBSTONE_NS - 1);
    assert!(table.get(7, 20).is_some());
    table.sweep(1_000 + TOMBSTONE_NS);
    assert!(table.get(7, 20).is_none());
    table.keep_only(&HashSet::new(), 50);
    table.sweep(50 + TOMBSTONE_NS);
    assert_eq!(table.len(), 0, "an end that was lost is noticed");
}

/// Goal: a storm of short-lived processes leaves the living and the youngest of
/// the ended, and the table within its bound.
#[test]
fn a_fork_storm_leaves_the_living() {
    let mut table = table();
    for number in 0..100_000_u64 {
        let (pid, now) = (u32::try_from(100 + number % 30_000).unwrap(), 1_000 + number * 10);
        table.forked(1, 10, pid, now, pid);
        table.ended(pid, now, now + 5);
        assert!(table.len() <= 100 && table.tombstones.len() <= 100);
    }
    assert!(table.get(1, 10).is_some());
    let last = 1_000 + 99_999 * 10;
    assert!(table.get(u32::try_from(100 + 99_999 % 30_000).unwrap(), last).is_some());
}

proptest! {
    #[test]
    fn it_stays_within_its_bound(events in proptest::collection::vec((0_u8..6, 1_u32..300, 1_u32..300), 0..600)) {
        let mut table = Processes::new("b".into(), 64);
        for (index, (kind, a, b)) in events.into_iter().enumerate() {
            let now = index as u64;
            match kind {
                0 => table.seen(a, now, b, "x"),
                1 => table.forked(a, now, b, now, b),
                2 => table.ended(a, now, now),
                3 => table.found(found(a, now)),
                4 => { table.confirm(a, now, b); }
                _ => start(&mut table, a, now, now, program("p", b"p\0")),
            }
            if let Some(process) = table.latest(a) {
                prop_assert!(table.ancestors(process).len() <= MAX_ANCESTORS);
            }
        }
        prop_assert!(table.len() <= 64 && table.tombstones.len() <= 64);
    }
}
