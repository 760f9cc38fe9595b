//! `network_flows`: who spoke with whom, an hour at a time.

use bailiwick_proto::Column;
use bailiwick_proto::Kind::{Date, Int, Text, TextList, Time};

use super::Definition;
use super::bounded::{Bounds, Period};

const HOUR_US: i64 = 3_600_000_000;

/// The view.
pub(super) const VIEW: Definition = Definition {
    name: "network_flows",
    doc: "who spoke with whom over the network: a process run, a remote end and an hour a row",
    columns: COLUMNS,
    sql: include_str!("network_flows.sql"),
    // An hour is added up as a whole, or its numbers would depend on the question.
    bounds: Some(&Bounds {
        columns: &["time", "date", "first_time", "last_time"],
        values: |period| whole_hours(period).values(),
    }),
};

#[rustfmt::skip]
const COLUMNS: &[Column] = &[
    Column::new("tenant", Text, "who answers for this row"),
    Column::new("date", Date, "the UTC day of `time`"),
    Column::new("time", Time, "the beginning of the hour that the row is about"),
    Column::new("cluster", Text, "the cluster's name as configured"),
    Column::new("node", Text, "the node's name"),
    Column::new("exec_id", Text, "the process run, see `process_tree`"),
    Column::new("proc_pid", Int, "process id in the node's pid namespace"),
    Column::new("proc_name", Text, "the process's name, the newest of the hour"),
    Column::new("proc_exepath", Text, "its executable"),
    Column::new("proc_cmdline", Text, "its name and arguments"),
    Column::new("user_name", Text, "its user's name on the node"),
    Column::new("container_id", Text, "the container's full id, `host` outside of any"),
    Column::new("container_name", Text, "the container's name, also if it was learnt later"),
    Column::new("k8s_ns_name", Text, "the pod's namespace, also if it was learnt later"),
    Column::new("k8s_pod_name", Text, "the pod's name, also if it was learnt later"),
    Column::new("direction", Text, "`out`: the process is the client; `in`: the server; null while that is unknown"),
    Column::new("l4proto", Text, "`tcp`, `udp`, `icmp` or `<NA>`"),
    Column::new("remote_ip", Text, "the other end's address"),
    Column::new("remote_port", Int, "the other end's port; null for `in`, where each connection has another"),
    Column::new("local_port", Int, "for `in`: the port that the process serves"),
    Column::new("first_time", Time, "the first event of the hour"),
    Column::new("last_time", Time, "the last one"),
    Column::new("events", Int, "how many events there were: connections and messages, with repeats and weights"),
    Column::new("connections", Int, "of them `connect` and `accept`"),
    Column::new("failed", Int, "of them calls that failed; a `connect` that is under way has not"),
    Column::new("bytes_sent", Int, "bytes that `sendto` and `sendmsg` took; what goes through `write` is not seen"),
    Column::new("bytes_received", Int, "bytes that `recvfrom` and `recvmsg` gave; what goes through `read` is not seen"),
    Column::new("dns_names", TextList, "for `out`: names that the process asked the DNS for in that hour, the first 20; which of them is this address is not known"),
];

fn whole_hours(period: Period) -> Period {
    let floor = |us: i64| us.div_euclid(HOUR_US).saturating_mul(HOUR_US);
    Period {
        from_us: floor(period.from_us).min(period.from_us),
        to_us: floor(period.to_us).saturating_add(HOUR_US - 1).max(period.to_us),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_read_whole() {
        let hours = |from_us, to_us| {
            let period = whole_hours(Period { from_us, to_us });
            (period.from_us, period.to_us)
        };
        assert_eq!(hours(HOUR_US + 1, HOUR_US + 2), (HOUR_US, 2 * HOUR_US - 1));
        assert_eq!(hours(-1, HOUR_US), (-HOUR_US, 2 * HOUR_US - 1));
        assert_eq!(hours(i64::MIN, i64::MAX), (i64::MIN, i64::MAX));
    }
}
