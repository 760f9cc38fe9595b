//! Tokens that Kubernetes knows.

use bailiwick_proto::TenantId;
use serde_json::json;

use super::cluster::Cluster;
use super::*;

/// Namespaces `acme-…` are acme's, and so is user ann.
#[derive(Debug)]
struct TenantsFile;

impl Owners for TenantsFile {
    fn of_namespace(&self, namespace: &str) -> Option<TenantId> {
        namespace.starts_with("acme-").then(|| "acme".parse().unwrap())
    }

    fn of_user(&self, user: &str) -> Option<TenantId> {
        (user == "ann" || user.starts_with("system:serviceaccount:tools:")).then(|| "acme".parse().unwrap())
    }
}

async fn door(kubernetes: KubernetesConfig) -> Door {
    let door = Door::open(&Config { kubernetes, ..Config::default() }).await;
    door.identity.set_owners(Arc::new(TenantsFile));
    door
}

#[tokio::test]
async fn a_service_account_sees_the_tenant_of_its_namespace() {
    let cluster = Cluster::start().await;
    let rules = [
        r#"{"namespaces": ["team-*"], "tenants": ["{}"]}"#,
        r#"{"groups": ["system:masters"], "role": "admin"}"#,
        r#"{"names": ["system:serviceaccount:sec:auditor"], "role": "auditor"}"#,
    ];
    let map = rules.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let door = door(KubernetesConfig { map, ..cluster.config() }).await;
    for (user, groups, entered) in [
        ("system:serviceaccount:acme-web:grafana", vec!["system:serviceaccounts"], Ok("tenant acme")),
        ("system:serviceaccount:team-globex:x", vec![], Ok("tenant globex")),
        ("system:serviceaccount:sec:auditor", vec![], Ok("auditor *")),
        ("system:serviceaccount:tools:x", vec![], Ok("tenant acme")),
        ("ann", vec!["system:authenticated"], Ok("tenant acme")),
        ("root", vec!["system:masters"], Ok("admin *")),
        ("system:serviceaccount:other:x", vec!["system:serviceaccounts:acme-web"], Err(Refused::Unmapped)),
        ("system:serviceaccount:acme-web", vec![], Err(Refused::Unmapped)),
        ("system:serviceaccount:acme-web:", vec![], Err(Refused::Unmapped)),
        ("system:serviceaccount::acme-web", vec![], Err(Refused::Unmapped)),
        ("system:serviceaccount:acme-web:a:b", vec![], Err(Refused::Unmapped)),
        ("acme-web", vec!["acme-web"], Err(Refused::Unmapped)),
        ("bob", vec![], Err(Refused::Unmapped)),
        ("", vec![], Err(Refused::Malformed)),
    ] {
        let token = format!("token-of-{}", if user.is_empty() { "nobody" } else { user });
        cluster.knows_user(&token, user, &groups);
        let expected = entered.map(|rights| format!("k8s:{user} {rights}"));
        assert_eq!(door.enter(&token).await, expected, "{user}");
    }
    let asked = cluster.asked();
    assert!(asked.iter().all(|spec| spec["audiences"] == json!(["bailiwick"])), "{asked:?}");
    let without = Door::open(&Config { kubernetes: cluster.config(), ..Config::default() }).await;
    assert_eq!(without.enter("token-of-ann").await, Err(Refused::Unmapped), "nobody told whose ann is");
    let unused = KubernetesConfig { by_tenants_file: false, ..cluster.config() };
    assert_eq!(super::reviews::door(unused).await.enter("token-of-ann").await, Err(Refused::Unmapped));
}

