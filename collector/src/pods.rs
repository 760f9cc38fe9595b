//! What the Kubernetes API told about this node's pods.
//!
//! Readers are on the hot path and take a read lock for one look-up. A pod that
//! was deleted stays known for a grace time: its last events arrive after it is gone.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use crate::attribution::Container;

/// How long a deleted pod is still known.
pub(crate) const GRACE: Duration = Duration::from_secs(300);
/// How many deleted pods are known at most, whatever their age.
const MAX_TOMBSTONES: usize = 4096;
/// How many containers of a pod are known at most, those it had before included.
const MAX_CONTAINERS: usize = 128;

/// The pods of this node, shared by those who fill and those who ask.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pods {
    index: Arc<RwLock<Index>>,
}

/// One pod, as far as Bailiwick needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pod {
    /// `metadata.uid`.
    pub(crate) uid: String,
    /// The uid in its cgroup's path where that is another: a static pod's
    /// `kubernetes.io/config.hash`.
    pub(crate) cgroup_uid: Option<String>,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) node: String,
    /// Its service account, empty if it is not known.
    pub(crate) service_account: String,
    /// Running ones first, then those it had before a restart.
    pub(crate) containers: Vec<PodContainer>,
}

/// One container of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PodContainer {
    /// The full id without the runtime's name, empty until the kubelet says it.
    pub(crate) id: String,
    /// The runtime's name, once the kubelet says it.
    pub(crate) runtime: Option<&'static str>,
    pub(crate) name: String,
    /// As the pod's specification names it.
    pub(crate) image: String,
    /// What the registry calls the image, e.g. `sha256:…`.
    pub(crate) image_digest: Option<String>,
    pub(crate) privileged: bool,
    /// Each as `source:destination:mode:writable:propagation`.
    pub(crate) mounts: Vec<String>,
    /// Whether it has ended, or another took its place.
    pub(crate) ended: bool,
    /// When it started last, microseconds since 1970.
    pub(crate) start_us: Option<i64>,
    /// Requested CPU, thousandths of a core.
    pub(crate) cpu_request_m: Option<i64>,
    /// Requested memory, bytes.
    pub(crate) mem_request_b: Option<i64>,
}

#[derive(Debug, Default)]
struct Index {
    /// By `metadata.uid`.
    pods: HashMap<String, Arc<Pod>>,
    /// From the uid in a cgroup's path, where it is another.
    aliases: HashMap<String, String>,
    /// From a container's id.
    containers: HashMap<String, String>,
    /// Deleted pods by uid, oldest first.
    tombstones: VecDeque<(Instant, String)>,
    /// How often something was told.
    version: u64,
}

// === impl Pods ===

impl Pods {
    /// The pod with this uid, or with this uid in its cgroup's path.
    pub(crate) fn by_uid(&self, uid: &str) -> Option<Arc<Pod>> {
        let index = self.read();
        let uid = index.aliases.get(uid).map_or(uid, String::as_str);
        index.pods.get(uid).cloned()
    }

    /// The pod that has, or had, the container with this id.
    pub(crate) fn container(&self, id: &str) -> Option<Arc<Pod>> {
        let index = self.read();
        index.containers.get(id).and_then(|uid| index.pods.get(uid)).cloned()
    }

    /// The pod of a cgroup: by uid, which is known before the first process
    /// runs, else by the container's id, which the kubelet tells later.
    pub(crate) fn of(&self, container: &Container) -> Option<Arc<Pod>> {
        let by_uid = container.pod_uid.as_deref().and_then(|uid| self.by_uid(uid));
        by_uid.or_else(|| self.container(&container.id))
    }

    /// All pods that are known, deleted ones included.
    pub(crate) fn all(&self) -> Vec<Arc<Pod>> {
        self.read().pods.values().cloned().collect()
    }

    /// Whether the pod with this `metadata.uid` was deleted.
    pub(crate) fn is_deleted(&self, uid: &str) -> bool {
        self.read().tombstones.iter().any(|(_, gone)| gone == uid)
    }

    /// Another number as soon as anything was told.
    pub(crate) fn version(&self) -> u64 {
        self.read().version
    }

    /// How many pods are known, deleted ones included.
    pub(crate) fn len(&self) -> usize {
        self.read().pods.len()
    }

