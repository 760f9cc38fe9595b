//! A real HTTP server that takes alerts as Falcosidekick would.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::post;
use serde_json::Value;

/// Listens until the test ends.
pub(crate) struct Webhook {
    pub(crate) addr: SocketAddr,
    received: Arc<Mutex<Vec<Value>>>,
    _runtime: tokio::runtime::Runtime,
}

// === impl Webhook ===

impl Webhook {
    pub(crate) fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let received: Arc<Mutex<Vec<Value>>> = Arc::default();
        let into = Arc::clone(&received);
        let take = move |body: String| async move {
            into.lock().unwrap().push(serde_json::from_str(&body).unwrap());
        };
        let router = Router::new().route("/", post(take));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { addr, received, _runtime: runtime }
    }

    /// Everything posted so far.
    pub(crate) fn received(&self) -> Vec<Value> {
        self.received.lock().unwrap().clone()
    }
}