#[tokio::test]
async fn what_kubernetes_does_not_vouch_for_is_refused() {
    let cluster = Cluster::start().await;
    let door = door(cluster.config()).await;
    let ann = json!({"username": "ann"});
    for (number, (status, why)) in [
        (json!({"authenticated": false, "user": ann, "audiences": ["bailiwick"]}), Refused::Unknown),
        (json!({"user": ann, "audiences": ["bailiwick"]}), Refused::Unknown),
        (json!({"authenticated": true, "audiences": ["bailiwick"]}), Refused::Unknown),
        // A server that does not know audiences did not look at them.
        (json!({"authenticated": true, "user": ann}), Refused::Audience),
        (json!({"authenticated": true, "user": ann, "audiences": []}), Refused::Audience),
        (
            json!({"authenticated": true, "user": ann, "audiences": ["https://kubernetes.default.svc"]}),
            Refused::Audience,
        ),
        (json!({"authenticated": "yes", "user": ann, "audiences": ["bailiwick"]}), Refused::Unavailable),
    ]
    .into_iter()
    .enumerate()
    {
        let token = format!("token-{number}");
        cluster.knows(&token, status.clone());
        assert_eq!(door.enter(&token).await, Err(why), "{status}");
    }
    assert_eq!(door.enter("never-heard-of").await, Err(Refused::Unknown));
    let before = cluster.asked().len();
    for malformed in ["", "two words", "a\nb", "ü", "a\u{0}"] {
        assert!(door.enter(malformed).await.is_err());
    }
    assert_eq!(cluster.asked().len(), before, "what cannot be a token is not asked about");
}

#[tokio::test]
async fn an_answer_is_remembered_and_a_failure_is_not() {
    let cluster = Cluster::start().await;
    cluster.knows_user("t", "ann", &[]);
    let door = door(cluster.config()).await;
    cluster.fails_with(Some(500));
    assert_eq!(door.enter("t").await, Err(Refused::Unavailable));
    cluster.fails_with(None);
    for _ in 0..5 {
        assert_eq!(door.enter("t").await.as_deref(), Ok("k8s:ann tenant acme"));
        assert_eq!(door.enter("wrong").await, Err(Refused::Unknown));
    }
    assert_eq!(cluster.asked().len(), 3, "one that failed, one right, one wrong");
    let unreachable = KubernetesConfig { api_url: "http://127.0.0.1:1".into(), ..cluster.config() };
    assert_eq!(super::reviews::door(unreachable).await.enter("t").await, Err(Refused::Unavailable));
    let unreadable = KubernetesConfig { token_file: Some("/nonexistent".into()), ..cluster.config() };
    assert_eq!(super::reviews::door(unreadable).await.enter("t").await, Err(Refused::Unavailable));
}

#[tokio::test]
async fn a_token_that_is_withdrawn_ends_its_sessions_once_the_answer_is_old() {
    let cluster = Cluster::start().await;
    cluster.knows_user("t", "ann", &[]);
    let door = door(cluster.config()).await;
    let principal = door.identity.by_secret("t").await.unwrap();
    cluster.forgets("t");
    assert!(door.identity.current(&principal).await.is_ok(), "an answer counts for a minute");
    door.identity.kubernetes.as_ref().unwrap().forget();
    assert_eq!(door.identity.current(&principal).await.err(), Some(Refused::Unknown));
    // Nor does a session outlive that its token becomes somebody else's.
    cluster.knows_user("t", "root", &[]);
    door.identity.kubernetes.as_ref().unwrap().forget();
    assert_eq!(door.identity.current(&principal).await.err(), Some(Refused::Unknown));
}

#[tokio::test]
async fn a_token_is_shown_only_to_whom_it_concerns() {
    let cluster = Cluster::start().await;
    let issuer = TestIssuer::start().await;
    let config = Config { kubernetes: cluster.config(), ..with_oidc(trusting(&issuer)) };
    let door = Door::open(&config).await;
    for secret in
        [issuer.token(), issuer.token_with(&json!({"aud": "x"})), format!("bwk_a_{}", "0".repeat(64))]
    {
        let _ = door.enter(&secret).await;
    }
    assert!(cluster.asked().is_empty(), "{:?}", cluster.asked());
    let foreign = issuer.token_with(&json!({"iss": "https://kubernetes.default.svc"}));
    assert_eq!(door.enter(&foreign).await, Err(Refused::Unknown));
    assert_eq!(cluster.asked().len(), 1);
}
