//! A morning on a shared cluster: what the views are asked about.
//!
//! jane enters acme's pod web-0 and looks around there; a probe of the kubelet
//! runs beside her; kim is refused; lee's request led to nothing that was seen;
//! and globex does the same things in a pod of its own.

use bailiwick_proto::Table;

use super::bucket::{Bucket, Row, Served, rows};

type Cells = Vec<(&'static str, &'static str)>;

const DAY: [(&str, &str); 2] = [("cluster", "c"), ("node", "n")];
const POD: [(&str, &str); 4] =
    [("tenant", "acme"), ("container_id", "c1"), ("k8s_ns_name", "shop"), ("k8s_pod_name", "web-0")];

/// The bucket, one half committed and the other not, and an engine over it.
pub(crate) async fn served() -> (Bucket, Served) {
    let mut bucket = Bucket::new().await;
    let (acme, globex) = (batch(Table::Syscalls, &processes()), batch(Table::Syscalls, &globex()));
    let through = bucket.wal(&[(Table::Syscalls, acme.clone())]).await;
    bucket.commit(Table::Syscalls, through, &[("acme", acme), ("globex", globex)]).await;
    let later = [network(), files()].concat();
    let tables = [
        (Table::Syscalls, batch(Table::Syscalls, &later)),
        (Table::Syscalls, batch(Table::Syscalls, &on_the_host())),
        (Table::ApiAccess, batch(Table::ApiAccess, &requests())),
        (Table::Alerts, batch(Table::Alerts, &alerts())),
        (Table::Queries, batch(Table::Queries, &queries())),
        (Table::Usage, batch(Table::Usage, &usage())),
        (Table::Losses, batch(Table::Losses, &losses())),
        (Table::Containers, batch(Table::Containers, &containers())),
    ];
    bucket.wal(&tables).await;
    let served = bucket.serve(&crate::Config::default());
    (bucket, served)
}

/// Rows of a table. Those of a collector always say what they stand for.
fn batch(table: Table, made: &[Cells]) -> datafusion::arrow::array::RecordBatch {
    let one = [("repeats", "0"), ("weight", "1")];
    let made: Vec<Cells> = made.iter().map(|row| [&row[..], &one].concat()).collect();
    let made: Vec<Row<'_>> = made.iter().map(|row| &row[..]).collect();
    rows(table, &made)
}

fn row(parts: &[&[(&'static str, &'static str)]]) -> Cells {
    parts.concat()
}

