//! `process_tree(exec_id)`: a process, where it came from and what came of it.
//!
//! ```text
//!   the process ─▶ its parent's fork ─▶ the parent's parent's … ─▶ ancestors   (further up: names alone)
//!        └──▶ forks, programs and ends on its node since it began ─▶ links ─▶ descendants
//! ```
//!
//! Rows name a parent by its pid, and pids are used again; so a child belongs to
//! the fork that made it, and only where that was not seen to the process that
//! had its parent's pid when it began.

mod links;
mod rows;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bailiwick_proto::Column;
use bailiwick_proto::Kind::{Int, Text, Time};
use datafusion::arrow::array::RecordBatch;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryConsumer;
use futures::StreamExt;

use super::arguments::Arguments;
use super::bounded::{Period, moment};
use super::computed::{Compute, answer, carried, table};
use super::planner::{Planner, Values};
use super::schema;
use crate::{Code, QueryError};
use links::{Links, Place};
use rows::{Ancestor, Process, ancestors, processes};

/// How it is called.
pub(super) const USAGE: &str = "process_tree(exec_id [, from, to])";

/// Ancestors at most.
const MAX_ANCESTORS: usize = 32;
/// How long after its beginning a process's descendants are looked for, unless the call says.
const LOOKED_AT_US: i64 = 24 * 3_600_000_000;
/// What a clock's steps and rounding may lie between a fork and its child's beginning.
const CLOCK_US: i64 = 2_000_000;

#[rustfmt::skip]
pub(super) const COLUMNS: &[Column] = &[
    Column::new("position", Int, "the row's place in the order of a tree, from 1"),
    Column::new("depth", Int, "0 is the process that was asked for, its parent is -1, its children 1"),
    Column::new("tree", Text, "the command line, or the name, indented"),
    Column::new("exec_id", Text, "the process run; null if only its name or its parent's fork is known"),
    Column::new("parent_exec_id", Text, "its parent's, where known"),
    Column::new("proc_pid", Int, "process id in the node's pid namespace"),
    Column::new("proc_name", Text, "the name, as it was last seen"),
    Column::new("proc_exepath", Text, "the executable, as it was last seen"),
    Column::new("proc_cmdline", Text, "name and arguments, as last seen"),
    Column::new("programs", Int, "how many programs it was seen to start in itself (execve)"),
    Column::new("user_uid", Int, "effective user id, as last seen"),
    Column::new("user_name", Text, "that user's name on the node"),
    Column::new("start_time", Time, "when the process started"),
    Column::new("end_time", Time, "when it ended, if that was seen"),
    Column::new("exit_code", Int, "its exit status, 128 + signal when killed by one"),
    Column::new("container_id", Text, "the container's full id, `host` outside of any"),
    Column::new("container_name", Text, "the container's name"),
    Column::new("k8s_ns_name", Text, "the pod's namespace"),
    Column::new("k8s_pod_name", Text, "the pod's name"),
    Column::new("cluster", Text, "the cluster's name as configured"),
    Column::new("node", Text, "the node's name"),
    Column::new("tenant", Text, "who answers for the process"),
];

/// What is known of processes from a part of their rows; the part follows.
const KNOWN: &str = "\
SELECT exec_id, cluster, node,
  max(tenant) AS tenant, max(proc_pid) AS proc_pid, min(proc_start_time) AS start_time, min(time) AS seen,
  last_value(proc_name ORDER BY time, seq) AS proc_name,
  last_value(proc_exepath ORDER BY time, seq) AS proc_exepath,
  last_value(proc_cmdline ORDER BY time, seq) AS proc_cmdline,
  last_value(user_uid ORDER BY time, seq) AS user_uid,
  last_value(user_name ORDER BY time, seq) AS user_name,
  max(container_id) AS container_id, max(container_name) AS container_name,
  max(k8s_ns_name) AS k8s_ns_name, max(k8s_pod_name) AS k8s_pod_name,
  sum(CASE WHEN evt_type IN ('execve', 'execveat') AND evt_failed IS NOT TRUE THEN 1 ELSE 0 END) AS programs,
  max(CASE WHEN evt_type = 'procexit' THEN time END) AS end_time,
  max(CASE WHEN evt_type = 'procexit' THEN proc_exit_code END) AS exit_code,
  first_value(proc_ancestors ORDER BY time, seq) AS ancestors
