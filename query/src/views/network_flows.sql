WITH calls AS (
  SELECT
    tenant, cluster, node, exec_id, container_id, date_trunc('hour', time) AS hour,
    CASE WHEN fd_is_server THEN 'in' WHEN NOT fd_is_server THEN 'out' END AS direction,
    fd_l4proto AS l4proto, fd_rip AS remote_ip,
    CASE WHEN fd_is_server THEN NULL ELSE fd_rport END AS remote_port,
    CASE WHEN fd_is_server THEN fd_lport END AS local_port,
    time, proc_pid, proc_name, proc_exepath, proc_cmdline, user_name, container_name, k8s_ns_name, k8s_pod_name,
    evt_type, evt_failed IS TRUE AND (evt_res IS DISTINCT FROM 'EINPROGRESS') AS failed, evt_rawres,
    (1 + coalesce(repeats, 0)) * coalesce(weight, 1) AS events
  FROM syscalls_named
  WHERE time BETWEEN $from AND $to AND fd_rip IS NOT NULL
    AND evt_type IN (
      'connect', 'accept', 'accept4',
      'sendto', 'sendmsg', 'sendmmsg', 'recvfrom', 'recvmsg', 'recvmmsg', 'io_uring_submit'
    )
),
flows AS (
  SELECT
    tenant, cluster, node, exec_id, container_id, hour, direction, l4proto, remote_ip, remote_port, local_port,
    max(proc_pid) AS proc_pid,
    last_value(proc_name ORDER BY time) AS proc_name,
    last_value(proc_exepath ORDER BY time) AS proc_exepath,
    last_value(proc_cmdline ORDER BY time) AS proc_cmdline,
    last_value(user_name ORDER BY time) AS user_name,
    max(container_name) AS container_name, max(k8s_ns_name) AS k8s_ns_name, max(k8s_pod_name) AS k8s_pod_name,
    min(time) AS first_time, max(time) AS last_time,
    sum(events) AS events,
    sum(CASE WHEN evt_type IN ('connect', 'accept', 'accept4') THEN events ELSE 0 END) AS connections,
    sum(CASE WHEN failed THEN events ELSE 0 END) AS failed,
    sum(CASE WHEN evt_type IN ('sendto', 'sendmsg') AND evt_rawres >= 0 THEN evt_rawres * events END) AS bytes_sent,
    sum(CASE WHEN evt_type IN ('recvfrom', 'recvmsg') AND evt_rawres >= 0 THEN evt_rawres * events END) AS bytes_received
  FROM calls
  GROUP BY tenant, cluster, node, exec_id, container_id, hour, direction, l4proto, remote_ip, remote_port, local_port
),
asked AS (
  SELECT tenant, cluster, node, exec_id, date_trunc('hour', time) AS hour, dns_name, min(time) AS first_time
  FROM syscalls
  WHERE time BETWEEN $from AND $to AND evt_type = 'dns' AND dns_name IS NOT NULL
  GROUP BY 1, 2, 3, 4, 5, 6
),
-- A resolver asks for more names than anybody reads.
named AS (
  SELECT tenant, cluster, node, exec_id, hour, array_agg(dns_name ORDER BY first_time) AS dns_names
  FROM (
    SELECT *, row_number() OVER (PARTITION BY tenant, cluster, node, exec_id, hour ORDER BY first_time) AS nth FROM asked
  )
  WHERE nth <= 20
  GROUP BY 1, 2, 3, 4, 5
)
SELECT
  f.tenant, CAST(f.hour AS DATE) AS date, f.hour AS time, f.cluster, f.node, f.exec_id, f.proc_pid, f.proc_name,
  f.proc_exepath, f.proc_cmdline, f.user_name, f.container_id, f.container_name, f.k8s_ns_name, f.k8s_pod_name,
  f.direction, f.l4proto, f.remote_ip, f.remote_port, f.local_port, f.first_time, f.last_time,
  f.events, f.connections, f.failed, f.bytes_sent, f.bytes_received,
  CASE WHEN f.direction = 'out' THEN n.dns_names END AS dns_names
FROM flows f
LEFT JOIN named n
  ON n.tenant = f.tenant AND n.cluster = f.cluster AND n.node = f.node AND n.exec_id = f.exec_id AND n.hour = f.hour
