//! Real folders: of the cgroup mounts where this process may make them, else of
//! a plain file system, which has inodes just as well.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use proptest::prelude::*;

use super::*;

const ID: &str = "5b1cc7e1d1a0c3a7d6d4e5f60718293a4b5c6d7e8f90123456789abcdef01234";

/// Two hierarchies of plain folders.
fn hybrid() -> (tempfile::TempDir, Hierarchies) {
    let dir = tempfile::tempdir().unwrap();
    let (v2, mount) = (dir.path().join("unified"), dir.path().join("memory"));
    fs::create_dir(&v2).unwrap();
    fs::create_dir(&mount).unwrap();
    let v1 = Some(V1 { controller: "memory", hierarchy: 4, mount });
    (dir, Hierarchies { v2: Some(v2), v1 })
}

fn make(mount: &Path, name: &[u8]) -> u64 {
    let folder = mount.join(OsString::from_vec(name.to_vec()));
    fs::create_dir_all(&folder).unwrap();
    fs::metadata(&folder).unwrap().ino()
}

#[test]
fn both_hierarchies_are_walked_and_kept_apart() {
    let (dir, hierarchies) = hybrid();
    let v2 = make(&dir.path().join("unified"), b"system.slice/docker.service");
    let v1 = make(&dir.path().join("memory"), format!("docker/{ID}").as_bytes());
    let mut cgroups = Cgroups::walk(hierarchies, Sightings::default());
    let nobody = u32::MAX;
    let service = cgroups.of(v2, nobody).unwrap();
    assert_eq!(
        (service.path.as_str(), service.container.id.as_str()),
        ("/system.slice/docker.service", HOST)
    );
    let container = cgroups.of(v1 | CGROUP_V1_BIT, nobody).unwrap();
    assert_eq!((container.id, container.container.id.as_str()), (v1, ID), "the id is told without the bit");
    assert!(cgroups.of(v1, nobody).is_none(), "the same number in v2 is another cgroup");
}

#[test]
fn a_new_cgroup_is_known_by_its_hierarchy() {
    let mut cgroups = Cgroups::walk(hybrid().1, Sightings::default());
    let (first, second) = (format!("/docker/{ID}"), format!("/kubepods/{ID}"));
    assert!(cgroups.made(77, 0, &first).is_some());
    assert!(cgroups.made(77, 4, &second).is_some());
    assert!(cgroups.made(78, 9, &first).is_none(), "a hierarchy that is not followed");
    assert_eq!(cgroups.of(77, 0).unwrap().path, first);
    assert_eq!(cgroups.of(77 | CGROUP_V1_BIT, 0).unwrap().path, second);
    assert_eq!(cgroups.v1().unwrap().subsystem(), "memory_cgrp_id");
}

/// Goal: whoever follows late names hears of every container's own cgroup,
/// however it was found, and of its end, and of no other cgroup.
#[test]
fn containers_are_noted() {
    let (dir, hierarchies) = hybrid();
    make(&dir.path().join("unified"), format!("docker/{ID}/init.scope").as_bytes());
    make(&dir.path().join("unified"), b"system.slice");
    let sightings = Sightings::default();
    let mut cgroups = Cgroups::walk(hierarchies, sightings.clone());
    assert_eq!(sightings.noted(), [(ID.to_owned(), true)], "walked at the start");
    let other = ID.replace('5', "6");
    let path = format!("/kubepods/burstable/{other}");
    cgroups.made(77, 0, &path);
    cgroups.made(78, 0, &format!("{path}/inside"));
    cgroups.made(79, 0, "/user.slice");
    assert_eq!(sightings.noted(), [(other.clone(), true)]);
    for id in [78, 79, 80, 77] {
        cgroups.removed(id, 0, Instant::now());
    }
    assert_eq!(sightings.noted(), [(other, false)]);
}

#[test]
fn a_removed_cgroup_is_named_for_a_while() {
    let (_dir, hierarchies) = hybrid();
    let mut cgroups = Cgroups::walk(hierarchies, Sightings::default());
    let start = Instant::now();
    cgroups.made(77, 4, &format!("/docker/{ID}"));
    cgroups.removed(77, 4, start);
    cgroups.removed(99, 0, start);
    cgroups.sweep(start + GRACE - Duration::from_millis(1));
    assert!(cgroups.of(77 | CGROUP_V1_BIT, 0).is_some());
    cgroups.sweep(start + GRACE);
    assert!(cgroups.of(77 | CGROUP_V1_BIT, 0).is_none());
}

