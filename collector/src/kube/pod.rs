//! From the API's pod to what Bailiwick keeps of it. Pure.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{
    Container, ContainerStatus, Pod as ApiPod, PodSpec, ResourceRequirements, SecurityContext, Volume,
    VolumeMount,
};

use crate::pods::{Pod, PodContainer};

use super::{mounts, quantity};

/// A static pod's cgroup carries this instead of the uid that the API gave its mirror.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// Labels kept of a pod; the API server bounds only the whole object.
const MAX_LABELS: usize = 256;

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
    let mut spec = pod.spec.unwrap_or_default();
    let uid = metadata.uid?;
    let hash = metadata.annotations.and_then(|mut all| all.remove(CONFIG_HASH)).filter(|hash| *hash != uid);
    let folder_uid = hash.as_deref().unwrap_or(&uid).to_owned();
    Some(Pod {
        cgroup_uid: hash,
        uid,
        namespace: metadata.namespace.unwrap_or_default(),
        name: metadata.name.unwrap_or_default(),
        labels: metadata.labels.unwrap_or_default().into_iter().take(MAX_LABELS).collect(),
        node: spec.node_name.take().unwrap_or_default(),
        service_account: spec.service_account_name.take().unwrap_or_default(),
        containers: containers(spec, &folder_uid, &statuses),
    })
}

/// What the three kinds of container have in common.
struct Spec {
    name: String,
    image: Option<String>,
    security: Option<SecurityContext>,
    resources: Option<ResourceRequirements>,
    mounts: Vec<VolumeMount>,
}

fn containers(spec: PodSpec, uid: &str, statuses: &HashMap<String, ContainerStatus>) -> Vec<PodContainer> {
    let volumes: HashMap<String, Volume> =
        spec.volumes.unwrap_or_default().into_iter().map(|volume| (volume.name.clone(), volume)).collect();
    let usual = spec.containers.into_iter().chain(spec.init_containers.unwrap_or_default());
    let ephemeral = spec.ephemeral_containers.unwrap_or_default().into_iter();
    let ephemeral = ephemeral.map(|container| Spec {
        name: container.name,
        image: container.image,
        security: container.security_context,
        resources: None,
        mounts: container.volume_mounts.unwrap_or_default(),
    });
    usual
        .map(Spec::of)
        .chain(ephemeral)
        .map(|spec| spec.container(statuses, &|mount| mounts::text(mount, &volumes, uid)))
        .collect()
}

// === impl Spec ===

impl Spec {
    fn of(container: Container) -> Self {
        let Container { name, image, security_context, resources, volume_mounts, .. } = container;
        Self { name, image, security: security_context, resources, mounts: volume_mounts.unwrap_or_default() }
    }

    fn container(
        self,
        statuses: &HashMap<String, ContainerStatus>,
        mount: &dyn Fn(&VolumeMount) -> String,
    ) -> PodContainer {
        let status = statuses.get(&self.name);
        let requests = self.resources.and_then(|resources| resources.requests).unwrap_or_default();
        let request =
            |name: &str, read: fn(&str) -> Option<i64>| requests.get(name).and_then(|asked| read(&asked.0));
        let id = status.and_then(|status| status.container_id.as_deref()).unwrap_or_default();
        let (runtime, id) = id.split_once("://").unwrap_or(("", id));
        PodContainer {
            id: id.to_owned(),
            runtime: known_runtime(runtime),
            image: self.image.or_else(|| status.map(|status| status.image.clone())).unwrap_or_default(),
            image_digest: status.and_then(digest),
            privileged: self.security.and_then(|security| security.privileged).unwrap_or(false),
            mounts: self.mounts.iter().take(mounts::MAX).map(mount).collect(),
            ended: status.is_some_and(has_ended),
            start_us: status.and_then(started_us),
            cpu_request_m: request("cpu", quantity::thousandths),
            mem_request_b: request("memory", quantity::units),
            name: self.name,
        }
    }
}

