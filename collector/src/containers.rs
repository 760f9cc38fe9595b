//! What is learnt of this node's containers, as rows of `containers`.
//!
//! ```text
//!   cgroup made, found, removed ─ Sightings ─┐
//!                                            ├─ each second ─▶ Known (pure) ─ what is new ─▶ Outlet
//!   Kubernetes watch ──────────── Pods ──────┘                   ▲                             │
//!                                                                └─────── told, once durable ◀─┘
//! ```
//!
//! An event is never held back for a name: it carries what is known then. What
//! comes later goes here, under the container's id, and queries put the two
//! together. What a full spool does not take is told again, so nothing is lost.

mod known;
mod rows;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::error::ArrowError;
use bailiwick_proto::Table;
use chrono::Utc;
use tokio_util::sync::CancellationToken;

use crate::attribution::{Container, is_own_cgroup};
use crate::outlet::{Lane, Outlet};
use crate::pods::Pods;

use known::{Facts, Known};

/// How often what is new is looked for.
const EVERY: Duration = Duration::from_secs(1);
/// How often everything is looked through although nothing was heard, to forget.
const AT_LEAST_EVERY: Duration = Duration::from_secs(60);
/// The most sightings that wait to be looked at.
const MAX_WAITING: usize = 16_384;
/// Containers in one batch: each may have many labels and mounts.
const BATCH: usize = 128;

/// Where those who follow cgroups note containers. Clones share one list; to
/// note is to lock it for one push.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sightings {
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    noted: Vec<Sighting>,
    left_out: u64,
}

/// What was seen of a container.
#[derive(Debug)]
enum Sighting {
    /// Its own cgroup is there.
    There(Arc<Place>),
    /// Its own cgroup was removed.
    Gone(String),
}

/// A container's own cgroup.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    cgroup_id: u64,
    cgroup_path: String,
    container: Container,
}

// === impl Sightings ===

impl Sightings {
    /// A cgroup is there. Those outside of containers and those made inside of
    /// one say nothing new.
    pub(crate) fn there(&self, cgroup_id: u64, cgroup_path: &str, container: &Container) {
        if is_own_cgroup(cgroup_path, container) {
            let (cgroup_path, container) = (cgroup_path.to_owned(), container.clone());
            self.note(Sighting::There(Arc::new(Place { cgroup_id, cgroup_path, container })));
        }
    }

    /// A cgroup was removed.
    pub(crate) fn gone(&self, cgroup_path: &str, container: &Container) {
        if is_own_cgroup(cgroup_path, container) {
            self.note(Sighting::Gone(container.id.clone()));
        }
    }

    fn note(&self, sighting: Sighting) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.noted.len() < MAX_WAITING {
            true => waiting.noted.push(sighting),
            false => waiting.left_out += 1,
        }
    }

    /// What was noted since the last time, for tests of those who note: each
    /// container's id, and whether it is there.
    #[cfg(test)]
    pub(crate) fn noted(&self) -> Vec<(String, bool)> {
        let told = |sighting| match sighting {
            Sighting::There(place) => (place.container.id.clone(), true),
            Sighting::Gone(id) => (id, false),
        };
        self.take().noted.into_iter().map(told).collect()
    }

    fn take(&self) -> Waiting {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Sends a row whenever something new is known of a container, until stopped.
pub(crate) async fn tell(sightings: Sightings, pods: Pods, outlet: Outlet, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut teller = Teller { sightings, pods, outlet, known: Known::default(), heard: None, behind: false };
    loop {
        let last = tokio::select! {
            _ = ticks.tick() => false,
            () = stop.cancelled() => true,
        };
        teller.look(Instant::now()).await;
        if last {
            return;
        }
    }
}

/// Looks for what is new and sends it.
struct Teller {
    sightings: Sightings,
    pods: Pods,
    outlet: Outlet,
    known: Known,
    /// How far the pods were looked at, and when.
    heard: Option<(u64, Instant)>,
    /// Whether something is not told yet.
    behind: bool,
}

// === impl Teller ===

impl Teller {
    async fn look(&mut self, now: Instant) {
        let Waiting { noted, left_out } = self.sightings.take();
        let version = self.pods.version();
        let is_same =
            |(before, at): (u64, Instant)| before == version && now.duration_since(at) < AT_LEAST_EVERY;
        if noted.is_empty() && !self.behind && self.heard.is_some_and(is_same) {
            return;
        }
        self.heard = Some((version, now));
        for sighting in noted {
            self.known.saw(sighting, now);
        }
        let new = self.known.untold(&self.pods, now);
        let left_out = left_out + self.known.take_left_out();
        self.outlet.lost("process", "container", "too_many_containers", left_out, "");
        self.behind = false;
        for facts in new.chunks(BATCH) {
            match self.send(facts).await {
                Ok(true) => self.known.told(facts),
                // The spool is full; there is a next time.
                Ok(false) => self.behind = true,
                Err(error) => {
                    let (count, detail) = (facts.len() as u64, error.to_string());
                    self.outlet.lost("process", "container", "not_encodable", count, &detail);
                    self.known.told(facts);
                }
            }
        }
    }

    async fn send(&self, facts: &[Facts]) -> Result<bool, ArrowError> {
        let now_us = Utc::now().timestamp_micros();
        let rows = rows::rows(facts, self.outlet.node(), self.outlet.cluster(), now_us)?;
        Ok(self.outlet.keep(Table::Containers, Lane::Process, rows, None).await)
    }
}

#[cfg(test)]
mod tests;
