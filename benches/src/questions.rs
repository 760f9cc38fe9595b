//! Twenty questions that people who answer for a cluster ask, in SQL that both
//! DataFusion and DuckDB take as it stands.

/// One question.
#[derive(Debug, Clone)]
pub struct Question {
    /// What it is about, short.
    pub name: &'static str,
    /// Its text. Without an order that leaves no ties, only sums of it are compared.
    pub sql: String,
}

/// The names that the questions are about.
#[derive(Debug, Clone)]
pub struct About {
    /// A container.
    pub container_id: String,
    /// A path that some process opened.
    pub path: String,
    /// An address that some process connected to.
    pub address: String,
    /// A process of the container.
    pub pid: i64,
    /// A day in the middle, as `YYYY-MM-DD`.
    pub day: String,
}

/// All of them.
pub fn all(about: &About) -> Vec<Question> {
    let About { container_id, path, address, pid, day } = about;
    let on_day = format!("time >= '{day}T00:00:00Z' AND time < '{day}T23:59:59.999999Z'");
    let question = |name, sql: String| Question { name, sql };
    let mut questions = vec![
        question(
            "container, a day, in order",
            format!(
                "SELECT time, evt_type, proc_name, fd_name FROM syscalls \
                 WHERE container_id = '{container_id}' AND {on_day} ORDER BY time LIMIT 1000"
            ),
        ),
        question(
            "path, ten days, newest first",
            format!(
                "SELECT time, node, k8s_pod_name, proc_name FROM syscalls \
                 WHERE fd_name = '{path}' ORDER BY time DESC LIMIT 100"
            ),
        ),
        question(
            "address, ten days",
            format!(
                "SELECT k8s_ns_name, proc_name, count(*) AS n, min(time) AS first FROM syscalls \
                 WHERE fd_sip = '{address}' AND evt_type = 'connect' GROUP BY 1, 2 ORDER BY n DESC LIMIT 50"
            ),
        ),
        question(
            "process, in order",
            format!(
                "SELECT time, evt_type, evt_rawres, fd_name, fd_sip FROM syscalls \
                 WHERE container_id = '{container_id}' AND proc_pid = {pid} ORDER BY time LIMIT 5000"
            ),
        ),
        question(
            "rare call, ten days, newest",
            "SELECT time, node, k8s_pod_name, proc_name, user_uid FROM syscalls \
             WHERE evt_type = 'ptrace' ORDER BY time DESC LIMIT 200"
                .to_owned(),
        ),
        question(
            "LIKE, newest first",
            "SELECT time, k8s_pod_name, proc_name, fd_name FROM syscalls \
             WHERE fd_name LIKE '%/data/00a1%.conf' ORDER BY time DESC LIMIT 50"
                .to_owned(),
        ),
        question(
            "shells by namespace",
            "SELECT k8s_ns_name, k8s_pod_name, count(*) AS n FROM syscalls \
             WHERE evt_type = 'execve' AND proc_name LIKE 'bash%' GROUP BY 1, 2 ORDER BY n DESC LIMIT 50"
                .to_owned(),
        ),
        question(
            "exec requests and their commands",
            format!(
                "SELECT a.\"user\", count(*) AS n, count(DISTINCT s.proc_exepath) AS programs \
                 FROM api_access a JOIN syscalls s ON s.k8s_pod_name = a.name \
                 AND s.time >= a.time AND s.time < a.time + INTERVAL '1 minute' \
                 WHERE a.subresource = 'exec' AND s.evt_type = 'execve' \
                 AND a.{on_day} AND s.{on_day_too} GROUP BY 1 ORDER BY n DESC LIMIT 50",
                on_day = on_day.replace("AND time", "AND a.time"),
                on_day_too = on_day.replace("AND time", "AND s.time"),
            ),
        ),
    ];
    questions.extend(grouped(&on_day));
    questions.extend(others(&on_day));
    questions
}

/// Groups over a day.
fn grouped(on_day: &str) -> Vec<Question> {
    let question = |name, sql: String| Question { name, sql };
    vec![
        question(
            "calls by type",
            format!("SELECT evt_type, count(*) AS n FROM syscalls WHERE {on_day} GROUP BY 1 ORDER BY n DESC"),
        ),
        question(
            "tenants by hour",
            format!(
                "SELECT tenant, date_trunc('hour', time) AS hour, count(*) AS n FROM syscalls \
                 WHERE {on_day} GROUP BY 1, 2 ORDER BY 1, 2"
            ),
        ),
        question(
            "one tenant by minute",
            format!(
                "SELECT date_trunc('minute', time) AS minute, count(*) AS n FROM syscalls \
                 WHERE tenant = 'tenant-007' AND {on_day} GROUP BY 1 ORDER BY 1"
            ),
        ),
        question(
            "failures by program",
            format!(
                "SELECT proc_name, evt_type, count(*) AS n FROM syscalls \
                 WHERE evt_rawres < 0 AND {on_day} GROUP BY 1, 2 ORDER BY n DESC LIMIT 50"
            ),
        ),
        question(
            "destinations",
            format!(
                "SELECT fd_sip, fd_sport, count(*) AS n FROM syscalls \
                 WHERE fd_sip IS NOT NULL AND {on_day} GROUP BY 1, 2 ORDER BY n DESC LIMIT 20"
            ),
        ),
        question(
            "distinct paths by pod",
            format!(
                "SELECT k8s_pod_name, count(DISTINCT fd_name) AS n FROM syscalls \
                 WHERE fd_name IS NOT NULL AND {on_day} GROUP BY 1 ORDER BY n DESC LIMIT 20"
            ),
        ),
        question(
            "images that write logs",
            format!(
                "SELECT container_image, count(*) AS n, count(DISTINCT container_id) AS containers \
                 FROM syscalls WHERE fd_name LIKE '%.log' AND {on_day} GROUP BY 1 ORDER BY n DESC LIMIT 50"
            ),
        ),
    ]
}

/// Of the other tables.
fn others(on_day: &str) -> Vec<Question> {
    let question = |name, sql: String| Question { name, sql };
    vec![
        question(
            "last alerts",
            "SELECT time, rule, priority, tenant, output FROM alerts ORDER BY time DESC LIMIT 100".to_owned(),
        ),
        question(
            "alerts by rule and day",
            "SELECT rule, priority, date, count(*) AS n FROM alerts GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
                .to_owned(),
        ),
        question(
            "requests refused, by user",
            format!(
                "SELECT \"user\", resource, count(*) AS n FROM api_access \
                 WHERE decision = 'forbid' AND {on_day} GROUP BY 1, 2 ORDER BY n DESC LIMIT 50"
            ),
        ),
        question(
            "chargeback, a month",
            "SELECT tenant, sum(cpu_ns) AS n, sum(mem_byte_s) AS mem, sum(io_r_b + io_w_b) AS io \
             FROM usage GROUP BY 1 ORDER BY 1"
                .to_owned(),
        ),
        question(
            "noisy namespaces, a month",
            "SELECT k8s_ns_name, date, sum(cpu_ns) AS n, max(mem_working_set_b) AS peak FROM usage \
             GROUP BY 1, 2 ORDER BY n DESC LIMIT 50"
                .to_owned(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_twenty_and_each_has_its_name() {
        let about = About {
            container_id: "c".into(),
            path: "/p".into(),
            address: "10.0.0.1".into(),
            pid: 1,
            day: "2026-11-20".into(),
        };
        let questions = all(&about);
        let names: std::collections::BTreeSet<_> = questions.iter().map(|question| question.name).collect();
        assert_eq!((questions.len(), names.len()), (20, 20));
    }
}
