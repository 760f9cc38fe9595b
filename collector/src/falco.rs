//! Falco's own alerts, as its HTTP output posts them, to rows of `alerts`.
//!
//! ```text
//!   {"rule", "priority", "time", "output", "output_fields", …} ─▶ one row, source `falco`
//!                                   └ k8s.ns.name: whose it is, decided at ingest
//! ```
//!
//! Who runs Falco already keeps it, and finds its alerts beside ours. Everything
//! in them is what a process said of itself, so nothing is taken for granted.

use bailiwick_proto::Table;
use chrono::DateTime;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;

use crate::columns::Columns;

/// As Falco prints them.
const PRIORITIES: [&str; 8] =
    ["Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Informational", "Debug"];
/// Tags kept of one alert.
const MAX_TAGS: usize = 64;

/// An alert as Falco prints it with `json_output`.
#[derive(Debug, Deserialize)]
struct Alert {
    rule: String,
    priority: String,
    time: String,
    #[serde(default)]
    output: String,
    #[serde(default)]
    output_fields: Map<String, Value>,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    hostname: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
}

/// Why a body is no alert.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FalcoError {
    /// Falco prints text unless told otherwise.
    #[error("the body is not an alert in JSON, set json_output: true in falco.yaml: {0}")]
    NotJson(#[from] serde_json::Error),
    /// Something that every alert has.
    #[error("{0:?} is no priority of Falco's")]
    Priority(String),
    /// Something that every alert has.
    #[error(
        "time {0:?} is not RFC 3339, set json_include_output_property and leave time_format_iso_8601 as it is"
    )]
    Time(String),
    /// It fits no batch.
    #[error("the row cannot be built: {0}")]
    Row(#[from] ArrowError),
}

/// The row of one alert. `node` and `cluster` are the receiver's, for what the
/// alert does not say. The same bytes have the same `alert_id`, so that what
/// Falco posts again is known for what it is.
pub(crate) fn row(body: &[u8], node: &str, cluster: &str) -> Result<RecordBatch, FalcoError> {
    let alert: Alert = serde_json::from_slice(body)?;
    let time = DateTime::parse_from_rfc3339(&alert.time).map_err(|_| FalcoError::Time(cut(&alert.time)))?;
    let priority = PRIORITIES.into_iter().find(|known| known.eq_ignore_ascii_case(&alert.priority));
    let priority = priority.ok_or_else(|| FalcoError::Priority(cut(&alert.priority)))?;
    let field = |name: &str| alert.output_fields.get(name).and_then(Value::as_str);
    let mut columns = Columns::new(Table::Alerts);
    columns.time("time", Some(time.timestamp_micros()));
    columns.text("node", alert.hostname.as_deref().filter(|name| !name.is_empty()).or(Some(node)));
    columns.text("cluster", Some(cluster));
    columns.text("alert_id", Some(alert_id(body)));
    columns.text("owner", owner(&alert));
    columns.text("rule", Some(&alert.rule));
    columns.text("priority", Some(priority));
    columns.text("source", Some("falco"));
    columns.texts("tags", alert.tags.iter().take(MAX_TAGS));
    columns.text("output", Some(without_head(&alert.output, priority)));
    columns.text("output_fields", Some(Value::Object(alert.output_fields.clone()).to_string()));
    columns.text("rule_source", Some(alert.source.as_deref().unwrap_or("syscall")));
    columns.text("mode", Some("live"));
    columns.text("container_id", field("container.id"));
    columns.text("audit_id", field("ka.auditid"));
    columns.end_row();
    Ok(columns.finish()?)
}

/// Whose it is as far as it is known here: the node's own where Falco says that
/// no container is concerned, else ingest decides by the namespace.
fn owner(alert: &Alert) -> Option<&'static str> {
    let field = |name: &str| alert.output_fields.get(name).and_then(Value::as_str);
    let namespaced = ["k8s.ns.name", "ka.target.namespace"].into_iter().any(|name| field(name).is_some());
    match (alert.source.as_deref(), namespaced) {
        (_, true) => None,
        (Some("k8s_audit"), false) => Some("_cluster"),
        _ => (field("container.id") == Some("host")).then_some("_host"),
    }
}

/// Falco's text begins with time and priority, which have columns of their own.
fn without_head<'a>(output: &'a str, priority: &str) -> &'a str {
    let head = format!(": {priority} ");
    match output.find(&head) {
        Some(at) if at <= 40 => &output[at + head.len()..],
        _ => output,
    }
}

fn alert_id(body: &[u8]) -> String {
    use std::fmt::Write;
    let hash = Sha256::new().chain_update(b"falco").chain_update(body).finalize();
    hash.iter().take(16).fold(String::with_capacity(32), |mut id, byte| {
        // Writing to a text does not fail.
        let _ = write!(id, "{byte:02x}");
        id
    })
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALERT: &str = r#"{"hostname":"n7","output":"16:31:56.746609046: Error File below /etc opened (file=/etc/x)","output_fields":{"container.id":"3ad7b26ded6d","evt.time":1700000000746609046,"fd.name":"/etc/x","k8s.ns.name":"shop"},"priority":"Error","rule":"Write below etc","source":"syscall","tags":["filesystem","T1543"],"time":"2023-11-14T22:13:20.746609046Z"}"#;

    fn text(rows: &RecordBatch, column: &str) -> String {
        arrow::util::display::array_value_to_string(rows.column_by_name(column).unwrap(), 0).unwrap()
    }

    #[test]
    fn an_alert_is_a_row() {
        let rows = row(ALERT.as_bytes(), "n1", "c").unwrap();
        let columns = [
            "time",
            "node",
            "cluster",
            "owner",
            "rule",
            "priority",
            "source",
            "output",
            "rule_source",
            "mode",
            "container_id",
            "output_fields",
            "tags",
        ];
        let lines = columns.map(|column| format!("{column}: {}", text(&rows, column)));
        insta::assert_snapshot!(lines.join("\n"));
        let again = row(ALERT.as_bytes(), "n1", "c").unwrap();
        assert_eq!(text(&rows, "alert_id"), text(&again, "alert_id"));
    }

    #[test]
    fn an_owner_is_named_only_where_it_is_known() {
        let of = |from: &str, to: &str| {
            text(&row(ALERT.replace(from, to).as_bytes(), "n1", "c").unwrap(), "owner")
        };
        assert_eq!(of("", ""), "");
        let host = ALERT.replace("3ad7b26ded6d", "host").replace(r#","k8s.ns.name":"shop""#, "");
        assert_eq!(text(&row(host.as_bytes(), "n1", "c").unwrap(), "owner"), "_host");
        let audit = host.replace(r#""source":"syscall""#, r#""source":"k8s_audit""#);
        assert_eq!(text(&row(audit.as_bytes(), "n1", "c").unwrap(), "owner"), "_cluster");
    }

    #[test]
    fn what_is_no_alert_is_refused_with_advice() {
        for (from, to, told) in [
            (ALERT, "16:31:56: Error File", "json_output: true"),
            (r#""Error""#, r#""Bad""#, "\"Bad\" is no priority"),
            (r#""time":"2023-11-14T22"#, r#""time":"x"#, "is not RFC 3339"),
            (r#""rule":"#, r#""role":"#, "missing field `rule`"),
        ] {
            let error = row(ALERT.replace(from, to).as_bytes(), "n1", "c").unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), cut in 0..400usize) {
            let _ = row(&body, "n", "c");
            let _ = row(ALERT.as_bytes().get(..cut).unwrap_or_default(), "n", "c");
        }
    }
}
