//! What is known of containers, to rows of `containers`. Pure.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use bailiwick_proto::Table;

use crate::columns::Columns;
use crate::pods::PodContainer;

use super::known::Facts;

/// A row each, of this moment.
pub(super) fn rows(all: &[Facts], node: &str, cluster: &str, now_us: i64) -> Result<RecordBatch, ArrowError> {
    let mut columns = Columns::new(Table::Containers);
    for facts in all {
        columns.time("time", Some(now_us));
        columns.text("node", Some(node));
        columns.text("cluster", Some(cluster));
        columns.text("container_id", Some(&facts.id));
        columns.boolean("gone", Some(facts.gone));
        place(&mut columns, facts);
        pod(&mut columns, facts);
        if let Some(known) = facts.container() {
            container(&mut columns, known);
        }
        columns.end_row();
    }
    columns.finish()
}

fn place(columns: &mut Columns, facts: &Facts) {
    let told = facts.container().and_then(|container| container.runtime);
    let seen = facts.place.as_ref().map(|place| place.container.runtime);
    columns.text("container_type", told.or(seen));
    let Some(place) = &facts.place else { return };
    columns.int("cgroup_id", i64::try_from(place.cgroup_id).ok());
    columns.text("cgroup_path", Some(&place.cgroup_path));
}

fn pod(columns: &mut Columns, facts: &Facts) {
    let pod = &facts.pod;
    let in_path = facts.place.as_ref().and_then(|place| place.container.pod_uid.as_ref());
    let uid = in_path.or(pod.cgroup_uid.as_ref()).unwrap_or(&pod.uid);
    columns.text("k8s_ns_name", Some(&pod.namespace));
    columns.text("k8s_pod_name", Some(&pod.name));
    columns.text("k8s_pod_uid", Some(uid));
    columns.pairs("k8s_pod_labels", pod.labels.iter().map(|(name, value)| (name, value)));
    columns.text("k8s_sa_name", Some(&pod.service_account).filter(|name| !name.is_empty()));
}

fn container(columns: &mut Columns, known: &PodContainer) {
    let (repository, tag) = known.image_parts();
    columns.text("container_name", Some(&known.name));
    columns.text("container_image", Some(&known.image));
    columns.text("container_image_repository", Some(repository));
    columns.text("container_image_tag", tag);
    columns.text("container_image_digest", known.image_digest.as_deref());
    columns.boolean("container_privileged", Some(known.privileged));
    columns.texts("container_mounts", &known.mounts);
    columns.time("container_start_ts", known.start_us);
}
