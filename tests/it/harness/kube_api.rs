//! A Kubernetes API server as far as a watch of pods goes.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// Answers until the test ends.
pub(crate) struct KubeApi {
    addr: SocketAddr,
    watchers: Watchers,
    _runtime: tokio::runtime::Runtime,
}

type Watchers = Arc<Mutex<Vec<mpsc::UnboundedSender<String>>>>;

// === impl KubeApi ===

impl KubeApi {
    /// A cluster that has no pods yet.
    pub(crate) fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let watchers = Watchers::default();
        let router = Router::new().route("/api/v1/pods", get(answer)).with_state(Arc::clone(&watchers));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { addr, watchers, _runtime: runtime }
    }

    /// Writes a kubeconfig into a folder; answers where it is.
    pub(crate) fn kubeconfig(&self, dir: &Path) -> PathBuf {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": format!("http://{}", self.addr)}}],
            "users": [{"name": "it", "user": {}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        });
        let file = dir.join("kubeconfig.yaml");
        fs::write(&file, config.to_string()).unwrap();
        file
    }

    /// Tells all who watch now of a pod.
    pub(crate) fn tell(&self, kind: &str, pod: &Value) {
        let line = format!("{}\n", json!({"type": kind, "object": pod}));
        self.watchers.lock().unwrap().retain(|watcher| watcher.send(line.clone()).is_ok());
    }

    /// How many watch now.
    pub(crate) fn watchers(&self) -> usize {
        self.watchers.lock().unwrap().len()
    }
}

async fn answer(State(watchers): State<Watchers>, Query(query): Query<HashMap<String, String>>) -> Response {
    if query.contains_key("watch") {
        let (send, lines) = mpsc::unbounded_channel();
        watchers.lock().unwrap().push(send);
        return Body::from_stream(UnboundedReceiverStream::new(lines).map(Ok::<_, Infallible>))
            .into_response();
    }
    let metadata = json!({"resourceVersion": "10"});
    axum::Json(json!({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": []}))
        .into_response()
}