fn known_runtime(name: &str) -> Option<&'static str> {
    ["containerd", "cri-o", "docker", "podman"].into_iter().find(|known| *known == name)
}

/// `repository@sha256:…`; without a repository it is the image's own id, which
/// no registry knows.
fn digest(status: &ContainerStatus) -> Option<String> {
    let (_, digest) = status.image_id.split_once('@')?;
    digest.contains(':').then(|| digest.to_owned())
}

fn has_ended(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.terminated.is_some())
}

fn started_us(status: &ContainerStatus) -> Option<i64> {
    let state = status.state.as_ref()?;
    let running = state.running.as_ref().and_then(|running| running.started_at.as_ref());
    let ended = state.terminated.as_ref().and_then(|ended| ended.started_at.as_ref());
    Some(running.or(ended)?.0.as_microsecond())
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
            "spec": {"nodeName": "n1", "serviceAccountName": "shop",
                "volumes": [{"name": "logs", "hostPath": {"path": "/var/log"}}, {"name": "tmp", "emptyDir": {}}],
                "containers": [{"name": "web", "image": "nginx:1", "securityContext": {"privileged": true},
                                "volumeMounts": [{"name": "logs", "mountPath": "/logs", "readOnly": true,
                                                  "mountPropagation": "HostToContainer"},
                                                 {"name": "tmp", "mountPath": "/tmp"}],
                                "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}}}],
                "initContainers": [{"name": "init", "image": "busybox"}],
                "ephemeralContainers": [{"name": "debug", "image": "alpine"}]},
            "status": {"containerStatuses": [{"name": "web", "image": "docker.io/nginx:1", "ready": true,
                "imageID": "docker.io/library/nginx@sha256:00ff", "restartCount": 0, "containerID": "containerd://abc",
                "state": {"running": {"startedAt": "2026-03-01T12:00:01Z"}}}]}
        });
        let pod = of(serde_json::from_value(pod).unwrap()).unwrap();
        assert_eq!(
            (pod.uid.as_str(), pod.cgroup_uid.as_deref(), pod.node.as_str()),
            ("u1", Some("0123"), "n1")
        );
        assert_eq!(pod.labels, [("app".to_owned(), "web".to_owned())]);
        let web = pod.container("abc").unwrap();
        assert_eq!((web.cpu_request_m, web.mem_request_b, web.privileged), (Some(250), Some(64 << 20), true));
        assert_eq!((web.runtime, web.image_digest.as_deref()), (Some("containerd"), Some("sha256:00ff")));
        assert_eq!((pod.service_account.as_str(), web.start_us), ("shop", Some(1_772_366_401_000_000)));
        assert!(!web.ended);
        let tmp = "/var/lib/kubelet/pods/0123/volumes/kubernetes.io~empty-dir/tmp:/tmp::true:private";
        assert_eq!(web.mounts, ["/var/log:/logs::false:rslave", tmp]);
        let names: Vec<_> = pod.containers.iter().map(|container| container.name.as_str()).collect();
        assert_eq!(names, ["web", "init", "debug"]);
    }

    #[test]
    fn a_container_that_has_ended() {
        let pod = json!({
            "metadata": {"uid": "u1"},
            "spec": {"containers": [{"name": "job"}]},
            "status": {"containerStatuses": [{"name": "job", "image": "", "ready": false, "imageID": "",
                "restartCount": 0, "containerID": "containerd://abc",
                "state": {"terminated": {"exitCode": 0, "startedAt": "2026-03-01T12:00:01Z"}}}]}
        });
        let pod = of(serde_json::from_value(pod).unwrap()).unwrap();
        let job = pod.container("abc").unwrap();
        assert_eq!((job.ended, job.start_us), (true, Some(1_772_366_401_000_000)));
    }

    #[test]
    fn a_pod_with_nothing_is_none() {
        assert_eq!(of(ApiPod::default()), None);
    }
}
