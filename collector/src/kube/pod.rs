//! From the API's pod to what Bailiwick keeps of it. Pure.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{
    Container, ContainerStatus, Pod as ApiPod, PodSpec, ResourceRequirements, SecurityContext,
};

use crate::pods::{Pod, PodContainer};

use super::quantity;

/// A static pod's cgroup carries this instead of the uid that the API gave its mirror.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

/// A pod without a uid is none that can be found again.
pub(super) fn of(pod: ApiPod) -> Option<Pod> {
    let metadata = pod.metadata;
    let statuses = pod.status.unwrap_or_default();
    let statuses = [
        statuses.container_statuses,
        statuses.init_container_statuses,
        statuses.ephemeral_container_statuses,
    ];
    let statuses: HashMap<String, ContainerStatus> =
        statuses.into_iter().flatten().flatten().map(|status| (status.name.clone(), status)).collect();
    let spec = pod.spec.unwrap_or_default();
    let uid = metadata.uid?;
    Some(Pod {
        cgroup_uid: metadata
            .annotations
            .and_then(|mut all| all.remove(CONFIG_HASH))
            .filter(|hash| *hash != uid),
        uid,
        namespace: metadata.namespace.unwrap_or_default(),
        name: metadata.name.unwrap_or_default(),
        labels: metadata.labels.unwrap_or_default().into_iter().collect(),
        node: spec.node_name.clone().unwrap_or_default(),
        containers: containers(spec, &statuses),
    })
}

fn containers(spec: PodSpec, statuses: &HashMap<String, ContainerStatus>) -> Vec<PodContainer> {
    let usual = spec.containers.into_iter().chain(spec.init_containers.unwrap_or_default());
    let usual = usual.map(|Container { name, image, security_context, resources, .. }| {
        (name, image, security_context, resources)
    });
    let ephemeral = spec.ephemeral_containers.unwrap_or_default().into_iter();
    let ephemeral =
        ephemeral.map(|container| (container.name, container.image, container.security_context, None));
    let kept = |(name, image, security, resources): (
        String,
        Option<String>,
        Option<SecurityContext>,
        Option<ResourceRequirements>,
    )| {
        let status = statuses.get(&name);
        let requests = resources.and_then(|resources| resources.requests).unwrap_or_default();
        let request =
            |name: &str, read: fn(&str) -> Option<i64>| requests.get(name).and_then(|asked| read(&asked.0));
        PodContainer {
            id: status
                .and_then(|status| status.container_id.as_deref())
                .map(bare_id)
                .unwrap_or_default()
                .to_owned(),
            image: image.or_else(|| status.map(|status| status.image.clone())).unwrap_or_default(),
            privileged: security.and_then(|security| security.privileged).unwrap_or(false),
            cpu_request_m: request("cpu", quantity::thousandths),
            mem_request_b: request("memory", quantity::units),
            name,
        }
    };
    usual.chain(ephemeral).map(kept).collect()
}

/// `containerd://<id>` without the runtime.
fn bare_id(id: &str) -> &str {
    id.split_once("://").map_or(id, |(_, id)| id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_with_everything() {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"uid": "u1", "namespace": "acme", "name": "web-0", "labels": {"app": "web"},
                         "annotations": {"kubernetes.io/config.hash": "0123"}},
            "spec": {"nodeName": "n1",
                "containers": [{"name": "web", "image": "nginx:1", "securityContext": {"privileged": true},
                                "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}}}],
                "initContainers": [{"name": "init", "image": "busybox"}],
                "ephemeralContainers": [{"name": "debug", "image": "alpine"}]},
            "status": {"containerStatuses": [{"name": "web", "image": "docker.io/nginx:1", "imageID": "", "ready": true,
                "restartCount": 0, "containerID": "containerd://abc"}]}
        });
        let pod = of(serde_json::from_value(pod).unwrap()).unwrap();
        assert_eq!(
            (pod.uid.as_str(), pod.cgroup_uid.as_deref(), pod.node.as_str()),
            ("u1", Some("0123"), "n1")
        );
        assert_eq!(pod.labels, [("app".to_owned(), "web".to_owned())]);
        let web = pod.container("abc").unwrap();
        assert_eq!((web.cpu_request_m, web.mem_request_b, web.privileged), (Some(250), Some(64 << 20), true));
        let names: Vec<_> = pod.containers.iter().map(|container| container.name.as_str()).collect();
        assert_eq!(names, ["web", "init", "debug"]);
    }

    #[test]
    fn a_pod_with_nothing_is_none() {
        assert_eq!(of(ApiPod::default()), None);
    }
}
