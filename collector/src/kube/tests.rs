//! Against an API server of our own on loopback that speaks list and watch.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::*;

/// What the fake API server has, and what it was asked.
#[derive(Clone, Default)]
struct Fake {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    pods: Vec<Value>,
    watchers: Vec<mpsc::UnboundedSender<String>>,
    lists: usize,
    selectors: Vec<String>,
    /// From which version on each watch was asked for.
    watched_from: Vec<String>,
}

impl Fake {
    /// Answers lists and watches of pods on a free port of loopback.
    async fn serve(&self) -> ::kube::Config {
        let router = Router::new().route("/api/v1/pods", get(answer)).with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        ::kube::Config::new(url.parse().unwrap())
    }

    fn has(&self, pods: &[Value]) {
        self.shared.lock().unwrap().pods = pods.to_vec();
    }

    /// Tells all who watch now.
    fn tell(&self, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        self.shared.lock().unwrap().watchers.retain(|watcher| watcher.send(line.clone()).is_ok());
    }

    fn watchers(&self) -> usize {
        self.shared.lock().unwrap().watchers.len()
    }

    /// Ends all watches, as an API server that goes away does.
    fn hang_up(&self) {
        self.shared.lock().unwrap().watchers.clear();
    }
}

async fn answer(State(fake): State<Fake>, Query(query): Query<HashMap<String, String>>) -> Response {
    let mut shared = fake.shared.lock().unwrap();
    shared.selectors.push(query.get("fieldSelector").cloned().unwrap_or_default());
    if query.contains_key("watch") {
        shared.watched_from.push(query.get("resourceVersion").cloned().unwrap_or_default());
        let (send, lines) = mpsc::unbounded_channel();
        shared.watchers.push(send);
        let lines = UnboundedReceiverStream::new(lines).map(Ok::<_, std::convert::Infallible>);
        return Body::from_stream(lines).into_response();
    }
    shared.lists += 1;
    let metadata = json!({"resourceVersion": "10"});
    axum::Json(json!({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": shared.pods}))
        .into_response()
}

fn pod(uid: &str, container: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"uid": uid, "name": uid, "namespace": "acme", "resourceVersion": "11"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "web", "image": "nginx"}]},
        "status": {"containerStatuses": [{"name": "web", "image": "nginx", "imageID": "", "ready": true,
                                          "restartCount": 0, "containerID": format!("containerd://{container}")}]}
    })
}

/// Waits for what another task brings about; far too long means never.
async fn until(mut done: impl FnMut() -> bool) {
    let waited = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waited).await.unwrap();
}

/// Goal: pods are as the API tells them, through additions, deletions, a watch
/// that is too old, and a server that hangs up. Method: a fake server, the real client.
#[tokio::test(flavor = "multi_thread")]
async fn pods_follow_the_api() {
    let fake = Fake::default();
    fake.has(&[pod("a", "c-a")]);
    let client = Client::try_from(fake.serve().await).unwrap();
    let (pods, metrics) = (Pods::default(), Metrics::default());
    let watch = Watch { pods: pods.clone(), metrics: metrics.clone() };
    let task = tokio::spawn(async move { watch.run(client, "node-1").await });

    until(|| pods.by_uid("a").is_some() && fake.watchers() == 1).await;
    fake.tell("ADDED", &pod("b", ""));
    until(|| pods.by_uid("b").is_some()).await;
    assert!(pods.container("c-b").is_none(), "the kubelet has not told its id yet");
    fake.tell("MODIFIED", &pod("b", "c-b"));
    until(|| pods.container("c-b").is_some()).await;
    fake.tell("DELETED", &pod("a", "c-a"));

    // Too old a watch: the list that follows no longer has b.
    fake.has(&[pod("c", "c-c")]);
    let gone = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                      "message": "too old resource version", "reason": "Expired", "code": 410});
    fake.tell("ERROR", &gone);
    fake.hang_up();
    until(|| pods.container("c-c").is_some()).await;
    for deleted in ["a", "b"] {
        assert!(pods.by_uid(deleted).is_some(), "{deleted}: its last events may still come");
    }
    until(|| metrics.pods.get() == 3).await;
    pods.remove("nobody", Instant::now() + crate::pods::GRACE);
    assert_eq!((pods.len(), pods.by_uid("c").is_some()), (1, true));

    // A server that only hangs up is watched again.
    until(|| fake.watchers() == 1).await;
    fake.hang_up();
    until(|| fake.watchers() == 1).await;
    fake.tell("ADDED", &pod("d", "c-d"));
    until(|| pods.container("c-d").is_some()).await;
    task.abort();
    let shared = fake.shared.lock().unwrap();
    assert_eq!(shared.lists, 2);
    assert!(
        shared.selectors.iter().all(|selector| selector == "spec.nodeName=node-1"),
        "{:?}",
        shared.selectors
    );
}

