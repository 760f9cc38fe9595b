//! Events as columns of the wire schema.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, Int64Builder, ListBuilder, RecordBatch, StringBuilder,
    StringDictionaryBuilder, StructBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int32Type};
use arrow::error::ArrowError;
use bailiwick_proto::Table;
use bailiwick_proto::schema::{pair_fields, process_fields};

use super::node::{Event, Kind, Process};

pub(super) fn batch(events: &[Event]) -> Result<RecordBatch, ArrowError> {
    let schema = Table::Syscalls.wire_schema();
    let columns = schema.fields().iter().map(|field| column(field, events)).collect();
    RecordBatch::try_new(schema, columns)
}

fn column(field: &Field, events: &[Event]) -> ArrayRef {
    let name = field.name().as_str();
    match field.data_type() {
        DataType::Dictionary(..) => texts(name, events),
        DataType::Int64 => Arc::new(events.iter().map(|event| int(name, event)).collect::<Int64Array>()),
        DataType::Boolean => Arc::new(events.iter().map(|event| flag(name, event)).collect::<BooleanArray>()),
        DataType::Timestamp(..) => {
            let times = events.iter().map(|event| match name {
                "proc_start_time" | "proc_exe_ino_ctime" | "proc_exe_ino_mtime" | "container_start_ts" => {
                    event.process.start_us
                }
                _ => event.time_us,
            });
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
        }
        _ => lists(name, field, events),
    }
}

fn texts(name: &str, events: &[Event]) -> ArrayRef {
    let mut column = StringDictionaryBuilder::<Int32Type>::new();
    let mut value = String::new();
    for event in events {
        value.clear();
        match text(name, event, &mut value) {
            Some(()) => column.append_value(&value),
            None => column.append_null(),
        }
    }
    Arc::new(column.finish())
}

/// Writes a text column's value; `None` for a null.
fn text(name: &str, event: &Event, to: &mut String) -> Option<()> {
    let Process { pod, pid, program, parent, start_us } = &event.process;
    let namespace = pod % 8;
    let done = match name {
        "node" => write!(to, "node-1"),
        "cluster" => write!(to, "bench"),
        "observed" => write!(to, "live"),
        "exec_id" => write!(to, "8a7b6c5d/{pid}/{start_us}"),
        "lane" => write!(to, "{}", lane(&event.kind)),
        "evt_type" => write!(to, "{}", evt_type(&event.kind)),
        "evt_res" => write!(to, "{}", if event.rawres < 0 { "ENOENT" } else { "SUCCESS" }),
        "proc_name" => write!(to, "{program}"),
        "proc_exe" | "proc_exepath" => write!(to, "/usr/bin/{program}"),
        "proc_args" => write!(to, "--config /etc/{program}.conf"),
        "proc_cmdline" => write!(to, "{program} --config /etc/{program}.conf"),
        "proc_cwd" => write!(to, "/srv/{program}/"),
        "proc_pname" => write!(to, "{parent}"),
        "proc_pexe" | "proc_pexepath" => write!(to, "/usr/bin/{parent}"),
        "proc_pcmdline" => write!(to, "{parent} --supervise"),
        "proc_sname" => write!(to, "{parent}"),
        "thread_cap_permitted" | "thread_cap_effective" => write!(to, "CAP_NET_BIND_SERVICE"),
        "user_loginname" => write!(to, "<NA>"),
        "user_name" | "group_name" => write!(to, "{}", if pod % 3 == 0 { "root" } else { "app" }),
        "container_id" => write!(to, "{pod:064x}"),
        "container_name" => write!(to, "web-{pod}"),
        "container_type" => write!(to, "containerd"),
        "container_image" => write!(to, "registry.example/team-{namespace}/web:1.{pod}"),
        "container_image_repository" => write!(to, "registry.example/team-{namespace}/web"),
        "container_image_tag" => write!(to, "1.{pod}"),
        "container_image_digest" => write!(to, "sha256:{pod:064x}"),
        "k8s_sa_name" => write!(to, "web"),
        "k8s_ns_name" => write!(to, "team-{namespace}"),
        "k8s_pod_name" => write!(to, "web-{pod}-7d9f8c6b5-x{pod:04}"),
        "k8s_pod_uid" => write!(to, "00000000-0000-4000-8000-{pod:012}"),
        "cgroup_path" => write!(to, "/kubepods/burstable/pod00000000-0000-4000-8000-{pod:012}/{pod:064x}"),
        name if name.starts_with("fd_") => return fd_text(name, &event.kind, to),
        _ => return None,
    };
    done.ok()
}

