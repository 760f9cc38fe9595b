//! `file_changes`: what wrote, made, named, removed and changed files.

use bailiwick_proto::Column;
use bailiwick_proto::Kind::{Bool, Date, Int, Text, Time};

use super::Definition;

/// The view.
pub(super) const VIEW: Definition = Definition {
    name: "file_changes",
    doc: "files opened to write, made, renamed, linked, removed, or changed in mode or owner, with who did it",
    columns: COLUMNS,
    sql: include_str!("file_changes.sql"),
    bounds: None,
};

#[rustfmt::skip]
const COLUMNS: &[Column] = &[
    Column::new("tenant", Text, "who answers for this row"),
    Column::new("date", Date, "the UTC day of `time`"),
    Column::new("time", Time, "when it happened"),
    Column::new("cluster", Text, "the cluster's name as configured"),
    Column::new("node", Text, "the node's name"),
    Column::new("change", Text, "`create`, `write` (opened to write), `truncate`, `rename`, `link`, `symlink`, `delete`, `mkdir`, `rmdir`, `mknod`, `chmod` or `chown`"),
    Column::new("path", Text, "the file, after the change; where the kernel followed links, what it really opened"),
    Column::new("path_before", Text, "rename: its path before; link and symlink: what it refers to"),
    Column::new("detail", Text, "the new mode, `uid:gid` of the new owner, or the flags of an open"),
    Column::new("succeeded", Bool, "whether the call did it"),
    Column::new("evt_res", Text, "`SUCCESS` or the errno's name"),
    Column::new("evt_type", Text, "the system call"),
    Column::new("events", Int, "how many such calls the row stands for"),
    Column::new("exec_id", Text, "the process run, see `process_tree`"),
    Column::new("proc_pid", Int, "process id in the node's pid namespace"),
    Column::new("proc_name", Text, "the process's name"),
    Column::new("proc_exepath", Text, "its executable"),
    Column::new("proc_cmdline", Text, "its name and arguments"),
    Column::new("user_uid", Int, "its effective user id"),
    Column::new("user_name", Text, "that user's name on the node"),
    Column::new("user_loginname", Text, "who logged in, `<NA>` when nobody did"),
    Column::new("container_id", Text, "the container's full id, `host` outside of any"),
    Column::new("container_name", Text, "the container's name, also if it was learnt later"),
    Column::new("k8s_ns_name", Text, "the pod's namespace, also if it was learnt later"),
    Column::new("k8s_pod_name", Text, "the pod's name, also if it was learnt later"),
];
