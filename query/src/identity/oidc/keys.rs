//! An issuer's public keys: fetched when they are needed, remembered, asked for again with restraint.
//!
//! ```text
//!   known and young ───────────────────────────▶ key
//!   unknown, or old ─▶ asked lately? ─ yes ─────▶ key that is not too old, or none
//!                            └ no ─▶ fetch ─────▶ key, or none
//! ```

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::identity::Refused;
use crate::identity::web::{ask, is_secure};

/// Keys that are older count while their issuer does not answer, but not for ever.
const BELIEVE_FOR: Duration = Duration::from_secs(3_600);
/// Further keys are not looked at.
const MAX_KEYS: usize = 100;

/// Where an issuer tells its keys.
#[derive(Debug)]
pub(super) enum Place {
    /// Here.
    Keys(Url),
    /// Where this document says.
    Discovery { document: Url, issuer: String },
}

/// Keys and how to get them.
#[derive(Debug)]
pub(super) struct Keys {
    client: Client,
    place: Place,
    /// After so long they are fetched again.
    keep_for: Duration,
    /// They are not fetched more often.
    refresh_after: Duration,
    known: RwLock<Known>,
    /// Held by the one who fetches.
    fetching: Mutex<()>,
}

#[derive(Debug, Clone, Default)]
struct Known {
    keys: Arc<Vec<Jwk>>,
    asked: Option<Instant>,
    fetched: Option<Instant>,
}

#[derive(Debug, Deserialize)]
struct Set {
    keys: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

// === impl Keys ===

impl Keys {
    pub(super) fn new(client: Client, place: Place, keep_for: Duration, refresh_after: Duration) -> Self {
        Self { client, place, keep_for, refresh_after, known: RwLock::default(), fetching: Mutex::default() }
    }

    /// The key of this id, if it is one for signatures of this algorithm.
    pub(super) async fn find(&self, kid: &str, algorithm: Algorithm) -> Result<DecodingKey, Refused> {
        let known = self.known();
        if known.is_younger(self.keep_for) && known.has(kid) {
            return known.key(kid, algorithm);
        }
        let known = self.refreshed().await;
        match known.is_younger(BELIEVE_FOR) {
            true => known.key(kid, algorithm),
            false => Err(Refused::Unavailable),
        }
    }

    /// What is known after asking the issuer, if it was not asked just now.
    async fn refreshed(&self) -> Known {
        let asked_lately = |known: &Known| known.asked.is_some_and(|at| at.elapsed() < self.refresh_after);
        let known = self.known();
        if asked_lately(&known) && known.is_younger(BELIEVE_FOR) {
            return known;
        }
        let _fetching = self.fetching.lock().await;
        let known = self.known();
        if asked_lately(&known) {
            return known;
        }
        let fetched = self.fetch().await;
        let now = Some(Instant::now());
        let mut known = Known { asked: now, ..known };
        match fetched {
            Ok(keys) => (known.keys, known.fetched) = (Arc::new(keys), now),
            Err(error) => tracing::warn!(error, "keys of an issuer cannot be fetched, trying again"),
        }
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known.clone();
        known
    }

    fn known(&self) -> Known {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn fetch(&self) -> Result<Vec<Jwk>, String> {
        let url = match &self.place {
            Place::Keys(url) => url.clone(),
            Place::Discovery { document, issuer } => self.discover(document, issuer).await?,
        };
        let asked = ask(self.client.get(url.clone())).await;
        let set: Set = asked.map_err(|error| format!("{url}: {error}"))?;
        // A key of a kind that is not known here is no reason to do without the others.
        let keys = set.keys.into_iter().take(MAX_KEYS).filter_map(|key| serde_json::from_value(key).ok());
        Ok(keys.collect())
    }

    async fn discover(&self, document: &Url, issuer: &str) -> Result<Url, String> {
        let asked = ask(self.client.get(document.clone())).await;
        let found: Discovered = asked.map_err(|error| format!("{document}: {error}"))?;
        if found.issuer != issuer {
            return Err(format!("{document}: it is of issuer {:?}", found.issuer));
        }
        let keys = Url::parse(&found.jwks_uri).ok().filter(is_secure);
        keys.ok_or_else(|| format!("{document}: jwks_uri {:?} is not https", found.jwks_uri))
    }
}

// === impl Known ===

impl Known {
    fn is_younger(&self, than: Duration) -> bool {
        self.fetched.is_some_and(|fetched| fetched.elapsed() < than)
    }

    fn has(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.common.key_id.as_deref() == Some(kid))
    }

    /// The only key of this id that is for this. Where several are, none is.
    fn key(&self, kid: &str, algorithm: Algorithm) -> Result<DecodingKey, Refused> {
        let named = self.keys.iter().filter(|key| key.common.key_id.as_deref() == Some(kid));
        let mut fitting = named.filter(|key| is_for(key, algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => DecodingKey::from_jwk(key).map_err(|_| Refused::Key),
            _ => Err(Refused::Key),
        }
    }
}

/// Whether a key is for checking signatures of this algorithm, as far as it says.
fn is_for(key: &Jwk, algorithm: Algorithm) -> bool {
    let usage = key.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
    let operations = key.common.key_operations.as_ref();
    let operations = operations.is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    let named = key.common.key_algorithm.as_ref();
    let named = named.is_none_or(|named| named.to_string().parse::<Algorithm>().ok() == Some(algorithm));
    let kind = match (&key.algorithm, algorithm) {
        (AlgorithmParameters::RSA(_), algorithm) => algorithm.family() == AlgorithmFamily::Rsa,
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => key.curve == EllipticCurve::P256,
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES384) => key.curve == EllipticCurve::P384,
        (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDSA) => key.curve == EllipticCurve::Ed25519,
        _ => false,
    };
    usage && operations && named && kind
}
