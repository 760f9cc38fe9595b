//! Which cgroup hierarchies tell containers apart on this node, and where they
//! are mounted.
//!
//! ```text
//!   v2 alone    /sys/fs/cgroup              every process is in a folder of it
//!   hybrid      /sys/fs/cgroup/unified      and, for what a runtime put only
//!               /sys/fs/cgroup/memory …     into v1, one controller of v1
//!   v1 alone    /sys/fs/cgroup/memory …     likewise
//! ```
//!
//! One controller is enough: runtimes make the same folders in each.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Controllers that every container runtime uses, the first that is mounted counts.
const CONTROLLERS: [&str; 4] = ["memory", "pids", "cpu", "devices"];

/// The hierarchies that are followed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::syscalls) struct Hierarchies {
    /// Where cgroup v2 is mounted.
    pub(super) v2: Option<PathBuf>,
    pub(super) v1: Option<V1>,
}

/// The one cgroup v1 controller that is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::syscalls) struct V1 {
    /// Its name, e.g. `memory`.
    pub(in crate::syscalls) controller: &'static str,
    /// Its hierarchy's number, as in /proc/cgroups; never 0.
    pub(in crate::syscalls) hierarchy: u32,
    pub(in crate::syscalls) mount: PathBuf,
}

/// What one line of mountinfo says about a cgroup hierarchy.
struct Mount {
    point: PathBuf,
    /// Whether it shows the hierarchy from its root on.
    whole: bool,
    v2: bool,
    /// Mount options, where v1 names its controllers.
    options: String,
}

// === impl Hierarchies ===

impl Hierarchies {
    /// Those of this machine; none where /proc is not readable.
    pub(in crate::syscalls) fn of_this_node() -> Self {
        Self::told_by(
            &fs::read("/proc/self/mountinfo").unwrap_or_default(),
            &fs::read_to_string("/proc/cgroups").unwrap_or_default(),
        )
    }

    /// From the texts of /proc/self/mountinfo and /proc/cgroups.
    pub(super) fn told_by(mountinfo: &[u8], controllers: &str) -> Self {
        let mounts: Vec<Mount> = mountinfo.split(|byte| *byte == b'\n').filter_map(mount).collect();
        // A mount of a part of a hierarchy has other paths; it is better than none.
        let best = |wanted: &dyn Fn(&&Mount) -> bool| {
            let fits = || mounts.iter().filter(wanted);
            fits().find(|mount| mount.whole).or_else(|| fits().next()).map(|mount| mount.point.clone())
        };
        let v1 = CONTROLLERS.into_iter().find_map(|controller| {
            let hierarchy = hierarchy(controllers, controller)?;
            let has = |mount: &&Mount| !mount.v2 && mount.options.split(',').any(|name| name == controller);
            Some(V1 { controller, hierarchy, mount: best(&has)? })
        });
        Self { v2: best(&|mount| mount.v2), v1 }
    }

    /// The v1 controller that is followed beside v2, if one is mounted.
    pub(in crate::syscalls) fn v1(&self) -> Option<&V1> {
        self.v1.as_ref()
    }

    /// Follows v2 alone: nobody tells ids of v1.
    pub(in crate::syscalls) fn leave_v1(&mut self) {
        self.v1 = None;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.v2.is_none() && self.v1.is_none()
    }
}

// === impl V1 ===

impl V1 {
    /// The name that `enum cgroup_subsys_id` of the kernel gives the controller,
    /// whose value is its place in a task's `css_set`.
    pub(in crate::syscalls) fn subsystem(&self) -> String {
        format!("{}_cgrp_id", self.controller)
    }
}

/// `name hierarchy cgroups enabled`, a line a controller; 0 is not mounted as v1.
fn hierarchy(controllers: &str, name: &str) -> Option<u32> {
    let mut lines = controllers.lines().map(str::split_whitespace);
    let number: u32 =
        lines.find_map(|mut words| (words.next()? == name).then(|| words.next())?)?.parse().ok()?;
    (number != 0).then_some(number)
}

/// `36 35 98:0 /root /point options [optional…] - type source super-options`.
fn mount(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|byte| *byte == b' ');
    let (root, point) = (words.nth(3)?, words.next()?);
    let mut after = words.skip_while(|word| *word != b"-").skip(1);
    let v2 = match after.next()? {
        b"cgroup2" => true,
        b"cgroup" => false,
        _ => return None,
    };
    Some(Mount {
        point: OsString::from_vec(plain(point)).into(),
        whole: root == b"/",
        v2,
        options: String::from_utf8_lossy(after.nth(1)?).into_owned(),
    })
}

/// mountinfo writes blanks and the like as three octal digits.
fn plain(word: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'\\').then(|| octal(after)).flatten();
        let (byte, behind) = escaped.unwrap_or((*first, after));
        bytes.push(byte);
        rest = behind;
    }
    bytes
}

/// The byte that three octal digits stand for, and what follows them.
fn octal(word: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, behind) = word.split_at_checked(3)?;
    Some((u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()?, behind))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const HYBRID: &[u8] = b"\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 master:2 - cgroup cgroup rw,memory
90 31 0:32 /docker/abc /var/lib/x/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw,relatime - cgroup2 cgroup2 rw
";
    const NUMBERS: &str = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t2\t1\t1\nmemory\t4\t46\t1\n";

    #[test]
    fn a_hybrid_node_has_both() {
        let found = Hierarchies::told_by(HYBRID, NUMBERS);
        assert_eq!(found.v2.as_deref(), Some(Path::new("/sys/fs/cgroup/uni fied")));
        let v1 = found.v1.unwrap();
        assert_eq!((v1.controller, v1.hierarchy), ("memory", 4));
        assert_eq!(
            (v1.subsystem().as_str(), v1.mount.to_str()),
            ("memory_cgrp_id", Some("/sys/fs/cgroup/memory"))
        );
    }

    #[test]
    fn a_controller_that_v2_has_taken_is_not_v1() {
        let found = Hierarchies::told_by(HYBRID, "memory\t0\t46\t1\npids\t7\t1\t1\ncpu\t2\t1\t1\n");
        assert_eq!(found.v1.map(|v1| (v1.controller, v1.hierarchy)), Some(("cpu", 2)), "pids is not mounted");
        let v2_only = b"41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = Hierarchies::told_by(v2_only, "memory\t0\t46\t1\n");
        assert_eq!((found.v2.is_some(), found.v1), (true, None));
    }

    #[test]
    fn a_mount_of_a_part_is_better_than_none() {
        let part = b"90 31 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        assert!(Hierarchies::told_by(part, NUMBERS).v1.is_some());
        assert!(Hierarchies::told_by(b"", "").is_empty());
        assert!(Hierarchies::told_by(b"\xff \n- - -\n1 2 3 / /x rw - cgroup\n", "cpu x\n\n").is_empty());
    }

    #[test]
    fn this_node_is_read() {
        let proc = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let expected = proc.lines().any(|line| line.contains(" - cgroup"));
        assert_eq!(!Hierarchies::of_this_node().is_empty(), expected);
    }
}