    /// Adds a pod or replaces what was known of it.
    pub(crate) fn upsert(&self, pod: Pod) {
        self.write().upsert(pod);
    }

    /// Marks a pod as deleted; it is forgotten after [`GRACE`].
    pub(crate) fn remove(&self, uid: &str, now: Instant) {
        let mut index = self.write();
        if index.pods.contains_key(uid) && !index.tombstones.iter().any(|(_, gone)| gone == uid) {
            index.tombstones.push_back((now, uid.to_owned()));
            index.version += 1;
        }
        index.sweep(now);
    }

    /// What a fresh listing says: these exist, all others are deleted.
    pub(crate) fn replace(&self, pods: Vec<Pod>, now: Instant) {
        let listed: HashSet<String> = pods.iter().map(|pod| pod.uid.clone()).collect();
        let gone: Vec<String> =
            self.read().pods.keys().filter(|uid| !listed.contains(*uid)).cloned().collect();
        for pod in pods {
            self.upsert(pod);
        }
        for uid in gone {
            self.remove(&uid, now);
        }
    }

    /// A panic elsewhere must not end attribution: the maps stay consistent.
    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Pod ===

impl Pod {
    /// Its container with this id.
    pub(crate) fn container(&self, id: &str) -> Option<&PodContainer> {
        self.containers.iter().find(|container| container.id == id && !id.is_empty())
    }
}

// === impl PodContainer ===

impl PodContainer {
    /// Repository and tag of its image; a digest belongs to neither.
    pub(crate) fn image_parts(&self) -> (&str, Option<&str>) {
        let name = self.image.split('@').next().unwrap_or(&self.image);
        match name.rsplit_once(':') {
            // A colon before a slash is a registry's port.
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
            _ => (name, None),
        }
    }
}

// === impl Index ===

impl Index {
    fn upsert(&mut self, mut pod: Pod) {
        self.version += 1;
        self.tombstones.retain(|(_, gone)| *gone != pod.uid);
        if let Some(before) = self.pods.get(&pod.uid) {
            // A restarted container has a new id; events of the old one still come.
            let known: HashSet<String> =
                pod.containers.iter().map(|container| container.id.clone()).collect();
            let earlier =
                before.containers.iter().filter(|old| !old.id.is_empty() && !known.contains(&old.id));
            pod.containers.extend(earlier.cloned().map(|old| PodContainer { ended: true, ..old }));
        }
        for forgotten in pod.containers.drain(MAX_CONTAINERS.min(pod.containers.len())..) {
            self.containers.remove(&forgotten.id);
        }
        for container in pod.containers.iter().filter(|container| !container.id.is_empty()) {
            self.containers.insert(container.id.clone(), pod.uid.clone());
        }
        if let Some(alias) = &pod.cgroup_uid {
            self.aliases.insert(alias.clone(), pod.uid.clone());
        }
        self.pods.insert(pod.uid.clone(), Arc::new(pod));
    }

    fn sweep(&mut self, now: Instant) {
        while let Some((since, _)) = self.tombstones.front() {
            if now.duration_since(*since) < GRACE && self.tombstones.len() <= MAX_TOMBSTONES {
                return;
            }
            if let Some((_, uid)) = self.tombstones.pop_front() {
                self.forget(&uid);
            }
        }
    }

