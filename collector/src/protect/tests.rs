//! Privileges are given up for good, so each of these runs in a process of its own.

use std::os::unix::process::CommandExt;
use std::process::Command;

use super::*;

/// Runs one of the halves below and answers what it printed.
fn alone(half: &str, uid: u32) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("protect::tests::{half}"), "--ignored", "--nocapture"]);
    let output = command.uid(uid).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    told
}

fn without_privileges() -> bool {
    if Capabilities::effective().has(DRAINING) {
        return false;
    }
    assert!(std::env::var_os("BAILIWICK_REQUIRE_KERNEL").is_none(), "needs root");
    println!("skipped: needs root");
    true
}

#[test]
fn a_confined_process_has_nothing_left_but_in_its_loader() {
    if without_privileges() {
        return;
    }
    alone("confines_itself", 0);
}

#[test]
fn who_has_nothing_can_give_it_up() {
    if without_privileges() {
        return;
    }
    alone("has_nothing", 65_534);
}

/// Every thread's sets by its name, but for the harness's own, which is from before.
fn threads() -> Vec<(String, Capabilities, Capabilities)> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let tasks =
        tasks.map(|task| task.unwrap()).filter(|task| task.file_name() != *std::process::id().to_string());
    let of = |task: std::fs::DirEntry| {
        // It may have ended meanwhile.
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        let name = status.lines().next().unwrap().trim_start_matches("Name:\t").to_owned();
        let set = |line| Capabilities::of_status(&status, line).unwrap();
        assert_eq!(set("CapEff"), set("CapPrm"), "{status}");
        assert!(set("CapInh").is_empty() && set("CapAmb").is_empty(), "{status}");
        Some((name, set("CapEff"), set("CapBnd")))
    };
    tasks.filter_map(of).collect()
}

/// Not a test of its own, like the next.
#[test]
#[ignore = "another test runs it in a process of its own"]
fn confines_itself() {
    let all = thread::permitted().unwrap();
    assert_eq!(confine(LASTING, true).unwrap(), LASTING.within(all));
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    // A thread gives itself its name.
    let loader = || threads().into_iter().find(|(name, ..)| name == "loader");
    let loader = std::iter::repeat_with(loader).inspect(|_| std::thread::yield_now()).flatten().next();
    assert_eq!(loader.unwrap().1, all, "the loader has everything before it works");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (before, after, heir) = runtime
        .block_on(with_privileges(|| {
            let before = thread::permitted().unwrap();
            settle_loader().unwrap();
            let heir = std::thread::spawn(|| thread::permitted().unwrap()).join().unwrap();
            (before, thread::permitted().unwrap(), heir)
        }))
        .unwrap();
    assert_eq!((before, after, heir), (all, DRAINING.within(all), DRAINING.within(all)));
    // What comes later is done without, and threads of the runtime have no more either.
    let later = runtime.block_on(with_privileges(|| thread::permitted().unwrap())).unwrap();
    assert_eq!(later, LASTING.within(all));
    for (name, effective, bounding) in threads() {
        // The loader may not be quite gone.
        let most = if name == "loader" { DRAINING } else { LASTING };
        assert!(most.has(effective) && most.has(bounding), "{name} has {effective}, {bounding}");
    }
    // Nor does a program get back what root once had.
    let child = Command::new("/bin/cat").arg("/proc/self/status").output().unwrap();
    let status = String::from_utf8(child.stdout).unwrap();
    assert!(LASTING.has(Capabilities::of_status(&status, "CapEff").unwrap()), "{status}");
}

#[test]
#[ignore = "another test runs it in a process of its own"]
fn has_nothing() {
    assert_eq!(confine(LASTING, true).unwrap(), Capabilities::NONE);
    dismiss_loader();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let worked = runtime.block_on(with_privileges(|| settle_loader().map(|()| thread::permitted().unwrap())));
    assert_eq!(worked.unwrap().unwrap(), Capabilities::NONE);
}
