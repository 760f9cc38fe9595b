//! `usage`: what one cgroup used in one interval, as differences, never as counters.

use super::Column;
use super::Kind::{Float, Int, Text, Time};

#[rustfmt::skip]
pub(super) const COLUMNS: &[Column] = &[
    Column::new("time", Time, "the interval's end"),
    Column::new("node", Text, "the node's name"),
    Column::new("cluster", Text, "the cluster's name as configured"),
    Column::new("interval_start", Time, "the interval's start"),
    Column::new("coverage_s", Float, "seconds of the interval that were really observed"),
    Column::new("cgroup_id", Int, "cgroup v2 id, the inode of its folder"),
    Column::new("cgroup_path", Text, "cgroup path below the mount"),
    Column::new("container_id", Text, "the container's full id, `host` outside of any"),
    Column::new("container_name", Text, "the container's name"),
    Column::new("k8s_ns_name", Text, "the pod's namespace"),
    Column::new("k8s_pod_name", Text, "the pod's name"),
    Column::new("k8s_pod_uid", Text, "the pod's uid"),
    Column::new("cpu_ns", Int, "CPU time used, nanoseconds"),
    Column::new("cpu_user_ns", Int, "of it in user mode, nanoseconds"),
    Column::new("cpu_system_ns", Int, "of it in the kernel, nanoseconds"),
    Column::new("nr_periods", Int, "CFS enforcement periods that passed"),
    Column::new("nr_throttled", Int, "of them throttled"),
    Column::new("throttled_us", Int, "time throttled, microseconds"),
    Column::new("mem_current_b", Int, "memory charged at the interval's end, bytes"),
    Column::new("mem_working_set_b", Int, "of it not inactive file cache, bytes"),
    Column::new("mem_byte_s", Float, "working set integrated over the interval by trapezoid, byte seconds"),
    Column::new("io_r_b", Int, "bytes read from block devices"),
    Column::new("io_w_b", Int, "bytes written to block devices"),
    Column::new("io_r_n", Int, "read operations"),
    Column::new("io_w_n", Int, "write operations"),
    Column::new("cpu_request_m", Int, "requested CPU, thousandths of a core"),
    Column::new("mem_request_b", Int, "requested memory, bytes"),
];
