//! Grants over a bucket: given, seen, used, ended.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStoreExt;
use serde_json::json;

use super::*;
use crate::engine::tests::bucket::{Bucket, Served, rows};
use crate::{Config, Endpoint, Principal, tokens};
use bailiwick_proto::Table;

fn grant(to: &str, role: Role, tenants: &[&str], lasts: TimeDelta) -> Grant {
    let now = Utc::now();
    Grant {
        id: String::new(),
        to: to.into(),
        role,
        tenants: tenants.iter().map(|name| name.parse().unwrap()).collect(),
        by: "ann@desk".into(),
        why: "incident 42".into(),
        given: now,
        until: now + lasts,
    }
}

fn of_acme(to: &str) -> Grant {
    grant(to, Role::Tenant, &["acme"], TimeDelta::hours(2))
}

/// An engine over rows of three tenants, and principals with tokens.
struct Rig {
    lake: Arc<Lake>,
    served: Served,
    folder: tempfile::TempDir,
}

impl Rig {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut bucket = Bucket::new().await;
        for tenant in ["acme", "globex", "third"] {
            bucket
                .wal(&[(Table::Losses, rows(Table::Losses, &[&[("tenant", tenant), ("count", "1")]]))])
                .await;
        }
        let file = folder.path().join("tokens.yaml");
        tokens::create(&file, "olga", Role::Auditor, [], None, Utc::now()).unwrap();
        let config = Config { tokens_file: Some(file), ..Config::default() };
        Self { lake: Arc::clone(&bucket.lake), served: bucket.serve(&config), folder }
    }

    fn tokens(&self) -> std::path::PathBuf {
        self.folder.path().join("tokens.yaml")
    }

    /// Somebody who logged in with a token of one tenant, or of none yet.
    async fn login(&self, name: &str, tenant: &str) -> Principal {
        let tenant: TenantId = tenant.parse().unwrap();
        let token = tokens::create(&self.tokens(), name, Role::Tenant, [tenant], None, Utc::now()).unwrap();
        self.principal(&token).await
    }

    async fn principal(&self, token: &str) -> Principal {
        for _ in 0..600 {
            if let Some(principal) = self.served.engine.authenticate(token).await {
                return principal;
            }
        }
        panic!("the token is not taken up")
    }

    /// Whose rows somebody sees.
    async fn sees(&self, who: &Principal) -> String {
        self.served.text(who, "SELECT string_agg(tenant, ',' ORDER BY tenant) AS t FROM losses").await
    }

    /// Asks until somebody sees these tenants' rows and no others.
    async fn until_sees(&self, who: &Principal, tenants: &str) {
        let seen = async {
            while self.sees(who).await != tenants {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), seen).await.unwrap();
    }
}

#[tokio::test]
async fn a_grant_opens_a_session_that_is_open_and_ends_by_itself() {
    let rig = Rig::new().await;
    let gus = rig.login("gus", "globex").await;
    assert_eq!(rig.sees(&gus).await, "globex");
    give(&rig.lake, grant("gus", Role::Tenant, &["acme"], TimeDelta::seconds(6))).await.unwrap();
    give(&rig.lake, of_acme("gustav")).await.unwrap();
    rig.until_sees(&gus, "acme,globex").await;
    rig.until_sees(&gus, "globex").await;
}

#[tokio::test]
async fn a_revoked_grant_opens_nothing_any_more() {
    let rig = Rig::new().await;
    let gus = rig.login("gus", "globex").await;
    let given = give(&rig.lake, grant("gus", Role::Auditor, &[], TimeDelta::days(1))).await.unwrap();
    rig.until_sees(&gus, "acme,globex,third").await;
    // An auditor plans, a tenant does not.
    assert!(rig.served.ask(&gus, "EXPLAIN SELECT 1").await.is_ok());
    let record = revoke(&rig.lake, &given.id, "bob@desk", Utc::now()).await.unwrap();
    assert_eq!(record.state(Utc::now()), "revoked");
    rig.until_sees(&gus, "globex").await;
    assert!(rig.served.ask(&gus, "EXPLAIN SELECT 1").await.is_err());
    let again = revoke(&rig.lake, &given.id, "bob@desk", Utc::now()).await.unwrap_err();
    assert!(matches!(again, GrantError::Over { .. }), "{again}");
    let unknown = revoke(&rig.lake, "20260101T000000-0", "bob@desk", Utc::now()).await.unwrap_err();
    assert!(matches!(unknown, GrantError::Unknown { .. }), "{unknown}");
}

