//! JWTs of OpenID Connect issuers.
//!
//! ```text
//!   header ─▶ algorithm allowed? key id? ─▶ key of the issuer ─▶ signature ─▶ iss, aud, exp, nbf ─▶ claims ─▶ rights
//! ```
//!
//! What a token says about itself is believed only after its signature was
//! checked, and how that is checked is never the token's choice: the algorithm must be
//! allowed here and be the key's own, keys come from where the configuration
//! says, and addresses or keys inside a token are not looked at.

mod claims;
mod keys;
mod signature;

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, AlgorithmFamily, Validation, decode};
use serde::Deserialize;

use super::mapping::{CLAIM, Facts, Mapping, MappingRule};
use super::{Known, Refused, web};
use crate::QueryError;
use crate::principal::Credential;
use claims::Claims;
use keys::{Keys, Place};

/// What a header may say that it is of.
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];
const MAX_KID_BYTES: usize = 256;
const MAX_NAME_BYTES: usize = 256;
/// Clocks may differ by this at most.
const MAX_LEEWAY_S: u64 = 300;

/// `[[query.oidc]]`: an issuer whose tokens let in.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OidcConfig {
    /// The issuer's address, letter by letter as its tokens have it in `iss`.
    pub issuer: String,
    /// For whom a token must be: one of these in `aud`.
    pub audience: Vec<String>,
    /// Where the issuer's keys are; empty: where its discovery document says.
    pub jwks_url: String,
    /// Certificates that the issuer's address is checked against instead of the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// How a token may be signed.
    pub algorithms: Vec<String>,
    /// The claim with the principal's name.
    pub name_claim: String,
    /// The claim with its groups; dots lead inside of one.
    pub groups_claim: String,
    /// What stands before the name of every principal of this issuer.
    pub prefix: String,
    /// How far clocks may be apart, seconds.
    pub leeway_s: u64,
    /// How long the issuer may take to answer, milliseconds.
    pub timeout_ms: u64,
    /// How long its keys count before they are fetched again, milliseconds.
    pub keep_keys_ms: u64,
    /// A token with an unknown key has them fetched again, no more often than this, milliseconds.
    pub refresh_after_ms: u64,
    /// Who of this issuer gets what; who fits no rule gets nothing.
    pub map: Vec<MappingRule>,
}

/// One issuer, ready to check its tokens.
#[derive(Debug)]
pub(super) struct Issuer {
    issuer: String,
    validation: Validation,
    allowed: Vec<Algorithm>,
    name_claim: String,
    groups_claim: String,
    prefix: String,
    leeway_s: u64,
    mapping: Mapping,
    keys: Keys,
}

/// What of a token is read before anything of it is believed.
pub(super) struct Unverified {
    header: Claims,
    claims: Claims,
    issuer: String,
}

// === impl OidcConfig ===

impl Default for OidcConfig {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: Vec::new(),
            jwks_url: String::new(),
            ca_file: None,
            algorithms: ["RS256", "PS256", "ES256", "ES384", "EdDSA"].map(str::to_owned).to_vec(),
            name_claim: "sub".to_owned(),
            groups_claim: "groups".to_owned(),
            prefix: "oidc:".to_owned(),
            leeway_s: 30,
            timeout_ms: 5_000,
            keep_keys_ms: 600_000,
            refresh_after_ms: 30_000,
            map: Vec::new(),
        }
    }
}

// === impl Unverified ===

impl Unverified {
    /// Whether a text has the form of a JWT.
    pub(super) fn looks_like(text: &str) -> bool {
        text.bytes().filter(|byte| *byte == b'.').count() == 2
    }

    pub(super) fn read(token: &str) -> Result<Self, Refused> {
        let mut parts = token.split('.').map(|part| {
            let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused::Malformed)?;
            serde_json::from_slice::<Claims>(&bytes).map_err(|_| Refused::Malformed)
        });
        let (Some(header), Some(claims)) = (parts.next(), parts.next()) else {
            return Err(Refused::Malformed);
        };
        let (header, claims) = (header?, claims?);
        let issuer = claims.text("iss").ok_or(Refused::Malformed)?.to_owned();
        Ok(Self { header, claims, issuer })
    }

    /// Who is said to have issued it.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// When it is said to end.
    pub(super) fn end(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(self.claims.get("exp")?.as_f64()? as i64, 0)
    }

    /// The algorithm and the id of the key, if the header is one that is accepted.
    fn algorithm_and_key(&self, allowed: &[Algorithm]) -> Result<(Algorithm, &str), Refused> {
        let algorithm = self.header.text("alg").ok_or(Refused::Malformed)?;
        let algorithm: Algorithm = algorithm.parse().map_err(|_| Refused::Algorithm)?;
        if !allowed.contains(&algorithm) {
            return Err(Refused::Algorithm);
        }
        let typ = self.header.get("typ").map(|typ| typ.as_str().unwrap_or_default().to_ascii_lowercase());
        // An extension that must be understood is not.
        if self.header.get("crit").is_some() || typ.is_some_and(|typ| !TYPES.contains(&&*typ)) {
            return Err(Refused::Malformed);
        }
        let kid = self.header.text("kid").ok_or(Refused::Key)?;
        match (1..=MAX_KID_BYTES).contains(&kid.len()) {
            true => Ok((algorithm, kid)),
            false => Err(Refused::Key),
        }
    }
}

// === impl Issuer ===

