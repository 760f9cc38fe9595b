//! A batch of events to the alerts that are new.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bailiwick_rules::{Matching, Source};
use chrono::{DateTime, Utc};
use proto::Table;

use bailiwick_proto as proto;

use crate::alert::{Alert, alert_id};
use crate::metrics::{Metrics, RuleLabel, SourceLabel};
use crate::row;
use crate::rulebook::Rulebook;
use crate::seen::Seen;

/// Which tables rules are about.
pub(crate) const FOLLOWED: [(Table, Source); 2] =
    [(Table::Syscalls, Source::Syscall), (Table::ApiAccess, Source::K8sAudit)];

/// Evaluates a batch of a table; findings that `seen` knows are left out.
pub(crate) fn evaluate(
    book: &Rulebook,
    table: Table,
    batch: &RecordBatch,
    matching: Matching,
    seen: &mut Seen,
    metrics: &Metrics,
) -> Vec<Arc<Alert>> {
    let Some((_, source)) = FOLLOWED.into_iter().find(|(followed, _)| *followed == table) else {
        return Vec::new();
    };
    let label = SourceLabel { source: source.as_str() };
    metrics.events.get_or_create(&label).inc_by(batch.num_rows() as u64);
    let mut alerts = Vec::new();
    for found in book.matches(source, batch, matching) {
        let Some((rule, output)) = book.rule(source, found.rule) else { continue };
        let alert_id = alert_id(&rule.name, &event_key(table, batch, found.row));
        if !seen.insert(&alert_id) {
            metrics.repeated.inc();
            continue;
        }
        metrics.matches.get_or_create(&RuleLabel { rule: rule.name.clone() }).inc();
        let (text, output_fields) = output.render(batch, found.row);
        let owned = |column: &str| row::text(batch, column, found.row).map(str::to_owned);
        alerts.push(Arc::new(Alert {
            time: time(batch, found.row),
            alert_id,
            owner: owned("tenant").unwrap_or_else(|| proto::ids::UNASSIGNED_TENANT.to_owned()),
            rule: rule.name.clone(),
            priority: rule.priority,
            source: source.as_str(),
            tags: rule.tags.iter().cloned().collect(),
            output: text.trim_end().to_owned(),
            output_fields,
            node: owned("node"),
            cluster: owned("cluster").unwrap_or_default(),
            rule_source: rule.file.clone(),
            mode: "live",
            exec_id: owned("exec_id"),
            container_id: owned("container_id"),
            audit_id: owned("audit_id"),
        }));
    }
    alerts
}

fn time(batch: &RecordBatch, at: usize) -> DateTime<Utc> {
    row::time_us(batch, "time", at).and_then(DateTime::from_timestamp_micros).unwrap_or_default()
}

/// What tells one event from every other: an API request's stage by the ids
/// that the API server gave, a system call by its process run, number and time.
fn event_key(table: Table, batch: &RecordBatch, at: usize) -> Vec<String> {
    let columns: &[&str] = match table {
        Table::ApiAccess => &["cluster", "audit_id", "stage", "request_uri"],
        _ => &["cluster", "node", "exec_id", "evt_type", "fd_name"],
    };
    let text = |column: &&str| row::text(batch, column, at).unwrap_or_default().to_owned();
    let mut key = vec![table.name().to_owned()];
    key.extend(columns.iter().map(text));
    if table == Table::Syscalls {
        let seq = batch.column_by_name("seq").and_then(|column| row::any(column, at));
        key.push(seq.unwrap_or_default());
        key.push(row::time_us(batch, "time", at).unwrap_or_default().to_string());
    }
    key
}
