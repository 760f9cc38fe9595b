//! What was used, to rows of `usage`, with the names that are known. Pure.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use bailiwick_proto::Table;

use crate::attribution::{Container, container_of, is_own_cgroup};
use crate::columns::Columns;
use crate::pods::Pods;

use super::own::{Own, local, shared};

/// What all cgroups used in one interval.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Interval {
    pub(super) start_us: i64,
    pub(super) end_us: i64,
    /// Its length by a clock that does not jump, seconds.
    pub(super) coverage_s: f64,
    pub(super) owns: Vec<Own>,
}

/// A row for every cgroup that has something to say.
pub(super) fn rows(
    interval: &Interval,
    node: &str,
    cluster: &str,
    pods: &Pods,
) -> Result<RecordBatch, ArrowError> {
    let mut columns = Columns::new(Table::Usage);
    for own in &interval.owns {
        let container = container_of(&own.path);
        let outermost = is_own_cgroup(&own.path, &container);
        if !(outermost || says_something(own)) {
            continue;
        }
        columns.time("time", Some(interval.end_us));
        columns.text("node", Some(node));
        columns.text("cluster", Some(cluster));
        columns.time("interval_start", Some(interval.start_us));
        columns.float("coverage_s", Some(interval.coverage_s));
        whose(&mut columns, own, &container, outermost, pods);
        used(&mut columns, own);
        columns.end_row();
    }
    columns.finish()
}

fn says_something(own: &Own) -> bool {
    let some = |value: &Option<u64>| value.is_some_and(|value| value > 0);
    own.has_processes
        || own.shared.iter().any(some)
        || some(&own.mem_current_b)
        || own.mem_byte_s.is_some_and(|held| held > 0.0)
}

fn whose(columns: &mut Columns, own: &Own, container: &Container, outermost: bool, pods: &Pods) {
    columns.int("cgroup_id", i64::try_from(own.id).ok());
    columns.text("cgroup_path", Some(&own.path));
    columns.text("container_id", Some(&container.id));
    columns.text("k8s_pod_uid", container.pod_uid.as_ref());
    let Some(pod) = pods.of(container) else { return };
    columns.text("k8s_ns_name", Some(&pod.namespace));
    columns.text("k8s_pod_name", Some(&pod.name));
    let Some(known) = pod.container(&container.id) else { return };
    columns.text("container_name", Some(&known.name));
    if outermost {
        columns.int("cpu_request_m", known.cpu_request_m);
        columns.int("mem_request_b", known.mem_request_b);
    }
}

fn used(columns: &mut Columns, own: &Own) {
    for (name, index) in [
        ("cpu_ns", shared::CPU_NS),
        ("cpu_user_ns", shared::CPU_USER_NS),
        ("cpu_system_ns", shared::CPU_SYSTEM_NS),
        ("io_r_b", shared::IO_R_B),
        ("io_w_b", shared::IO_W_B),
        ("io_r_n", shared::IO_R_N),
        ("io_w_n", shared::IO_W_N),
    ] {
        columns.int(name, own.shared[index].map(signed));
    }
    for (name, index) in [
        ("nr_periods", local::NR_PERIODS),
        ("nr_throttled", local::NR_THROTTLED),
        ("throttled_us", local::THROTTLED_US),
    ] {
        columns.int(name, own.local[index].map(signed));
    }
    columns.int("mem_current_b", own.mem_current_b.map(signed));
    columns.int("mem_working_set_b", own.mem_working_set_b.map(signed));
    columns.float("mem_byte_s", own.mem_byte_s);
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
