use std::fs;

use super::super::own::{local, shared};
use super::*;

/// A folder with files, as `(path, content)`; a path's folders are made.
fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    dir
}

fn scan(dir: &Path) -> Vec<Reading> {
    let layout = Layout::find(&dir.join("cgroup"), &dir.join("proc")).unwrap();
    let mut readings = layout.scan(100).unwrap().readings;
    readings.sort_by(|a, b| a.path.cmp(&b.path));
    readings
}

#[test]
fn a_machine_with_cgroup_v2_alone() {
    let dir = tree(&[
        ("cgroup/cgroup.controllers", "cpu io memory"),
        ("cgroup/cgroup.procs", "1\n"),
        ("cgroup/cpu.stat", "usage_usec 100\nuser_usec 60\nsystem_usec 40\n"),
        ("cgroup/a.slice/cgroup.procs", ""),
        (
            "cgroup/a.slice/cpu.stat",
            "usage_usec 7\nuser_usec 4\nsystem_usec 3\nnr_periods 5\nnr_throttled 2\nthrottled_usec 9\n",
        ),
        ("cgroup/a.slice/memory.current", "5000\n"),
        ("cgroup/a.slice/memory.stat", "anon 1\ninactive_file 1000\nactive_file 3\n"),
        (
            "cgroup/a.slice/io.stat",
            "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n8:16 rbytes=5 wbytes=0 rios=1 wios=0\n",
        ),
        ("proc/1/statm", "900 3 2 1 0 30 0\n"),
    ]);
    let readings = scan(dir.path());
    assert_eq!(readings.len(), 2);
    let (root, slice) = (&readings[0], &readings[1]);
    assert_eq!((root.path.as_str(), root.parent, root.has_processes), ("/", None, true));
    assert_eq!(root.memory, Some(Memory::Resident { resident_b: 12 * 1024 }));
    assert_eq!((slice.path.as_str(), slice.parent, slice.has_processes), ("/a.slice", Some(root.id), false));
    assert_eq!(slice.shared[shared::CPU_NS], Some(7000));
    assert_eq!(slice.shared[shared::IO_R_B..], [Some(15), Some(20), Some(2), Some(2)]);
    assert_eq!(slice.local[local::NR_THROTTLED], Some(2));
    assert_eq!(slice.memory, Some(Memory::Charged { current_b: 5000, working_set_b: 4000 }));
}

#[test]
fn a_machine_with_v1_controllers_beside_v2() {
    let dir = tree(&[
        ("cgroup/unified/cgroup.controllers", ""),
        ("cgroup/unified/cgroup.procs", ""),
        ("cgroup/unified/cpu.stat", "usage_usec 100\n"),
        ("cgroup/unified/docker/x/cgroup.procs", "7\n"),
        ("cgroup/unified/docker/x/cpu.stat", "usage_usec 50\n"),
        ("cgroup/unified/docker/cgroup.procs", ""),
        ("cgroup/unified/docker/cpu.stat", "usage_usec 50\n"),
        ("cgroup/cpu/cgroup.procs", ""),
        ("cgroup/cpu/docker/x/cpu.stat", "nr_periods 4\nnr_throttled 1\nthrottled_time 3000\n"),
        ("cgroup/memory/memory.usage_in_bytes", "999999\n"),
        ("cgroup/memory/docker/x/memory.usage_in_bytes", "800\n"),
        ("cgroup/memory/docker/x/memory.stat", "cache 1\ninactive_file 1\ntotal_inactive_file 300\n"),
        ("cgroup/blkio/blkio.throttle.io_serviced", ""),
        (
            "cgroup/blkio/docker/x/blkio.throttle.io_service_bytes_recursive",
            "8:0 Read 11\n8:0 Write 22\n8:0 Total 33\nTotal 33\n",
        ),
        ("proc/7/statm", "1 1 1 1 0 1 0\n"),
    ]);
    let readings = scan(dir.path());
    let paths: Vec<_> = readings.iter().map(|reading| reading.path.as_str()).collect();
    assert_eq!(paths, ["/", "/docker", "/docker/x"]);
    let (root, container) = (&readings[0], &readings[2]);
    assert_eq!(root.memory, Some(Memory::Resident { resident_b: 0 }), "v1's root charges the whole machine");
    assert_eq!(readings[1].memory, Some(Memory::Resident { resident_b: 0 }));
    assert_eq!(container.memory, Some(Memory::Charged { current_b: 800, working_set_b: 500 }));
    assert_eq!(container.local, [Some(4), Some(1), Some(3)]);
    assert_eq!(container.shared[shared::IO_R_B..], [Some(11), Some(22), None, None]);
}

#[test]
fn more_cgroups_than_allowed_are_counted() {
    let dir = tree(&[
        ("cgroup/cgroup.controllers", ""),
        ("cgroup/cpu.stat", "usage_usec 1\n"),
        ("cgroup/a/cpu.stat", "usage_usec 1\n"),
        ("cgroup/b/cpu.stat", "usage_usec 1\n"),
    ]);
    let layout = Layout::find(&dir.path().join("cgroup"), &dir.path().join("proc")).unwrap();
    let scan = layout.scan(2).unwrap();
    assert_eq!((scan.readings.len(), scan.left_out), (2, 1));
}

#[test]
fn files_that_say_nonsense_count_nothing() {
    let dir = tree(&[
        ("cgroup/cgroup.controllers", ""),
        ("cgroup/cpu.stat", "usage_usec -3\nuser_usec x\nsystem_usec 99999999999999999999999\n"),
        ("cgroup/cgroup.procs", "../../etc\nnope\n"),
        ("cgroup/io.stat", "8:0 rbytes=18446744073709551615\n8:1 rbytes=5\n"),
    ]);
    let readings = scan(dir.path());
    assert_eq!(readings[0].shared[..3], [None; 3]);
    assert_eq!(readings[0].shared[shared::IO_R_B], Some(u64::MAX));
    assert_eq!(readings[0].memory, Some(Memory::Resident { resident_b: 0 }));
}

#[test]
fn without_cgroup_v2_there_is_no_layout() {
    let dir = tree(&[("cgroup/memory/cgroup.procs", "")]);
    assert!(Layout::find(&dir.path().join("cgroup"), &dir.path().join("proc")).is_none());
}

#[test]
fn the_size_of_a_page_is_the_kernels() {
    let page = page_bytes(Path::new("/proc"));
    assert!(page.is_power_of_two() && page >= 4096, "{page}");
    assert_eq!(page_bytes(Path::new("/nowhere")), 4096);
}
