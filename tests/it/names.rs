//! Names that come after the events that they belong to.

use serde_json::{Value, json};

use crate::harness::cgroup::Cgroup;
use crate::harness::kube_api::KubeApi;
use crate::harness::scene::{opens, unique};
use crate::harness::{scene, skip, wait_until};

const UID: &str = "0a11ce00-0000-4000-8000-0000000000de";

fn pod(container: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"uid": UID, "name": "web-0", "namespace": "acme-shop", "resourceVersion": "11",
                     "labels": {"app": "web"}},
        "spec": {"nodeName": "node-1", "containers": [{"name": "web", "image": "nginx:1.27"}]},
        "status": {"containerStatuses": [{"name": "web", "image": "nginx:1.27", "imageID": "", "ready": true,
                                          "restartCount": 0, "containerID": format!("containerd://{container}")}]}
    })
}

/// Goal: events of a pod that the API has not told of yet are stored at once and
/// stay as they are, and the view names them when the API tells; a tenant's view
/// is made of its own rows. Method: the real binary and kernel programs, a real
/// cgroup, an API server that tells of the pod only after its events are stored.
#[test]
fn events_are_named_after_they_are_stored() {
    if skip::without_kernel() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (marker, api) = (unique("names"), KubeApi::start());
    let container = format!("{:064x}", std::process::id());
    let up = scene::watching(dir.path(), &marker, &api);

    // Nobody knows yet whose it is.
    let cgroup = Cgroup::new(&marker, &format!("kubepods/burstable/pod{UID}/{container}"));
    assert!(cgroup.shell(&opens(&format!("{marker}-early"), 20)).status().unwrap().success());
    let early = format!("fd_name LIKE '/nonexistent/{marker}-early-%'");
    let nameless = "k8s_pod_uid IS NOT NULL AND k8s_ns_name IS NULL AND tenant = '_unassigned'";
    assert_eq!(
        up.wait_for_count(&format!("SELECT count(*) FROM syscalls WHERE {early} AND {nameless}"), 20),
        20
    );
    let known = format!("FROM containers WHERE container_id = '{container}' AND tenant = 'acme'");
    assert_eq!(up.count(&format!("SELECT count(*) {known}")), 0);

    api.tell("ADDED", &pod(&container));
    up.wait_for_count(&format!("SELECT count(*) {known} AND container_name = 'web' AND NOT gone"), 1);
    let named = "k8s_ns_name = 'acme-shop' AND k8s_pod_name = 'web-0' AND container_image_tag = '1.27'";
    let count = |table: &str, rows: &str| up.count(&format!("SELECT count(*) FROM {table} WHERE {rows}"));
    assert_eq!(count("syscalls_named", &format!("{early} AND {named} AND tenant = '_unassigned'")), 20);
    assert_eq!(count("syscalls", &format!("{early} AND {nameless}")), 20, "what is stored stays");

    // From now on events have their names, and their tenant, themselves.
    assert!(cgroup.shell(&opens(&format!("{marker}-late"), 20)).status().unwrap().success());
    let late = format!("fd_name LIKE '/nonexistent/{marker}-late-%' AND {named} AND tenant = 'acme'");
    assert_eq!(up.wait_for_count(&format!("SELECT count(*) FROM syscalls WHERE {late}"), 20), 20);
    assert_eq!(count("syscalls_named", &late), 20);
    let token = up.create_token("ada", "acme");
    let sees = format!("SELECT count(*) FROM syscalls_named WHERE fd_name LIKE '/nonexistent/{marker}-%'");
    wait_until(|| up.post_sql(&token, &sees).0 == 200);
    assert_eq!(up.post_sql(&token, &sees).1["rows"][0][0], 20);

    drop(cgroup);
    up.wait_for_count(&format!("SELECT count(*) {known} AND gone AND k8s_pod_name = 'web-0'"), 1);
    let twice = format!("SELECT count(*) {known} AND NOT gone AND container_name = 'web'");
    assert_eq!(up.count(&twice), 1, "the same is not told again");
    up.terminate();
}
