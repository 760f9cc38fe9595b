//! Real containers, made by `runc` and `containerd` from a root file system of
//! this machine's own shell.

use std::collections::BTreeSet;

use serde_json::json;

use super::super::{capabilities, proc_fs};
use super::*;
use crate::pods::{Pod, PodContainer};

const ID: &str = "5b1cc7e1d1a0c3a7d6d4e5f60718293a4b5c6d7e8f90123456789abcdef";
const UID: &str = "0a11ce00-0000-4000-8000-000000000c0d";

/// Whether containers cannot be made; prints why a test is skipped.
fn cannot_run(programs: &[&str]) -> bool {
    if cannot_load() {
        return true;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &&&str| std::env::split_paths(&path).any(|folder| folder.join(name).exists());
    let Some(missing) = programs.iter().find(|name| !is_there(name)) else { return false };
    assert!(std::env::var_os("BAILIWICK_REQUIRE_KERNEL").is_none(), "needs {missing}");
    println!("skipped: needs {missing}");
    true
}

/// A folder with these programs and the libraries that they load.
fn root(folder: &Path, programs: &[&str]) {
    let copy = |from: &str| {
        let to = folder.join(from.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    };
    for program in programs {
        copy(program);
        let loaded = Command::new("ldd").arg(program).output().unwrap();
        let loaded = String::from_utf8(loaded.stdout).unwrap();
        loaded.split_whitespace().filter(|word| word.starts_with('/')).for_each(copy);
    }
    for mount in ["proc", "dev", "sys"] {
        std::fs::create_dir_all(folder.join(mount)).unwrap();
    }
}

/// A container's bundle, and its folders of runtime state.
struct Bundle {
    dir: tempfile::TempDir,
    name: String,
}

impl Bundle {
    fn new(name: &str, programs: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        root(&dir.path().join("rootfs"), programs);
        quiet(Command::new("runc").arg("spec").current_dir(dir.path())).status().unwrap();
        Self { dir, name: unique(name) }
    }

    /// What the container runs, in which cgroup, and what else is to be different.
    fn configure(&self, cgroup: &str, args: &[&str], change: impl FnOnce(&mut Value)) {
        let file = self.dir.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = json!(args);
        config["linux"]["cgroupsPath"] = cgroup.into();
        change(&mut config);
        std::fs::write(file, config.to_string()).unwrap();
    }

    fn runc(&self, args: &[&str]) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(self.dir.path().join("state")).args(args).current_dir(self.dir.path());
        command
    }

    fn run(&self) {
        let output = self.runc(&["run", &self.name]).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        quiet(&mut self.runc(&["delete", "--force", &self.name])).status().unwrap();
    }
}

fn says(rows: &[Row], id: &str, setup: bool) -> BTreeSet<String> {
    let wanted = |row: &&Row| row.get("container_id") == Some(&id.into()) && row["container_setup"] == setup;
    rows.iter().filter(wanted).map(|row| row["proc_name"].as_str().unwrap().to_owned()).collect()
}

/// A container's cgroup, id, runtime and pod.
type Case = (String, String, &'static str, Option<&'static str>);

/// One of each runtime's patterns.
fn patterns() -> Vec<Case> {
    [
        (format!("/kubepods/burstable/pod{UID}/{{}}"), "containerd", Some(UID)),
        (format!("/kubepods/pod{UID}/crio-{{}}"), "cri-o", Some(UID)),
        ("/docker/{}".to_owned(), "docker", None),
        ("/machine.slice/libpod-{}.scope".to_owned(), "podman", None),
        ("/default/{}".to_owned(), "containerd", None),
    ]
    .into_iter()
    .enumerate()
    .map(|(index, (pattern, runtime, pod))| {
        let id = format!("{ID}{index:05x}");
        (pattern.replace("{}", &id), id, runtime, pod)
    })
    .collect()
}

/// What the API tells of a pod with this container.
fn web(id: &str) -> Pod {
    let container = PodContainer {
        id: id.to_owned(),
        name: "web".to_owned(),
        image: "registry/shell:1".to_owned(),
        mounts: vec!["/:/host::true:private".to_owned()],
        start_us: Some(1),
        ..Default::default()
    };
    Pod {
        uid: UID.to_owned(),
        namespace: "shop".to_owned(),
        name: "web-0".to_owned(),
        service_account: "web".to_owned(),
        containers: vec![container],
        ..Default::default()
    }
}

/// Goal: the first program of a container is attributed to it, whatever the
/// runtime's pattern, and the runtime's own process in it is told apart.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_program_of_a_container_is_its_own() {
    if cannot_run(&["runc"]) {
        return;
    }
    let cases = patterns();
    let pods = Pods::default();
    pods.upsert(web(&cases[0].1));
    let marker = unique("first");
    let (ran, said) = (cases.clone(), marker.clone());
    let (rows, _) = capture_with(
        pods,
        |_| {},
        move || {
            let bundle = Bundle::new("first", &["/bin/sh"]);
            for (cgroup, id, ..) in &ran {
                bundle.configure(cgroup, &["/bin/sh", "-c", &format!(": {said} {id}")], |_| {});
                bundle.run();
            }
        },
    )
    .await;
    for (cgroup, id, runtime, pod) in &cases {
        let cmdline = format!("sh -c : {marker} {id}");
        let first = the(&rows, &[("evt_type", "execve".into()), ("proc_cmdline", cmdline.into())]);
        has(
            first,
            &[
                ("container_id", id.clone().into()),
                ("container_type", (*runtime).into()),
                ("container_setup", false.into()),
                ("cgroup_path", cgroup.clone().into()),
                ("k8s_pod_uid", pod.map_or(Value::Null, Value::from)),
                ("k8s_ns_name", pod.map_or(Value::Null, |_| "shop".into())),
                ("k8s_sa_name", pod.map_or(Value::Null, |_| "web".into())),
            ],
        );
        assert!(
            says(&rows, id, true)
                .iter()
                .all(|name| name.starts_with("runc") || name == "exe" || name.parse::<u8>().is_ok()),
            "{:?}",
            says(&rows, id, true)
        );
        assert!(!says(&rows, id, true).is_empty(), "the runtime's own process was in it");
        assert_eq!(says(&rows, id, false), BTreeSet::from(["sh".to_owned()]));
    }
    let named = the(&rows, &[("evt_type", "execve".into()), ("container_name", "web".into())]);
    has(
        named,
        &[
            ("container_image_repository", "registry/shell".into()),
            ("container_image_tag", "1".into()),
            ("container_mounts", json!(["/:/host::true:private"])),
            ("container_privileged", false.into()),
        ],
    );
}