FROM syscalls_named
WHERE time BETWEEN $from AND $to";

/// Events that link processes or end them.
const PROCESS_EVENTS: &str = "evt_failed IS NOT TRUE AND evt_type IN ('execve', 'execveat', 'procexit', 'clone', 'clone3', 'fork', 'vfork')";

/// On the node of the process.
const THERE: &str = "(cluster IS NOT DISTINCT FROM $cluster) AND (node IS NOT DISTINCT FROM $node)";

/// The function over one session's tables.
#[derive(Debug)]
pub(super) struct ProcessTree {
    planner: Planner,
}

/// One call.
#[derive(Debug, Clone)]
struct Tree {
    planner: Planner,
    exec_id: Option<String>,
    period: Option<Period>,
}

/// One call as it runs.
struct Search<'a> {
    planner: &'a Planner,
    context: &'a Arc<TaskContext>,
    cluster: ScalarValue,
    node: ScalarValue,
}

// === impl ProcessTree ===

impl ProcessTree {
    pub(super) fn new(planner: Planner) -> Self {
        Self { planner }
    }
}

impl TableFunctionImpl for ProcessTree {
    fn call_with_args(&self, args: TableFunctionArgs) -> DfResult<Arc<dyn TableProvider>> {
        let mut arguments = Arguments::new(USAGE, args.exprs(), 1, 3)?;
        let exec_id = arguments.text("exec_id")?;
        let period = arguments.optional_period()?;
        table(schema(COLUMNS), Tree { planner: self.planner.clone(), exec_id, period })
    }
}

// === impl Tree ===

#[async_trait]
impl Compute for Tree {
    async fn rows(&self, context: Arc<TaskContext>) -> DfResult<RecordBatch> {
        let Some(exec_id) = &self.exec_id else { return rows::batch(&[]) };
        let nowhere = ScalarValue::Utf8(None);
        let mut search =
            Search { planner: &self.planner, context: &context, cluster: nowhere.clone(), node: nowhere };
        let Some((asked, named)) = search.asked(exec_id, self.period.unwrap_or(Period::ALL)).await? else {
            return rows::batch(&[]);
        };
        let began_us = asked.start_us.or(asked.seen_us).unwrap_or_default();
        let default = Period {
            from_us: began_us.saturating_sub(CLOCK_US),
            to_us: began_us.saturating_add(LOOKED_AT_US),
        };
        let period = self.period.unwrap_or(default);
        let ancestors = search.ancestors(&asked, named).await?;
        let places = search.links(period).await?.below(exec_id, asked.pid).map_err(|most| {
            let message = format!(
                "the tree has more than {most} processes; ask for a shorter time: process_tree(exec_id, from, to)"
            );
            carried(QueryError::new(Code::TooLarge, message))
        })?;
        let known = search.known(&places, &ancestors, period).await?;
        rows::batch(&rows::assembled(asked, ancestors, places, known))
    }
}

// === impl Search ===

