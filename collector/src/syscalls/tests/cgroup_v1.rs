//! Containers of a runtime that puts its processes into cgroup v1 alone.

use super::*;
use crate::syscalls::cgroups::Hierarchies;

/// Where the followed v1 controller is mounted; prints why a test is skipped.
fn v1_mount() -> Option<PathBuf> {
    if cannot_load() {
        return None;
    }
    let mount = Hierarchies::of_this_node().v1().map(|v1| v1.mount.clone());
    if mount.is_none() {
        println!("skipped: no cgroup v1 is mounted here");
    }
    mount
}

/// The path of a container below its hierarchy, and its id.
fn container(top: &str, number: u8) -> (String, String) {
    let id = format!("{}{number:02x}", "1".repeat(62));
    (format!("/{top}/docker/{id}"), id)
}

/// Runs a shell that moves into a cgroup and becomes one with a mark.
fn run_inside(folder: &Folder, mark: &str) {
    let script = format!("echo $$ > {}/cgroup.procs && exec /bin/sh -c ': {mark}'", folder.0.display());
    assert!(quiet(Command::new("/bin/sh").args(["-c", &script])).status().unwrap().success());
}

/// Goal: a process is its container's, whether the folder was made before the
/// capture or during it, and also after it was removed and made again. Method:
/// folders of the v1 controller alone, and a child moved into each.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_its_containers() {
    let Some(mount) = v1_mount() else { return };
    let top = unique("v1");
    let ran = top.clone();
    let early = Folder::at(mount.join(&container(&top, 1).0[1..]));
    let (rows, _) = capture(
        |_| {},
        move || {
            run_inside(&early, &format!("{ran} early"));
            let late = mount.join(&container(&ran, 2).0[1..]);
            run_inside(&Folder::at(late.clone()), &format!("{ran} late"));
            assert!(!late.exists(), "it was removed");
            run_inside(&Folder::at(late), &format!("{ran} again"));
        },
    )
    .await;
    let mut ids = Vec::new();
    for (number, mark) in [(1, "early"), (2, "late"), (2, "again")] {
        let (path, id) = container(&top, number);
        let cmdline = format!("sh -c : {top} {mark}");
        let start = the(&rows, &[("evt_type", "execve".into()), ("proc_cmdline", cmdline.clone().into())]);
        has(start, &[("cgroup_path", path.clone().into()), ("container_id", id.clone().into())]);
        let end = the(&rows, &[("evt_type", "procexit".into()), ("proc_cmdline", cmdline.into())]);
        has(end, &[("cgroup_path", path.into()), ("container_id", id.into())]);
        ids.push(start["cgroup_id"].as_i64().unwrap());
    }
    assert!(ids.iter().all(|id| *id > 1), "ids are told without their bit: {ids:?}");
    ids.dedup();
    assert_eq!(ids.len(), 3, "a folder made again is another cgroup: {ids:?}");
}

/// Goal: where each names a cgroup, the one that is a container's counts, v2's
/// first. Method: a shell that moves into a folder of both.
#[tokio::test(flavor = "multi_thread")]
async fn who_names_a_container_counts() {
    let Some(mount) = v1_mount() else { return };
    let top = unique("both");
    let (first, second) = (container(&top, 3), container(&top, 4));
    let (runtime, host) = (format!("/{top}/system.slice/docker.service"), format!("/{top}/user.slice"));
    // As older runtimes do beside v2; as newer ones; as nobody; as who is in no container.
    let cases = [
        ("v1", &first.0, &runtime, &first.0, first.1.as_str()),
        ("v2", &host, &second.0, &second.0, second.1.as_str()),
        ("both", &first.0, &second.0, &second.0, second.1.as_str()),
        ("neither", &host, &runtime, &runtime, "host"),
    ];
    let runs = cases.map(|(mark, v1, v2, ..)| (format!("{top} {mark}"), v1.clone(), v2.clone()));
    let rows = rows(move || {
        for (mark, v1, v2) in runs {
            let v1 = Folder::at(mount.join(&v1[1..]));
            let v2 = Folder::new(&v2[1..], "");
            let both = format!(
                "echo $$ > {}/cgroup.procs && echo $$ > {}/cgroup.procs",
                v1.0.display(),
                v2.0.display()
            );
            let script = format!("{both} && exec /bin/sh -c ': {mark}'");
            assert!(
                quiet(Command::new("/bin/sh").args(["-c", &script])).status().unwrap().success(),
                "{mark}"
            );
        }
    })
    .await;
    for (mark, _, _, path, id) in cases {
        let cmdline = format!("sh -c : {top} {mark}");
        let start = the(&rows, &[("evt_type", "execve".into()), ("proc_cmdline", cmdline.into())]);
        has(start, &[("cgroup_path", path.clone().into()), ("container_id", id.into())]);
    }
}
