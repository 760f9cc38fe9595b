//! The tables that Bailiwick keeps about its own findings, gaps and readers.

use super::Column;
use super::Kind::{Int, Text, TextList, Time};

#[rustfmt::skip]
pub(super) const ALERTS: &[Column] = &[
    Column::new("time", Time, "the time of the event found, or the end of the window"),
    Column::new("node", Text, "where the event happened, if on one node"),
    Column::new("cluster", Text, "the cluster's name"),
    Column::new("alert_id", Text, "hash of rule and event key: the same finding has the same id however it was made"),
    Column::new("owner", Text, "the tenant of the event found, which ingest makes this row's tenant"),
    Column::new("rule", Text, "the rule's name"),
    Column::new("priority", Text, "Falco's priorities, `Emergency` to `Debug`"),
    Column::new("source", Text, "`syscall`, `k8s_audit`, `sql`, or `falco` for an alert of Falco's own"),
    Column::new("tags", TextList, "the rule's tags"),
    Column::new("output", Text, "the finding as one line for people"),
    Column::new("output_fields", Text, "the fields of the output, JSON"),
    Column::new("rule_source", Text, "the file that the rule came from; the event source of an alert of Falco's own"),
    Column::new("mode", Text, "`live`, `scheduled` or `backtest`"),
    Column::new("exec_id", Text, "the process run that it is about, if any"),
    Column::new("container_id", Text, "the container that it is about, if any"),
    Column::new("audit_id", Text, "the API request that it is about, if any"),
];

#[rustfmt::skip]
pub(super) const LOSSES: &[Column] = &[
    Column::new("time", Time, "the interval's end"),
    Column::new("node", Text, "the node on which it was lost"),
    Column::new("cluster", Text, "the cluster's name as configured"),
    Column::new("interval_start", Time, "the interval's start"),
    Column::new("lane", Text, "`process`, `network`, `file`, `audit`, `usage` or `ship`"),
    Column::new("class", Text, "what kind of event, e.g. `exec`, `open`, `batch`"),
    Column::new("reason", Text, "why, e.g. `ring_full`, `spool_full`, `quarantined`, `malformed`"),
    Column::new("count", Int, "how many, exactly"),
    Column::new("detail", Text, "where it can be looked at, e.g. an object key or file and line"),
];

#[rustfmt::skip]
pub(super) const QUERIES: &[Column] = &[
    Column::new("time", Time, "when the query began"),
    Column::new("node", Text, "the query server"),
    Column::new("cluster", Text, "the cluster's name as configured"),
    Column::new("owner", Text, "the tenant that asked, `_cluster` for operators; ingest makes it this row's tenant"),
    Column::new("query_id", Text, "as told to the client"),
    Column::new("principal", Text, "who asked"),
    Column::new("role", Text, "in which role"),
    Column::new("tenant_scope", TextList, "the tenants that the principal may see; `*` for all"),
    Column::new("endpoint", Text, "`http`, `pgwire`, `flight`, `scheduled` or `report`"),
    Column::new("sql", Text, "the statement, cut to 64 KiB"),
    Column::new("outcome", Text, "`ok`, `failed`, `refused`, `cancelled` or `timed_out`"),
    Column::new("error", Text, "the error, if it was not ok"),
    Column::new("rows", Int, "rows sent"),
    Column::new("bytes", Int, "bytes of Arrow data sent"),
    Column::new("duration_us", Int, "from receipt to the last row, microseconds"),
];
