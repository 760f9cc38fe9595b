//! Through a real spool: what is told of a container, and when.

use arrow::array::RecordBatch;

use super::*;
use crate::attribution::container_of;
use crate::audit::spooled::{Spooled, texts};
use crate::pods::{Pod, PodContainer};

const ID: &str = "5b1cc7e1d1a0c3a7d6d4e5f60718293a4b5c6d7e8f90123456789abcdef01234";
const UID: &str = "0a11ce00-0000-4000-8000-000000000c0d";

fn pod(labels: &[(&str, &str)]) -> Pod {
    let web = PodContainer {
        id: ID.to_owned(),
        runtime: Some("containerd"),
        name: "web".to_owned(),
        image: "docker.io/library/nginx:1.27".to_owned(),
        image_digest: Some("sha256:00".to_owned()),
        mounts: vec!["/:/host::true:private".to_owned()],
        start_us: Some(1_772_366_401_000_000),
        ..Default::default()
    };
    Pod {
        uid: UID.to_owned(),
        namespace: "shop".to_owned(),
        name: "web-0".to_owned(),
        service_account: "web".to_owned(),
        labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        containers: vec![web],
        ..Default::default()
    }
}

fn seen(sightings: &Sightings) {
    let path = format!("/kubepods/burstable/pod{UID}/{ID}");
    sightings.there(77, &path, &container_of(&path));
    // Made by whoever runs inside; says nothing of the container.
    let inside = format!("{path}/init.scope");
    sightings.there(78, &inside, &container_of(&inside));
    sightings.gone(&inside, &container_of(&inside));
    sightings.there(79, "/system.slice", &container_of("/system.slice"));
}

async fn next(spooled: &mut Spooled) -> RecordBatch {
    loop {
        let (table, rows) = spooled.next().await;
        if table == Table::Containers {
            return rows;
        }
    }
}

/// Every column but the time, as a person reads it.
fn told(rows: &RecordBatch) -> String {
    let mut text = String::new();
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()).skip(1) {
        let value = arrow::util::display::array_value_to_string(column, 0).unwrap();
        text += &format!("{}: {value}\n", field.name());
    }
    text
}

/// Goal: a container that was made before anybody could name it gets a row with
/// all its names, another when a label changes, and one when it is gone.
#[tokio::test]
async fn a_container_is_named_late() {
    let mut spooled = Spooled::new();
    let (sightings, pods) = (Sightings::default(), Pods::default());
    seen(&sightings);
    let task =
        tokio::spawn(tell(sightings.clone(), pods.clone(), spooled.outlet.clone(), spooled.stop.clone()));
    pods.upsert(pod(&[("app", "web")]));
    let rows = next(&mut spooled).await;
    assert_eq!(rows.num_rows(), 1);
    insta::assert_snapshot!(told(&rows), @r"
    node: node-1
    cluster: cluster-1
    container_id: 5b1cc7e1d1a0c3a7d6d4e5f60718293a4b5c6d7e8f90123456789abcdef01234
    container_name: web
    container_type: containerd
    container_image: docker.io/library/nginx:1.27
    container_image_repository: docker.io/library/nginx
    container_image_tag: 1.27
    container_image_digest: sha256:00
    container_privileged: false
    container_mounts: [/:/host::true:private]
    container_start_ts: 2026-03-01T12:00:01Z
    k8s_ns_name: shop
    k8s_pod_name: web-0
    k8s_pod_uid: 0a11ce00-0000-4000-8000-000000000c0d
    k8s_pod_labels: [{name: app, value: web}]
    k8s_sa_name: web
    cgroup_id: 77
    cgroup_path: /kubepods/burstable/pod0a11ce00-0000-4000-8000-000000000c0d/5b1cc7e1d1a0c3a7d6d4e5f60718293a4b5c6d7e8f90123456789abcdef01234
    gone: false
    ");
    pods.upsert(pod(&[("app", "web"), ("tier", "front")]));
    let rows = next(&mut spooled).await;
    assert!(told(&rows).contains("k8s_pod_labels: [{name: app, value: web}, {name: tier, value: front}]"));
    let path = format!("/kubepods/burstable/pod{UID}/{ID}");
    sightings.gone(&path, &container_of(&path));
    spooled.stop.cancel();
    task.await.unwrap();
    let rows = next(&mut spooled).await;
    assert!(told(&rows).ends_with("gone: true\n"), "{}", told(&rows));
    assert_eq!(texts(&rows, "container_name"), ["web"], "the newest row alone says everything");
}

/// Goal: a spool that is full loses no name. Method: one that takes nothing of
/// this lane while what it holds is not acknowledged.
#[tokio::test]
async fn a_full_spool_only_delays() {
    let mut spooled = Spooled::of(1 << 20);
    let mut columns = crate::columns::Columns::new(Table::Usage);
    let mut filled = 0_u64;
    for size in [200, 1] {
        loop {
            for row in 0..size {
                columns.text("cgroup_path", Some(format!("/{filled}/{row}/{}", "x".repeat(500))));
                columns.end_row();
            }
            if !spooled.outlet.keep(Table::Usage, Lane::Usage, columns.finish().unwrap(), None).await {
                break;
            }
            filled += 1;
        }
    }
    let (sightings, pods) = (Sightings::default(), Pods::default());
    pods.upsert(pod(&[]));
    let mut teller = Teller {
        sightings,
        pods,
        outlet: spooled.outlet.clone(),
        known: Known::default(),
        heard: None,
        behind: false,
    };
    teller.look(Instant::now()).await;
    assert!(teller.behind, "the spool had room after {filled} batches");
    for _ in 0..filled {
        spooled.next().await;
    }
    spooled.acknowledge().await;
    while teller.behind {
        teller.look(Instant::now()).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(texts(&next(&mut spooled).await, "k8s_pod_name"), ["web-0"]);
}

#[test]
fn sightings_are_bounded() {
    let sightings = Sightings::default();
    let path = format!("/kubepods/burstable/pod{UID}/{ID}");
    let container = container_of(&path);
    for number in 0..MAX_WAITING as u64 + 3 {
        sightings.there(number, &path, &container);
    }
    let Waiting { noted, left_out } = sightings.take();
    assert_eq!((noted.len(), left_out), (MAX_WAITING, 3));
    assert_eq!(sightings.take().left_out, 0);
}