#[allow(clippy::too_many_lines, reason = "rows, one after the other")]
fn processes() -> Vec<Cells> {
    let init = [
        ("exec_id", "b-100-1"),
        ("proc_pid", "100"),
        ("proc_ppid", "90"),
        ("proc_pvpid", "90"),
        ("proc_vpid", "1"),
        ("proc_sid", "100"),
        ("proc_is_sid_leader", "true"),
        ("proc_name", "nginx"),
        ("proc_exe", "nginx"),
        ("proc_exepath", "/usr/sbin/nginx"),
        ("proc_cmdline", "nginx"),
        ("user_name", "root"),
        ("user_uid", "0"),
        ("proc_start_time", "2026-11-24T09:00:00Z"),
    ];
    let sh = [
        ("exec_id", "b-200-2"),
        ("proc_pid", "200"),
        ("proc_ppid", "95"),
        ("proc_pvpid", "95"),
        ("proc_vpid", "7"),
        ("proc_sid", "200"),
        ("proc_is_sid_leader", "true"),
        ("proc_name", "sh"),
        ("proc_exe", "sh"),
        ("proc_args", "-c id; cat /etc/shadow"),
        ("proc_exepath", "/bin/dash"),
        ("proc_cmdline", "sh -c id; cat /etc/shadow"),
        ("user_name", "root"),
        ("user_uid", "0"),
        ("proc_start_time", "2026-11-24T10:00:00.1Z"),
        (
            "proc_ancestors",
            r#"[{"pid":95,"name":"shim","exe":"shim","exepath":"/bin/shim","cmdline":"shim -id c1"},
                              {"pid":1,"name":"systemd","exe":"systemd","exepath":"/sbin/init","cmdline":""}]"#,
        ),
    ];
    let id = [
        ("exec_id", "b-201-3"),
        ("proc_pid", "201"),
        ("proc_ppid", "200"),
        ("proc_pvpid", "7"),
        ("proc_vpid", "8"),
        ("proc_sid", "200"),
        ("proc_is_sid_leader", "false"),
        ("proc_name", "id"),
        ("proc_exe", "id"),
        ("proc_exepath", "/usr/bin/id"),
        ("proc_cmdline", "id"),
        ("user_name", "root"),
        ("proc_start_time", "2026-11-24T10:00:01Z"),
    ];
    let cat = [
        ("exec_id", "b-202-4"),
        ("proc_pid", "202"),
        ("proc_ppid", "200"),
        ("proc_pvpid", "7"),
        ("proc_vpid", "9"),
        ("proc_sid", "200"),
        ("proc_is_sid_leader", "false"),
        ("proc_name", "cat"),
        ("proc_exe", "cat"),
        ("proc_args", "/etc/shadow"),
        ("proc_exepath", "/bin/cat"),
        ("proc_cmdline", "cat /etc/shadow"),
        ("user_name", "root"),
        ("proc_start_time", "2026-11-24T10:00:02Z"),
    ];
    let probe = [
        ("exec_id", "b-300-5"),
        ("proc_pid", "300"),
        ("proc_ppid", "95"),
        ("proc_pvpid", "95"),
        ("proc_vpid", "10"),
        ("proc_sid", "300"),
        ("proc_is_sid_leader", "true"),
        ("proc_name", "check"),
        ("proc_exe", "check"),
        ("proc_exepath", "/bin/check"),
        ("proc_cmdline", "check"),
        ("user_name", "root"),
        ("proc_start_time", "2026-11-24T10:00:00.5Z"),
    ];
    let event = |of: &[(&'static str, &'static str)], time, kind, more: &[(&'static str, &'static str)]| {
        row(&[
            more,
            &DAY,
            &POD,
            of,
            &[("time", time), ("evt_type", kind), ("evt_res", "SUCCESS"), ("lane", "process")],
        ])
    };
    vec![
        event(&init, "2026-11-24T09:00:00.1Z", "execve", &[]),
        event(
            &sh,
            "2026-11-24T10:00:00.2Z",
            "execve",
            &[("container_setup", "false"), ("evt_failed", "false")],
        ),
        event(&probe, "2026-11-24T10:00:00.6Z", "execve", &[]),
        event(&sh, "2026-11-24T10:00:01Z", "clone", &[("evt_rawres", "201")]),
        event(&id, "2026-11-24T10:00:01.1Z", "execve", &[]),
        event(&id, "2026-11-24T10:00:01.2Z", "procexit", &[("proc_exit_code", "0")]),
        event(&sh, "2026-11-24T10:00:02Z", "clone", &[("evt_rawres", "202")]),
        event(&cat, "2026-11-24T10:00:02.1Z", "execve", &[]),
        // Whoever made it is gone, and init has adopted it.
        event(&cat, "2026-11-24T10:00:02.9Z", "procexit", &[("proc_exit_code", "1"), ("proc_ppid", "1")]),
        event(&sh, "2026-11-24T10:00:02.5Z", "clone", &[("evt_rawres", "203")]),
        event(&sh, "2026-11-24T10:00:02.6Z", "execve", &[("evt_failed", "true"), ("evt_res", "ENOENT")]),
        event(&sh, "2026-11-24T10:00:03Z", "procexit", &[("proc_exit_code", "0")]),
    ]
}

