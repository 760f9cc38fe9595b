//! The demo's stage: two tenants, their cgroups, their prices, and what they do.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use chrono::{DateTime, SecondsFormat, Utc};

use crate::failure::Failure;

/// A tenant's pod, as its cgroup's path names it.
pub(crate) struct Pod {
    pub(crate) tenant: &'static str,
    pub(crate) pod_uid: &'static str,
    pub(crate) container_id: &'static str,
    /// What runs in its container, as a shell script whose argument is a port
    /// that this process listens on.
    pub(crate) script: &'static str,
}

/// Everything in here is harmless: files are read and thrown away, the
/// connection goes to this process, and the work is counting.
pub(crate) const PODS: [Pod; 2] = [
    Pod {
        tenant: "acme",
        pod_uid: "0a11ce00-0000-4000-8000-000000000001",
        container_id: "ac3e000000000000000000000000000000000000000000000000000000000001",
        script: "\
id >/dev/null
cat /etc/shadow >/dev/null 2>&1
[ -x /bin/bash ] && /bin/bash -c \"exec 3<>/dev/tcp/127.0.0.1/$1\"
i=0; while [ $i -lt 700000 ]; do i=$((i+1)); done
",
    },
    Pod {
        tenant: "globex",
        pod_uid: "0b0b0000-0000-4000-8000-000000000002",
        container_id: "910be00000000000000000000000000000000000000000000000000000000002",
        script: "\
ls /etc >/dev/null
i=0; while [ $i -lt 2100000 ]; do i=$((i+1)); done
",
    },
];

const TENANTS: &str = "\
# Whose is what: the first line that fits decides.
tenants:
  - tenant: acme
    namespaces: [\"acme-*\"]
    cgroups: [\"/*/kubepods/burstable/pod0a11ce00-*/*\"]
  - tenant: globex
    namespaces: [\"globex-*\"]
    cgroups: [\"/*/kubepods/burstable/pod0b0b0000-*/*\"]
";

/// Writes the tenants file, an empty audit log and the scripts; answers where the
/// first two are.
pub(crate) fn files(dir: &Path) -> Result<(PathBuf, PathBuf), Failure> {
    let tenants = dir.join("tenants.yaml");
    let audit_log = dir.join("audit.log");
    let written = fs::write(&tenants, TENANTS).and_then(|()| fs::write(&audit_log, ""));
    let written =
        written.and_then(|()| PODS.iter().try_for_each(|pod| fs::write(script(dir, pod), pod.script)));
    written.map_err(|error| Failure::failed(format!("{}: {error}", dir.display())))?;
    Ok((tenants, audit_log))
}

fn script(dir: &Path, pod: &Pod) -> PathBuf {
    dir.join(format!("{}.sh", pod.tenant))
}

/// What the cluster's API server would have logged: jane opens a shell in acme's
/// pod, a service account of globex lists secrets, somebody tries a door.
pub(crate) fn append_audit(log: &Path, now: DateTime<Utc>) -> Result<(), Failure> {
    let events = [
        event(now, "demo-exec", "create", "jane@acme.example", "pods", "acme-prod", "web-0", "exec", 101),
        event(
            now,
            "demo-list",
            "list",
            "system:serviceaccount:globex-dev:builder",
            "secrets",
            "globex-dev",
            "",
            "",
            200,
        ),
        event(
            now,
            "demo-deny",
            "get",
            "mallory@globex.example",
            "secrets",
            "acme-prod",
            "db-password",
            "",
            403,
        ),
    ];
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(log)
        .map_err(|error| Failure::failed(format!("{}: {error}", log.display())))?;
    for event in events {
        writeln!(file, "{event}").map_err(|error| Failure::failed(format!("{}: {error}", log.display())))?;
    }
    Ok(())
}

#[allow(clippy::too_many_arguments, reason = "one audit event, field by field")]
fn event(
    now: DateTime<Utc>,
    id: &str,
    verb: &str,
    user: &str,
    resource: &str,
    namespace: &str,
    name: &str,
    subresource: &str,
    code: u16,
) -> serde_json::Value {
    let time = now.to_rfc3339_opts(SecondsFormat::Micros, true);
    let parts = [resource, name, subresource].into_iter().filter(|part| !part.is_empty());
    let mut uri = format!("/api/v1/namespaces/{namespace}/{}", parts.collect::<Vec<_>>().join("/"));
    if subresource == "exec" {
        uri += "?command=sh&command=-c&command=id&container=web&stdin=true&tty=true";
    }
    // A stream is logged when it starts; its end may be hours away.
    let stage = if code == 101 { "ResponseStarted" } else { "ResponseComplete" };
    let decision = if code == 403 { "forbid" } else { "allow" };
    serde_json::json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "stage": stage,
        "auditID": format!("{id}-{}", now.timestamp_millis()), "requestURI": uri, "verb": verb,
        "user": {"username": user, "groups": ["system:authenticated"]},
        "sourceIPs": ["192.0.2.7"], "userAgent": "kubectl/v1.34.1 (demo)",
        "objectRef": {"resource": resource, "namespace": namespace, "name": name,
                      "subresource": subresource, "apiVersion": "v1"},
        "responseStatus": {"code": code},
        "requestReceivedTimestamp": time, "stageTimestamp": time,
        "annotations": {"authorization.k8s.io/decision": decision},
    })
}

/// The cgroups of one demo, removed when dropped.
pub(crate) struct Cgroups {
    top: PathBuf,
}

// === impl Cgroups ===

impl Cgroups {
    /// Makes one cgroup for each pod below the cgroup v2 mount.
    pub(crate) fn make(name: &str) -> Result<Self, Failure> {
        let mount = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
            .into_iter()
            .map(Path::new)
            .find(|place| place.join("cgroup.procs").exists())
            .ok_or_else(|| Failure::failed("cgroup v2 is not mounted"))?;
        let cgroups = Self { top: mount.join(name) };
        for pod in &PODS {
            let folder = cgroups.folder(pod);
            fs::create_dir_all(&folder)
                .map_err(|error| Failure::failed(format!("{}: {error}", folder.display())))?;
        }
        Ok(cgroups)
    }

    fn folder(&self, pod: &Pod) -> PathBuf {
        let pod_folder = format!("pod{}", pod.pod_uid);
        self.top.join("kubepods/burstable").join(pod_folder).join(pod.container_id)
    }

    /// Runs a pod's script in its cgroup and waits for it. The shell moves
    /// itself first and then becomes another one, so that what is seen is a
    /// shell that starts in the container.
    pub(crate) fn perform(&self, dir: &Path, pod: &Pod, port: u16) -> Result<(), Failure> {
        let procs = self.folder(pod).join("cgroup.procs");
        let status = Command::new("/bin/sh")
            .args(["-c", "echo $$ > \"$0\" && exec /bin/sh \"$1\" \"$2\""])
            .args([procs, script(dir, pod)])
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match status {
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::failed(format!("/bin/sh: {error}"))),
        }
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let folders = PODS.iter().flat_map(|pod| {
            let leaf = self.folder(pod);
            let parent = leaf.parent().map(Path::to_owned);
            [Some(leaf), parent]
        });
        let above = [self.top.join("kubepods/burstable"), self.top.join("kubepods"), self.top.clone()];
        for folder in folders.flatten().chain(above) {
            if let Err(error) = fs::remove_dir(&folder) {
                tracing::warn!(folder = %folder.display(), %error, "demo cgroup stays");
            }
        }
    }
}
