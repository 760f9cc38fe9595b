//! Two tenants, two rules, and what a test does in their cgroups.

use std::fs;
use std::path::Path;

use super::kube_api::KubeApi;
use super::{COLLECTOR, SERVER, Up, wait_until};

const RULES: &str = "\
- rule: Watched file opened
  desc: a test opened the file that this rule waits for
  condition: evt.type in (open, openat) and fd.name endswith it-watched-file
  output: watched file opened (file=%fd.name command=%proc.cmdline)
  priority: WARNING
  source: syscall
  tags: [test]
- rule: Secrets listed
  desc: somebody listed secrets
  condition: ka.verb=list and ka.target.resource=secrets
  output: secrets listed (user=%ka.user.name)
  priority: NOTICE
  source: k8s_audit
";

/// Somebody lists the secrets of acme's namespace.
const AUDIT_EVENT: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"AUDIT_ID","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/acme-prod/secrets","verb":"list","user":{"username":"mallory","groups":["system:authenticated"]},"sourceIPs":["10.0.0.9"],"userAgent":"kubectl","objectRef":{"resource":"secrets","namespace":"acme-prod","apiVersion":"v1"},"responseStatus":{"code":200},"requestReceivedTimestamp":"NOW.000000Z","stageTimestamp":"NOW.010000Z","annotations":{"authorization.k8s.io/decision":"allow"}}"#;

/// One line of an API server's audit log, of this moment: what looks back a while must find it in any year.
pub(crate) fn audit_event(id: &str) -> String {
    let now = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S").to_string();
    format!("{}\n", AUDIT_EVENT.replace("AUDIT_ID", id).replace("NOW", &now))
}

/// A folder with a configuration that flushes often, for two tenants.
pub(crate) fn files(dir: &Path, marker: &str) {
    let tenants = format!(
        "tenants:\n  - tenant: acme\n    namespaces: [\"acme-*\"]\n    cgroups: [\"/{marker}/acme*\"]\n  - tenant: globex\n    cgroups: [\"/{marker}/globex*\"]\n"
    );
    fs::write(dir.join("tenants.yaml"), tenants).unwrap();
    fs::write(dir.join("rules.yaml"), RULES).unwrap();
    fs::write(dir.join("audit.log"), "").unwrap();
    let (tenants, usage) = ("tenants_file = \"tenants.yaml\"\n", "[collector.usage]\nevery_ms = 500\n");
    let config = [SERVER, tenants, COLLECTOR, usage].concat();
    fs::write(dir.join("bailiwick.toml"), config).unwrap();
}

/// How the binary is started over it.
pub(crate) const ARGUMENTS: [&str; 6] =
    ["--rules", "rules.yaml", "--audit-log", "audit.log", "--alert-file", "alerts.jsonl"];

/// The binary over it, as the node that `api` watches pods for.
pub(crate) fn watching(dir: &Path, marker: &str, api: &KubeApi) -> Up {
    files(dir, marker);
    let file = dir.join("bailiwick.toml");
    let config = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("node = \"node-1\"\n{config}[collector.kube]\nenabled = \"on\"\n")).unwrap();
    let kubeconfig = api.kubeconfig(dir);
    let up = Up::start_with(dir, &ARGUMENTS, &[("KUBECONFIG", kubeconfig.to_str().unwrap())]);
    wait_until(|| api.watchers() == 1);
    up
}

/// Opens `count` files that do not exist, named `<prefix>-<n>`, in one process.
pub(crate) fn opens(prefix: &str, count: usize) -> String {
    format!(
        "i=0; while [ $i -lt {count} ]; do i=$((i+1)); true 2>/dev/null < /nonexistent/{prefix}-$i; done; true"
    )
}

/// A name that no other test and no earlier run has.
pub(crate) fn unique(name: &str) -> String {
    format!("it-{name}-{}", std::process::id())
}