fn fd_text(name: &str, kind: &Kind, to: &mut String) -> Option<()> {
    let done = match (kind, name) {
        (Kind::Open { .. }, "fd_type") => write!(to, "file"),
        (Kind::Open { .. }, "fd_typechar") => write!(to, "f"),
        (Kind::Open { folder, file, .. }, "fd_name" | "fd_nameraw") => write!(to, "{folder}/{file}"),
        (Kind::Open { folder, .. }, "fd_directory") => write!(to, "{folder}"),
        (Kind::Open { file, .. }, "fd_filename") => write!(to, "{file}"),
        (Kind::Connect { .. }, "fd_type") => write!(to, "ipv4"),
        (Kind::Connect { .. }, "fd_typechar") => write!(to, "4"),
        (Kind::Connect { .. }, "fd_l4proto") => write!(to, "tcp"),
        (Kind::Connect { .. }, "fd_sockfamily") => write!(to, "ip"),
        (Kind::Connect { ip, port, local_port }, "fd_name") => {
            write!(to, "10.9.0.1:{local_port}->{ip}:{port}")
        }
        (Kind::Connect { .. }, "fd_cip" | "fd_lip") => write!(to, "10.9.0.1"),
        (Kind::Connect { ip, .. }, "fd_sip" | "fd_rip") => write!(to, "{ip}"),
        _ => return None,
    };
    done.ok()
}

fn int(name: &str, event: &Event) -> Option<i64> {
    let Process { pod, pid, .. } = event.process;
    match (name, &event.kind) {
        ("seq", _) => Some(event.seq),
        ("evt_rawres", _) => Some(event.rawres),
        ("proc_pid" | "thread_tid", _) => Some(pid),
        ("proc_vpid", _) => Some(pid % 300),
        ("proc_pgid", _) => Some(pid),
        ("proc_vpgid", _) => Some(pid % 300),
        ("proc_pvpid" | "weight", _) => Some(1),
        ("proc_duration", _) => Some((event.time_us - event.process.start_us) * 1_000),
        ("proc_exe_ino", _) => Some(70_000 + pod as i64),
        ("proc_ppid" | "proc_sid", _) => Some(1_000 + pod as i64),
        ("proc_tty" | "repeats", _) => Some(0),
        ("proc_exit_code", Kind::Exit) => Some(0),
        ("user_uid" | "group_gid", _) => Some(if pod % 3 == 0 { 0 } else { 1_000 }),
        ("user_loginuid", _) => Some(-1),
        ("fd_num", Kind::Open { .. } | Kind::Connect { .. }) => Some(event.rawres.max(3)),
        ("fd_ino", Kind::Open { .. } | Kind::Connect { .. }) => Some(100_000 + event.seq % 5_000),
        ("fd_dev", Kind::Open { .. }) => Some(2_049),
        ("fd_sport" | "fd_rport", Kind::Connect { port, .. }) => Some(*port),
        ("fd_cport" | "fd_lport", Kind::Connect { local_port, .. }) => Some(*local_port),
        ("cgroup_id" | "mnt_ns" | "pid_ns", _) => Some(4_026_531_840 + pod as i64),
        _ => None,
    }
}

