//! Tokens that Kubernetes knows: it is asked with a TokenReview, and what it says counts for a minute.
//!
//! ```text
//!   token ─▶ remembered? ─ no ─▶ POST …/tokenreviews {token, audiences} ─▶ user, groups ─▶ namespace ─▶ rights
//!               └ yes, by its hash ──────────────────────────────────────────────▲
//! ```
//!
//! A service account sees the tenant that its namespace belongs to, by the same
//! file by which rows are stamped, and what the mapping gives it more.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bailiwick_proto::TenantId;
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::mapping::{Facts, Mapping, MappingRule};
use super::oidc::Unverified;
use super::{Known, Refused, web};
use crate::principal::{Credential, Rights, Secret};
use crate::{QueryError, Role};

const FIELD: &str = "query.kubernetes";
/// Where a pod has what its service account needs.
const IN_CLUSTER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How the user name of a service account begins.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
/// How long a refusal counts, so that a token is not asked about again and again.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// Tokens that are remembered.
const MAX_REMEMBERED: usize = 10_000;
/// Questions at once.
const MAX_ASKED: usize = 8;
const MAX_NAME_BYTES: usize = 256;

/// `[query.kubernetes]`: whether tokens of a cluster let in.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesConfig {
    /// Whether the cluster is asked about tokens that are neither Bailiwick's nor of an issuer.
    pub enabled: bool,
    /// The API server; empty: the one of the cluster that this pod is in.
    pub api_url: String,
    /// Certificates that it is checked against, PEM; without: the pod's own.
    pub ca_file: Option<PathBuf>,
    /// As whom it is asked; without: the pod's own token. Read for every question.
    pub token_file: Option<PathBuf>,
    /// For whom a token must be: one of these.
    pub audience: Vec<String>,
    /// Whether a service account sees the tenant of its namespace, and a user the
    /// tenant that claims it, by the file that stamps rows.
    pub by_tenants_file: bool,
    /// What stands before the name of every principal.
    pub prefix: String,
    /// How long an answer counts, milliseconds: 1 to 5 minutes.
    pub cache_ms: u64,
    /// How long the API server may take, milliseconds.
    pub timeout_ms: u64,
    /// Who gets what beside that.
    pub map: Vec<MappingRule>,
}

/// Whose namespaces and users are whose now, as rows are stamped.
pub trait Owners: std::fmt::Debug + Send + Sync {
    /// The tenant that a namespace belongs to.
    fn of_namespace(&self, namespace: &str) -> Option<TenantId>;
    /// The tenant that claims a user.
    fn of_user(&self, user: &str) -> Option<TenantId>;
}

/// Asks the API server and remembers what it said.
#[derive(Debug)]
pub(crate) struct Reviews {
    client: Client,
    url: Url,
    token_file: PathBuf,
    config: KubernetesConfig,
    mapping: Mapping,
    owners: OnceLock<Arc<dyn Owners>>,
    remembered: Mutex<HashMap<[u8; 32], Remembered>>,
    asked: Semaphore,
}

#[derive(Debug, Clone)]
struct Remembered {
    said: Result<User, Refused>,
    until: Instant,
}

/// Whose token it is.
#[derive(Debug, Clone, Deserialize)]
struct User {
    /// Empty where the token is nobody's.
    #[serde(default)]
    username: String,
    #[serde(default)]
    groups: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Review {
    status: Option<Status>,
}

#[derive(Debug, Deserialize)]
struct Status {
    #[serde(default)]
    authenticated: bool,
    user: Option<User>,
    #[serde(default)]
    audiences: Vec<String>,
}

// === impl KubernetesConfig ===

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            api_url: String::new(),
            ca_file: None,
            token_file: None,
            audience: vec!["bailiwick".to_owned()],
            by_tenants_file: true,
            prefix: "k8s:".to_owned(),
            cache_ms: 60_000,
            timeout_ms: 5_000,
            map: Vec::new(),
        }
    }
}

// === impl Reviews ===

impl Reviews {
    /// `None` where it is not enabled.
    pub(super) fn new(config: &KubernetesConfig) -> Result<Option<Self>, QueryError> {
        let refused = |name: &str, reason: &str| QueryError::config(format!("{FIELD}.{name}: {reason}"));
        if !config.enabled {
            return Ok(None);
        }
        if config.audience.is_empty() || config.audience.iter().any(String::is_empty) {
            return Err(refused("audience", "name for whom tokens must be, e.g. [\"bailiwick\"]"));
        }
        if !(60_000..=300_000).contains(&config.cache_ms) {
            return Err(refused("cache_ms", "answers count for 60000 to 300000 ms"));
        }
        if config.timeout_ms == 0 {
            return Err(refused("timeout_ms", "give it a positive number"));
        }
        let url = match config.api_url.as_str() {
            "" => in_cluster().ok_or_else(|| {
                refused(
                    "api_url",
                    "this is no pod of a cluster; name its API server, e.g. https://10.0.0.1:6443",
                )
            })?,
            url => url.to_owned(),
        };
        let url = format!("{}/apis/authentication.k8s.io/v1/tokenreviews", url.trim_end_matches('/'));
        let url = web::secure(&format!("{FIELD}.api_url"), &url)?;
        let in_pod = |name: &str| Path::new(IN_CLUSTER).join(name);
        let ca = config.ca_file.clone().or_else(|| config.api_url.is_empty().then(|| in_pod("ca.crt")));
        Ok(Some(Self {
            client: web::client(FIELD, &url, ca.as_deref(), config.timeout_ms)?,
            url,
            token_file: config.token_file.clone().unwrap_or_else(|| in_pod("token")),
            mapping: Mapping::new(&format!("{FIELD}.map"), &config.map, &["names", "groups", "namespaces"])?,
            config: config.clone(),
            owners: OnceLock::new(),
            remembered: Mutex::default(),
            asked: Semaphore::new(MAX_ASKED),
        }))
    }

