//! `containers`: what was learnt of a container, also after its first events.

use super::Column;
use super::Kind::{Bool, Int, PairList, Text, TextList, Time};

/// The columns that `syscalls` has too mean the same there and are named alike,
/// so that a view can put them in the place of what an event did not know yet.
#[rustfmt::skip]
pub(super) const COLUMNS: &[Column] = &[
    Column::new("time", Time, "when the collector knew this of the container, UTC"),
    Column::new("node", Text, "the node's name"),
    Column::new("cluster", Text, "the cluster's name as configured"),
    Column::new("container_id", Text, "the container's full id; with `cluster` and `node` the key, whose newest row counts"),
    Column::new("container_name", Text, "the container's name, null for a pod's sandbox"),
    Column::new("container_type", Text, "`containerd`, `cri-o`, `docker` or `podman`"),
    Column::new("container_image", Text, "the image as the pod's specification names it"),
    Column::new("container_image_repository", Text, "the image without tag and digest"),
    Column::new("container_image_tag", Text, "the image's tag"),
    Column::new("container_image_digest", Text, "what the image's registry calls it, e.g. `sha256:…`"),
    Column::new("container_privileged", Bool, "the container runs privileged"),
    Column::new("container_mounts", TextList, "its mounts, each `source:destination:mode:writable:propagation`"),
    Column::new("container_start_ts", Time, "when the container started last"),
    Column::new("k8s_ns_name", Text, "the pod's namespace"),
    Column::new("k8s_pod_name", Text, "the pod's name"),
    Column::new("k8s_pod_uid", Text, "the pod's uid as in its cgroup's path"),
    Column::new("k8s_pod_labels", PairList, "the pod's labels"),
    Column::new("k8s_sa_name", Text, "the pod's service account"),
    Column::new("cgroup_id", Int, "the id of the container's own cgroup, null if it was not seen"),
    Column::new("cgroup_path", Text, "that cgroup's path below the mount"),
    Column::new("gone", Bool, "the container has ended, or its pod was deleted"),
];