#[test]
fn a_full_table_forgets_the_removed_first_and_answers_anyway() {
    let (dir, hierarchies) = hybrid();
    let living = make(&dir.path().join("unified"), b"living");
    let mut cgroups = Cgroups::walk(hierarchies, Sightings::default());
    cgroups.max = cgroups.len() + 2;
    cgroups.made(1_000_001, 0, "/a");
    cgroups.made(1_000_002, 0, "/b");
    cgroups.removed(1_000_001, 0, Instant::now());
    cgroups.made(1_000_003, 0, "/c");
    assert!(cgroups.of(1_000_001, u32::MAX).is_none() && cgroups.of(1_000_002, u32::MAX).is_some());
    // Nothing was removed as far as is known: the mounts tell what is gone.
    assert_eq!(cgroups.made(1_000_004, 0, "/d").unwrap().path, "/d");
    assert!(cgroups.of(1_000_002, u32::MAX).is_none() && cgroups.of(living, u32::MAX).is_some());
    assert!(cgroups.len() <= cgroups.max);
}

#[test]
fn strange_names_are_text_and_no_containers() {
    let (dir, hierarchies) = hybrid();
    let mount = dir.path().join("unified");
    let long = "n".repeat(255);
    let cases: [(&[u8], &str); 7] = [
        (b"with\nline\x1b[31mred", "/with\nline\x1b[31mred"),
        (b"not\xff\xfeutf8", "/not\\xff\\xfeutf8"),
        (b"docker-", "/docker-"),
        (long.as_bytes(), &format!("/{long}")),
        (b"pod", "/pod"),
        (b"a:b:c", "/a:b:c"),
        (b" (deleted)", "/ (deleted)"),
    ];
    let made = cases.map(|(name, _)| make(&mount, name));
    let short = make(&mount, format!("docker-{}.scope", &ID[1..]).as_bytes());
    let mut cgroups = Cgroups::walk(hierarchies, Sightings::default());
    for (id, (_, path)) in made.into_iter().zip(cases) {
        let cgroup = cgroups.of(id, u32::MAX).unwrap();
        assert_eq!((cgroup.path.as_str(), cgroup.container.id.as_str()), (path, HOST));
    }
    assert_eq!(cgroups.of(short, u32::MAX).unwrap().container.id, HOST);
}

#[test]
fn a_process_is_asked_for_the_hierarchy_that_its_id_is_of() {
    let v1 = V1 { controller: "memory", hierarchy: 4, mount: PathBuf::new() };
    let told = b"9:name=systemd:/s\n5:cpu,memory:/docker/a:b\n1:devices:/memory\n0::/v2\xff\n";
    assert_eq!(path_in(told, Some(&v1)), Some(&b"/docker/a:b"[..]));
    assert_eq!(path_in(told, None), Some(&b"/v2\xff"[..]));
    assert_eq!(path_in(b"0::/gone (deleted)\n", None), None);
    assert_eq!(path_in(b"4:pids:/x\n", Some(&v1)), None);
}

/// Goal: a cgroup that was never told of is learnt from a process in it, in
/// both hierarchies. Method: this machine's own mounts and this process.
#[test]
fn a_living_process_tells_its_cgroup() {
    let mut cgroups = Cgroups::walk(Hierarchies::of_this_node(), Sightings::default());
    if !cgroups.are_mounted() {
        return println!("skipped: no cgroups are mounted here");
    }
    let pid = std::process::id();
    let told = proc_fs::cgroups(pid).unwrap();
    let Hierarchies { v2, v1 } = cgroups.hierarchies.clone();
    let places = [(v2, None, 0), (v1.as_ref().map(|v1| v1.mount.clone()), v1.as_ref(), CGROUP_V1_BIT)];
    for (mount, v1, bit) in places {
        let Some(mount) = mount else { continue };
        let path = path_in(&told, v1).unwrap();
        let folder = mount.join(OsStr::from_bytes(&path[1..]));
        let Ok(metadata) = fs::metadata(&folder) else {
            println!("skipped: {} is not visible here", folder.display());
            continue;
        };
        let key = metadata.ino() | bit;
        cgroups.by_id.clear();
        assert_eq!(cgroups.of(key, pid).unwrap().path.as_bytes(), path);
        assert_eq!(cgroups.len(), 1, "it is remembered");
        assert!(cgroups.of(key ^ 0x4000_0000, pid).is_none(), "another cgroup than the process is in");
    }
}

/// Folders of a hierarchy whose ids nobody tells would only take the room of others.
#[test]
fn v2_alone_is_walked_where_v1_is_not_told() {
    let (dir, mut hierarchies) = hybrid();
    make(&dir.path().join("memory"), b"docker");
    hierarchies.leave_v1();
    let cgroups = Cgroups::walk(hierarchies, Sightings::default());
    assert!(cgroups.v1().is_none() && cgroups.are_mounted());
    assert!(cgroups.by_id.keys().all(|key| key & CGROUP_V1_BIT == 0));
}

proptest! {
    #[test]
    fn no_text_of_proc_is_too_strange(told in proptest::collection::vec(any::<u8>(), 0..200)) {
        let v1 = V1 { controller: "memory", hierarchy: 4, mount: PathBuf::new() };
        let _ = (path_in(&told, Some(&v1)), path_in(&told, None));
        let _ = Hierarchies::told_by(&told, &String::from_utf8_lossy(&told));
    }
}
