//! `audit_trail(tenant, from, to)`: all that concerns a tenant, on one time line.

use std::sync::Arc;

use bailiwick_proto::Column;
use bailiwick_proto::Kind::{Text, Time};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;

use super::Definition;
use super::arguments::Arguments;
use super::planner::Planner;

/// How it is called.
pub(super) const USAGE: &str = "audit_trail(tenant, from, to)";

/// What it answers.
pub(super) const VIEW: Definition = Definition {
    name: "audit_trail",
    doc: "API requests, grants, programs started, alerts and queries that concern a tenant",
    columns: COLUMNS,
    sql: include_str!("audit_trail.sql"),
    bounds: None,
};

#[rustfmt::skip]
const COLUMNS: &[Column] = &[
    Column::new("time", Time, "when it happened"),
    Column::new("tenant", Text, "who answers for the row that it was read from"),
    Column::new("kind", Text, "`request` or `grant` (a change of who may do what) of the Kubernetes API, `program`, `alert` or `query`"),
    Column::new("who", Text, "the API's user, the process's user, the rule, or the principal"),
    Column::new("did", Text, "the verb and what it was done to, the command line, the finding, or the statement"),
    Column::new("object", Text, "the object's name, the executable, the alert's priority, or the endpoint"),
    Column::new("outcome", Text, "the HTTP status code, the errno, the alert's mode, or how the query ended"),
    Column::new("cluster", Text, "the cluster's name as configured"),
    Column::new("node", Text, "the node, where there is one"),
    Column::new("namespace", Text, "the object's or the pod's namespace"),
    Column::new("pod", Text, "the pod, where there is one"),
    Column::new("exec_id", Text, "the process run, see `process_tree`"),
    Column::new("id", Text, "the audit id, the alert's or the query's id"),
];

/// The function over one session's tables.
#[derive(Debug)]
pub(super) struct AuditTrail {
    planner: Planner,
}

// === impl AuditTrail ===

impl AuditTrail {
    pub(super) fn new(planner: Planner) -> Self {
        Self { planner }
    }
}

impl TableFunctionImpl for AuditTrail {
    fn call_with_args(&self, args: TableFunctionArgs) -> DfResult<Arc<dyn TableProvider>> {
        let mut arguments = Arguments::new(USAGE, args.exprs(), 3, 3)?;
        let tenant = arguments.text("tenant")?;
        let mut values = arguments.period()?.values();
        values.push(("tenant".into(), ScalarValue::Utf8(tenant)));
        self.planner.view(&VIEW, values)
    }
}
