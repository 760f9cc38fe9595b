//! From a system call to an alert, an answer and an invoice, through the real binary.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::cgroup::Cgroup;
use crate::harness::scene::{ARGUMENTS, opens, unique};
use crate::harness::webhook::Webhook;
use crate::harness::{Up, scene, skip, wait_until};

/// Goal: an event in a tenant's cgroup is found by SQL under that tenant, raises
/// its alert on every sink, and another tenant's token does not see it.
/// Method: real system calls in a real cgroup, the real binary, all sinks.
#[test]
fn a_system_call_becomes_a_row_an_alert_and_a_bill() {
    if skip::without_kernel() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let marker = unique("flow");
    scene::files(dir.path(), &marker);
    // Before capture begins, since writing it is an open too.
    let watched = dir.path().join("it-watched-file");
    fs::write(&watched, "x").unwrap();
    let hook = Webhook::start();
    let url = format!("http://{}/", hook.addr);
    let arguments: Vec<&str> = ARGUMENTS.into_iter().chain(["--webhook", &url]).collect();
    let mut up = Up::start(dir.path(), &arguments);

    let acme = Cgroup::new(&marker, "acme");
    let script = format!("{}; cat {}", opens(&marker, 50), watched.display());
    assert!(acme.shell(&script).status().unwrap().success());
    fs::write(dir.path().join("audit.log"), format!("{}not json\n", scene::audit_event("it-1"))).unwrap();

    // Rows, with the tenant that the mapping says.
    let opened = format!(
        "SELECT count(*) FROM syscalls WHERE tenant = 'acme' AND evt_type IN ('open', 'openat') \
         AND evt_res = 'ENOENT' AND fd_name LIKE '/nonexistent/{marker}-%' AND cgroup_path = '{}'",
        acme.path()
    );
    assert_eq!(up.wait_for_count(&opened, 50), 50);
    let api = "SELECT count(*) FROM api_access WHERE tenant = 'acme' AND audit_id = 'it-1' AND \"user\" = 'mallory'";
    assert_eq!(up.wait_for_count(api, 1), 1);
    up.wait_for_count("SELECT count(*) FROM losses WHERE reason = 'malformed'", 1);

    // The alert, in each place.
    let line = up.wait_for_line("Watched file opened");
    assert!(line.contains("acme") && line.contains("it-watched-file"), "{line}");
    let alerts = "SELECT count(*) FROM alerts WHERE tenant = 'acme' AND rule IN ('Watched file opened', 'Secrets listed')";
    assert_eq!(up.wait_for_count(alerts, 2), 2);
    wait_until(|| hook.received().iter().any(|alert| alert["rule"] == "Watched file opened"));
    let file = fs::read_to_string(dir.path().join("alerts.jsonl")).unwrap();
    let json: serde_json::Value = serde_json::from_str(file.lines().next().unwrap()).unwrap();
    for field in ["output", "output_fields", "priority", "rule", "source", "tags", "time", "hostname"] {
        assert!(json.get(field).is_some(), "{field} is missing in {json}");
    }

    a_tenant_sees_only_its_own(&up, &marker);
    up.wait_for_count("SELECT count(*) FROM usage WHERE cpu_ns > 0", 1);
    up.terminate();
}

fn a_tenant_sees_only_its_own(up: &Up, marker: &str) {
    let token = &up.create_token("grace", "globex");
    let sees = format!("SELECT count(*) FROM syscalls WHERE fd_name LIKE '/nonexistent/{marker}-%'");
    // The server takes up a new token file within a second or so.
    wait_until(|| up.post_sql(token, &sees).0 == 200);
    assert_eq!(up.post_sql(token, &sees).1["rows"][0][0], 0);
    assert_eq!(up.post_sql("bwk_nobody_nothing", &sees).0, 401);
    let copy = up.post_sql(token, "COPY syscalls TO '/tmp/stolen.parquet'");
    assert_ne!(copy.0, 200, "{}", copy.1);
}

/// Goal: nothing that was acknowledged is lost or doubled by SIGKILL. Method:
/// kill the process in the middle of a load, three times, start it again over
/// the same folder, and compare what SQL showed before with what it shows after.
#[test]
fn acknowledged_events_survive_sigkill_exactly_once() {
    if skip::without_kernel() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let marker = unique("kill");
    scene::files(dir.path(), &marker);
    let acme = Cgroup::new(&marker, "acme");
    let mine = format!("FROM syscalls WHERE fd_name LIKE '/nonexistent/{marker}-%'");
    let mut seen = BTreeSet::new();
    for round in 0..3 {
        let up = Up::start(dir.path(), &ARGUMENTS);
        let mut load = acme.shell(&opens(&format!("{marker}-{round}"), 3_000)).spawn().unwrap();
        let this_round = format!("{mine} AND fd_name LIKE '%-{round}-%'");
        up.wait_for_count(&format!("SELECT count(*) {this_round}"), 500);
        seen.extend(names(&up, &this_round));
        up.kill();
        load.wait().unwrap();
    }

    let up = Up::start(dir.path(), &ARGUMENTS);
    wait_until(|| seen.is_subset(&names(&up, &mine).into_iter().collect()));
    let twice = format!("SELECT count(*) FROM (SELECT fd_name {mine} GROUP BY fd_name HAVING count(*) > 1)");
    assert_eq!(up.count(&twice), 0, "an event is stored twice");
    up.terminate();

    // After a clean end everything is in the tables, for other readers too.
    let up = Up::start(dir.path(), &ARGUMENTS);
    let total = up.count(&format!("SELECT count(*) {mine}"));
    assert!(total >= i64::try_from(seen.len()).unwrap());
    up.terminate();
    other_readers_agree(dir.path(), total);
}

fn names(up: &Up, rows: &str) -> Vec<String> {
    let name = |row: Vec<serde_json::Value>| row[0].as_str().unwrap().to_owned();
    up.rows(&format!("SELECT fd_name {rows}")).into_iter().map(name).collect()
}

/// Python's deltalake and DuckDB find the same rows in the table.
fn other_readers_agree(dir: &Path, total: i64) {
    let Some(python) = skip::python_with_readers() else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/python/read_tables.py");
    let output = Command::new(python).arg(script).arg(dir.join("data/bucket")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for reader in ["deltalake", "duckdb"] {
        let found = report[reader]["syscalls"]["acme"].as_i64().unwrap();
        assert!(found >= total, "{reader} finds {found} rows of acme, SQL found {total}");
    }
}
