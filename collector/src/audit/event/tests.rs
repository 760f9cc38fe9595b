use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use proptest::prelude::*;
use serde_json::json;

use super::super::rows::{Origin, Pushed, Rows};
use super::*;

fn rows_of(events: &[&str]) -> RecordBatch {
    let mut rows = Rows::new(Origin { source: "file", node: "n1".into(), cluster: "c1".into() });
    for event in events {
        rows.push(event.as_bytes(), 77).unwrap();
    }
    rows.finish().unwrap()
}

fn text(rows: &RecordBatch, column: &str, row: usize) -> Option<String> {
    let texts = cast(rows.column_by_name(column).unwrap(), &DataType::Utf8).unwrap();
    let texts = texts.as_string::<i32>();
    texts.is_valid(row).then(|| texts.value(row).to_owned())
}

fn texts(rows: &RecordBatch, column: &str, row: usize) -> Vec<String> {
    let list = rows.column_by_name(column).unwrap().as_list::<i32>().value(row);
    list.as_string::<i32>().iter().flatten().map(ToOwned::to_owned).collect()
}

#[test]
fn an_exec_as_the_api_server_logs_it() {
    let event = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Request", "auditID": "a-1",
        "stage": "ResponseStarted", "verb": "create",
        "requestURI": "/api/v1/namespaces/acme/pods/web-0/exec?command=sh&command=-c&command=echo+a%20b%2Fc&container=web&tty=true",
        "user": {"username": "system:serviceaccount:ci:deployer", "uid": "u", "groups": ["system:authenticated", "g"],
                 "extra": {"k": ["v"]}},
        "impersonatedUser": {"username": "jane", "groups": ["devs"]},
        "sourceIPs": ["10.0.0.1", "192.0.2.7"], "userAgent": "kubectl",
        "objectRef": {"resource": "pods", "namespace": "acme", "name": "web-0", "apiVersion": "v1", "subresource": "exec"},
        "responseStatus": {"metadata": {}, "code": 101, "reason": "", "message": "switching"},
        "requestReceivedTimestamp": "2026-11-24T01:00:00.000000Z", "stageTimestamp": "2026-11-24T01:00:00.010500Z",
        "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "RBAC: ok"},
        "somethingNew": {"later": true}
    });
    let rows = rows_of(&[&event.to_string()]);
    for (column, expected) in [
        ("node", "n1"),
        ("cluster", "c1"),
        ("source", "file"),
        ("audit_id", "a-1"),
        ("stage", "ResponseStarted"),
        ("level", "Request"),
        ("verb", "create"),
        ("resource", "pods"),
        ("subresource", "exec"),
        ("namespace", "acme"),
        ("name", "web-0"),
        ("api_version", "v1"),
        ("user", "system:serviceaccount:ci:deployer"),
        ("user_uid", "u"),
        ("user_extra", r#"{"k":["v"]}"#),
        ("sa_namespace", "ci"),
        ("sa_name", "deployer"),
        ("impersonated_user", "jane"),
        ("client_ip", "192.0.2.7"),
        ("user_agent", "kubectl"),
        ("message", "switching"),
        ("decision", "allow"),
        ("decision_reason", "RBAC: ok"),
        ("container", "web"),
    ] {
        assert_eq!(text(&rows, column, 0).as_deref(), Some(expected), "{column}");
    }
    for column in ["reason", "api_group", "request_object", "binding_role"] {
        assert_eq!(text(&rows, column, 0), None, "{column}");
    }
    assert_eq!(texts(&rows, "exec_command", 0), ["sh", "-c", "echo a b/c"]);
    assert_eq!(texts(&rows, "user_groups", 0), ["system:authenticated", "g"]);
    assert_eq!(texts(&rows, "impersonated_groups", 0), ["devs"]);
    assert_eq!(texts(&rows, "source_ips", 0), ["10.0.0.1", "192.0.2.7"]);
    let int = |column: &str| rows.column_by_name(column).unwrap().as_primitive::<Int64Type>().value(0);
    assert_eq!((int("code"), int("latency_us")), (101, 10_500));
    let time = rows.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>().value(0);
    assert_eq!(time, 1_795_482_000_000_000);
}

