//! A container's mounts, from what its pod asks for. Pure.
//!
//! The API names volumes, not folders of the node. Where the kubelet's folder
//! follows from the kind of volume it is told; where it is only decided on the
//! node, as for a claim, the source is empty.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Volume, VolumeMount};

/// The most mounts told of a container.
pub(super) const MAX: usize = 128;
/// Where the kubelet keeps volumes, unless it was told otherwise.
const KUBELET: &str = "/var/lib/kubelet/pods";

/// One mount as `source:destination:mode:writable:propagation`; Kubernetes has no mode.
pub(super) fn text(mount: &VolumeMount, volumes: &HashMap<String, Volume>, uid: &str) -> String {
    let source = volumes.get(&mount.name).and_then(|volume| source(volume, mount, uid)).unwrap_or_default();
    let writable = !mount.read_only.unwrap_or(false);
    let propagation = match mount.mount_propagation.as_deref() {
        Some("Bidirectional") => "rshared",
        Some("HostToContainer") => "rslave",
        _ => "private",
    };
    format!("{source}:{}::{writable}:{propagation}", mount.mount_path)
}

fn source(volume: &Volume, mount: &VolumeMount, uid: &str) -> Option<String> {
    if let Some(host) = &volume.host_path {
        let inside = mount.sub_path.as_deref().filter(|inside| !inside.is_empty());
        return Some(match inside {
            Some(inside) => format!("{}/{inside}", host.path.trim_end_matches('/')),
            None => host.path.clone(),
        });
    }
    let kind = match volume {
        Volume { empty_dir: Some(_), .. } => "empty-dir",
        Volume { config_map: Some(_), .. } => "configmap",
        Volume { secret: Some(_), .. } => "secret",
        Volume { projected: Some(_), .. } => "projected",
        Volume { downward_api: Some(_), .. } => "downward-api",
        _ => return None,
    };
    Some(format!("{KUBELET}/{uid}/volumes/kubernetes.io~{kind}/{}", volume.name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_volume() {
        let volumes: Vec<Volume> = serde_json::from_value(json!([
            {"name": "root", "hostPath": {"path": "/"}},
            {"name": "sock", "hostPath": {"path": "/run/docker.sock"}},
            {"name": "sa", "projected": {"sources": []}},
            {"name": "conf", "configMap": {"name": "x"}},
            {"name": "keys", "secret": {"secretName": "x"}},
            {"name": "info", "downwardAPI": {}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "data-0"}},
        ]))
        .unwrap();
        let volumes = volumes.into_iter().map(|volume| (volume.name.clone(), volume)).collect();
        let mounts: Vec<VolumeMount> = serde_json::from_value(json!([
            {"name": "root", "mountPath": "/host", "mountPropagation": "Bidirectional"},
            {"name": "root", "mountPath": "/etc/host", "subPath": "etc", "readOnly": true},
            {"name": "sock", "mountPath": "/run/docker.sock"},
            {"name": "sa", "mountPath": "/var/run/secrets", "readOnly": true},
            {"name": "conf", "mountPath": "/conf"}, {"name": "keys", "mountPath": "/keys"},
            {"name": "info", "mountPath": "/info"}, {"name": "data", "mountPath": "/data"},
            {"name": "nobody", "mountPath": "/x"},
        ]))
        .unwrap();
        let texts: Vec<_> = mounts.iter().map(|mount| text(mount, &volumes, "u1")).collect();
        insta::assert_snapshot!(texts.join("\n"), @r"
        /:/host::true:rshared
        /etc:/etc/host::false:private
        /run/docker.sock:/run/docker.sock::true:private
        /var/lib/kubelet/pods/u1/volumes/kubernetes.io~projected/sa:/var/run/secrets::false:private
        /var/lib/kubelet/pods/u1/volumes/kubernetes.io~configmap/conf:/conf::true:private
        /var/lib/kubelet/pods/u1/volumes/kubernetes.io~secret/keys:/keys::true:private
        /var/lib/kubelet/pods/u1/volumes/kubernetes.io~downward-api/info:/info::true:private
        :/data::true:private
        :/x::true:private
        ");
    }
}
