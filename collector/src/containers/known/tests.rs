//! Sightings and pods in every order, and what is told of them.

use proptest::prelude::*;

use super::*;
use crate::attribution::container_of;

const UID: &str = "0a11ce00-0000-4000-8000-000000000c0d";

fn id(number: usize) -> String {
    format!("{number:064x}")
}

fn there(number: usize) -> Sighting {
    let cgroup_path = format!("/kubepods/burstable/pod{UID}/{}", id(number));
    let container = container_of(&cgroup_path);
    Sighting::There(Arc::new(Place { cgroup_id: number as u64, cgroup_path, container }))
}

fn pod(labels: &[(&str, &str)], containers: &[PodContainer]) -> Pod {
    Pod {
        uid: UID.to_owned(),
        namespace: "shop".to_owned(),
        name: "web-0".to_owned(),
        labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        containers: containers.to_vec(),
        ..Default::default()
    }
}

fn web(number: usize, image: &str) -> PodContainer {
    PodContainer { id: id(number), name: "web".to_owned(), image: image.to_owned(), ..Default::default() }
}

/// What is new, as a person would say it, and durable with that.
fn told(known: &mut Known, pods: &Pods, now: Instant) -> Vec<String> {
    let mut new = known.untold(pods, now);
    new.sort_by(|one, other| one.id.cmp(&other.id));
    known.told(&new);
    let say = |facts: &Facts| {
        let number = facts.id.trim_start_matches('0');
        let container = facts.container().map_or("?", |container| container.image.as_str());
        let labels =
            facts.pod.labels.iter().map(|(name, value)| format!(" {name}={value}")).collect::<String>();
        let place = if facts.place.is_some() { "" } else { " unseen" };
        format!("{number} {container}{labels}{place}{}", if facts.gone { " gone" } else { "" })
    };
    new.iter().map(say).collect()
}

/// Goal: a row as soon as a pod names a container, another whenever something
/// of it changes, and none otherwise.
#[test]
fn a_container_is_told_when_it_is_named_and_when_that_changes() {
    let (mut known, pods, now) = (Known::default(), Pods::default(), Instant::now());
    known.saw(there(1), now);
    assert!(told(&mut known, &pods, now).is_empty(), "nobody knows whose it is");
    pods.upsert(pod(&[], &[]));
    assert_eq!(told(&mut known, &pods, now), ["1 ?"], "the kubelet has not told the container yet");
    pods.upsert(pod(&[], &[web(1, "nginx:1")]));
    assert_eq!(told(&mut known, &pods, now), ["1 nginx:1"]);
    pods.upsert(pod(&[], &[web(1, "nginx:1")]));
    known.saw(there(1), now);
    assert!(told(&mut known, &pods, now).is_empty(), "told already");
    pods.upsert(pod(&[("app", "web")], &[web(1, "nginx:1")]));
    assert_eq!(told(&mut known, &pods, now), ["1 nginx:1 app=web"]);
    pods.upsert(pod(&[("app", "web")], &[web(2, "nginx:2")]));
    assert_eq!(told(&mut known, &pods, now), ["1 nginx:1 app=web gone", "2 nginx:2 app=web unseen"]);
    known.saw(there(2), now);
    assert_eq!(told(&mut known, &pods, now), ["2 nginx:2 app=web"]);
    known.saw(Sighting::Gone(id(2)), now);
    assert_eq!(told(&mut known, &pods, now), ["2 nginx:2 app=web gone"]);
    pods.remove(UID, now);
    assert!(told(&mut known, &pods, now).is_empty());
    pods.remove("nobody", now + crate::pods::GRACE);
    assert!(told(&mut known, &pods, now + GRACE).is_empty());
    assert!(known.by_id.is_empty(), "forgotten");
}

