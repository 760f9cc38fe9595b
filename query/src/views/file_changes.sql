SELECT
  tenant, date, time, cluster, node,
  CASE
    WHEN evt_type LIKE 'rename%' THEN 'rename'
    WHEN evt_type = 'rmdir' OR (evt_type = 'unlinkat' AND event_argument(evt_arg, 'flags') LIKE '%AT_REMOVEDIR%') THEN 'rmdir'
    WHEN evt_type LIKE 'unlink%' THEN 'delete'
    WHEN evt_type LIKE 'mkdir%' THEN 'mkdir'
    WHEN evt_type LIKE 'mknod%' THEN 'mknod'
    WHEN evt_type LIKE 'symlink%' THEN 'symlink'
    WHEN evt_type LIKE 'link%' THEN 'link'
    WHEN evt_type LIKE '%chmod%' THEN 'chmod'
    WHEN evt_type LIKE '%chown%' THEN 'chown'
    WHEN evt_is_open_create THEN 'create'
    WHEN event_argument(evt_arg, 'flags') LIKE '%O_TRUNC%' OR evt_type = 'creat' THEN 'truncate'
    ELSE 'write'
  END AS change,
  CASE
    WHEN evt_type LIKE 'open%' OR evt_type IN ('creat', 'io_uring_submit') THEN coalesce(fd_name_resolved, fd_name)
    ELSE coalesce(event_argument(evt_arg, 'newpath', 'linkpath', 'path', 'filename', 'pathname', 'name'), fd_name)
  END AS path,
  CASE
    WHEN evt_type LIKE 'rename%' OR evt_type LIKE 'link%' THEN event_argument(evt_arg, 'oldpath')
    WHEN evt_type LIKE 'symlink%' THEN event_argument(evt_arg, 'target')
  END AS path_before,
  CASE
    WHEN evt_type LIKE '%chown%' THEN event_argument(evt_arg, 'uid') || ':' || event_argument(evt_arg, 'gid')
    WHEN evt_type LIKE '%chmod%' OR evt_type LIKE 'mk%' THEN event_argument(evt_arg, 'mode')
    ELSE event_argument(evt_arg, 'flags')
  END AS detail,
  evt_failed IS NOT TRUE AS succeeded,
  evt_res, evt_type,
  (1 + coalesce(repeats, 0)) * coalesce(weight, 1) AS events,
  exec_id, proc_pid, proc_name, proc_exepath, proc_cmdline, user_uid, user_name, user_loginname,
  container_id, container_name, k8s_ns_name, k8s_pod_name
FROM syscalls_named
WHERE evt_type IN (
    'rename', 'renameat', 'renameat2', 'unlink', 'unlinkat', 'rmdir', 'mkdir', 'mkdirat', 'mknod', 'mknodat',
    'link', 'linkat', 'symlink', 'symlinkat',
    'chmod', 'fchmod', 'fchmodat', 'fchmodat2', 'chown', 'lchown', 'fchown', 'fchownat'
  )
  OR (
    evt_type IN ('open', 'openat', 'openat2', 'creat', 'open_by_handle_at', 'io_uring_submit')
    AND (evt_is_open_write OR evt_is_open_create)
  )
