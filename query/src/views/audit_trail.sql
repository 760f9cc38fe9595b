SELECT time, tenant, kind, who, did, object, outcome, cluster, node, namespace, pod, exec_id, id
FROM (
  SELECT
    time, tenant,
    CASE
      WHEN min(verb) NOT IN ('get', 'list', 'watch') AND (
        min(resource) IN (
          'roles', 'rolebindings', 'clusterroles', 'clusterrolebindings', 'certificatesigningrequests', 'serviceaccounts'
        )
        OR min(subresource) IN ('token', 'approval')
      ) THEN 'grant'
      ELSE 'request'
    END AS kind,
    max("user") || coalesce(' as ' || max(impersonated_user), '') AS who,
    concat_ws(
      ' ', min(verb), min(resource) || coalesce('/' || nullif(min(subresource), ''), ''),
      max(array_to_string(exec_command, ' '))
    ) AS did,
    max(name) AS object, CAST(max(code) AS TEXT) AS outcome,
    cluster, CAST(NULL AS TEXT) AS node, max(namespace) AS namespace,
    CASE WHEN min(resource) = 'pods' THEN max(name) END AS pod,
    CAST(NULL AS TEXT) AS exec_id, audit_id AS id
  FROM api_access
  WHERE time >= $from AND time < $to AND ($tenant IS NULL OR tenant = $tenant)
  -- A request is logged at several stages.
  GROUP BY time, tenant, cluster, audit_id
  UNION ALL
  SELECT
    time, tenant, 'program', user_name, proc_cmdline, proc_exepath, evt_res,
    cluster, node, k8s_ns_name, k8s_pod_name, exec_id, NULL
  FROM syscalls_named
  WHERE time >= $from AND time < $to AND ($tenant IS NULL OR tenant = $tenant)
    AND evt_type IN ('execve', 'execveat') AND evt_failed IS NOT TRUE
  UNION ALL
  SELECT
    time, tenant, 'alert', rule, output, priority, mode, cluster, node, NULL, NULL, exec_id, alert_id
  FROM alerts
  WHERE time >= $from AND time < $to AND ($tenant IS NULL OR tenant = $tenant)
  UNION ALL
  SELECT
    time, tenant, 'query', principal, sql, endpoint, outcome, cluster, node, NULL, NULL, NULL, query_id
  FROM queries
  WHERE time >= $from AND time < $to
    AND (
      $tenant IS NULL OR tenant = $tenant OR array_has(tenant_scope, $tenant)
      -- It names the tenant, and not one whose name only begins or ends so.
      OR (
        $tenant <> '' AND strpos(sql, $tenant) > 0
        AND strpos(concat(' ', regexp_replace(sql, '[^A-Za-z0-9_-]+', ' ', 'g'), ' '), concat(' ', $tenant, ' ')) > 0
      )
    )
)
