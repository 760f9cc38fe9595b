//! A Kubernetes API server as far as TokenReview goes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::KubernetesConfig;

/// As whom the API server lets itself be asked.
pub(super) const REVIEWER: &str = "the-servers-own-token";

/// A running API server.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) url: String,
    shared: Arc<Shared>,
    folder: Arc<tempfile::TempDir>,
}

#[derive(Default)]
struct Shared {
    statuses: Mutex<HashMap<String, Value>>,
    failing: Mutex<Option<u16>>,
    asked: Mutex<Vec<Value>>,
}

// === impl Cluster ===

impl Cluster {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let router = Router::new()
            .route("/apis/authentication.k8s.io/v1/tokenreviews", post(review))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), format!("{REVIEWER}\n")).unwrap();
        Self { url, shared, folder: Arc::new(folder) }
    }

    pub(super) fn config(&self) -> KubernetesConfig {
        KubernetesConfig {
            enabled: true,
            api_url: self.url.clone(),
            token_file: Some(self.folder.path().join("token")),
            timeout_ms: 2_000,
            ..KubernetesConfig::default()
        }
    }

    /// Knows a token from now on, as what a review's status says.
    pub(super) fn knows(&self, token: &str, status: Value) {
        self.shared.statuses.lock().unwrap().insert(token.to_owned(), status);
    }

    /// Knows a token of a user.
    pub(super) fn knows_user(&self, token: &str, username: &str, groups: &[&str]) {
        let user = json!({"username": username, "uid": "7", "groups": groups, "extra": {"a": ["b"]}});
        self.knows(token, json!({"authenticated": true, "user": user, "audiences": ["bailiwick"]}));
    }

    pub(super) fn forgets(&self, token: &str) {
        self.shared.statuses.lock().unwrap().remove(token);
    }

    pub(super) fn fails_with(&self, status: Option<u16>) {
        *self.shared.failing.lock().unwrap() = status;
    }

    /// What it was asked so far.
    pub(super) fn asked(&self) -> Vec<Value> {
        self.shared.asked.lock().unwrap().clone()
    }
}

async fn review(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(review): Json<Value>,
) -> Response {
    shared.asked.lock().unwrap().push(review["spec"].clone());
    if headers.get("authorization").and_then(|value| value.to_str().ok())
        != Some(&format!("Bearer {REVIEWER}"))
    {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if let Some(status) = *shared.failing.lock().unwrap() {
        return StatusCode::from_u16(status).unwrap().into_response();
    }
    let known = shared.statuses.lock().unwrap().get(review["spec"]["token"].as_str().unwrap()).cloned();
    let status = known.unwrap_or_else(|| json!({"user": {}, "error": "[invalid bearer token]"}));
    let answer = json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {}, "spec": review["spec"], "status": status});
    (StatusCode::CREATED, Json(answer)).into_response()
}
