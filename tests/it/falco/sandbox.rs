//! Where harm may be done: an overlay over this machine's root, used bare or as
//! the root of containers. What is written there is gone with it.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::json;

/// Where something is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the host, in the overlay.
    Host,
    /// In a container with few capabilities.
    Container,
    /// In one that may administer the system.
    Capable,
    /// In one that may do everything.
    Privileged,
}

/// An overlay and three containers on it.
pub(crate) struct Sandbox {
    dir: tempfile::TempDir,
    name: String,
}

/// What a container may do at most, and what one that administers may do besides.
const FEW: [&str; 6] =
    ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETUID", "CAP_SETGID", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
const MORE: [&str; 5] = ["CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_PTRACE", "CAP_FOWNER"];
/// Every capability, by its number.
#[rustfmt::skip]
const ALL: [&str; 41] = [
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
];
/// The containers.
const CONTAINERS: [Place; 3] = [Place::Container, Place::Capable, Place::Privileged];
/// What a capable container's users besides root keep.
const AS_CAPABLE: &str = "+sys_admin,+dac_override";

// === impl Sandbox ===

impl Sandbox {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = Self { name: format!("it-falco-{}-{}", std::process::id(), unique()), dir };
        let at = sandbox.dir.path();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=755", "none"]).arg(at));
        for folder in ["upper", "work", "root"] {
            std::fs::create_dir(at.join(folder)).unwrap();
        }
        let layers = format!("lowerdir=/,upperdir={0}/upper,workdir={0}/work", at.display());
        run(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &layers]).arg(at.join("root")));
        for folder in ["proc", "tmp", "dev", "dev/shm", "tmp/eg", "tmp/eg_clearlog"] {
            std::fs::create_dir_all(sandbox.path(folder)).unwrap();
        }
        run(Command::new("mknod").args(["-m", "666"]).arg(sandbox.path("dev/null")).args(["c", "1", "3"]));
        run(Command::new("mount").args(["--bind", "/proc"]).arg(sandbox.path("proc")));
        for place in CONTAINERS {
            sandbox.start(place);
        }
        sandbox
    }

    /// A path in the sandbox as this process sees it.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.dir.path().join("root").join(inside.trim_start_matches('/'))
    }

    /// A program in the sandbox that is a copy of one of this machine's.
    pub(crate) fn copy(&self, of: &str, to: &str) {
        let path = self.path(to);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(&path);
        std::fs::copy(of, &path).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// An empty file in the sandbox, unless there is one.
    pub(crate) fn file(&self, inside: &str) {
        let path = self.path(inside);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    }

    /// Runs a program there as this user; what it answers is up to whoever asks.
    pub(crate) fn run(&self, place: Place, user: Option<&str>, argv: &[&str]) -> Output {
        let mut command = match place {
            Place::Host => {
                let mut command = Command::new("chroot");
                command.args(user.map(|user| format!("--userspec={user}")));
                command.arg(self.path(""));
                command
            }
            Place::Container | Place::Capable | Place::Privileged => {
                let mut command = Command::new("runc");
                command.arg("exec");
                let user = user.filter(|user| *user != "root").map(number);
                match (place, user) {
                    // A capable container's other users are as capable.
                    (Place::Capable, Some((user, group))) => {
                        command.args([
                            &self.id(place),
                            "setpriv",
                            "--clear-groups",
                            "--reuid",
                            &user,
                            "--regid",
                            &group,
                        ]);
                        command.args([
                            format!("--inh-caps={AS_CAPABLE}"),
                            format!("--ambient-caps={AS_CAPABLE}"),
                        ]);
                    }
                    (_, Some((user, group))) => {
                        command.args(["--user", &format!("{user}:{group}"), &self.id(place)]);
                    }
                    (_, None) => {
                        command.arg(self.id(place));
                    }
                }
                command
            }
        };
        command.args(argv).current_dir("/").stdin(Stdio::null()).output().unwrap()
    }

    fn id(&self, place: Place) -> String {
        let may = match place {
            Place::Capable => "more",
            Place::Privileged => "all",
            _ => "few",
        };
        format!("{}-{may}", self.name)
    }

    fn bundle(&self, place: Place) -> PathBuf {
        self.dir.path().join(self.id(place))
    }

    fn start(&self, place: Place) {
        let bundle = self.bundle(place);
        std::fs::create_dir(&bundle).unwrap();
        let namespaces = ["pid", "ipc", "uts", "mount", "network"].map(|kind| json!({ "type": kind }));
        let capabilities = match place {
            Place::Capable => [&FEW[..], &MORE].concat().into_iter().map(str::to_owned).collect(),
            Place::Privileged => everything(),
            _ => FEW.map(str::to_owned).to_vec(),
        };
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": { "uid": 0, "gid": 0 },
                "args": ["sleep", "3600"],
                "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "cwd": "/",
                "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            },
            "root": { "path": self.path("") },
            "hostname": "sandbox",
            "mounts": mounts(),
            "linux": {
                "cgroupsPath": format!("/{}/pod0a11ce00-0000-4000-8000-00000000fa1c/{}", self.name, identity(place)),
                "namespaces": namespaces,
            },
        });
        std::fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        let mut command = Command::new("runc");
        command.args(["run", "--detach", "--bundle"]).arg(&bundle).arg(self.id(place));
        // What is detached keeps these open.
        run(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    }

    /// Gives the container an address that is neither local nor private, at which
    /// it reaches itself.
    pub(crate) fn address(&self, place: Place, address: &str) {
        let state = Command::new("runc").args(["state", &self.id(place)]).output().unwrap();
        let state: serde_json::Value = serde_json::from_slice(&state.stdout).unwrap();
        let pid = state["pid"].to_string();
        let enter = |rest: &[&str]| run(Command::new("nsenter").args(["-t", &pid, "-n"]).args(rest));
        enter(&["ip", "link", "set", "lo", "up"]);
        enter(&["ip", "addr", "add", &format!("{address}/32"), "dev", "lo"]);
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for place in CONTAINERS {
            let _ = Command::new("runc").args(["delete", "--force", &self.id(place)]).output();
        }
        for mount in [self.path("proc"), self.dir.path().join("root"), self.dir.path().to_owned()] {
            let _ = Command::new("umount").arg("--lazy").arg(mount).output();
        }
    }
}

fn mounts() -> serde_json::Value {
    let of = |at: &str, kind: &str, options: &[&str]| json!({ "destination": at, "type": kind, "source": kind, "options": options });
    json!([
        of("/proc", "proc", &[]),
        of("/dev", "tmpfs", &["nosuid", "mode=755"]),
        of("/dev/shm", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
    ])
}

/// What this process may hand on, which is what a runtime gives to a privileged
/// container.
fn everything() -> Vec<String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let bounds = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap();
    let bounds = u64::from_str_radix(bounds.trim(), 16).unwrap();
    let mine = ALL.iter().enumerate().filter(|(bit, _)| bounds >> bit & 1 == 1);
    mine.map(|(_, name)| format!("CAP_{name}")).collect()
}

/// A container's id: 64 hexadecimal digits.
fn identity(place: Place) -> String {
    let digit = match place {
        Place::Capable => "b",
        Place::Privileged => "c",
        _ => "a",
    };
    format!("{digit}{:063x}", std::process::id())
}

/// A user's and its group's number.
fn number(user: &str) -> (String, String) {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.split(':').next() == Some(user)).unwrap();
    let mut fields = line.split(':').skip(2);
    (fields.next().unwrap().to_owned(), fields.next().unwrap().to_owned())
}

fn unique() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}
