//! A disk that is full: acknowledgements stop, the process does not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Up, cgroup::Cgroup, scene, skip, wait_until};

/// A small file system of a test's own, unmounted when dropped.
pub(crate) struct SmallDisk {
    path: PathBuf,
}

// === impl SmallDisk ===

impl SmallDisk {
    pub(crate) fn mount(path: &Path, mebibytes: u32) -> Self {
        fs::create_dir_all(path).unwrap();
        let size = format!("size={mebibytes}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).status().unwrap();
        assert!(mounted.success(), "mount: {mounted}");
        Self { path: path.to_owned() }
    }

    /// Takes every byte that is free.
    pub(crate) fn fill(&self) -> PathBuf {
        let filler = self.path.join("filler");
        let mut file = fs::File::create(&filler).unwrap();
        let mut block = vec![0_u8; 1 << 20];
        while !block.is_empty() {
            if std::io::Write::write_all(&mut file, &block).is_err() {
                block.truncate(block.len() / 2);
            }
        }
        filler
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, since the process under test may still be ending after a failure.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

/// Goal: nothing is acknowledged that is not stored, nothing falls over, and
/// the flow returns with the space. Method: bucket and spool on a small tmpfs
/// that is filled to its last byte while system calls are made.
#[test]
fn a_full_disk_stops_the_flow_and_not_the_process() {
    if skip::without_kernel() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let marker = scene::unique("disk");
    scene::files(dir.path(), &marker);
    let disk = SmallDisk::mount(&dir.path().join("data"), 96);
    let mut up = Up::start(dir.path(), &scene::ARGUMENTS);
    let acme = Cgroup::new(&marker, "acme");
    let count = |phase: &str| {
        format!("SELECT count(*) FROM syscalls WHERE fd_name LIKE '/nonexistent/{marker}-{phase}-%'")
    };

    assert!(acme.shell(&scene::opens(&format!("{marker}-before"), 20)).status().unwrap().success());
    assert_eq!(up.wait_for_count(&count("before"), 20), 20);

    let filler = disk.fill();
    assert!(acme.shell(&scene::opens(&format!("{marker}-during"), 20)).status().unwrap().success());
    // Long enough for several writes to have failed.
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(up.is_running(), "the process ended with its disk");
    assert_eq!(up.count(&count("before")), 20, "what was stored is still answered");

    fs::remove_file(filler).unwrap();
    wait_until(|| {
        acme.shell(&scene::opens(&format!("{marker}-after"), 1)).status().unwrap();
        up.count(&count("after")) > 0
    });
    // What was captured meanwhile is stored, or its loss is.
    let lost = "SELECT coalesce(sum(count), 0) FROM losses WHERE lane IN ('file', 'ship')";
    wait_until(|| up.count(&count("during")) + up.count(lost) >= 20);
    up.terminate();
}