    pub(super) fn set_owners(&self, owners: Arc<dyn Owners>) {
        if self.owners.set(owners).is_err() {
            tracing::error!("whose namespaces are whose was told twice");
        }
    }

    /// Who presents this token. Where the API server cannot be asked, nobody.
    pub(super) async fn known(&self, token: &str) -> Result<Known, Refused> {
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Refused::Malformed);
        }
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let said = match self.remembered(&hash) {
            Some(said) => said,
            None => {
                let said = self.ask(token).await;
                self.remember(hash, token, &said);
                said
            }
        };
        let user = said?;
        let rights = self.rights(&user);
        let name = format!("{}{}", self.config.prefix, user.username);
        Ok(Known { name, rights, credential: Credential::Reviewed(Secret::new(token)) })
    }

    fn remembered(&self, hash: &[u8; 32]) -> Option<Result<User, Refused>> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let found = remembered.get(hash).filter(|found| Instant::now() < found.until)?;
        Some(found.said.clone())
    }

    fn remember(&self, hash: [u8; 32], token: &str, said: &Result<User, Refused>) {
        let keep = match said {
            Ok(_) => Duration::from_millis(self.config.cache_ms).min(left(token)),
            Err(Refused::Unavailable | Refused::Busy) => return,
            Err(_) => REFUSED_FOR,
        };
        let now = Instant::now();
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MAX_REMEMBERED {
            remembered.retain(|_, other| now < other.until);
        }
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(hash, Remembered { said: said.clone(), until: now + keep });
    }

    async fn ask(&self, token: &str) -> Result<User, Refused> {
        let patience = Duration::from_millis(self.config.timeout_ms);
        let place = timeout(patience, self.asked.acquire()).await;
        let Ok(Ok(_place)) = place else { return Err(Refused::Busy) };
        let own = tokio::fs::read_to_string(&self.token_file).await.map_err(|error| {
            tracing::warn!(%error, file = %self.token_file.display(), "the token to ask kubernetes with cannot be read");
            Refused::Unavailable
        })?;
        let question = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": token, "audiences": self.config.audience},
        });
        let request = self.client.post(self.url.clone()).bearer_auth(own.trim()).json(&question);
        let review: Review = web::ask(request).await.map_err(|error| {
            tracing::warn!(%error, url = %self.url, "kubernetes cannot be asked about a token");
            Refused::Unavailable
        })?;
        self.judged(review.status.ok_or(Refused::Unavailable)?)
    }

    fn judged(&self, status: Status) -> Result<User, Refused> {
        let user = status.user.filter(|_| status.authenticated).ok_or(Refused::Unknown)?;
        // A server that does not know audiences says none, and then it has not looked at them.
        if !status.audiences.iter().any(|audience| self.config.audience.contains(audience)) {
            return Err(Refused::Audience);
        }
        let name = &user.username;
        match name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
            true => Err(Refused::Malformed),
            false => Ok(user),
        }
    }

    fn rights(&self, user: &User) -> Rights {
        let namespace = namespace(&user.username);
        let owners = self.owners.get().filter(|_| self.config.by_tenants_file);
        let owner = owners.and_then(|owners| {
            let by_namespace = namespace.and_then(|namespace| owners.of_namespace(namespace));
            by_namespace.or_else(|| owners.of_user(&user.username))
        });
        let mut facts = Facts::default();
        facts.add("names", [user.username.clone()]);
        facts.add("groups", user.groups.clone());
        facts.add("namespaces", namespace.map(str::to_owned));
        Rights::new(Role::Tenant, owner).and(&self.mapping.rights(&facts))
    }
}

/// The namespace of a service account, `None` for other users.
fn namespace(username: &str) -> Option<&str> {
    let (namespace, name) = username.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some(namespace)
}

/// How long a token that is genuine still has, as far as it says.
fn left(token: &str) -> Duration {
    let end = Unverified::read(token).ok().and_then(|token| token.end());
    let left = end.map(|end| (end - chrono::Utc::now()).to_std().unwrap_or_default());
    left.unwrap_or(Duration::MAX)
}

/// The API server of the cluster that this pod is in.
fn in_cluster() -> Option<String> {
    let host = std::env::var("KUBERNETES_SERVICE_HOST").ok()?;
    let port = std::env::var("KUBERNETES_SERVICE_PORT").unwrap_or_else(|_| "443".to_owned());
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Some(format!("https://{host}:{port}"))
}

// === for tests ===

#[cfg(test)]
impl Reviews {
    /// As if every answer was old.
    pub(super) fn forget(&self) {
        self.remembered.lock().unwrap().clear();
    }
}
