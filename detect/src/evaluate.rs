//! A batch of events to the alerts that are new.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bailiwick_proto::Table;
use bailiwick_rules::{Alert, Matching, Rulebook, Source};

use crate::metrics::{Metrics, RuleLabel, SourceLabel};
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
        if !seen.insert(&book.alert_id(source, batch, found)) {
            metrics.repeated.inc();
            continue;
        }
        let alert = book.alert(source, batch, found, "live");
        metrics.matches.get_or_create(&RuleLabel { rule: alert.rule.clone() }).inc();
        alerts.push(Arc::new(alert));
    }
    alerts
}
