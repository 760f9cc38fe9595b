WITH requests AS (
  SELECT
    tenant, cluster, audit_id, time,
    max(CASE WHEN stage IN ('ResponseComplete', 'Panic') THEN stage_time END) AS ended,
    max(subresource) AS kind, max("user") AS "user", max(impersonated_user) AS impersonated_user,
    max(client_ip) AS client_ip, max(user_agent) AS user_agent,
    max(namespace) AS namespace, max(name) AS pod, max(container) AS container,
    max(array_to_string(exec_command, ' ')) AS asked, first_value(exec_command) AS requested, max(code) AS code
  FROM api_access
  WHERE time BETWEEN $from AND $to AND resource = 'pods' AND subresource IN ('exec', 'attach')
  GROUP BY tenant, cluster, audit_id, time
),
programs AS (
  SELECT
    cluster, node, container_id, container_name, k8s_ns_name, k8s_pod_name, time, seq, exec_id,
    proc_pid, proc_ppid, proc_sid, proc_is_sid_leader, proc_vpid, proc_pvpid,
    concat_ws(' ', proc_exe, proc_args) AS given, proc_cmdline, proc_exepath, proc_cwd, user_name, user_uid
  FROM syscalls_named
  WHERE time BETWEEN $ran_from AND $ran_to AND evt_type IN ('execve', 'execveat') AND evt_failed IS NOT TRUE
    AND container_id <> 'host' AND container_setup IS NOT TRUE
),
-- A session of the kernel: from its leader's first program to the next leader by the same id.
leaders AS (
  SELECT *, lead(time) OVER (PARTITION BY cluster, node, container_id, proc_sid ORDER BY time, seq) AS until
  FROM (
    SELECT *, row_number() OVER (PARTITION BY cluster, node, container_id, exec_id ORDER BY time, seq) AS nth
    FROM programs
    WHERE proc_is_sid_leader
  )
  WHERE nth = 1
),
-- Its parent is not in the container: it counts its pid as the node does, as far as that can be told.
entered AS (
  SELECT * FROM leaders
  WHERE proc_vpid <> 1 AND (proc_pvpid IS NULL OR proc_pvpid = proc_ppid OR proc_vpid = proc_pid)
),
near AS (
  SELECT
    r.tenant, r.cluster, r.audit_id, r.time AS asked_at,
    e.node, e.container_id, e.container_name, e.exec_id, e.proc_sid, e.time AS began, e.until,
    abs(CAST(e.time AS BIGINT) - CAST(r.time AS BIGINT)) AS apart
  FROM requests r
  JOIN entered e ON e.cluster = r.cluster AND e.k8s_ns_name = r.namespace AND e.k8s_pod_name = r.pod
  WHERE r.kind = 'exec' AND (r.code IS NULL OR r.code < 400)
    AND e.time BETWEEN r.time - INTERVAL '5 seconds' AND r.time + INTERVAL '30 seconds'
    AND (r.container IS NULL OR e.container_name IS NULL OR e.container_name = r.container)
    AND (r.asked IS NULL OR ends_with(e.given, r.asked))
),
-- Of several requests a start belongs to the nearest, and a request has one start.
started AS (
  SELECT * FROM (
    SELECT *, row_number() OVER (PARTITION BY tenant, cluster, audit_id, asked_at ORDER BY apart, began) AS nth_start
    FROM (
      SELECT *, row_number() OVER (PARTITION BY cluster, node, exec_id ORDER BY apart, asked_at, audit_id) AS nth_request
      FROM near
    )
    WHERE nth_request = 1
  )
  WHERE nth_start = 1
),
ran AS (
  SELECT
    s.tenant, s.cluster, s.audit_id, s.asked_at, s.node, s.container_id, s.container_name,
    s.exec_id AS session_exec_id,
    p.time AS ran_at, p.proc_cmdline, p.proc_exepath, p.proc_cwd, p.user_name, p.user_uid, p.exec_id,
    p.proc_pid, p.proc_ppid
  FROM started s
  JOIN programs p
    ON p.cluster = s.cluster AND p.node = s.node AND p.container_id = s.container_id AND p.proc_sid = s.proc_sid
  WHERE p.time >= s.began AND (s.until IS NULL OR p.time < s.until)
    AND p.time <= s.asked_at + INTERVAL '1 day'
)
SELECT
  r.tenant, CAST(r.time AS DATE) AS date, r.time, r.ended, r.cluster, r.audit_id, r.kind, r."user",
  r.impersonated_user, r.client_ip, r.user_agent, r.namespace, r.pod,
  coalesce(r.container, n.container_name) AS container, r.requested, r.code,
  n.node, n.container_id, n.session_exec_id, n.ran_at, n.proc_cmdline AS command, n.proc_exepath AS exepath,
  n.proc_cwd AS cwd, n.user_name, n.user_uid, n.exec_id, n.proc_pid, n.proc_ppid
FROM requests r
LEFT JOIN ran n
  ON n.tenant = r.tenant AND n.cluster = r.cluster AND n.audit_id = r.audit_id AND n.asked_at = r.time
