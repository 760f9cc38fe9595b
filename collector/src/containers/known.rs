//! What is known of each container, and what of it is not told yet. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::pods::{Pod, PodContainer, Pods};

use super::{Place, Sighting};

/// The most containers remembered, gone ones included.
const MAX_CONTAINERS: usize = 16_384;
/// How long a container that is gone may still get its name.
const GRACE: Duration = Duration::from_secs(300);

/// What is known of the containers of this node.
#[derive(Debug)]
pub(super) struct Known {
    by_id: HashMap<String, Entry>,
    left_out: u64,
    max: usize,
}

/// What a row says of a container.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) id: String,
    /// Its own cgroup, if that was seen.
    pub(super) place: Option<Arc<Place>>,
    pub(super) pod: Arc<Pod>,
    pub(super) gone: bool,
}

#[derive(Debug, Default)]
struct Entry {
    place: Option<Arc<Place>>,
    gone_since: Option<Instant>,
    told: Option<Facts>,
}

// === impl Known ===

impl Default for Known {
    fn default() -> Self {
        Self { by_id: HashMap::new(), left_out: 0, max: MAX_CONTAINERS }
    }
}

impl Known {
    /// Takes note of what was seen.
    pub(super) fn saw(&mut self, sighting: Sighting, now: Instant) {
        match sighting {
            Sighting::There(place) => {
                if let Some(entry) = self.entry(&place.container.id) {
                    entry.place = Some(place);
                    entry.gone_since = None;
                }
            }
            Sighting::Gone(id) => {
                if let Some(entry) = self.by_id.get_mut(&id) {
                    entry.gone_since.get_or_insert(now);
                }
            }
        }
    }

    /// What is known now and was not told. Nothing is told of a container before
    /// its pod is known: events have the rest themselves.
    pub(super) fn untold(&mut self, pods: &Pods, now: Instant) -> Vec<Facts> {
        for pod in pods.all() {
            for container in pod.containers.iter().filter(|container| !container.id.is_empty()) {
                self.entry(&container.id);
            }
        }
        let mut new = Vec::new();
        self.by_id.retain(|id, entry| match entry.facts(id, pods) {
            Some(facts) => {
                if entry.told.as_ref() != Some(&facts) {
                    new.push(facts);
                }
                true
            }
            None => entry.may_be_named(now),
        });
        new
    }

    /// These are durable.
    pub(super) fn told(&mut self, facts: &[Facts]) {
        for facts in facts {
            if let Some(entry) = self.by_id.get_mut(&facts.id) {
                entry.told = Some(facts.clone());
            }
        }
    }

    /// Containers without room since the last time.
    pub(super) fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }

    /// What is known of a container, made if there is room.
    fn entry(&mut self, id: &str) -> Option<&mut Entry> {
        if !self.by_id.contains_key(id) {
            if self.by_id.len() >= self.max {
                self.left_out += 1;
                return None;
            }
            self.by_id.insert(id.to_owned(), Entry::default());
        }
        self.by_id.get_mut(id)
    }
}

// === impl Entry ===

impl Entry {
    fn facts(&self, id: &str, pods: &Pods) -> Option<Facts> {
        let by_cgroup = self.place.as_ref().and_then(|place| pods.of(&place.container));
        let pod = by_cgroup.or_else(|| pods.container(id))?;
        let has_ended = pod.container(id).is_some_and(|container| container.ended);
        let gone = self.gone_since.is_some() || has_ended || pods.is_deleted(&pod.uid);
        Some(Facts { id: id.to_owned(), place: self.place.clone(), pod, gone })
    }

    /// Whether a pod that is not known may still come: as long as the cgroup is
    /// there and a while longer. What was told to be gone had its pod.
    fn may_be_named(&self, now: Instant) -> bool {
        match self.gone_since {
            Some(since) => now.duration_since(since) < GRACE,
            None => self.place.is_some() && !self.told.as_ref().is_some_and(|told| told.gone),
        }
    }
}

// === impl Facts ===

impl Facts {
    /// What the pod says of this container; a sandbox is not in it.
    pub(super) fn container(&self) -> Option<&PodContainer> {
        self.pod.container(&self.id)
    }
}

/// Rows would be equal: what else there is of the pod does not count.
impl PartialEq for Facts {
    fn eq(&self, other: &Self) -> bool {
        let (own, others) = (&self.pod, &other.pod);
        let is_same_pod = || {
            own.uid == others.uid
                && own.namespace == others.namespace
                && own.name == others.name
                && own.service_account == others.service_account
                && own.labels == others.labels
                && self.container() == other.container()
        };
        self.id == other.id
            && self.gone == other.gone
            && self.place == other.place
            && (Arc::ptr_eq(own, others) || is_same_pod())
    }
}

#[cfg(test)]
mod tests;
