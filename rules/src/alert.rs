//! One finding: its identity, its text, its row. It is made in one place, so that
//! live, scheduled and historical runs of a rule cannot differ.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ListBuilder, RecordBatch, StringArray, StringBuilder, StringDictionaryBuilder,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Int32Type};
use arrow::error::ArrowError;
use bailiwick_proto::{Table, ids};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::loader::{Priority, Rule, Source};
use crate::output::Output;
use crate::row;

/// A finding of a rule or of a scheduled detection.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// The time of the event found, or of the newest in the window.
    pub time: DateTime<Utc>,
    /// The same finding has the same id, however and whenever it was made.
    pub alert_id: String,
    /// The tenant of the event found.
    pub owner: String,
    /// The rule's name.
    pub rule: String,
    /// How urgent it is.
    pub priority: Priority,
    /// `syscall`, `k8s_audit` or `sql`.
    pub source: &'static str,
    /// The rule's tags.
    pub tags: Vec<String>,
    /// The finding as one line, without time and priority.
    pub output: String,
    /// The fields of the output.
    pub output_fields: Map<String, Value>,
    /// Where the event happened, if on one node.
    pub node: Option<String>,
    /// The cluster.
    pub cluster: String,
    /// The file that the rule came from.
    pub rule_source: String,
    /// `live`, `scheduled` or `backtest`.
    pub mode: &'static str,
    /// The process run that it is about.
    pub exec_id: Option<String>,
    /// The container that it is about.
    pub container_id: Option<String>,
    /// The API request that it is about.
    pub audit_id: Option<String>,
}

/// The id of a rule's finding about an event: parts of other lengths never
/// make the same text.
pub fn alert_id<T: AsRef<str>>(rule: &str, event_key: &[T]) -> String {
    let mut hash = Sha256::new();
    for part in std::iter::once(rule).chain(event_key.iter().map(AsRef::as_ref)) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let mut id = hex::encode(hash.finalize());
    id.truncate(32);
    id
}

/// The id of a rule's finding about one row: the same whether the row is read
/// from the stream, the WAL or a file, by itself or among others.
pub fn event_alert_id(rule: &str, source: Source, batch: &RecordBatch, at: usize) -> String {
    alert_id(rule, &event_key(source, batch, at))
}

/// The columns that [`event_alert_id`] reads.
pub(crate) const fn key_columns(source: Source) -> &'static [&'static str] {
    match source {
        Source::Syscall => &["cluster", "node", "exec_id", "evt_type", "fd_name", "seq", "time"],
        Source::K8sAudit => &["cluster", "audit_id", "stage", "request_uri"],
    }
}

/// The columns besides that an alert has of its event.
pub(crate) const EVENT_COLUMNS: [&str; 7] =
    ["tenant", "time", "node", "cluster", "exec_id", "container_id", "audit_id"];

/// What tells one event from every other: an API request's stage by the ids
/// that the API server gave, a system call by its process run, number and time.
fn event_key(source: Source, batch: &RecordBatch, at: usize) -> Vec<String> {
    let value = |column: &&str| match *column {
        "time" => Some(row::time_us(batch, column, at).unwrap_or_default().to_string()),
        "seq" => batch.column_by_name(column).and_then(|column| row::any(column, at)),
        _ => row::text(batch, column, at).map(str::to_owned),
    };
    let values = key_columns(source).iter().map(|column| value(column).unwrap_or_default());
    std::iter::once(source.table().name().to_owned()).chain(values).collect()
}

// === impl Alert ===

impl Alert {
    /// What a rule has to say about a row that it matches.
    pub fn of_event(
        rule: &Rule,
        output: &Output,
        batch: &RecordBatch,
        at: usize,
        mode: &'static str,
    ) -> Self {
        let owned = |column: &str| row::text(batch, column, at).map(str::to_owned);
        let time = row::time_us(batch, "time", at).and_then(DateTime::from_timestamp_micros);
        let (text, output_fields) = output.render(batch, at);
        Self {
            time: time.unwrap_or_default(),
            alert_id: event_alert_id(&rule.name, rule.source, batch, at),
            owner: owned("tenant").unwrap_or_else(|| ids::UNASSIGNED_TENANT.to_owned()),
            rule: rule.name.clone(),
            priority: rule.priority,
            source: rule.source.as_str(),
            tags: rule.tags.iter().cloned().collect(),
            output: text.trim_end().to_owned(),
            output_fields,
            node: owned("node"),
            cluster: owned("cluster").unwrap_or_default(),
            rule_source: rule.file.clone(),
            mode,
            exec_id: owned("exec_id"),
            container_id: owned("container_id"),
            audit_id: owned("audit_id"),
        }
    }

    /// The alert as the line that Falco prints: time of day (UTC), priority, output.
    /// What would break the line, or give orders to whoever shows it, is escaped.
    pub fn falco_text(&self) -> String {
        let line = self.falco_output();
        if !line.contains(char::is_control) {
            return line;
        }
        let escaped = |c: char| match c.is_control() {
            true => c.escape_default().to_string(),
            false => c.to_string(),
        };
        line.chars().map(escaped).collect()
    }