/// The same pod's name, container and command, a tenant apart.
fn globex() -> Vec<Cells> {
    let sh = [
        ("tenant", "globex"),
        ("exec_id", "b-900-9"),
        ("proc_pid", "900"),
        ("proc_ppid", "95"),
        ("proc_pvpid", "95"),
        ("proc_vpid", "7"),
        ("proc_sid", "900"),
        ("proc_is_sid_leader", "true"),
        ("proc_name", "sh"),
        ("proc_exe", "sh"),
        ("proc_args", "-c secret"),
        ("proc_cmdline", "sh -c secret"),
        ("container_id", "c9"),
        ("k8s_ns_name", "vault"),
        ("k8s_pod_name", "safe-0"),
        ("user_name", "root"),
        ("evt_res", "SUCCESS"),
        ("proc_start_time", "2026-11-24T10:00:00Z"),
    ];
    let event = |time, kind, more: &[(&'static str, &'static str)]| {
        row(&[more, &DAY, &sh, &[("time", time), ("evt_type", kind)]])
    };
    vec![
        event("2026-11-24T10:00:00.3Z", "execve", &[]),
        event("2026-11-24T10:00:00.4Z", "connect", &[("fd_rip", "203.0.113.9"), ("fd_is_server", "false")]),
        event(
            "2026-11-24T10:00:00.5Z",
            "openat",
            &[("fd_name", "/vault/secret"), ("evt_is_open_write", "true")],
        ),
    ]
}

/// What the node itself did: it forked the shell's process into the pod.
fn on_the_host() -> Vec<Cells> {
    let shim = [
        ("tenant", "_host"),
        ("exec_id", "b-95-0"),
        ("proc_pid", "95"),
        ("proc_ppid", "1"),
        ("proc_name", "shim"),
        ("proc_exepath", "/bin/shim"),
        ("proc_cmdline", "shim -id c1"),
        ("user_name", "root"),
        ("container_id", "host"),
        ("proc_start_time", "2026-11-24T08:00:00Z"),
        ("evt_res", "SUCCESS"),
    ];
    let event = |time, kind, more: &[(&'static str, &'static str)]| {
        row(&[more, &DAY, &shim, &[("time", time), ("evt_type", kind)]])
    };
    vec![
        event("2026-11-24T10:00:00.1Z", "clone", &[("evt_rawres", "200")]),
        event("2026-11-24T10:00:00.5Z", "clone", &[("evt_rawres", "300")]),
    ]
}

fn network() -> Vec<Cells> {
    let cat = [
        ("exec_id", "b-202-4"),
        ("proc_pid", "202"),
        ("proc_name", "cat"),
        ("proc_cmdline", "cat /etc/shadow"),
        ("user_name", "root"),
        ("lane", "network"),
        ("fd_sockfamily", "ip"),
        ("fd_l4proto", "tcp"),
    ];
    let event = |time, kind, more: &[(&'static str, &'static str)]| {
        row(&[more, &DAY, &POD, &cat, &[("time", time), ("evt_type", kind)]])
    };
    let out = [("fd_rip", "192.0.2.1"), ("fd_rport", "443"), ("fd_is_server", "false")];
    let served = [("fd_lport", "80"), ("fd_is_server", "true")];
    vec![
        event(
            "2026-11-24T10:10:00Z",
            "connect",
            &[&out[..], &[("evt_failed", "true"), ("evt_res", "EINPROGRESS")]].concat(),
        ),
        event(
            "2026-11-24T10:11:00Z",
            "sendto",
            &[&out[..], &[("evt_rawres", "100"), ("repeats", "2")]].concat(),
        ),
        event(
            "2026-11-24T10:12:00Z",
            "recvfrom",
            &[&out[..], &[("evt_rawres", "7"), ("weight", "2")]].concat(),
        ),
        event(
            "2026-11-24T10:13:00Z",
            "sendto",
            &[&out[..], &[("evt_rawres", "-32"), ("evt_failed", "true"), ("evt_res", "EPIPE")]].concat(),
        ),
        event(
            "2026-11-24T11:00:00Z",
            "connect",
            &[&out[..], &[("evt_failed", "true"), ("evt_res", "ECONNREFUSED")]].concat(),
        ),
        event(
            "2026-11-24T10:20:00Z",
            "accept4",
            &[&served[..], &[("fd_rip", "10.0.0.1"), ("fd_rport", "50001")]].concat(),
        ),
        event(
            "2026-11-24T10:21:00Z",
            "accept4",
            &[&served[..], &[("fd_rip", "10.0.0.1"), ("fd_rport", "50002")]].concat(),
        ),
        event(
            "2026-11-24T10:22:00Z",
            "recvmsg",
            &[("fd_rip", "10.0.0.2"), ("fd_rport", "53"), ("fd_l4proto", "udp")],
        ),
        event("2026-11-24T10:09:00Z", "dns", &[("dns_name", "b.example"), ("fd_rip", "10.0.0.53")]),
        event("2026-11-24T10:08:00Z", "dns", &[("dns_name", "a.example"), ("fd_rip", "10.0.0.53")]),
        event("2026-11-24T10:30:00Z", "dns", &[("fd_rip", "10.0.0.53")]),
        // Nobody's end, and not the internet.
        event("2026-11-24T10:40:00Z", "socket", &[]),
        row(&[&DAY, &[("tenant", "acme"), ("time", "2026-11-24T10:41:00Z"), ("evt_type", "sendto")]]),
    ]
}

