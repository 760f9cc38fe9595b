//! What a process may do to make a collector stumble.

use bailiwick_collector_ebpf::ENVIRONMENT_MAX;

use super::*;

/// Goal: a process is told from the one that had its pid before, however short
/// ago. Method: the kernel is told which pid comes next, until it gives it twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_pid_that_is_used_again_at_once() {
    if cannot_load() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().canonicalize().unwrap();
    let ran = folder.clone();
    let rows = rows(move || child::run("reuse", &ran)).await;
    let pairs = std::fs::read_to_string(folder.join("pairs")).unwrap();
    let mut reused = 0;
    for line in pairs.lines() {
        let (round, pid) = line.split_once(' ').unwrap();
        let of = |which: &str| {
            let name = format!("{}/{which}-{round}", folder.display());
            the(
                &rows,
                &[
                    ("proc_pid", pid.parse::<i64>().unwrap().into()),
                    ("evt_type", "openat".into()),
                    ("fd_name", name.into()),
                ],
            )
        };
        let (first, second) = (of("first"), of("second"));
        assert_ne!(first["exec_id"], second["exec_id"], "pid {pid} is two processes");
        assert_eq!(first.get("proc_cwd"), second.get("proc_cwd"));
        reused += 1;
    }
    assert!(reused > 0, "no pid came twice");
}

/// Goal: names with terminal commands are kept as they are, and do not mix with
/// others'.
#[tokio::test(flavor = "multi_thread")]
async fn cgroups_with_strange_names() {
    if cannot_load() {
        return;
    }
    let names = ["\u{1b}[31mred", "\u{7}bell", "sp ace", "..dots", "per%cent", "\u{fc}ml"];
    let top = unique("strange");
    let (marker, made_in) = (unique("in"), top.clone());
    let rows = rows(move || {
        let folders: Vec<_> = names.iter().map(|name| Folder::new(&made_in, name)).collect();
        for (at, folder) in folders.iter().enumerate() {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", &format!("cat > \"$AT/cgroup.procs\" && exec /bin/sh -c ': {at} {marker}'")]);
            let mut shell = shell.env("AT", &folder.0).stdin(Stdio::piped()).spawn().unwrap();
            let pid = shell.id().to_string();
            std::io::Write::write_all(&mut shell.stdin.take().unwrap(), pid.as_bytes()).unwrap();
            assert!(shell.wait().unwrap().success());
        }
        folders
    })
    .await;
    for (at, name) in names.iter().enumerate() {
        let cmdline = format!("sh -c : {at} {}", unique("in"));
        let row = the(&rows, &[("evt_type", "execve".into()), ("proc_cmdline", cmdline.into())]);
        has(row, &[("cgroup_path", format!("/{top}/{name}").into()), ("container_id", "host".into())]);
    }
}

/// Goal: an environment of megabytes is cut, and its row says so; one of a few
/// variables is whole.
#[tokio::test(flavor = "multi_thread")]
async fn an_environment_of_megabytes() {
    if cannot_load() {
        return;
    }
    let marker = unique("environment");
    let said = marker.clone();
    let (rows, _) = capture(
        |config| config.syscalls.environment = true,
        move || {
            for (name, length) in [("few", 10), ("much", 100_000)] {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", &format!(": {name} {said}")]).env_clear();
                for number in 0..20 {
                    shell.env(format!("VARIABLE{number}"), "v".repeat(length));
                }
                assert!(quiet(&mut shell).status().unwrap().success());
            }
        },
    )
    .await;
    for (name, is_cut) in [("few", false), ("much", true)] {
        let cmdline = format!("sh -c : {name} {marker}");
        let row = the(&rows, &[("evt_type", "execve".into()), ("proc_cmdline", cmdline.into())]);
        has(row, &[("evt_truncated", is_cut.into())]);
        let kept: usize = row["proc_env"]
            .as_array()
            .unwrap()
            .iter()
            .map(|variable| variable.as_str().unwrap().len() + 1)
            .sum();
        assert!(if is_cut { kept.abs_diff(ENVIRONMENT_MAX) < 2 } else { kept < 1_000 }, "{kept} bytes");
    }
}
