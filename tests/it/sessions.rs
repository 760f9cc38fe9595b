//! From `kubectl exec` to what ran because of it, with a real container runtime.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use chrono::{SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::harness::kube_api::KubeApi;
use crate::harness::scene::unique;
use crate::harness::{scene, skip};

const UID: &str = "0a11ce00-0000-4000-8000-00000000005e";
const SCRIPT: &str = "id; cat /etc/hostname; true";

/// A container of runc's over an overlay of this machine's root.
struct Container {
    dir: tempfile::TempDir,
    id: String,
}

// === impl Container ===

impl Container {
    /// Starts it in the cgroup of a pod below `top`.
    fn start(top: &str, id: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=755", "none"]).arg(at));
        for folder in ["upper", "work", "root"] {
            fs::create_dir(at.join(folder)).unwrap();
        }
        let layers = format!("lowerdir=/,upperdir={0}/upper,workdir={0}/work", at.display());
        run(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &layers]).arg(at.join("root")));
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": { "uid": 0, "gid": 0 }, "args": ["sleep", "3600"], "cwd": "/",
                "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            },
            "root": { "path": at.join("root") },
            "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
            "linux": {
                "cgroupsPath": format!("/{top}/kubepods/burstable/pod{UID}/{id}"),
                "namespaces": [{ "type": "pid" }, { "type": "mount" }],
            },
        });
        fs::write(at.join("config.json"), config.to_string()).unwrap();
        let container = Self { dir, id: id.to_owned() };
        let mut command = Command::new("runc");
        command.args(["run", "--detach", "--bundle"]).arg(container.dir.path()).arg(id);
        // What is detached keeps these open.
        run(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
        container
    }

    /// What a kubelet does for `kubectl exec`, and for a probe.
    fn exec(&self, argv: &[&str]) {
        run(Command::new("runc")
            .args(["exec", &self.id])
            .args(argv)
            .stdin(Stdio::null())
            .stdout(Stdio::null()));
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("runc").args(["delete", "--force", &self.id]).output();
        for mount in [self.dir.path().join("root"), self.dir.path().to_owned()] {
            let _ = Command::new("umount").arg("--lazy").arg(mount).output();
        }
    }
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

fn pod(container: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"uid": UID, "name": "web-0", "namespace": "acme-shop", "resourceVersion": "11"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "web", "image": "nginx:1.27"}]},
        "status": {"containerStatuses": [{"name": "web", "image": "nginx:1.27", "imageID": "", "ready": true,
                                          "restartCount": 0, "containerID": format!("containerd://{container}")}]}
    })
}

/// What the API server logs when jane enters the pod, or is refused.
fn request(dir: &Path, id: &str, user: &str, code: u16) {
    let time = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    let command = "command=sh&command=-c&command=id%3B%20cat%20%2Fetc%2Fhostname%3B%20true";
    let event = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "stage": "ResponseStarted",
        "auditID": id, "verb": "create", "user": {"username": user}, "sourceIPs": ["192.0.2.7"],
        "requestURI": format!("/api/v1/namespaces/acme-shop/pods/web-0/exec?{command}&container=web&stdin=true"),
        "objectRef": {"resource": "pods", "namespace": "acme-shop", "name": "web-0", "subresource": "exec",
                      "apiVersion": "v1"},
        "responseStatus": {"code": code}, "requestReceivedTimestamp": time, "stageTimestamp": time,
    });
    let mut log = fs::OpenOptions::new().append(true).open(dir.join("audit.log")).unwrap();
    std::io::Write::write_all(&mut log, format!("{event}\n").as_bytes()).unwrap();
}

/// Goal: an API request is joined to the programs that ran because of it, and to
/// no others, and their tree is theirs. Method: the real binary and kernel programs,
/// a container of runc's entered by `runc exec` as a kubelet does, a probe beside it.
#[test]
fn a_request_is_joined_to_what_ran_because_of_it() {
    if skip::without_kernel() || skip::without_containers() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (marker, api) = (unique("sessions"), KubeApi::start());
    let id = format!("5e{:062x}", std::process::id());
    let up = scene::watching(dir.path(), &marker, &api);
    api.tell("ADDED", &pod(&id));
    let container = Container::start(&marker, &id);

    container.exec(&["true"]);
    request(dir.path(), "s-1", "jane", 101);
    container.exec(&["sh", "-c", SCRIPT]);
    container.exec(&["true"]);
    request(dir.path(), "s-2", "kim", 403);

    let of = |user: &str| format!("FROM sessions WHERE \"user\" = '{user}'");
    up.wait_for_count(&format!("SELECT count(command) {}", of("jane")), 3);
    up.wait_for_count(&format!("SELECT count(*) {}", of("kim")), 1);
    let ran = up.rows(&format!(
        "SELECT command, tenant, pod, container, container_id {} ORDER BY ran_at",
        of("jane")
    ));
    let shell = format!("sh -c {SCRIPT}");
    let row = |command: &str| vec![json!(command), json!("acme"), json!("web-0"), json!("web"), json!(id)];
    assert_eq!(ran, [row(&shell), row("id"), row("cat /etc/hostname")]);
    assert_eq!(up.count(&format!("SELECT count(command) {}", of("kim"))), 0);

    // The same processes as a tree, with how they ended.
    let session = up.rows(&format!("SELECT DISTINCT session_exec_id {}", of("jane")));
    let session = session[0][0].as_str().unwrap();
    let ended = format!("SELECT count(exit_code) FROM process_tree('{session}') WHERE depth >= 0");
    up.wait_for_count(&ended, 3);
    let tree = format!(
        "SELECT depth, proc_cmdline, exit_code FROM process_tree('{session}') WHERE depth >= 0 ORDER BY position"
    );
    let line = |depth: i64, command: &str| vec![json!(depth), json!(command), json!(0)];
    assert_eq!(up.rows(&tree), [line(0, &shell), line(1, "id"), line(1, "cat /etc/hostname")]);
    // It came from the runtime, which is not in the container.
    let parent =
        format!("SELECT count(*) FROM process_tree('{session}') WHERE depth = -1 AND proc_name LIKE 'runc%'");
    assert_eq!(up.count(&parent), 1);
    up.terminate();
}
