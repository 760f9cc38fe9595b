//! Learns this node's pods from the Kubernetes API and keeps [`Pods`] filled.
//!
//! ```text
//!   list + watch  spec.nodeName=<this node> ─▶ pod (pure) ─▶ Pods ◀─ syscalls, usage
//! ```
//!
//! Nothing waits for it: events carry the pod's uid from the cgroup's path, and
//! names as soon as they are known.

mod mounts;
mod pod;
mod quantity;

use std::time::Instant;

use ::kube::runtime::{WatchStreamExt, watcher};
use ::kube::{Api, Client};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod as ApiPod;
use tokio_util::sync::CancellationToken;

use crate::config::Enabled;
use crate::metrics::Metrics;
use crate::outlet::Outlet;
use crate::pods::{Pod, Pods};
use crate::{CollectorError, Config, SourceState, SourceStatus, Started};

const NAME: &str = "kubernetes";
const HOW: &str =
    "run in a cluster with the service account of deploy/kubernetes/rbac.yaml, or set KUBECONFIG";

/// Starts to watch pods: if `auto`, only inside of a cluster; if `on`, also
/// with the kubeconfig that kubectl would use.
pub(crate) async fn start(
    config: &Config,
    outlet: Outlet,
    pods: Pods,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<Started, CollectorError> {
    let off = |detail: &str| not_running(SourceState::Off { detail: detail.to_owned() });
    let in_cluster = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    match config.kube.enabled {
        Enabled::Off => return Ok(off("collector.kube.enabled is off")),
        Enabled::Auto if !in_cluster => {
            return Ok(off("not in a cluster; collector.kube.enabled = \"on\" uses the kubeconfig"));
        }
        Enabled::Auto | Enabled::On => {}
    }
    // The client takes the process's TLS provider; a library's user may have set none.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        drop(rustls::crypto::ring::default_provider().install_default());
    }
    let api = match in_cluster {
        true => ::kube::Config::incluster().map_err(|error| error.to_string()),
        false => ::kube::Config::infer().await.map_err(|error| error.to_string()),
    };
    let url = api.as_ref().map(|api| api.cluster_url.to_string()).unwrap_or_default();
    let client = api.and_then(|api| Client::try_from(api).map_err(|error| error.to_string()));
    let client = match (client, config.kube.enabled) {
        (Ok(client), _) => client,
        (Err(what), Enabled::On) => {
            return Err(CollectorError::Source { name: NAME, what, how_to_get_it: HOW.to_owned() });
        }
        (Err(what), _) => {
            return Ok(not_running(SourceState::Missing { what, how_to_get_it: HOW.to_owned() }));
        }
    };
    let node = outlet.node().to_owned();
    let detail = format!("pods of node {node} from {url}");
    let watch = Watch { pods, metrics };
    let task = tokio::spawn(async move {
        stop.run_until_cancelled(watch.run(client, &node)).await;
    });
    let status = SourceStatus { name: NAME, state: SourceState::Running { detail } };
    Ok(Started { status, task: Some(task), addr: None })
}

fn not_running(state: SourceState) -> Started {
    Started { status: SourceStatus { name: NAME, state }, task: None, addr: None }
}

/// Keeps pods as the API tells them.
struct Watch {
    pods: Pods,
    metrics: Metrics,
}

// === impl Watch ===

impl Watch {
    /// Lists and watches until dropped; after an error it lists again, with back-off.
    async fn run(&self, client: Client, node: &str) {
        let config = watcher::Config::default().fields(&format!("spec.nodeName={node}")).any_semantic();
        let mut events = watcher(Api::<ApiPod>::all(client), config).default_backoff().boxed();
        let mut listed = Vec::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(event, &mut listed, Instant::now()),
                Err(error) => {
                    tracing::warn!(%error, "pods cannot be watched, trying again; see deploy/kubernetes/rbac.yaml")
                }
            }
            self.metrics.pods.set(i64::try_from(self.pods.len()).unwrap_or(i64::MAX));
        }
    }

    fn take(&self, event: watcher::Event<ApiPod>, listed: &mut Vec<Pod>, now: Instant) {
        match event {
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(pod) => {
                // Known at once; what is gone is known when the list is complete.
                if let Some(pod) = pod::of(pod) {
                    self.pods.upsert(pod.clone());
                    listed.push(pod);
                }
            }
            watcher::Event::InitDone => self.pods.replace(std::mem::take(listed), now),
            watcher::Event::Apply(pod) => {
                if let Some(pod) = pod::of(pod) {
                    self.pods.upsert(pod);
                }
            }
            watcher::Event::Delete(pod) => {
                if let Some(uid) = pod.metadata.uid {
                    self.pods.remove(&uid, now);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
