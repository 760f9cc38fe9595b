//! A cgroup of a test's own, to do things in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A cgroup v2 folder that is removed with its children when dropped.
pub(crate) struct Cgroup {
    top: PathBuf,
    folder: PathBuf,
}

// === impl Cgroup ===

impl Cgroup {
    /// Makes `<mount>/<top>/<rest>`.
    pub(crate) fn new(top: &str, rest: &str) -> Self {
        let top = mount().join(top);
        let folder = top.join(rest);
        fs::create_dir_all(&folder).unwrap();
        Self { top, folder }
    }

    /// The path below the mount, as the `cgroup_path` column has it.
    pub(crate) fn path(&self) -> String {
        format!("/{}", self.folder.strip_prefix(mount()).unwrap().display())
    }

    /// A `sh -c` that moves itself here before it runs `script`.
    pub(crate) fn shell(&self, script: &str) -> Command {
        let moved = format!("echo $$ > '{}/cgroup.procs' && {script}", self.folder.display());
        let mut command = Command::new("sh");
        command.args(["-c", &moved]);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let mut folder = self.folder.clone();
        loop {
            // A folder of a process that is still dying is busy for a moment.
            for _ in 0..50 {
                if fs::remove_dir(&folder).is_ok() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            if folder == self.top || !folder.pop() {
                return;
            }
        }
    }
}

/// Where cgroup v2 is mounted.
fn mount() -> &'static Path {
    let places = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let found = places.into_iter().map(Path::new).find(|place| place.join("cgroup.procs").exists());
    found.expect("cgroup v2 is mounted")
}