impl Search<'_> {
    /// The process that is asked for and its ancestors' names, the parent first.
    async fn asked(&mut self, exec_id: &str, period: Period) -> DfResult<Option<(Process, Vec<Ancestor>)>> {
        let sql =
            format!("{KNOWN} AND exec_id = $exec_id GROUP BY exec_id, cluster, node ORDER BY seen LIMIT 1");
        let mut values = period.values();
        values.push(("exec_id".into(), ScalarValue::from(exec_id)));
        let mut batches = answer(self.planner, &sql, values, self.context).await?;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            if let Some(found) = processes(&batch)?.pop() {
                self.cluster = ScalarValue::Utf8(found.cluster.clone());
                self.node = ScalarValue::Utf8(found.node.clone());
                return Ok(Some((found, ancestors(&batch)?)));
            }
        }
        Ok(None)
    }

    /// The ancestors, the parent first: each by the fork that made its child, and
    /// from where no fork was seen by name.
    async fn ancestors(&self, asked: &Process, named: Vec<Ancestor>) -> DfResult<Vec<Process>> {
        let mut found: Vec<Process> = Vec::new();
        while found.len() < MAX_ANCESTORS {
            let child = found.last().unwrap_or(asked);
            let (Some(pid), Some(start_us)) = (child.pid, child.start_us) else { break };
            match self.forked(pid, start_us).await? {
                Some(parent) if found.iter().all(|known| known.exec_id != parent.exec_id) => {
                    found.push(parent);
                }
                _ => break,
            }
        }
        let unseen = named.into_iter().skip(found.len());
        found.extend(unseen.map(|name| name.process(asked)));
        found.truncate(MAX_ANCESTORS);
        Ok(found)
    }

    /// Who made the process that had this pid and began then, as it was at that time.
    async fn forked(&self, pid: i64, start_us: i64) -> DfResult<Option<Process>> {
        let sql = format!(
            "{KNOWN} AND {THERE} AND (evt_failed IS NOT TRUE) AND evt_type IN ('clone', 'clone3', 'fork', 'vfork') \
             AND evt_rawres = $pid GROUP BY exec_id, cluster, node, abs(CAST(time AS BIGINT) - $start_us) \
             ORDER BY abs(CAST(time AS BIGINT) - $start_us) LIMIT 1"
        );
        let around =
            Period { from_us: start_us.saturating_sub(CLOCK_US), to_us: start_us.saturating_add(CLOCK_US) };
        let mut values = self.there(around);
        values.extend([
            ("pid".into(), ScalarValue::from(pid)),
            ("start_us".into(), ScalarValue::from(start_us)),
        ]);
        let mut batches = answer(self.planner, &sql, values, self.context).await?;
        while let Some(batch) = batches.next().await {
            if let Some(parent) = processes(&batch?)?.pop() {
                return Ok(Some(parent));
            }
        }
        Ok(None)
    }

    /// How the processes of the node hang together.
    async fn links(&self, period: Period) -> DfResult<Links> {
        let sql = format!(
            "SELECT exec_id, evt_type, proc_pid, proc_ppid, evt_rawres, time, proc_start_time FROM syscalls \
             WHERE time BETWEEN $from AND $to AND {THERE} AND {PROCESS_EVENTS} AND exec_id IS NOT NULL"
        );
        let held = MemoryConsumer::new("process_tree").register(self.context.memory_pool());
        let mut batches = answer(self.planner, &sql, self.there(period), self.context).await?;
        let mut links = Links::new(CLOCK_US);
        while let Some(batch) = batches.next().await {
            rows::link(&batch?, &mut links)?;
            held.try_resize(links.bytes())?;
        }
        Ok(links)
    }

    /// What is known of the processes of the tree.
    async fn known(
        &self,
        places: &[Place],
        ancestors: &[Process],
        period: Period,
    ) -> DfResult<HashMap<String, Process>> {
        let below = places.iter().filter_map(|place| place.exec_id.as_deref());
        let above = ancestors.iter().filter_map(|process| process.exec_id.as_deref());
        let ids: Values = (0..)
            .zip(below.chain(above))
            .map(|(number, id): (usize, _)| (format!("id{number}").into(), ScalarValue::from(id)))
            .collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let names: Vec<String> = ids.iter().map(|(name, _)| format!("${name}")).collect();
        let sql = format!(
            "{KNOWN} AND {THERE} AND {PROCESS_EVENTS} AND exec_id IN ({}) GROUP BY exec_id, cluster, node",
            names.join(", ")
        );
        let mut values = self.there(period);
        values.extend(ids);
        let mut batches = answer(self.planner, &sql, values, self.context).await?;
        let mut known = HashMap::new();
        while let Some(batch) = batches.next().await {
            for process in processes(&batch?)? {
                known.extend(process.exec_id.clone().map(|exec_id| (exec_id, process)));
            }
        }
        Ok(known)
    }

    fn there(&self, period: Period) -> Values {
        vec![
            ("from".into(), moment(period.from_us)),
            ("to".into(), moment(period.to_us)),
            ("cluster".into(), self.cluster.clone()),
            ("node".into(), self.node.clone()),
        ]
    }
}
