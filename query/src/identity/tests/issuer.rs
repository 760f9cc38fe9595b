//! An issuer of JWTs: keys of every kind, and a server that tells the public halves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::authority::{Authority, TlsListener};

// Made for these tests; nobody trusts it.
const RSA_KEY: &str = include_str!("rsa.key");

/// How the server answers.
#[derive(Clone, Default)]
pub(super) enum Answers {
    #[default]
    Keys,
    Status(u16),
    Elsewhere,
    Long,
    Never,
    Nonsense,
}

/// A running issuer.
pub(super) struct TestIssuer {
    shared: Arc<Shared>,
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

struct Shared {
    url: String,
    keys: Mutex<Vec<Value>>,
    answers: Mutex<Answers>,
    asked: AtomicUsize,
    said_issuer: Mutex<Option<String>>,
}

pub(super) fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

// === impl TestIssuer ===

impl TestIssuer {
    /// Answers over HTTP on loopback.
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Self::new(format!("http://{}/realms/corp", listener.local_addr().unwrap()));
        let router = issuer.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        issuer
    }

    /// Answers over HTTPS, as `localhost`.
    pub(super) async fn start_tls(authority: &Authority) -> Self {
        let listener = TlsListener::bind(authority).await;
        let issuer = Self::new(format!("https://localhost:{}/realms/corp", listener.port()));
        let router = issuer.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        issuer
    }

    fn new(url: String) -> Self {
        let random = SystemRandom::new();
        let PrivateKeyDer::Pkcs8(rsa) = PrivateKeyDer::from_pem_slice(RSA_KEY.as_bytes()).unwrap() else {
            panic!("another kind of key")
        };
        let rsa = RsaKeyPair::from_pkcs8(rsa.secret_pkcs8_der()).unwrap();
        let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref(), &random).unwrap();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let ed = Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap();
        let shared = Shared {
            url,
            keys: Mutex::default(),
            answers: Mutex::default(),
            asked: AtomicUsize::new(0),
            said_issuer: Mutex::default(),
        };
        let issuer = Self { shared: Arc::new(shared), rsa, ec, ed };
        let keys = [issuer.jwk("RS256", "rsa"), issuer.jwk("ES256", "ec"), issuer.jwk("EdDSA", "ed")];
        issuer.publish(&keys);
        issuer
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/realms/corp/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/elsewhere", get(|State(shared): State<Arc<Shared>>| async move { set(&shared) }))
            .with_state(Arc::clone(&self.shared))
    }

    /// As `iss` has it.
    pub(super) fn url(&self) -> String {
        self.shared.url.clone()
    }

    /// Where the keys are.
    pub(super) fn keys_url(&self) -> String {
        self.shared.keys_url()
    }

    /// How often the keys were asked for.
    pub(super) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    pub(super) fn answer(&self, answers: Answers) {
        *self.shared.answers.lock().unwrap() = answers;
    }

    /// What the discovery document says who it is of.
    pub(super) fn say_issuer(&self, issuer: &str) {
        *self.shared.said_issuer.lock().unwrap() = Some(issuer.to_owned());
    }

    /// Tells these keys and no others from now on.
    pub(super) fn publish(&self, keys: &[Value]) {
        *self.shared.keys.lock().unwrap() = keys.to_vec();
    }

    /// The public half of a key, for signatures of an algorithm.
    pub(super) fn jwk(&self, algorithm: &str, kid: &str) -> Value {
        let mut key = match algorithm {
            "ES256" => {
                let point = self.ec.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": encoded(&point[1..33]), "y": encoded(&point[33..])})
            }
            "EdDSA" => json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(self.ed.public_key())}),
            _ => {
                let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
                json!({"kty": "RSA", "n": encoded(n), "e": encoded(e)})
            }
        };
        (key["kid"], key["use"]) = (kid.into(), "sig".into());
        key
    }

    /// Claims that let in as alice of acme.
    pub(super) fn claims(&self) -> Value {
        let now = Utc::now().timestamp();
        json!({
            "iss": self.url(), "aud": "bailiwick", "sub": "alice", "groups": ["staff", "acme-dev"],
            "iat": now, "nbf": now, "exp": now + 600,
        })
    }

    /// A token that lets in.
    pub(super) fn token(&self) -> String {
        self.signed("RS256", "rsa", &self.claims())
    }

    /// The same with other claims; null takes one away.
    pub(super) fn token_with(&self, changes: &Value) -> String {
        let mut claims = self.claims();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        self.signed("RS256", "rsa", &claims)
    }

    pub(super) fn signed(&self, algorithm: &str, kid: &str, claims: &Value) -> String {
        let header = json!({"alg": algorithm, "typ": "JWT", "kid": kid});
        self.signed_as(algorithm, &header.to_string(), &claims.to_string())
    }

    /// Signs any header and claims, letter by letter, by a key for an algorithm.
    pub(super) fn signed_as(&self, algorithm: &str, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encoded(header), encoded(claims));
        let signature = self.signature(algorithm, message.as_bytes());
        format!("{message}.{}", encoded(signature))
    }

    fn signature(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa = |scheme| {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            self.rsa.sign(scheme, &random, message, &mut signature).unwrap();
            signature
        };
        match algorithm {
            "RS256" => rsa(&RSA_PKCS1_SHA256),
            "PS256" => rsa(&RSA_PSS_SHA256),
            "ES256" => self.ec.sign(&random, message).unwrap().as_ref().to_vec(),
            "EdDSA" => self.ed.sign(message).as_ref().to_vec(),
            other => panic!("no key for {other}"),
        }
    }
}

// === impl Shared ===

impl Shared {
    fn keys_url(&self) -> String {
        let (root, _) = self.url.rsplit_once("/realms").unwrap();
        format!("{root}/keys")
    }
}

async fn discovery(State(shared): State<Arc<Shared>>) -> Response {
    let issuer = shared.said_issuer.lock().unwrap().clone().unwrap_or_else(|| shared.url.clone());
    axum::Json(json!({"issuer": issuer, "jwks_uri": shared.keys_url()})).into_response()
}

async fn keys(State(shared): State<Arc<Shared>>) -> Response {
    shared.asked.fetch_add(1, Ordering::SeqCst);
    let answers = shared.answers.lock().unwrap().clone();
    match answers {
        Answers::Keys => set(&shared),
        Answers::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Answers::Elsewhere => (StatusCode::FOUND, [("location", "/elsewhere")]).into_response(),
        Answers::Long => format!("{{\"keys\": [], \"x\": \"{}\"}}", "x".repeat(2 << 20)).into_response(),
        Answers::Nonsense => "keys".into_response(),
        Answers::Never => {
            tokio::time::sleep(Duration::from_secs(600)).await;
            set(&shared)
        }
    }
}

fn set(shared: &Shared) -> Response {
    let keys = shared.keys.lock().unwrap().clone();
    axum::Json(json!({ "keys": keys })).into_response()
}
