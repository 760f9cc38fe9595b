//! Who asks: every way to log in ends in one [`Principal`], and is looked at again before each query.
//!
//! ```text
//!   bwk_…                        ─▶ token file ─────────────────────┐
//!   a JWT of a known issuer      ─▶ oidc: its keys ─▶ facts ─┐      │
//!   any other token              ─▶ kubernetes: TokenReview ─┼▶ mapping ─▶ rights ─▶ + grants ─▶ Principal
//!   a certificate of a known CA  ─▶ certificates ─▶ facts ───┘
//! ```
//!
//! Who is known but fits no rule has no rights; only a grant can give some. Whoever
//! is refused learns that, after a pause, and not why: the reason is in the metrics.

mod certificates;
mod kubernetes;
pub(crate) mod mapping;
mod oidc;
mod refused;
mod web;

use std::sync::Arc;

use bailiwick_lake::Lake;
use chrono::Utc;

use crate::grants::GrantBook;
use crate::metrics::Metrics;
use crate::principal::{Credential, Rights};
use crate::tokens::{self, TokenStore};
use crate::{Config, Principal, QueryError};
use certificates::Certificates;
use oidc::{Issuer, Unverified};

pub(crate) use kubernetes::Reviews;
pub use kubernetes::{KubernetesConfig, Owners};
pub use oidc::OidcConfig;
pub(crate) use refused::{Refused, Way};

/// Longer secrets are not looked at.
const MAX_SECRET_BYTES: usize = 16 << 10;

/// Everybody who may log in, and how.
#[derive(Debug)]
pub(crate) struct Identity {
    tokens: TokenStore,
    issuers: Vec<Issuer>,
    certificates: Certificates,
    kubernetes: Option<Reviews>,
    grants: Arc<GrantBook>,
    metrics: Metrics,
}

/// Somebody whose credential is genuine.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) name: String,
    pub(crate) rights: Rights,
    pub(crate) credential: Credential,
}

// === impl Identity ===

impl Identity {
    pub(crate) fn open(config: &Config, lake: Arc<Lake>, metrics: Metrics) -> Result<Self, QueryError> {
        let mut issuers: Vec<Issuer> = Vec::new();
        for (index, entry) in config.oidc.iter().enumerate() {
            let field = format!("query.oidc[{}]", index + 1);
            let issuer = Issuer::new(&field, entry)?;
            if issuers.iter().any(|known| known.name() == issuer.name()) {
                return Err(QueryError::config(format!("{field}.issuer: it is named twice")));
            }
            issuers.push(issuer);
        }
        Ok(Self {
            tokens: TokenStore::open(config.tokens_file.clone())?,
            issuers,
            certificates: Certificates::new(config)?,
            kubernetes: Reviews::new(&config.kubernetes)?,
            grants: Arc::new(GrantBook::new(lake)),
            metrics,
        })
    }

    pub(crate) fn grants(&self) -> &Arc<GrantBook> {
        &self.grants
    }

    /// Whose namespaces and users are whose, for principals of Kubernetes.
    pub(crate) fn set_owners(&self, owners: Arc<dyn Owners>) {
        if let Some(reviews) = &self.kubernetes {
            reviews.set_owners(owners);
        }
    }

    /// Who presents this secret.
    pub(crate) async fn by_secret(&self, secret: &str) -> Result<Principal, Refused> {
        let (way, known) = self.known(secret).await;
        self.let_in(way, known).await
    }

    /// Who presents this certificate, whose chain was checked when the connection was made.
    pub(crate) async fn by_certificate(&self, der: &[u8]) -> Result<Principal, Refused> {
        self.let_in(Way::Certificate, self.certificates.known(der)).await
    }

    /// What somebody who logged in earlier may do now.
    pub(crate) async fn current(&self, principal: &Principal) -> Result<Principal, Refused> {
        let Some(credential) = principal.credential() else { return Ok(principal.clone()) };
        let now = Utc::now();
        let own = match credential {
            Credential::Token { .. } if self.tokens.still_valid(principal, now) => principal.clone(),
            Credential::Token { .. } => return Err(Refused::Unknown),
            Credential::Until(end) if now < *end => principal.clone(),
            Credential::Until(_) => return Err(Refused::Expired),
            Credential::Reviewed(token) => {
                let reviews = self.kubernetes.as_ref().ok_or(Refused::Unknown)?;
                let known = reviews.known(token.reveal()).await?;
                if known.name != principal.name() {
                    return Err(Refused::Unknown);
                }
                known.principal()
            }
        };
        self.granted(own).await
    }

    async fn known(&self, secret: &str) -> (Way, Result<Known, Refused>) {
        if secret.len() > MAX_SECRET_BYTES {
            return (Way::Unknown, Err(Refused::TooLong));
        }
        if secret.starts_with(tokens::PREFIX) {
            return (Way::Token, self.tokens.authenticate(secret, Utc::now()));
        }
        if Unverified::looks_like(secret) {
            let unverified = match Unverified::read(secret) {
                Ok(unverified) => unverified,
                Err(refused) => return (Way::Unknown, Err(refused)),
            };
            let issuer = self.issuers.iter().find(|issuer| issuer.name() == unverified.issuer());
            // A token that its issuer's keys do not fit is shown to nobody else.
            if let Some(issuer) = issuer {
                return (Way::Oidc, issuer.verify(secret, &unverified).await);
            }
        }
        match &self.kubernetes {
            Some(reviews) => (Way::Kubernetes, reviews.known(secret).await),
            None => (Way::Unknown, Err(Refused::Unknown)),
        }
    }

    async fn let_in(&self, way: Way, known: Result<Known, Refused>) -> Result<Principal, Refused> {
        let principal = match known {
            Ok(known) => self.granted(known.principal()).await,
            Err(refused) => Err(refused),
        };
        self.metrics.login(way, principal.as_ref().err().copied());
        match &principal {
            Ok(principal) => {
                tracing::debug!(principal = principal.name(), way = way.as_str(), "logged in");
            }
            Err(refused) => {
                tracing::info!(way = way.as_str(), reason = refused.as_str(), "a login was refused")
            }
        }
        principal
    }

    /// With the grants that count now. Somebody who has no rights, not even by
    /// one, is not let in.
    async fn granted(&self, own: Principal) -> Result<Principal, Refused> {
        let grants = self.grants.of(own.name(), Utc::now()).await;
        if grants.is_empty() && own.own().are_none() {
            return Err(Refused::Unmapped);
        }
        Ok(own.with_grants(grants))
    }
}

// === impl Known ===

impl Known {
    pub(crate) fn principal(self) -> Principal {
        Principal::known(self.name, self.rights, self.credential)
    }
}

#[cfg(test)]
mod tests;