/// Goal: what is started in a running container from outside is told apart like
/// its first program; what breaks out of it stays the container's.
#[tokio::test(flavor = "multi_thread")]
async fn exec_enters_and_an_escape_stays() {
    if cannot_run(&["runc", "nsenter", "sleep"]) {
        return;
    }
    let (entered, escaped) = (unique("entered"), unique("escaped"));
    let id = format!("{ID}fffff");
    let (cgroup, scripts) = (format!("/docker/{id}"), [entered.clone(), escaped.clone()]);
    let rows = rows(move || {
        let bundle = Bundle::new("exec", &["/bin/sh", "/usr/bin/nsenter", "/bin/sleep"]);
        bundle.configure(&cgroup, &["/bin/sleep", "100"], |config| {
            // As a privileged container that shares the node's processes.
            let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != "pid");
            let all = json!(["CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE"]);
            for set in ["bounding", "effective", "permitted"] {
                config["process"]["capabilities"][set] = all.clone();
            }
        });
        assert!(quiet(&mut bundle.runc(&["run", "--detach", &bundle.name])).status().unwrap().success());
        let [entered, escaped] = &scripts;
        let breakout = format!("nsenter -t {} -m /bin/sh -c ': {escaped}'", std::process::id());
        for script in [format!(": {entered}"), breakout] {
            let exec = bundle.runc(&["exec", &bundle.name, "/bin/sh", "-c", &script]).output().unwrap();
            assert!(exec.status.success(), "{}", String::from_utf8_lossy(&exec.stderr));
        }
    })
    .await;
    let own = std::fs::metadata("/proc/self/ns/mnt").unwrap();
    let own = std::os::unix::fs::MetadataExt::ino(&own);
    for (marker, outside) in [(entered, false), (escaped, true)] {
        let cmdline = format!("sh -c : {marker}");
        let row = the(&rows, &[("evt_type", "execve".into()), ("proc_cmdline", cmdline.into())]);
        has(row, &[("container_id", id.clone().into()), ("container_setup", false.into())]);
        assert_eq!(row["mnt_ns"].as_u64() == Some(own), outside, "it is {outside} that it broke out");
    }
    assert!(
        says(&rows, &id, true).iter().any(|name| name.starts_with("runc")),
        "{:?}",
        says(&rows, &id, true)
    );
}

/// Gives a container's programs every capability that there is.
fn with_everything(config: &mut Value) {
    let all = capabilities::text(proc_fs::all_capabilities());
    let all: Vec<_> = all.split(' ').collect();
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set] = json!(all);
    }
}

