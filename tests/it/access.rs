//! Tokens and grants as a person gives and takes them, with a server that runs all the while.

use std::fs;

use serde_json::Value;

use crate::harness::{Up, command, wait_until};

const CONFIG: &str = "\
[ingest]
listen = \"127.0.0.1:0\"
flush_after_ms = 200
tenants_file = \"tenants.yaml\"
[query]
http_listen = \"127.0.0.1:0\"
pgwire_listen = \"127.0.0.1:0\"
[collector.webhook]
enabled = \"off\"
[collector.syscalls]
enabled = \"off\"
[collector.usage]
enabled = \"off\"
";

const EVENT: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"TENANT","stage":"ResponseComplete","requestURI":"/version","verb":"get","user":{"username":"TENANT"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-11-24T10:00:00.000000Z","stageTimestamp":"2026-11-24T10:00:00.000000Z"}"#;

struct Site {
    dir: tempfile::TempDir,
    up: Up,
}

impl Site {
    /// A server that has an API request of each of two tenants.
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("bailiwick.toml"), CONFIG).unwrap();
        let tenant = |name: &str| format!("- tenant: {name}\n  users: [{name}]\n");
        fs::write(
            dir.path().join("tenants.yaml"),
            format!("tenants:\n{}{}", tenant("acme"), tenant("globex")),
        )
        .unwrap();
        let log = dir.path().join("audit.log");
        fs::write(&log, ["acme", "globex"].map(|name| EVENT.replace("TENANT", name) + "\n").concat())
            .unwrap();
        let up = Up::start(dir.path(), &["--audit-log", log.to_str().unwrap()]);
        up.wait_for_count("SELECT count(*) FROM api_access", 2);
        Self { dir, up }
    }

    /// What a command prints, and its exit code.
    fn bailiwick(&self, arguments: &[&str]) -> (String, i32) {
        command(self.dir.path(), arguments)
    }

    fn done(&self, arguments: &[&str]) -> String {
        let (text, code) = self.bailiwick(arguments);
        assert_eq!(code, 0, "{arguments:?}: {text}");
        text
    }

    /// Whose rows a token shows; nothing where it lets nobody in.
    fn sees(&self, token: &str) -> Option<String> {
        let sql = "SELECT string_agg(tenant, ',' ORDER BY tenant) FROM api_access";
        let (status, body) = self.up.post_sql(token, sql);
        assert!(status == 200 || status == 401, "{status} {body}");
        body["rows"][0][0].as_str().map(str::to_owned)
    }
}

#[test]
fn a_token_is_made_listed_and_revoked() {
    let site = Site::start();
    let token =
        |text: &str| text.split_whitespace().find(|word| word.starts_with("bwk_")).unwrap().to_owned();
    let acme =
        token(&site.done(&["token", "create", "--tenant", "acme", "--role", "tenant", "--ttl", "90d"]));
    let olga = token(&site.done(&["token", "create", "olga", "--role", "auditor"]));
    wait_until(|| {
        site.sees(&acme).as_deref() == Some("acme") && site.sees(&olga).as_deref() == Some("acme,globex")
    });
    let list = site.done(&["token", "list"]);
    let line = |name: &str| {
        list.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap().to_owned()
    };
    assert!(
        line("acme").contains("tenant") && line("olga").contains("auditor") && line("olga").contains("never"),
        "{list}"
    );
    assert!(!list.contains(acme.rsplit('_').next().unwrap()), "a list tells no secret");
    site.done(&["token", "revoke", "acme"]);
    wait_until(|| site.sees(&acme).is_none());
    assert_eq!(site.sees(&olga).as_deref(), Some("acme,globex"));
    let (text, code) = site.bailiwick(&["token", "revoke", "acme"]);
    assert!(code == 1 && text.contains("there is no token acme"), "{text}");
}

#[test]
fn a_grant_is_given_used_recorded_and_revoked() {
    let site = Site::start();
    let token = site.up.create_token("gus", "globex");
    wait_until(|| site.sees(&token).as_deref() == Some("globex"));
    let given = site.done(&[
        "grant",
        "create",
        "--to",
        "gus",
        "--tenant",
        "acme",
        "--for",
        "2h",
        "--why",
        "incident 42",
    ]);
    let id = given.lines().next().unwrap().to_owned();
    wait_until(|| site.sees(&token).as_deref() == Some("acme,globex"));
    let list = site.done(&["grant", "list"]);
    assert!(list.contains(&id) && list.contains("incident 42") && list.contains("active"), "{list}");
    // Who looks after acme learns who read its rows, by which grant, given by whom.
    let acme = site.up.create_token("ann", "acme");
    wait_until(|| site.sees(&acme).is_some());
    let rows = |sql: &str| {
        let (status, body) = site.up.post_sql(&acme, sql);
        assert_eq!(status, 200, "{sql}: {body}");
        serde_json::from_value::<Vec<Vec<Value>>>(body["rows"].clone()).unwrap()
    };
    let granted = rows("SELECT grant_id, principal, why, state FROM grants()");
    assert_eq!(granted, [[id.as_str(), "gus", "incident 42", "active"].map(Value::from).to_vec()]);
    let uses = "SELECT principal, sql FROM queries WHERE endpoint = 'grant'";
    wait_until(|| {
        rows(uses).first().is_some_and(|row| row[0] == "gus" && row[1].as_str().unwrap().contains(&id))
    });
    let said = site.done(&["grant", "revoke", &id]);
    assert!(said.contains("gus"), "{said}");
    wait_until(|| site.sees(&token).as_deref() == Some("globex"));
    let all = site.done(&["grant", "list", "--all"]);
    assert!(all.contains("revoked") && !site.done(&["grant", "list"]).contains(&id), "{all}");
    for (arguments, code, word) in [
        (vec!["grant", "revoke", &id], 1, "over already"),
        (vec!["grant", "revoke", "x"], 1, "there is no grant x"),
        (
            vec!["grant", "create", "--to", "gus", "--tenant", "acme", "--for", "40d", "--why", "x"],
            78,
            "31 days",
        ),
        (
            vec!["grant", "create", "--to", "gus", "--tenant", "acme", "--for", "2h", "--why", " "],
            78,
            "field why",
        ),
        (
            vec![
                "grant", "create", "--to", "gus", "--role", "admin", "--tenant", "acme", "--for", "2h",
                "--why", "x",
            ],
            78,
            "field tenants",
        ),
        (vec!["grant", "create", "--to", "gus", "--for", "2h", "--why", "x"], 78, "field tenants"),
    ] {
        let (text, found) = site.bailiwick(&arguments);
        assert!(found == code && text.contains(word), "{arguments:?}: {found} {text}");
    }
}
