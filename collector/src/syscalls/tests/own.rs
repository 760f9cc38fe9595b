//! The collector's own doing makes no rows, or it would never end.

use super::*;

/// Opens a file of this name in a thread of this process, and in a child of it.
fn opens(marker: &str) {
    let own = format!("/nonexistent/{marker}-own");
    std::thread::spawn(move || drop(std::fs::File::open(own))).join().unwrap();
    let script = format!("cat /nonexistent/{marker}-child");
    quiet(Command::new("/bin/sh").args(["-c", &script])).status().unwrap();
}

fn text<'a>(row: &'a Row, column: &str) -> Option<&'a str> {
    row.get(column).and_then(Value::as_str)
}

/// The child's rows are there, and none of this process, whatever its threads did
/// and its spool wrote.
fn only_of_the_child(rows: &[Row], marker: &str) {
    let opened = |who: &str| {
        let name = format!("/nonexistent/{marker}-{who}");
        rows.iter().filter(|row| row["evt_type"] == "openat" && text(row, "fd_name") == Some(&name)).count()
    };
    assert_eq!((opened("child"), opened("own")), (1, 0));
    // As it knows itself, and as the first namespace knows it.
    let (ns, pid) = (Value::from(proc_fs::own_namespace("pid")), Value::from(std::process::id()));
    let is_own = |row: &&Row| row.get("pid_ns") == Some(&ns) && row.get("proc_vpid") == Some(&pid);
    assert_eq!(rows.iter().find(is_own), None);
}

/// Batches that are closed at once, so that the spool writes while it is watched.
fn hasty(config: &mut Config) {
    config.batch_after_ms = 0;
    config.batch_rows = 1;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_own_threads_and_the_spool_do_makes_no_rows() {
    if cannot_load() {
        return;
    }
    let marker = unique("own");
    let told = marker.clone();
    let (rows, _) = capture(hasty, move || opens(&told)).await;
    only_of_the_child(&rows, &marker);
}

/// Goal: the same where this process does not know its own number. Method: the
/// collector as the first process of a pid namespace, as in a pod without `hostPID`.
#[test]
fn nor_do_they_in_a_pid_namespace() {
    if cannot_load() {
        return;
    }
    let _turn = TURN.blocking_lock();
    let mut inside = Command::new("unshare");
    inside.args(["--pid", "--fork", "--mount-proc"]).arg(std::env::current_exe().unwrap());
    inside.args(["--exact", "syscalls::tests::own::captures_inside", "--ignored", "--nocapture"]);
    let output = inside.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Not a test of its own: the other half of the one above.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "another test runs it in a pid namespace"]
async fn captures_inside() {
    assert_eq!(std::process::id(), 1);
    let marker = unique(&format!("inside-{}", proc_fs::own_namespace("pid")));
    let told = marker.clone();
    let (rows, _) = capture(hasty, move || opens(&told)).await;
    only_of_the_child(&rows, &marker);
}