/// Goal: without the Kubernetes API a privileged container is known by what its
/// first program may do, one that ran before likewise; one that gives itself a
/// user namespace is not.
#[tokio::test(flavor = "multi_thread")]
async fn privileged_containers_are_known_without_an_api() {
    if cannot_run(&["runc", "unshare", "sleep"]) {
        return;
    }
    let id = |index: u32| format!("{ID}eee{index:02x}");
    let marker = unique("privileged");
    let before = Bundle::new("before", &["/bin/sh", "/bin/sleep"]);
    before.configure(&format!("/docker/{}", id(0)), &["/bin/sleep", "100"], with_everything);
    assert!(quiet(&mut before.runc(&["run", "--detach", &before.name])).status().unwrap().success());
    let said = marker.clone();
    let rows = rows(move || {
        let script = |number: u32| format!(": {number} {said}");
        let exec = before.runc(&["exec", &before.name, "/bin/sh", "-c", &script(0)]).output().unwrap();
        assert!(exec.status.success(), "{}", String::from_utf8_lossy(&exec.stderr));
        let bundle = Bundle::new("privileged", &["/bin/sh", "/usr/bin/unshare"]);
        bundle.configure(&format!("/docker/{}", id(1)), &["/bin/sh", "-c", &script(1)], with_everything);
        bundle.run();
        let unshared = format!("unshare -U --keep-caps /bin/sh -c '{}'", script(2));
        bundle.configure(&format!("/docker/{}", id(2)), &["/bin/sh", "-c", &unshared], |config| {
            for set in ["bounding", "effective", "permitted"] {
                config["process"]["capabilities"][set] = json!(["CAP_KILL"]);
            }
        });
        bundle.run();
    })
    .await;
    for (number, is_privileged) in [(0, Value::Bool(true)), (1, Value::Bool(true)), (2, Value::Null)] {
        let cmdline = format!("sh -c : {number} {marker}");
        let row = the(&rows, &[("evt_type", "execve".into()), ("proc_cmdline", cmdline.into())]);
        // All three may do everything, the last one in its own namespace only.
        let held = row["thread_cap_permitted"].as_str().unwrap().split(' ').collect::<BTreeSet<_>>();
        let all = capabilities::text(proc_fs::all_capabilities());
        assert!(all.split(' ').all(|name| held.contains(name)), "{held:?}");
        has(row, &[("container_id", id(number).into()), ("container_privileged", is_privileged)]);
    }
}

/// A containerd of the test's own.
struct Containerd {
    dir: tempfile::TempDir,
    server: std::process::Child,
}

impl Containerd {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let config = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
        std::fs::write(at("config.toml"), config).unwrap();
        let places =
            [("--config", "config.toml"), ("--root", "root"), ("--state", "state"), ("--address", "sock")];
        let args = places.map(|(option, name)| [option.to_owned(), at(name)]);
        let server = quiet(Command::new("containerd").args(args.as_flattened())).spawn().unwrap();
        let started = Self { dir, server };
        for _ in 0..600 {
            if quiet(started.ctr().arg("version")).status().unwrap().success() {
                return started;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("containerd does not answer");
    }

    fn ctr(&self) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.dir.path().join("sock"));
        command
    }

    fn done(&self, args: &[&str]) {
        let output = self.ctr().args(args).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// An image of one layer, with this machine's shell.
    fn import(&self, name: &str) {
        let at = |name: &str| self.dir.path().join("image").join(name);
        root(&at("layer"), &["/bin/sh"]);
        let run = |command: &mut Command| {
            let output = command.current_dir(at("")).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        run(Command::new("tar").args(["-C", "layer", "-cf", "layer.tar", "."]));
        let sum = run(Command::new("sha256sum").arg("layer.tar"));
        let digest = format!("sha256:{}", sum.split_whitespace().next().unwrap());
        let architecture = match std::env::consts::ARCH {
            "aarch64" => "arm64",
            _ => "amd64",
        };
        let config = json!({"architecture": architecture, "os": "linux", "config": {},
                            "rootfs": {"type": "layers", "diff_ids": [digest]}});
        std::fs::write(at("config.json"), config.to_string()).unwrap();
        let manifest = json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]);
        std::fs::write(at("manifest.json"), manifest.to_string()).unwrap();
        run(Command::new("tar").args(["-cf", "image.tar", "manifest.json", "config.json", "layer.tar"]));
        let tar = at("image.tar");
        self.done(&["images", "import", "--snapshotter", "native", tar.to_str().unwrap()]);
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.server.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.server.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_containerd() {
    if cannot_run(&["containerd", "ctr", "runc", "tar"]) {
        return;
    }
    let (marker, id) = (unique("containerd"), format!("{ID}ccccc"));
    let (said, named) = (marker.clone(), id.clone());
    let rows = rows(move || {
        let containerd = Containerd::start();
        containerd.import("docker.io/library/bailiwick-test:1");
        let script = format!(": {said}");
        let image = "docker.io/library/bailiwick-test:1";
        containerd.done(&["run", "--rm", "--snapshotter", "native", image, &named, "/bin/sh", "-c", &script]);
        containerd
    })
    .await;
    let cmdline = format!("sh -c : {marker}");
    let first = the(&rows, &[("evt_type", "execve".into()), ("proc_cmdline", cmdline.into())]);
    has(
        first,
        &[
            ("container_id", id.clone().into()),
            ("container_type", "containerd".into()),
            ("container_setup", false.into()),
            ("cgroup_path", format!("/default/{id}").into()),
        ],
    );
    assert!(!says(&rows, &id, true).contains("sh"));
    assert!(says(&rows, &id, true).iter().any(|name| name.starts_with("runc")));
}