/// Goal: a grant gives rights to somebody, and nothing to whoever has no valid token.
#[tokio::test]
async fn a_grant_is_no_login() {
    let rig = Rig::new().await;
    give(&rig.lake, of_acme("gus")).await.unwrap();
    give(&rig.lake, of_acme("operator")).await.unwrap();
    for secret in ["gus", "bwk_gus_", &format!("bwk_gus_{}", "0".repeat(64))] {
        assert!(rig.served.engine.authenticate(secret).await.is_none());
    }
    let gus = rig.login("gus", "globex").await;
    rig.until_sees(&gus, "acme,globex").await;
    tokens::remove(&rig.tokens(), "gus").unwrap();
    let ended = async {
        while rig.served.engine.run(&gus, Endpoint::Http, "SELECT 1").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap();
}

#[tokio::test]
async fn what_is_used_is_recorded_for_whose_rows_it_opened() {
    let mut rig = Rig::new().await;
    let gus = rig.login("gus", "globex").await;
    let tenants = ["acme", "globex", "third"];
    let given = give(&rig.lake, grant("gus", Role::Tenant, &tenants, TimeDelta::hours(1))).await.unwrap();
    let statement = "SELECT 'a secret of globex' AS s, CAST(reason AS INT) FROM losses WHERE tenant <> 'x'";
    let mut records = Vec::new();
    while records.len() < 3 {
        let _ = rig.served.ask(&gus, statement).await;
        records.push(rig.served.record().await);
        if records[0]["owner"] == "globex" {
            // The grant is not taken up yet.
            records.clear();
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        records.push(rig.served.record().await);
        records.push(rig.served.record().await);
    }
    let [query, acme, third] = &records[..] else { panic!("{records:?}") };
    assert_eq!((&*query["owner"], &*query["endpoint"], &*query["sql"]), ("_cluster", "http", statement));
    assert_eq!(query["tenant_scope"], "[acme, globex, third]");
    for (record, owner) in [(acme, "acme"), (third, "third")] {
        assert_eq!((&*record["owner"], &*record["endpoint"], &*record["principal"]), (owner, "grant", "gus"));
        assert_eq!(record["tenant_scope"], format!("[{owner}]"));
        assert_eq!(record["query_id"], query["query_id"]);
        assert!(record["sql"].contains(&given.id) && record["sql"].contains("ann@desk"), "{record:?}");
        let whole = format!("{record:?}");
        assert!(
            !whole.contains("secret of globex") && (record["rows"].is_empty() && record["error"].is_empty()),
            "{whole}"
        );
    }
}

#[tokio::test]
async fn everybody_reads_of_the_grants_that_concern_them() {
    let rig = Rig::new().await;
    let (gus, tom) = (rig.login("gus", "globex").await, rig.login("tom", "third").await);
    let one = give(&rig.lake, of_acme("gus")).await.unwrap();
    let two =
        give(&rig.lake, grant("ann", Role::Tenant, &["acme", "third"], TimeDelta::hours(1))).await.unwrap();
    let three = give(&rig.lake, grant("eve", Role::Auditor, &[], TimeDelta::hours(1))).await.unwrap();
    revoke(&rig.lake, &two.id, "bob@desk", Utc::now()).await.unwrap();
    let sql = "SELECT grant_id, state, principal, role, array_to_string(tenants, '+') AS tenants, given_by, why, revoked_by, \
               until > given AS lasts FROM grants() ORDER BY principal DESC";
    let row = |grant: &Grant, rest: &str| format!("{} {rest}", grant.id);
    let all = [
        row(&one, "active gus tenant acme ann@desk incident 42  true"),
        row(&three, "active eve auditor  ann@desk incident 42  true"),
        row(&two, "revoked ann tenant acme+third ann@desk incident 42 bob@desk true"),
    ];
    assert_eq!(rig.served.text(&Principal::operator(), sql).await, all.join("\n"));
    // Its own; and that somebody audits everybody, but not what for.
    let for_gus = [all[0].clone(), row(&three, "active eve auditor  ann@desk   true")];
    assert_eq!(rig.served.text(&gus, sql).await, for_gus.join("\n"));
    let for_tom = [
        row(&three, "active eve auditor  ann@desk   true"),
        row(&two, "revoked ann tenant third ann@desk  bob@desk true"),
    ];
    assert_eq!(rig.served.text(&tom, sql).await, for_tom.join("\n"));
    // What is left out cannot be guessed by a condition that fails on it either.
    let probe = rig
        .served
        .text(&tom, "SELECT count(*) FROM grants() WHERE CAST(coalesce(why, '1') AS INT) = 1")
        .await;
    assert_eq!(probe, "2");
    assert!(rig.served.ask(&tom, "SELECT * FROM grants('gus')").await.is_err());
}

#[tokio::test]
async fn what_cannot_be_read_grants_nothing_and_hides_nothing() {
    let rig = Rig::new().await;
    let gus = rig.login("gus", "globex").await;
    let store = rig.lake.store();
    let put = |id: &str, what: &str, bytes: Vec<u8>| {
        let (store, key) = (Arc::clone(&store), format!("grants/{id}/{what}.json"));
        async move { store.put(&key.into(), bytes.into()).await.unwrap() }
    };
    let id = |unique: &str| format!("{}-{unique}", id_at(Utc::now()));
    let whole = |id: &str| serde_json::to_value(Grant { id: id.into(), ..of_acme("gus") }).unwrap();
    let long = json!((Utc::now() + TimeDelta::days(40)).to_rfc3339());
    for (unique, field, value) in [
        ("a", "id", json!("another")),
        ("b", "until", long),
        ("c", "tenants", json!([])),
        ("d", "tenants", json!(["../x"])),
        ("e", "role", json!("king")),
        ("f", "why", json!("")),
        ("g", "to", json!(["gus"])),
        ("h", "role", json!("admin")),
    ] {
        let id = id(unique);
        let mut grant = whole(&id);
        grant[field] = value;
        put(&id, "given", grant.to_string().into()).await;
    }
    put(&id("i"), "given", b"no grant".to_vec()).await;
    put(&id("j"), "given", vec![b' '; MAX_OBJECT_BYTES + 1]).await;
    // A revocation counts whatever it says.
    let revoked = id("k");
    put(&revoked, "given", whole(&revoked).to_string().into()).await;
    put(&revoked, "revoked", b"?".to_vec()).await;
    // This one is the proof that the others were looked at.
    give(&rig.lake, grant("gus", Role::Tenant, &["third"], TimeDelta::hours(1))).await.unwrap();
    rig.until_sees(&gus, "globex,third").await;
    let listed = list(&rig.lake).await.unwrap();
    assert_eq!(listed.len(), 2, "{listed:?}");
}

#[tokio::test]
async fn a_grant_that_says_too_little_or_too_much_is_refused_by_field() {
    let lake = Lake::open("memory://", "test").await.unwrap();
    let good = of_acme("gus");
    for (field, wrong) in [
        ("to", Grant { to: String::new(), ..good.clone() }),
        ("to", Grant { to: "a\nb".into(), ..good.clone() }),
        ("why", Grant { why: "  ".into(), ..good.clone() }),
        ("why", Grant { why: "x".repeat(5_000), ..good.clone() }),
        ("tenants", Grant { tenants: BTreeSet::new(), ..good.clone() }),
        ("tenants", Grant { role: Role::Admin, ..good.clone() }),
        ("until", Grant { until: good.given, ..good.clone() }),
        ("until", Grant { until: good.given + LONGEST + TimeDelta::seconds(1), ..good.clone() }),
    ] {
        let error = give(&lake, wrong).await.unwrap_err().to_string();
        assert!(error.contains(&format!("field {field}")), "{error}");
    }
    assert!(list(&lake).await.unwrap().is_empty());
    assert!(!Path::new("grants").exists());
}

/// Goal: nobody keeps by a grant what could have been taken away unseen.
#[tokio::test]
async fn while_the_bucket_does_not_answer_grants_count_only_for_a_moment() {
    let lake = Lake::open("memory://", "test").await.unwrap();
    give(&lake, of_acme("gus")).await.unwrap();
    let book = GrantBook::new(Arc::clone(&lake));
    let now = Utc::now();
    assert_eq!(book.of("gus", now).await.len(), 1);
    assert_eq!(book.of("gus", now + TimeDelta::hours(3)).await.len(), 0, "it ends by itself");
    book.forget_answers();
    assert_eq!(book.of("gus", now).await.len(), 0);
}