impl Issuer {
    /// `field` names the entry in messages.
    pub(super) fn new(field: &str, config: &OidcConfig) -> Result<Self, QueryError> {
        let refused = |name: &str, reason: &str| QueryError::config(format!("{field}.{name}: {reason}"));
        let issuer = web::secure(&format!("{field}.issuer"), &config.issuer)?;
        if config.audience.is_empty() || config.audience.iter().any(String::is_empty) {
            return Err(refused("audience", "name for whom tokens must be, e.g. [\"bailiwick\"]"));
        }
        if config.leeway_s > MAX_LEEWAY_S {
            return Err(refused("leeway_s", "clocks may be apart by 300 s at most"));
        }
        if config.timeout_ms == 0 || config.keep_keys_ms == 0 || config.refresh_after_ms == 0 {
            return Err(refused(
                "timeout_ms",
                "times must be positive, also keep_keys_ms and refresh_after_ms",
            ));
        }
        if config.name_claim.is_empty() {
            return Err(refused("name_claim", "name the claim with the principal's name, e.g. \"sub\""));
        }
        let allowed = config.algorithms.iter().map(|name| public(name));
        let allowed: Option<Vec<Algorithm>> = allowed.collect();
        let allowed = allowed.filter(|allowed| !allowed.is_empty()).ok_or_else(|| {
            refused("algorithms", "use some of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA")
        })?;
        signature::install();
        let place = match config.jwks_url.as_str() {
            "" => {
                let document =
                    format!("{}/.well-known/openid-configuration", config.issuer.trim_end_matches('/'));
                let document = web::secure(&format!("{field}.issuer"), &document)?;
                Place::Discovery { document, issuer: config.issuer.clone() }
            }
            url => Place::Keys(web::secure(&format!("{field}.jwks_url"), url)?),
        };
        let asked = if let Place::Keys(url) = &place { url } else { &issuer };
        let client = web::client(field, asked, config.ca_file.as_deref(), config.timeout_ms)?;
        let [keep_for, refresh_after] =
            [config.keep_keys_ms, config.refresh_after_ms].map(Duration::from_millis);
        Ok(Self {
            issuer: config.issuer.clone(),
            validation: validation(config),
            allowed,
            name_claim: config.name_claim.clone(),
            groups_claim: config.groups_claim.clone(),
            prefix: config.prefix.clone(),
            leeway_s: config.leeway_s,
            mapping: Mapping::new(&format!("{field}.map"), &config.map, &["names", "groups", "claims"])?,
            keys: Keys::new(client, place, keep_for, refresh_after),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.issuer
    }

    /// Who is the bearer of this token.
    pub(super) async fn verify(&self, token: &str, unverified: &Unverified) -> Result<Known, Refused> {
        let (algorithm, kid) = unverified.algorithm_and_key(&self.allowed)?;
        let key = self.keys.find(kid, algorithm).await?;
        let validation = Validation { algorithms: vec![algorithm], ..self.validation.clone() };
        let claims =
            decode::<Claims>(token, &key, &validation).map_err(|error| refused(error.kind()))?.claims;
        self.known(&claims)
    }

    fn known(&self, claims: &Claims) -> Result<Known, Refused> {
        let name = claims.text(&self.name_claim).ok_or(Refused::Malformed)?;
        let unusual = name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(char::is_control);
        let unproven = self.name_claim == "email"
            && claims.get("email_verified").is_some_and(|verified| verified.as_bool() != Some(true));
        if unusual || unproven {
            return Err(Refused::Malformed);
        }
        let mut facts = Facts::default();
        facts.add("names", [name.to_owned()]);
        facts.add("groups", claims.texts(&self.groups_claim));
        for claim in self.mapping.claims() {
            facts.add(format!("{CLAIM}{claim}"), claims.texts(claim));
        }
        let credential = Credential::Until(self.end(claims)?);
        Ok(Known { name: format!("{}{name}", self.prefix), rights: self.mapping.rights(&facts), credential })
    }

    /// When the token ends, by the same leeway with which it was let in.
    fn end(&self, claims: &Claims) -> Result<DateTime<Utc>, Refused> {
        let exp = claims.get("exp").and_then(serde_json::Value::as_f64).ok_or(Refused::Malformed)?;
        // Beyond what a calendar has it is cut, not refused.
        let exp = DateTime::from_timestamp(exp as i64, 0).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let leeway = TimeDelta::seconds(i64::try_from(self.leeway_s).unwrap_or_default());
        Ok(exp.checked_add_signed(leeway).unwrap_or(exp))
    }
}

fn validation(config: &OidcConfig) -> Validation {
    let mut validation = Validation::default();
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.set_issuer(&[&config.issuer]);
    validation.set_audience(&config.audience);
    (validation.leeway, validation.validate_nbf) = (config.leeway_s, true);
    validation
}

/// An algorithm by whose keys nobody can sign who can check.
fn public(name: &str) -> Option<Algorithm> {
    name.parse::<Algorithm>().ok().filter(|algorithm| algorithm.family() != AlgorithmFamily::Hmac)
}

fn refused(kind: &ErrorKind) -> Refused {
    match kind {
        ErrorKind::InvalidSignature => Refused::Signature,
        ErrorKind::ExpiredSignature => Refused::Expired,
        ErrorKind::ImmatureSignature => Refused::NotYet,
        ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience => Refused::Audience,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName | ErrorKind::UnsupportedAlgorithm => {
            Refused::Algorithm
        }
        ErrorKind::InvalidKeyFormat | ErrorKind::InvalidEcdsaKey | ErrorKind::InvalidRsaKey(_) => {
            Refused::Key
        }
        _ => Refused::Malformed,
    }
}
