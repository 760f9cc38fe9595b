//! Every way to log in, against real parts: issuers that answer over HTTP, a Kubernetes API, TLS with certificates.

mod authority;
mod cluster;
mod forged;
mod issuer;
mod issuers;
mod listeners;
mod reviews;

use std::sync::Arc;

use bailiwick_lake::Lake;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::*;
use crate::{Config, MappingRule, OidcConfig};
use issuer::TestIssuer;

/// Identity over an empty bucket, and what it counts.
pub(super) struct Door {
    pub(super) identity: Identity,
    registry: Registry,
}

// === impl Door ===

impl Door {
    pub(super) async fn open(config: &Config) -> Self {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let lake = Lake::open("memory://", "test").await.unwrap();
        Self { identity: Identity::open(config, lake, metrics).unwrap(), registry }
    }

    /// Who comes in by a secret: name, role, and whose rows.
    pub(super) async fn enter(&self, secret: &str) -> Result<String, Refused> {
        let principal = self.identity.by_secret(secret).await?;
        Ok(format!("{} {} {}", principal.name(), principal.role(), principal.scope().names().join(",")))
    }

    /// How often somebody was refused for a reason.
    pub(super) fn refused(&self, way: Way, reason: Refused) -> u64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let labels = format!("way=\"{}\",outcome=\"refused\",reason=\"{}\"", way.as_str(), reason.as_str());
        let line = text
            .lines()
            .find(|line| line.starts_with("bailiwick_query_logins_total") && line.contains(&labels));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }
}

/// A configuration that trusts an issuer: its group `acme-dev` is tenant acme's, `sec` audits.
fn trusting(issuer: &TestIssuer) -> OidcConfig {
    let rule = |text: &str| serde_json::from_str::<MappingRule>(text).unwrap();
    OidcConfig {
        issuer: issuer.url(),
        audience: vec!["bailiwick".into(), "sql".into()],
        algorithms: ["RS256", "PS256", "ES256", "EdDSA"].map(str::to_owned).to_vec(),
        map: vec![
            rule(r#"{"groups": ["acme-dev"], "tenants": ["acme"]}"#),
            rule(r#"{"groups": ["sec"], "role": "auditor"}"#),
        ],
        ..OidcConfig::default()
    }
}

fn with_oidc(oidc: OidcConfig) -> Config {
    Config { oidc: vec![oidc], ..Config::default() }
}

async fn door_of(issuer: &TestIssuer) -> Door {
    Door::open(&with_oidc(trusting(issuer))).await
}

#[tokio::test]
async fn without_any_configuration_nobody_comes_in() {
    let door = Door::open(&Config::default()).await;
    let issuer = TestIssuer::start().await;
    for secret in ["", "x", "bwk_", &issuer.token(), "eyJ.eyJ.x", &"x".repeat(1 << 20)] {
        assert!(door.enter(secret).await.is_err(), "{secret:.40}");
    }
    assert_eq!(door.refused(Way::Unknown, Refused::TooLong), 1);
    assert_eq!(door.refused(Way::Token, Refused::Malformed), 1);
}

#[tokio::test]
async fn a_wrong_entry_is_named_with_its_field() {
    let issuer = TestIssuer::start().await;
    let good = trusting(&issuer);
    let lake = Lake::open("memory://", "test").await.unwrap();
    let refused = |config: Config| {
        let metrics = Metrics::register(&mut Registry::default());
        Identity::open(&config, Arc::clone(&lake), metrics).err().unwrap().to_string()
    };
    for (oidc, field) in [
        (OidcConfig { issuer: "http://id.example".into(), ..good.clone() }, "query.oidc[1].issuer"),
        (OidcConfig { jwks_url: "http://id.example/keys".into(), ..good.clone() }, "query.oidc[1].jwks_url"),
        (OidcConfig { audience: vec![], ..good.clone() }, "query.oidc[1].audience"),
        (OidcConfig { algorithms: vec!["HS256".into()], ..good.clone() }, "query.oidc[1].algorithms"),
        (OidcConfig { algorithms: vec!["none".into()], ..good.clone() }, "query.oidc[1].algorithms"),
        (OidcConfig { algorithms: vec![], ..good.clone() }, "query.oidc[1].algorithms"),
        (OidcConfig { leeway_s: 3_600, ..good.clone() }, "query.oidc[1].leeway_s"),
        (OidcConfig { timeout_ms: 0, ..good.clone() }, "query.oidc[1].timeout_ms"),
        (OidcConfig { ca_file: Some("/nonexistent".into()), ..good.clone() }, "query.oidc[1].ca_file"),
        (OidcConfig { map: vec![MappingRule::default()], ..good.clone() }, "query.oidc[1].map, entry 1"),
    ] {
        let error = refused(with_oidc(oidc));
        assert!(error.starts_with(field), "{error}");
    }
    let twice = refused(Config { oidc: vec![good.clone(), good], ..Config::default() });
    assert!(twice.starts_with("query.oidc[2].issuer"), "{twice}");
    let kubernetes = |kubernetes| refused(Config { kubernetes, ..Config::default() });
    let on =
        KubernetesConfig { enabled: true, api_url: "https://10.0.0.1".into(), ..KubernetesConfig::default() };
    for (config, field) in [
        (KubernetesConfig { audience: vec![], ..on.clone() }, "query.kubernetes.audience"),
        (KubernetesConfig { cache_ms: 1_000, ..on.clone() }, "query.kubernetes.cache_ms"),
        (KubernetesConfig { api_url: "http://10.0.0.1".into(), ..on }, "query.kubernetes.api_url"),
    ] {
        let error = kubernetes(config);
        assert!(error.starts_with(field), "{error}");
    }
    let certificates =
        vec![MappingRule { uris: vec!["x".into()], role: crate::Role::Admin, ..MappingRule::default() }];
    assert!(refused(Config { certificates, ..Config::default() }).contains("query.client_ca_file"));
}