    /// The alert as the JSON that Falco writes and posts, its keys in the same
    /// order; the time is among the output's fields, as it is in Falco's.
    pub fn falco_json(&self) -> Value {
        let mut fields = self.output_fields.clone();
        let ns = self.time.timestamp_nanos_opt().map_or(Value::Null, Value::from);
        fields.insert("evt.time".to_owned(), ns);
        fields.sort_keys();
        json!({
            "hostname": self.node.as_deref().unwrap_or(&self.cluster),
            "output": self.falco_output(),
            "output_fields": fields,
            "priority": self.priority.as_str(),
            "rule": self.rule,
            "source": self.source,
            "tags": self.tags,
            "time": self.time.to_rfc3339_opts(SecondsFormat::Nanos, true),
        })
    }

    fn falco_output(&self) -> String {
        format!("{}: {} {}", self.time.format("%H:%M:%S%.9f"), self.priority, self.output)
    }

    /// Alerts as rows of the table `alerts`, wire schema.
    pub fn batch(alerts: &[Arc<Self>]) -> Result<RecordBatch, ArrowError> {
        let schema = Table::Alerts.wire_schema();
        let columns = schema.fields().iter().map(|field| column(field, alerts)).collect();
        RecordBatch::try_new(schema.clone(), columns)
    }

    fn text(&self, column: &str) -> Option<String> {
        let text = |text: &str| Some(text.to_owned());
        match column {
            "node" => self.node.clone(),
            "cluster" => text(&self.cluster),
            "alert_id" => text(&self.alert_id),
            "owner" => text(&self.owner),
            "rule" => text(&self.rule),
            "priority" => text(self.priority.as_str()),
            "source" => text(self.source),
            "output" => text(&self.output),
            "output_fields" => Some(Value::Object(self.output_fields.clone()).to_string()),
            "rule_source" => text(&self.rule_source),
            "mode" => text(self.mode),
            "exec_id" => self.exec_id.clone(),
            "container_id" => self.container_id.clone(),
            "audit_id" => self.audit_id.clone(),
            _ => None,
        }
    }
}

fn column(field: &Field, alerts: &[Arc<Alert>]) -> ArrayRef {
    match field.data_type() {
        DataType::Dictionary(..) => {
            let mut builder = StringDictionaryBuilder::<Int32Type>::new();
            alerts.iter().for_each(|alert| builder.append_option(alert.text(field.name())));
            Arc::new(builder.finish())
        }
        DataType::Utf8 => {
            Arc::new(alerts.iter().map(|alert| alert.text(field.name())).collect::<StringArray>())
        }
        DataType::Timestamp(..) => {
            let times = alerts.iter().map(|alert| Some(alert.time.timestamp_micros()));
            Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        }
        DataType::List(item) => {
            let mut builder = ListBuilder::new(StringBuilder::new()).with_field(Arc::clone(item));
            for alert in alerts {
                alert.tags.iter().for_each(|tag| builder.values().append_value(tag));
                builder.append(true);
            }
            Arc::new(builder.finish())
        }
        other => new_null_array(other, alerts.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Alert {
        let Value::Object(output_fields) = json!({"proc.name": "cat", "fd.name": null}) else {
            unreachable!()
        };
        Alert {
            time: DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap(),
            alert_id: alert_id("R", &["a"]),
            owner: "team-a".into(),
            rule: "R".into(),
            priority: Priority::Warning,
            source: "syscall",
            tags: vec!["T1".into()],
            output: "seen (cat <NA>)".into(),
            output_fields,
            node: Some("n1".into()),
            cluster: "c".into(),
            rule_source: "rules.yaml".into(),
            mode: "live",
            exec_id: None,
            container_id: Some("host".into()),
            audit_id: None,
        }
    }

    #[test]
    fn an_alert_is_written_as_falco_writes_it() {
        insta::assert_snapshot!(sample().falco_json());
        insta::assert_snapshot!("an_alert_as_falcos_line", sample().falco_text());
    }

    #[test]
    fn an_event_cannot_end_the_line_of_its_alert() {
        let forged = Alert { output: "seen a\n01:02:03: Critical b\u{1b}[2J grün".into(), ..sample() };
        let line = forged.falco_text();
        assert!(line.ends_with("Warning seen a\\n01:02:03: Critical b\\u{1b}[2J grün"), "{line}");
        assert_eq!(serde_json::to_string(&forged.falco_json()).unwrap().lines().count(), 1);
    }

    #[test]
    fn fields_are_in_falcos_order_whatever_that_of_the_output() {
        let Value::Object(output_fields) = json!({"z": 1, "evt.time": "own", "a": 2}) else { unreachable!() };
        let json = Alert { output_fields, ..sample() }.falco_json();
        let keys: Vec<_> = json["output_fields"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["a", "evt.time", "z"]);
        assert_eq!(json["output_fields"]["evt.time"], 1_700_000_000_123_456_000_i64);
        assert!(json.as_object().unwrap().keys().is_sorted());
    }

    #[test]
    fn rows_fill_every_column_of_the_table() {
        let batch = Alert::batch(&[Arc::new(sample())]).unwrap();
        assert_eq!(batch.schema(), Table::Alerts.wire_schema());
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let may_be_null = matches!(field.name().as_str(), "exec_id" | "audit_id");
            assert_eq!(column.null_count() > 0, may_be_null, "{}", field.name());
        }
    }

    #[test]
    fn ids_differ_where_parts_meet_elsewhere() {
        assert_ne!(alert_id("R", &["ab", "c"]), alert_id("R", &["a", "bc"]));
        assert_eq!(alert_id("R", &["a"]).len(), 32);
    }
}