#[allow(clippy::too_many_lines, reason = "rows, one after the other")]
fn files() -> Vec<Cells> {
    let cat = [
        ("exec_id", "b-202-4"),
        ("proc_pid", "202"),
        ("proc_name", "cat"),
        ("proc_exepath", "/bin/cat"),
        ("user_name", "root"),
        ("lane", "file"),
        ("evt_res", "SUCCESS"),
        ("evt_failed", "false"),
    ];
    let event = |time, kind, arguments, more: &[(&'static str, &'static str)]| {
        row(&[more, &DAY, &POD, &cat, &[("time", time), ("evt_type", kind), ("evt_arg", arguments)]])
    };
    vec![
        event(
            "2026-11-24T10:30:01Z",
            "openat",
            r#"[{"name":"flags","value":"O_CREAT|O_WRONLY|O_F_CREATED"}]"#,
            &[("fd_name", "/tmp/a"), ("evt_is_open_write", "true"), ("evt_is_open_create", "true")],
        ),
        event(
            "2026-11-24T10:30:02Z",
            "openat",
            r#"[{"name":"flags","value":"O_TRUNC|O_WRONLY"}]"#,
            &[
                ("fd_name", "/tmp/link"),
                ("fd_name_resolved", "/tmp/a"),
                ("evt_is_open_write", "true"),
                ("repeats", "3"),
            ],
        ),
        event(
            "2026-11-24T10:30:03Z",
            "open",
            r#"[{"name":"flags","value":"O_APPEND|O_WRONLY"}]"#,
            &[("fd_name", "/var/log/x"), ("evt_is_open_write", "true"), ("evt_is_open_create", "false")],
        ),
        event(
            "2026-11-24T10:30:04Z",
            "openat",
            r#"[{"name":"flags","value":"O_RDONLY"}]"#,
            &[("fd_name", "/etc/passwd"), ("evt_is_open_read", "true"), ("evt_is_open_write", "false")],
        ),
        event(
            "2026-11-24T10:30:05Z",
            "renameat2",
            r#"[{"name":"res","value":"0"},{"name":"olddirfd","value":"AT_FDCWD"},
            {"name":"oldpath","value":"/tmp/a"},{"name":"newpath","value":"/tmp/b"}]"#,
            &[],
        ),
        event(
            "2026-11-24T10:30:06Z",
            "fchmodat",
            r#"[{"name":"filename","value":"/tmp/b"},{"name":"mode","value":"0755"}]"#,
            &[],
        ),
        event(
            "2026-11-24T10:30:07Z",
            "fchown",
            r#"[{"name":"fd","value":"<f>/tmp/b"},{"name":"uid","value":"0"},{"name":"gid","value":"7"}]"#,
            &[("fd_name", "/tmp/b")],
        ),
        event(
            "2026-11-24T10:30:08Z",
            "unlinkat",
            r#"[{"name":"name","value":"/tmp/d"},{"name":"flags","value":"AT_REMOVEDIR"}]"#,
            &[],
        ),
        event(
            "2026-11-24T10:30:09Z",
            "unlink",
            r#"[{"name":"path","value":"/tmp/b"}]"#,
            &[("evt_failed", "true"), ("evt_res", "EACCES")],
        ),
        event(
            "2026-11-24T10:30:10Z",
            "symlink",
            r#"[{"name":"target","value":"../x"},{"name":"linkpath","value":"/tmp/s"}]"#,
            &[],
        ),
        event(
            "2026-11-24T10:30:11Z",
            "mkdirat",
            r#"[{"name":"path","value":"/tmp/m"},{"name":"mode","value":"01ED"}]"#,
            &[],
        ),
        event("2026-11-24T10:30:12Z", "rename", "null", &[]),
    ]
}