/// Goal: a static pod is found by its cgroup before the kubelet has told any
/// container, is named after its deletion, and its next mirror takes over; a
/// bookmark moves the watch on without an event. Method: as above.
#[tokio::test(flavor = "multi_thread")]
async fn static_pods_and_bookmarks() {
    use crate::attribution::container_of;
    let hash = "0123456789abcdef0123456789abcdef";
    let cgroup = container_of(&format!("/kubepods/burstable/pod{hash}/{}", "e".repeat(64)));
    let mirror = |uid: &str| {
        let mut pod = pod(uid, "");
        pod["metadata"]["annotations"] = json!({"kubernetes.io/config.hash": hash});
        pod["status"] = json!({});
        pod
    };
    let fake = Fake::default();
    fake.has(&[mirror("first")]);
    let client = Client::try_from(fake.serve().await).unwrap();
    let (pods, metrics) = (Pods::default(), Metrics::default());
    let watch = Watch { pods: pods.clone(), metrics };
    let task = tokio::spawn(async move { watch.run(client, "node-1").await });
    let owner = || pods.of(&cgroup).map(|pod| pod.uid.clone());
    until(|| owner().as_deref() == Some("first") && fake.watchers() == 1).await;

    let bookmark = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "77"}});
    fake.tell("BOOKMARK", &bookmark);
    fake.tell("DELETED", &mirror("first"));
    fake.tell("ADDED", &pod("after", "c-after"));
    until(|| pods.by_uid("after").is_some()).await;
    assert_eq!(owner().as_deref(), Some("first"), "its last events may still come");
    fake.tell("ADDED", &mirror("second"));
    until(|| owner().as_deref() == Some("second")).await;
    fake.tell("BOOKMARK", &bookmark);
    fake.tell("ADDED", &pod("last", ""));
    until(|| pods.by_uid("last").is_some()).await;
    task.abort();

    // A watch that ends goes on where the bookmark was, without a listing.
    let fake = Fake::default();
    let client = Client::try_from(fake.serve().await).unwrap();
    let watch = Watch { pods: Pods::default(), metrics: Metrics::default() };
    let task = tokio::spawn(async move { watch.run(client, "node-1").await });
    until(|| fake.watchers() == 1).await;
    fake.tell("BOOKMARK", &bookmark);
    fake.hang_up();
    until(|| fake.shared.lock().unwrap().watched_from.len() == 2).await;
    task.abort();
    let shared = fake.shared.lock().unwrap();
    assert_eq!((shared.watched_from.as_slice(), shared.lists), (&["10".to_owned(), "77".to_owned()][..], 1));
}

#[tokio::test]
async fn outside_of_a_cluster_auto_is_off_and_says_how_to_turn_it_on() {
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return println!("skipped: this test runs inside of a cluster");
    }
    let spooled = crate::audit::spooled::Spooled::new();
    let started = start(
        &spooled.config,
        spooled.outlet.clone(),
        Pods::default(),
        spooled.metrics.clone(),
        spooled.stop.clone(),
    );
    let state = started.await.unwrap().status.state;
    assert!(
        matches!(&state, SourceState::Off { detail } if detail.contains("not in a cluster")),
        "{state:?}"
    );
}
