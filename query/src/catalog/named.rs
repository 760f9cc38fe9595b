//! `syscalls_named`: system calls with the names that were learnt later.
//!
//! ```text
//!   containers ─ the newest row of each (cluster, node, container_id) ─┐
//!                                                                      ├─▶ its own value, else the container's
//!   syscalls ─ every row, once ────────────────────────────────────────┘
//! ```
//!
//! Both sides are the session's own tables, so the view shows nobody a row that
//! the tables do not. The containers are the side that is held in memory: there
//! are far fewer of them. Conditions on columns that are not filled in reach the
//! scan of `syscalls` as if it had been asked itself.

use std::sync::Arc;

use bailiwick_proto::Table;
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result as DfResult;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions_aggregate::expr_fn::last_value;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlanBuilder, col};

/// The view's name.
pub(crate) const NAME: &str = "syscalls_named";
/// What a row is.
pub(crate) const DOC: &str = "rows of `syscalls`, with names of containers that were learnt after the event";

/// The columns that a later row of `containers` fills in where the event's own
/// value is null.
pub const LATE_COLUMNS: [&str; 14] = [
    "container_name",
    "container_type",
    "container_image",
    "container_image_repository",
    "container_image_tag",
    "container_image_digest",
    "container_privileged",
    "container_mounts",
    "container_start_ts",
    "k8s_ns_name",
    "k8s_pod_name",
    "k8s_pod_uid",
    "k8s_pod_labels",
    "k8s_sa_name",
];

/// What names a container.
const KEY: [&str; 3] = ["cluster", "node", "container_id"];

/// The view over a session's tables.
pub(super) fn view(
    syscalls: Arc<dyn TableProvider>,
    containers: Arc<dyn TableProvider>,
) -> DfResult<Arc<dyn TableProvider>> {
    let latest = [col("time").sort(true, true), col("ingest_time").sort(true, true)];
    let newest = |name: &str| last_value(col(name), latest.to_vec()).alias(known(name));
    let containers =
        LogicalPlanBuilder::scan(Table::Containers.name(), provider_as_source(containers), None)?
            .aggregate(KEY.map(|name| col(name).alias(known(name))), LATE_COLUMNS.map(newest))?;
    let rows = LogicalPlanBuilder::scan(Table::Syscalls.name(), provider_as_source(syscalls), None)?;
    let keys = (KEY.map(known).to_vec(), KEY.to_vec());
    let columns = Table::Syscalls.columns().map(|column| own_or_known(column.name));
    let plan = containers.join(rows.build()?, JoinType::Right, keys, None)?.project(columns)?.build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

fn own_or_known(name: &str) -> Expr {
    match LATE_COLUMNS.contains(&name) {
        true => coalesce(vec![col(name), col(known(name))]).alias(name),
        false => col(name),
    }
}

/// A container's column has another name than the event's: only where no two
/// columns of a plan are named alike may filters be pushed down in it.
fn known(name: &str) -> String {
    format!("known_{name}")
}