#[test]
fn bodies_are_kept_as_sent_and_looked_into() {
    let event = r#"{"verb":"create","objectRef":{"resource":"pods"},"requestObject":{"spec": {"hostPID":true,
        "containers":[{"image":"a","securityContext":{"privileged":true}}]}},"responseObject":{"kind":"Pod"}}"#;
    let rows = rows_of(&[event]);
    assert!(text(&rows, "request_object", 0).unwrap().starts_with(r#"{"spec": {"hostPID""#));
    assert_eq!(text(&rows, "response_object", 0).as_deref(), Some(r#"{"kind":"Pod"}"#));
    assert_eq!(texts(&rows, "images", 0), ["a"]);
    for (column, expected) in [("pod_privileged", true), ("pod_host_pid", true), ("pod_host_network", false)]
    {
        assert_eq!(rows.column_by_name(column).unwrap().as_boolean().value(0), expected, "{column}");
    }
}

#[test]
fn an_event_without_a_time_happened_when_it_came() {
    let events = [
        r#"{"verb":"get"}"#,
        r#"{"verb":"get","timestamp":"1970-01-01T00:00:01Z"}"#,
        r#"{"verb":"get","requestReceivedTimestamp":"1970-01-01 00:00:02.5"}"#,
        r#"{"verb":"get","stageTimestamp":"1970-01-01T00:00:03Z"}"#,
    ];
    let rows = rows_of(&events);
    let times = rows.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.values()[..], [77, 1_000_000, 2_500_000, 3_000_000]);
}

#[test]
fn what_is_no_audit_event_says_why() {
    for (text, reason) in [
        ("", "not JSON"),
        ("not json", "not JSON"),
        ("[]", "no object"),
        (r#"["Event","audit.k8s.io/v1"]"#, "no object"),
        ("{}", "none of the fields"),
        (r#"{"protoPayload":{}}"#, "none of the fields"),
        (r#"{"kind":"Pod","verb":"get"}"#, "field \"kind\" is \"Pod\""),
        (r#"{"apiVersion":"v1","verb":"get"}"#, "field \"apiVersion\" is \"v1\""),
        (r#"{"verb":7}"#, "invalid type: integer"),
        (r#"{"verb":"get","user":{"groups":"all"}}"#, "invalid type: string"),
    ] {
        let error = Event::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
    let event = Event::parse(br#"{"verb":"get","stageTimestamp":"yesterday"}"#).unwrap();
    assert_eq!(
        event.derive().unwrap_err().to_string(),
        r#"field "stageTimestamp": "yesterday" is not a time as in RFC 3339"#
    );
}

#[test]
fn a_malformed_event_leaves_its_neighbours_alone() {
    let mut rows = Rows::new(Origin { source: "file", node: "n".into(), cluster: "c".into() });
    rows.push(br#"{"verb":"get","auditID":"1"}"#, 0).unwrap();
    rows.push(br#"{"verb":"get","auditID":"2","stageTimestamp":"x"}"#, 0).unwrap_err();
    rows.push(br#"{"verb":"get","auditID":"3"}"#, 0).unwrap();
    let rows = rows.finish().unwrap();
    assert_eq!(
        (text(&rows, "audit_id", 0), text(&rows, "audit_id", 1)),
        (Some("1".into()), Some("3".into()))
    );
    assert_eq!(rows.num_rows(), 2);
}

/// Goal: a body cannot be made unreadable unseen. Method: nest it deeper than a
/// parser goes; the row is kept, and that nothing was looked into is told.
#[test]
fn a_body_nested_too_deep_is_kept_and_told() {
    let deep = format!(r#"{{"spec":{{"hostPID":true}},"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let event = format!(r#"{{"verb":"create","objectRef":{{"resource":"pods"}},"requestObject":{deep}}}"#);
    let mut rows = Rows::new(Origin { source: "file", node: "n".into(), cluster: "c".into() });
    assert_eq!(rows.push(event.as_bytes(), 0).unwrap(), Pushed::BodyUnread);
    let rows = rows.finish().unwrap();
    assert_eq!(text(&rows, "request_object", 0), Some(deep));
    assert!(rows.column_by_name("pod_host_pid").unwrap().is_null(0));
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut rows = Rows::new(Origin { source: "file", node: "n".into(), cluster: "c".into() });
        let taken = rows.push(&bytes, 0).is_ok();
        prop_assert_eq!(rows.finish().unwrap().num_rows(), usize::from(taken));
    }

    #[test]
    fn a_decoded_query_is_what_was_encoded(text in "\\PC{0,20}") {
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        prop_assert_eq!(percent_decoded(&encoded), text.as_str());
        prop_assert_eq!(parameters(&format!("x=1&command={encoded}&y"), "command"), [text]);
    }

    #[test]
    fn an_escape_that_is_none_stays(text in "[%a-z0-9+]{0,20}") {
        percent_decoded(&text);
    }
}

// === real cases, where the folder with them is there ===

fn corpora() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora");
    path.exists().then_some(path).or_else(|| {
        let required = std::env::var_os("BAILIWICK_REQUIRE_CORPORA").is_some();
        assert!(!required, "../shared/corpora is not here, and BAILIWICK_REQUIRE_CORPORA is set");
        println!("skipped: the folder with real cases (../shared/corpora) is not here");
        None
    })
}

#[test]
fn every_event_of_falcos_tests_is_a_row() {
    let Some(corpora) = corpora() else { return };
    let mut count = 0;
    for entry in fs::read_dir(corpora.join("falco/k8s_audit")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if ["expectations.json", "fal_01_003.json"].contains(&name.as_str()) {
            continue;
        }
        for line in fs::read_to_string(&path).unwrap().lines().filter(|line| !line.trim().is_empty()) {
            let rows = rows_of(&[line]);
            assert!(text(&rows, "verb", 0).is_some() && text(&rows, "audit_id", 0).is_some(), "{name}");
            count += 1;
            let privileged = rows.column_by_name("pod_privileged").unwrap().as_boolean();
            if name.starts_with("create_nginx_pod_privileged") {
                assert!(privileged.value(0), "{name}");
            } else if name == "create_nginx_pod_unprivileged.json" {
                assert!(!privileged.value(0) && privileged.is_valid(0), "{name}");
            } else if name == "attach_cluster_admin_role.json" {
                assert_eq!(text(&rows, "binding_role", 0).as_deref(), Some("cluster-admin"));
            } else if name == "exec_pod.json" {
                assert_eq!(texts(&rows, "exec_command", 0), ["bash"]);
            }
        }
    }
    assert!(count >= 35, "{count}");
}

#[test]
fn labelled_events_of_the_format_are_rows_and_other_envelopes_are_told_apart() {
    let Some(corpora) = corpora() else { return };
    let text = fs::read_to_string(corpora.join("k8s-audit/panther_labelled.jsonl")).unwrap();
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let log = case["log"].to_string();
        let mut rows = Rows::new(Origin { source: "file", node: "n".into(), cluster: "c".into() });
        let pushed = rows.push(log.as_bytes(), 0);
        assert_eq!(pushed.is_ok(), case["log"]["kind"] == "Event", "{}: {pushed:?}", case["test"]);
    }
}

#[test]
fn impersonated_requests_of_an_older_format() {
    let Some(corpora) = corpora() else { return };
    let log = fs::read_to_string(corpora.join("k8s-audit/audit2rbac-demo.log")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    let rows = rows_of(&lines);
    assert_eq!(rows.num_rows(), 37);
    assert_eq!(text(&rows, "impersonated_user", 0).as_deref(), Some("bob"));
    assert_eq!(text(&rows, "reason", 0).as_deref(), Some("Forbidden"));
    let time = rows.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>();
    assert!(time.values().iter().all(|time| *time > 1_500_000_000_000_000));
}