    fn forget(&mut self, uid: &str) {
        let Some(pod) = self.pods.remove(uid) else { return };
        for container in &pod.containers {
            if self.containers.get(&container.id).is_some_and(|owner| owner == uid) {
                self.containers.remove(&container.id);
            }
        }
        if let Some(alias) = &pod.cgroup_uid
            && self.aliases.get(alias).is_some_and(|owner| owner == uid)
        {
            self.aliases.remove(alias);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::container_of;

    fn pod(uid: &str, container_id: &str) -> Pod {
        let container =
            PodContainer { id: container_id.to_owned(), name: "web".to_owned(), ..Default::default() };
        Pod {
            uid: uid.to_owned(),
            name: format!("pod-{uid}"),
            containers: vec![container],
            ..Default::default()
        }
    }

    #[test]
    fn a_deleted_pod_is_known_until_its_grace_has_passed() {
        let pods = Pods::default();
        let start = Instant::now();
        pods.upsert(pod("a", "c1"));
        pods.remove("a", start);
        assert!(pods.container("c1").is_some());
        pods.remove("nobody", start + GRACE);
        assert!(pods.by_uid("a").is_none() && pods.container("c1").is_none());
    }

    #[test]
    fn a_pod_that_comes_back_is_not_forgotten() {
        let pods = Pods::default();
        let start = Instant::now();
        pods.upsert(pod("a", "c1"));
        pods.remove("a", start);
        pods.upsert(pod("a", "c1"));
        pods.remove("nobody", start + GRACE * 2);
        assert!(pods.by_uid("a").is_some());
    }

    #[test]
    fn a_restarted_container_is_known_by_both_ids() {
        let pods = Pods::default();
        pods.upsert(pod("a", "c1"));
        pods.upsert(pod("a", "c2"));
        for id in ["c1", "c2"] {
            let found = pods.container(id).unwrap();
            assert_eq!(found.container(id).unwrap().name, "web");
        }
    }

    #[test]
    fn a_listing_deletes_what_it_does_not_name() {
        let pods = Pods::default();
        let start = Instant::now();
        pods.upsert(pod("a", "c1"));
        pods.replace(vec![pod("b", "c2")], start);
        assert_eq!(pods.len(), 2);
        pods.replace(vec![pod("b", "c2")], start + GRACE);
        assert_eq!(pods.len(), 1);
    }

    #[test]
    fn a_static_pod_is_found_by_its_cgroup() {
        let pods = Pods::default();
        let hash = "0123456789abcdef0123456789abcdef";
        pods.upsert(Pod { cgroup_uid: Some(hash.to_owned()), ..pod("a", "c1") });
        let cgroup = container_of(&format!("/kubepods/pod{hash}/{}", "e".repeat(64)));
        assert_eq!(pods.of(&cgroup).unwrap().uid, "a");
    }

    /// The kubelet makes a static pod's mirror anew with another uid; the cgroup
    /// and its containers stay.
    #[test]
    fn a_new_mirror_of_a_static_pod_takes_over() {
        let pods = Pods::default();
        let hash = "0123456789abcdef0123456789abcdef";
        let start = Instant::now();
        pods.upsert(Pod { cgroup_uid: Some(hash.into()), ..pod("a", "c1") });
        pods.remove("a", start);
        pods.upsert(Pod { cgroup_uid: Some(hash.into()), ..pod("b", "c1") });
        pods.remove("nobody", start + GRACE);
        assert!(pods.by_uid("a").is_none());
        assert_eq!(pods.by_uid(hash).unwrap().uid, "b");
        assert_eq!(pods.container("c1").unwrap().uid, "b");
    }

    /// Goal: after every listing the pods are those of the listing and the
    /// tombstones of the others, whatever happened before.
    #[test]
    fn listings_never_lose_a_tombstone_before_its_time() {
        let pods = Pods::default();
        let start = Instant::now();
        for round in 0..10_u64 {
            let now = start + Duration::from_secs(round * 60);
            pods.replace(vec![pod(&round.to_string(), &format!("c{round}"))], now);
            // Gone one round later, then known for five more.
            let known: Vec<u64> = (0..=round).filter(|old| pods.by_uid(&old.to_string()).is_some()).collect();
            assert_eq!(known, (round.saturating_sub(5)..=round).collect::<Vec<_>>());
        }
    }

    #[test]
    fn images_are_taken_apart() {
        for (image, repository, tag) in [
            ("docker.io/library/nginx:1.27", "docker.io/library/nginx", Some("1.27")),
            ("registry:5000/app", "registry:5000/app", None),
            ("registry:5000/app:v1@sha256:00", "registry:5000/app", Some("v1")),
            ("app@sha256:00", "app", None),
            ("", "", None),
        ] {
            let container = PodContainer { image: image.to_owned(), ..Default::default() };
            assert_eq!(container.image_parts(), (repository, tag));
        }
    }

    #[test]
    fn deleted_pods_are_bounded_whatever_their_age() {
        let pods = Pods::default();
        let now = Instant::now();
        for n in 0..MAX_TOMBSTONES + 10 {
            pods.upsert(pod(&n.to_string(), &format!("c{n}")));
            pods.remove(&n.to_string(), now);
        }
        assert_eq!(pods.len(), MAX_TOMBSTONES);
    }
}
