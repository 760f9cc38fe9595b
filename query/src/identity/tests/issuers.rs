//! What a genuine token gives, and how an issuer's keys are come by.

use std::time::Duration;

use serde_json::json;

use super::authority::Authority;
use super::issuer::{Answers, TestIssuer};
use super::*;

#[tokio::test]
async fn every_allowed_algorithm_lets_in_with_what_the_rules_give() {
    let issuer = TestIssuer::start().await;
    let door = door_of(&issuer).await;
    for (algorithm, kid) in [("RS256", "rsa"), ("PS256", "rsa"), ("ES256", "ec"), ("EdDSA", "ed")] {
        let token = issuer.signed(algorithm, kid, &issuer.claims());
        assert_eq!(door.enter(&token).await.as_deref(), Ok("oidc:alice tenant acme"), "{algorithm}");
    }
    let auditor = issuer.token_with(&json!({"groups": ["sec"], "sub": "olga"}));
    assert_eq!(door.enter(&auditor).await.as_deref(), Ok("oidc:olga auditor *"));
    assert_eq!(issuer.asked(), 1, "keys are remembered");
}

#[tokio::test]
async fn names_groups_and_claims_are_where_the_configuration_says() {
    let issuer = TestIssuer::start().await;
    let rules = [
        r#"{"claims": {"realm_access.roles": ["bw-*"]}, "tenants": ["{}"]}"#,
        r#"{"names": ["ann@example.com"], "role": "admin"}"#,
        r#"{"groups": ["audit"], "role": "auditor"}"#,
    ];
    let oidc = OidcConfig {
        jwks_url: issuer.keys_url(),
        name_claim: "email".into(),
        groups_claim: "https://example.com/teams".into(),
        prefix: String::new(),
        map: rules.iter().map(|text| serde_json::from_str(text).unwrap()).collect(),
        ..trusting(&issuer)
    };
    let door = &Door::open(&with_oidc(oidc)).await;
    let enter = |changes: serde_json::Value| {
        let token = issuer.token_with(&changes);
        async move { door.enter(&token).await }
    };
    let roles = json!({"roles": ["x", "bw-acme", "bw-globex", "bw-_host"]});
    let bob = enter(json!({"email": "bob@example.com", "realm_access": roles})).await;
    assert_eq!(bob.as_deref(), Ok("bob@example.com tenant acme,globex"));
    let ann = enter(json!({"email": "ann@example.com", "email_verified": true})).await;
    assert_eq!(ann.as_deref(), Ok("ann@example.com admin *"));
    let unproven = enter(json!({"email": "ann@example.com", "email_verified": false})).await;
    assert_eq!(unproven, Err(Refused::Malformed), "anybody can enter an address");
    let audit = enter(json!({"email": "eve@example.com", "https://example.com/teams": ["audit"]})).await;
    assert_eq!(audit.as_deref(), Ok("eve@example.com auditor *"));
}

/// Goal: unknown keys do not make us an engine that knocks at the issuer's door.
#[tokio::test]
async fn an_unknown_key_has_the_keys_fetched_again_but_not_more_often_than_allowed() {
    let issuer = TestIssuer::start().await;
    let door = door_of(&issuer).await;
    for number in 0..20 {
        let token = issuer.signed("EdDSA", &format!("new-{number}"), &issuer.claims());
        assert_eq!(door.enter(&token).await, Err(Refused::Key));
    }
    assert_eq!(issuer.asked(), 1);
    let eager = OidcConfig { refresh_after_ms: 1, ..trusting(&issuer) };
    let door = Door::open(&with_oidc(eager)).await;
    assert!(door.enter(&issuer.token()).await.is_ok());
    // A key that is new is found; one that is gone is forgotten with it.
    issuer.publish(&[issuer.jwk("EdDSA", "next")]);
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(door.enter(&issuer.signed("EdDSA", "next", &issuer.claims())).await.is_ok());
    assert_eq!(door.enter(&issuer.token()).await, Err(Refused::Key));
}

#[tokio::test]
async fn keys_that_are_old_are_fetched_again_and_count_while_the_issuer_is_away() {
    let issuer = TestIssuer::start().await;
    let brief = OidcConfig { keep_keys_ms: 1, refresh_after_ms: 1, ..trusting(&issuer) };
    let door = Door::open(&with_oidc(brief)).await;
    assert!(door.enter(&issuer.token()).await.is_ok());
    issuer.answer(Answers::Status(500));
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(door.enter(&issuer.token()).await.is_ok());
    assert!(issuer.asked() >= 2);
    issuer.answer(Answers::Keys);
    issuer.publish(&[]);
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(door.enter(&issuer.token()).await, Err(Refused::Key), "a key that was taken back");
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_as_it_should_lets_nobody_in() {
    for answers in
        [Answers::Status(500), Answers::Elsewhere, Answers::Long, Answers::Never, Answers::Nonsense]
    {
        let issuer = TestIssuer::start().await;
        issuer.answer(answers);
        let door = Door::open(&with_oidc(OidcConfig { timeout_ms: 500, ..trusting(&issuer) })).await;
        assert_eq!(door.enter(&issuer.token()).await, Err(Refused::Unavailable));
        assert_eq!(door.refused(Way::Oidc, Refused::Unavailable), 1);
    }
    let issuer = TestIssuer::start().await;
    issuer.say_issuer("https://id.example");
    let door = door_of(&issuer).await;
    assert_eq!(door.enter(&issuer.token()).await, Err(Refused::Unavailable), "it is of another issuer");
}

#[tokio::test]
async fn an_issuers_certificate_is_checked() {
    let (authority, stranger) = (Authority::new("ca"), Authority::new("other"));
    let issuer = TestIssuer::start_tls(&authority).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, authority: &Authority| {
        std::fs::write(folder.path().join(name), authority.pem()).unwrap();
        Some(folder.path().join(name))
    };
    let trusted = OidcConfig { ca_file: file("ca", &authority), ..trusting(&issuer) };
    let door = Door::open(&with_oidc(trusted)).await;
    assert_eq!(door.enter(&issuer.token()).await.as_deref(), Ok("oidc:alice tenant acme"));
    for ca_file in [file("other", &stranger), None] {
        let door = Door::open(&with_oidc(OidcConfig { ca_file, ..trusting(&issuer) })).await;
        assert_eq!(door.enter(&issuer.token()).await, Err(Refused::Unavailable));
    }
}

#[tokio::test]
async fn a_login_ends_with_its_token() {
    let issuer = TestIssuer::start().await;
    let door = Door::open(&with_oidc(OidcConfig { leeway_s: 0, ..trusting(&issuer) })).await;
    let token = issuer.token_with(&json!({"exp": chrono::Utc::now().timestamp() + 2}));
    let principal = door.identity.by_secret(&token).await.unwrap();
    assert!(door.identity.current(&principal).await.is_ok());
    let mut ended = door.identity.current(&principal).await;
    while ended.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        ended = door.identity.current(&principal).await;
    }
    assert_eq!(ended.err(), Some(Refused::Expired));
}
