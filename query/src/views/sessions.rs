//! `sessions`: who entered a container through the API, and what ran there because of it.
//!
//! A container's runtime starts what `kubectl exec` asks for as the leader of a
//! session of its own, from outside the container. So a request belongs to the
//! nearest such start in its pod with its command, and to that belongs what runs
//! in the same session of the kernel until another process leads one by that id.

use bailiwick_proto::Column;
use bailiwick_proto::Kind::{Date, Int, Text, TextList, Time};

use super::Definition;
use super::bounded::{Bounds, Period, moment};

/// How far an API server's clock may be ahead of a node's.
const CLOCKS_APART_US: i64 = 5_000_000;
/// How long after its request something still counts as run in a session.
const LONGEST_US: i64 = 24 * 3_600_000_000;

/// The view.
pub(super) const VIEW: Definition = Definition {
    name: "sessions",
    doc: "requests to enter a container (exec, attach), each with the programs that ran there because of it",
    columns: COLUMNS,
    sql: include_str!("sessions.sql"),
    bounds: Some(&Bounds {
        columns: &["time", "date"],
        values: |Period { from_us, to_us }| {
            vec![
                ("from".into(), moment(from_us)),
                ("to".into(), moment(to_us)),
                ("ran_from".into(), moment(from_us.saturating_sub(CLOCKS_APART_US))),
                ("ran_to".into(), moment(to_us.saturating_add(LONGEST_US))),
            ]
        },
    }),
};

#[rustfmt::skip]
const COLUMNS: &[Column] = &[
    Column::new("tenant", Text, "who answers for the request"),
    Column::new("date", Date, "the UTC day of `time`"),
    Column::new("time", Time, "when the request was received"),
    Column::new("ended", Time, "when the stream ended, once the API server has told"),
    Column::new("cluster", Text, "the cluster's name as configured"),
    Column::new("audit_id", Text, "the request's audit id"),
    Column::new("kind", Text, "`exec` or `attach`"),
    Column::new("user", Text, "the authenticated user"),
    Column::new("impersonated_user", Text, "whom the user acted as"),
    Column::new("client_ip", Text, "where the request came from"),
    Column::new("user_agent", Text, "as the client names itself, not to be trusted"),
    Column::new("namespace", Text, "the pod's namespace"),
    Column::new("pod", Text, "the pod's name"),
    Column::new("container", Text, "the container's name, from the request or where the session ran"),
    Column::new("requested", TextList, "exec: the command that was asked for"),
    Column::new("code", Int, "HTTP status code; 101 for a stream that was opened"),
    Column::new("node", Text, "where it ran; null if nothing was seen to run"),
    Column::new("container_id", Text, "the container's full id"),
    Column::new("session_exec_id", Text, "the process that the request started"),
    Column::new("ran_at", Time, "when a program started"),
    Column::new("command", Text, "its name and arguments"),
    Column::new("exepath", Text, "its executable"),
    Column::new("cwd", Text, "its working directory"),
    Column::new("user_name", Text, "its user's name on the node"),
    Column::new("user_uid", Int, "its effective user id"),
    Column::new("exec_id", Text, "its process run, see `process_tree`"),
    Column::new("proc_pid", Int, "its process id in the node's pid namespace"),
    Column::new("proc_ppid", Int, "its parent's process id"),
];