fn flag(name: &str, event: &Event) -> Option<bool> {
    match (name, &event.kind) {
        ("evt_failed", _) => Some(event.rawres < 0),
        ("evt_truncated", _) => Some(false),
        ("evt_is_open_read", Kind::Open { write, .. }) => Some(!write),
        ("evt_is_open_write", Kind::Open { write, .. }) => Some(*write),
        ("evt_is_open_exec" | "evt_is_open_create", Kind::Open { .. }) => Some(false),
        ("proc_is_exe_writable" | "proc_is_exe_upper_layer" | "proc_is_exe_from_memfd", _) => Some(false),
        ("container_privileged" | "container_setup" | "proc_is_sid_leader" | "proc_is_vpgid_leader", _) => {
            Some(false)
        }
        ("fd_connected", Kind::Connect { .. }) => Some(event.rawres >= 0),
        ("fd_is_server", Kind::Connect { .. }) => Some(false),
        _ => None,
    }
}

fn lists(name: &str, field: &Field, events: &[Event]) -> ArrayRef {
    match name {
        "evt_arg" | "k8s_pod_labels" => pairs(name, field, events),
        "proc_ancestors" => ancestors(field, events),
        _ => {
            let mut list = ListBuilder::new(StringBuilder::new()).with_field(item(field));
            for event in events {
                let exec = matches!(event.kind, Kind::Exec { .. });
                if exec {
                    list.values().append_value("PATH=/usr/local/bin:/usr/bin:/bin");
                    list.values().append_value(format!("POD=web-{}", event.process.pod));
                }
                list.append(exec);
            }
            Arc::new(list.finish())
        }
    }
}

fn pairs(name: &str, field: &Field, events: &[Event]) -> ArrayRef {
    let mut list = ListBuilder::new(StructBuilder::from_fields(pair_fields(), 0)).with_field(item(field));
    for event in events {
        let pairs: Vec<(&str, String)> = match (&event.kind, name) {
            (_, "k8s_pod_labels") => {
                vec![("app", "web".into()), ("pod", format!("web-{}", event.process.pod))]
            }
            (Kind::Open { write, .. }, _) => vec![
                ("flags", if *write { "O_CREAT|O_WRONLY" } else { "O_RDONLY|O_CLOEXEC" }.into()),
                ("mode", "0644".into()),
            ],
            (Kind::Connect { ip, port, .. }, _) => vec![("addr", format!("{ip}:{port}"))],
            (Kind::Exec { argument }, _) => vec![("args", argument.clone())],
            (Kind::Exit, _) => vec![("status", "0".into())],
        };
        for (name, value) in pairs {
            push_texts(list.values(), 0, &[name, &value]);
            list.values().append(true);
        }
        list.append(true);
    }
    Arc::new(list.finish())
}

fn ancestors(field: &Field, events: &[Event]) -> ArrayRef {
    let mut list = ListBuilder::new(StructBuilder::from_fields(process_fields(), 0)).with_field(item(field));
    for event in events {
        for (pid, name) in [(1_000 + event.process.pod as i64, event.process.parent), (1, "systemd")] {
            let path = format!("/usr/bin/{name}");
            let cmdline = format!("{name} --supervise");
            if let Some(pids) = list.values().field_builder::<Int64Builder>(0) {
                pids.append_value(pid);
            }
            push_texts(list.values(), 1, &[name, &path, &path, &cmdline]);
            list.values().append(true);
        }
        list.append(true);
    }
    Arc::new(list.finish())
}

fn push_texts(row: &mut StructBuilder, first: usize, texts: &[&str]) {
    for (index, text) in texts.iter().enumerate() {
        if let Some(column) = row.field_builder::<StringBuilder>(first + index) {
            column.append_value(text);
        }
    }
}

/// The list's own item field, so that the column has exactly the schema's type.
fn item(field: &Field) -> Arc<Field> {
    match field.data_type() {
        DataType::List(item) => Arc::clone(item),
        other => Arc::new(Field::new("element", other.clone(), true)),
    }
}

fn lane(kind: &Kind) -> &'static str {
    match kind {
        Kind::Open { .. } => "file",
        Kind::Connect { .. } => "network",
        Kind::Exec { .. } | Kind::Exit => "process",
    }
}

fn evt_type(kind: &Kind) -> &'static str {
    match kind {
        Kind::Open { .. } => "openat",
        Kind::Connect { .. } => "connect",
        Kind::Exec { .. } => "execve",
        Kind::Exit => "procexit",
    }
}
