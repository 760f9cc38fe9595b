//! `api_access`: Kubernetes audit names, flattened, and what rules need from bodies.
//!
//! Source of the names: `audit.k8s.io/v1` `Event` of kubernetes/apiserver.

use super::Column;
use super::Kind::{Bool, Int, Text, TextList, Time};

#[rustfmt::skip]
pub(super) const COLUMNS: &[Column] = &[
    // Where and when.
    Column::new("time", Time, "when the API server received the request"),
    Column::new("node", Text, "where the collector that read it runs"),
    Column::new("cluster", Text, "the cluster's name as configured"),
    Column::new("source", Text, "`file`, `webhook` or `replay`"),
    Column::new("stage_time", Time, "when this stage was reached"),
    Column::new("latency_us", Int, "from receipt to this stage, microseconds"),
    Column::new("audit_id", Text, "the request's audit id; a client may set it, so it is unique only with cluster and stage"),
    Column::new("stage", Text, "`RequestReceived`, `ResponseStarted`, `ResponseComplete` or `Panic`"),
    Column::new("level", Text, "`Metadata`, `Request` or `RequestResponse`"),
    // The request.
    Column::new("verb", Text, "`get`, `list`, `create`, ..."),
    Column::new("request_uri", Text, "path and query as sent"),
    Column::new("api_group", Text, "the object's API group, empty for core"),
    Column::new("api_version", Text, "the object's API version"),
    Column::new("resource", Text, "`pods`, `secrets`, ..."),
    Column::new("subresource", Text, "`exec`, `log`, ..."),
    Column::new("namespace", Text, "the object's namespace"),
    Column::new("name", Text, "the object's name"),
    Column::new("obj_uid", Text, "the object's uid"),
    // Who asked.
    Column::new("user", Text, "the authenticated user"),
    Column::new("user_uid", Text, "the user's uid"),
    Column::new("user_groups", TextList, "the user's groups"),
    Column::new("user_extra", Text, "further attributes, JSON"),
    Column::new("sa_namespace", Text, "the service account's namespace, if the user is one"),
    Column::new("sa_name", Text, "the service account's name, if the user is one"),
    Column::new("impersonated_user", Text, "whom the user acted as"),
    Column::new("impersonated_groups", TextList, "the groups the user acted with"),
    Column::new("source_ips", TextList, "addresses as reported; all but the last can be forged"),
    Column::new("client_ip", Text, "the last of `source_ips`"),
    Column::new("user_agent", Text, "as the client names itself, not to be trusted"),
    // The answer.
    Column::new("code", Int, "HTTP status code"),
    Column::new("reason", Text, "the status reason, e.g. `Forbidden`"),
    Column::new("message", Text, "the status message"),
    Column::new("decision", Text, "`allow` or `forbid`, from the authorization annotation"),
    Column::new("decision_reason", Text, "why, from the authorization annotation"),
    Column::new("annotations", Text, "all annotations, JSON"),
    Column::new("truncated", Bool, "the API server dropped the bodies for size"),
    Column::new("request_object", Text, "the request's body, JSON"),
    Column::new("response_object", Text, "the response's body, JSON"),
    // Extracted on arrival, so that rules and people need not parse bodies.
    Column::new("exec_command", TextList, "exec and attach: the command, from the query string"),
    Column::new("container", Text, "exec, attach, log: the container, from the query string"),
    Column::new("images", TextList, "pod specs: images of all containers"),
    Column::new("pod_privileged", Bool, "pod specs: some container is privileged"),
    Column::new("pod_host_network", Bool, "pod specs: hostNetwork"),
    Column::new("pod_host_pid", Bool, "pod specs: hostPID"),
    Column::new("pod_host_ipc", Bool, "pod specs: hostIPC"),
    Column::new("pod_hostpaths", TextList, "pod specs: host paths mounted"),
    Column::new("pod_added_caps", TextList, "pod specs: capabilities added"),
    Column::new("role_verbs", TextList, "roles: all verbs of all rules"),
    Column::new("role_resources", TextList, "roles: all resources of all rules"),
    Column::new("binding_role", Text, "bindings: the role granted"),
    Column::new("binding_subjects", TextList, "bindings: to whom, as kind:namespace/name"),
];