#[allow(clippy::too_many_lines, reason = "rows, one after the other")]
fn requests() -> Vec<Cells> {
    let request = |id, time, user, more: &[(&'static str, &'static str)]| {
        let who = [("cluster", "c"), ("tenant", "acme"), ("audit_id", id), ("time", time), ("user", user)];
        let what = [("verb", "create"), ("resource", "pods"), ("namespace", "shop"), ("name", "web-0")];
        row(&[&who, more, &what])
    };
    let jane = [
        ("subresource", "exec"),
        ("container", "web"),
        ("code", "101"),
        ("client_ip", "198.51.100.7"),
        ("exec_command", r#"["sh","-c","id; cat /etc/shadow"]"#),
    ];
    let stage = |stage, time| [("stage", stage), ("stage_time", time)];
    vec![
        request(
            "a-1",
            "2026-11-24T10:00:00Z",
            "jane",
            &[&jane[..], &stage("ResponseStarted", "2026-11-24T10:00:00.3Z")].concat(),
        ),
        request(
            "a-1",
            "2026-11-24T10:00:00Z",
            "jane",
            &[&jane[..], &stage("ResponseComplete", "2026-11-24T10:00:03Z")].concat(),
        ),
        request(
            "a-2",
            "2026-11-24T10:00:00.1Z",
            "kim",
            &[("subresource", "exec"), ("code", "403"), ("exec_command", r#"["sh"]"#)],
        ),
        request(
            "a-3",
            "2026-11-24T09:30:00Z",
            "lee",
            &[("subresource", "exec"), ("code", "101"), ("exec_command", r#"["ls"]"#)],
        ),
        request("a-4", "2026-11-24T09:40:00Z", "lee", &[("subresource", "attach"), ("code", "101")]),
        vec![
            ("cluster", "c"),
            ("tenant", "acme"),
            ("audit_id", "a-5"),
            ("time", "2026-11-24T10:05:00Z"),
            ("user", "root"),
            ("verb", "create"),
            ("resource", "rolebindings"),
            ("namespace", "shop"),
            ("name", "all"),
            ("code", "201"),
            ("impersonated_user", "kim"),
            ("latency_us", "1500"),
            ("client_ip", "198.51.100.8"),
            ("user_agent", "curl"),
        ],
        vec![
            ("cluster", "c"),
            ("tenant", "_cluster"),
            ("audit_id", "a-7"),
            ("time", "2026-11-24T10:06:30Z"),
            ("user", "system:anonymous"),
            ("verb", "list"),
            ("resource", "secrets"),
            ("code", "401"),
        ],
        vec![
            ("cluster", "c"),
            ("tenant", "acme"),
            ("audit_id", "a-6"),
            ("time", "2026-11-24T10:06:00Z"),
            ("user", "jane"),
            ("verb", "list"),
            ("resource", "rolebindings"),
            ("code", "200"),
        ],
        vec![
            ("cluster", "c"),
            ("tenant", "globex"),
            ("audit_id", "g-1"),
            ("time", "2026-11-24T10:00:00.2Z"),
            ("user", "mallory"),
            ("verb", "create"),
            ("resource", "pods"),
            ("subresource", "exec"),
            ("namespace", "vault"),
            ("name", "safe-0"),
            ("exec_command", r#"["sh","-c","secret"]"#),
        ],
    ]
}

fn alerts() -> Vec<Cells> {
    let alert = |tenant, id, priority, output| {
        vec![
            ("tenant", tenant),
            ("cluster", "c"),
            ("node", "n"),
            ("alert_id", id),
            ("rule", "Sensitive file"),
            ("priority", priority),
            ("source", "syscall"),
            ("output", output),
            ("mode", "live"),
            ("exec_id", "b-202-4"),
            ("time", "2026-11-24T10:00:02.2Z"),
        ]
    };
    vec![
        alert("acme", "x-1", "Warning", "cat read /etc/shadow"),
        alert("globex", "x-2", "Critical", "secret"),
    ]
}

fn queries() -> Vec<Cells> {
    let query = |tenant, id, who, scope, sql| {
        vec![
            ("tenant", tenant),
            ("query_id", id),
            ("principal", who),
            ("tenant_scope", scope),
            ("sql", sql),
            ("endpoint", "http"),
            ("outcome", "ok"),
            ("time", "2026-11-24T10:07:00Z"),
        ]
    };
    vec![
        query("acme", "q-1", "anna", r#"["acme"]"#, "SELECT 1"),
        query("_cluster", "q-2", "both", r#"["acme","globex"]"#, "SELECT 2"),
        query("_cluster", "q-3", "olga", r#"["*"]"#, "SELECT * FROM syscalls WHERE tenant = 'acme'"),
        query("_cluster", "q-4", "olga", r#"["*"]"#, "SELECT 4"),
        query("globex", "q-5", "greg", r#"["globex"]"#, "SELECT 5"),
    ]
}

fn losses() -> Vec<Cells> {
    let lost = |reason, count| {
        vec![
            ("tenant", "_host"),
            ("cluster", "c"),
            ("node", "n"),
            ("lane", "file"),
            ("class", "open"),
            ("reason", reason),
            ("count", count),
            ("time", "2026-11-24T10:30:00Z"),
            ("interval_start", "2026-11-24T10:29:00Z"),
        ]
    };
    vec![lost("ring_full", "7"), lost("sampled", "100")]
}

fn usage() -> Vec<Cells> {
    let used = |tenant, start, time, cpu_ns| {
        vec![
            ("tenant", tenant),
            ("cluster", "c"),
            ("node", "n"),
            ("container_id", "c1"),
            ("interval_start", start),
            ("time", time),
            ("cpu_ns", cpu_ns),
            ("mem_byte_s", "1073741824"),
            ("coverage_s", "3600"),
            ("io_r_b", "1073741824"),
            ("nr_periods", "10"),
            ("nr_throttled", "3"),
            ("throttled_us", "5000"),
            ("cpu_request_m", "500"),
            ("mem_request_b", "1000"),
            ("mem_working_set_b", "3000"),
        ]
    };
    vec![
        used("acme", "2026-11-24T10:00:00Z", "2026-11-24T11:00:00Z", "3600000000000"),
        used("acme", "2026-11-24T11:00:00Z", "2026-11-24T12:00:00Z", "7200000000000"),
        used("globex", "2026-11-24T10:00:00Z", "2026-11-24T11:00:00Z", "1800000000000"),
    ]
}

/// The container's name was learnt after the session.
fn containers() -> Vec<Cells> {
    vec![row(&[
        &DAY,
        &POD,
        &[("container_name", "web"), ("time", "2026-11-24T10:59:00Z"), ("gone", "false")],
    ])]
}