#[test]
fn a_container_that_is_gone_before_its_pod_is_known_is_named_yet() {
    let (mut known, pods, now) = (Known::default(), Pods::default(), Instant::now());
    known.saw(there(1), now);
    known.saw(Sighting::Gone(id(1)), now);
    assert!(told(&mut known, &pods, now).is_empty());
    pods.upsert(pod(&[], &[]));
    let later = now + Duration::from_secs(299);
    assert_eq!(told(&mut known, &pods, later), ["1 ? gone"]);
    known.saw(there(2), now);
    known.saw(Sighting::Gone(id(2)), now);
    let strangers = Pods::default();
    assert!(told(&mut known, &strangers, now + GRACE).is_empty());
    assert!(known.by_id.is_empty(), "nobody named it in time");
}

#[test]
fn a_deleted_pod_ends_its_containers_once() {
    let (mut known, pods, now) = (Known::default(), Pods::default(), Instant::now());
    pods.upsert(pod(&[], &[web(1, "nginx:1")]));
    assert_eq!(told(&mut known, &pods, now), ["1 nginx:1 unseen"]);
    pods.remove(UID, now);
    assert_eq!(told(&mut known, &pods, now), ["1 nginx:1 unseen gone"]);
    assert!(told(&mut known, &pods, now).is_empty());
}

#[test]
fn what_was_not_durable_is_told_again() {
    let (mut known, pods, now) = (Known::default(), Pods::default(), Instant::now());
    pods.upsert(pod(&[], &[web(1, "nginx:1")]));
    assert_eq!(known.untold(&pods, now).len(), 1);
    assert_eq!(told(&mut known, &pods, now), ["1 nginx:1 unseen"]);
}

#[test]
fn containers_are_bounded_and_those_left_out_are_counted() {
    let mut known = Known { max: 2, ..Known::default() };
    let now = Instant::now();
    for number in 1..=5 {
        known.saw(there(number), now);
    }
    assert_eq!((known.by_id.len(), known.take_left_out(), known.take_left_out()), (2, 3, 0));
}

#[derive(Debug, Clone)]
enum Step {
    There(usize),
    Gone(usize),
    Pod { label: u8, containers: Vec<(usize, u8)> },
    Delete,
    Tell { durable: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let containers = prop::collection::vec((1..4_usize, 0..2_u8), 0..3);
    prop_oneof![
        (1..4_usize).prop_map(Step::There),
        (1..4_usize).prop_map(Step::Gone),
        (0..2_u8, containers).prop_map(|(label, containers)| Step::Pod { label, containers }),
        Just(Step::Delete),
        any::<bool>().prop_map(|durable| Step::Tell { durable }),
    ]
}

proptest! {
    /// Goal: whatever happens in whatever order, no row repeats the one before
    /// it, and at the end the newest row of each container is what is known of it.
    #[test]
    fn the_newest_row_is_what_is_known(steps in prop::collection::vec(step(), 0..40)) {
        let (mut known, pods, now) = (Known::default(), Pods::default(), Instant::now());
        let mut newest: HashMap<String, Facts> = HashMap::new();
        for step in steps.into_iter().chain([Step::Tell { durable: true }]) {
            match step {
                Step::There(number) => known.saw(there(number), now),
                Step::Gone(number) => known.saw(Sighting::Gone(id(number)), now),
                Step::Pod { label, containers } => {
                    let label = label.to_string();
                    let mut all: Vec<PodContainer> = Vec::new();
                    for (number, image) in containers {
                        if !all.iter().any(|other| other.id == id(number)) {
                            all.push(web(number, &image.to_string()));
                        }
                    }
                    pods.upsert(pod(&[("v", &label)], &all));
                }
                Step::Delete => pods.remove(UID, now),
                Step::Tell { durable } => {
                    let new = known.untold(&pods, now);
                    for facts in new.iter().filter(|_| durable) {
                        prop_assert!(newest.get(&facts.id) != Some(facts));
                        newest.insert(facts.id.clone(), facts.clone());
                    }
                    if durable {
                        known.told(&new);
                    }
                }
            }
        }
        for (id, entry) in &known.by_id {
            prop_assert_eq!(entry.facts(id, &pods), newest.get(id).cloned());
        }
    }
}
