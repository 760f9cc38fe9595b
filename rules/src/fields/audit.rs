//! The fields of API requests, over `api_access`: `ka.*` and `jevt.*`.

use super::{Access, JsonForm, JsonPath, Lookup, Step, TimeForm};

const TEXT: &[(&str, &str)] = &[
    ("ka.auditid", "audit_id"),
    ("ka.stage", "stage"),
    ("ka.auth.decision", "decision"),
    ("ka.auth.reason", "decision_reason"),
    ("ka.user.name", "user"),
    ("ka.impuser.name", "impersonated_user"),
    ("ka.verb", "verb"),
    ("ka.uri", "request_uri"),
    ("ka.target.name", "name"),
    ("ka.target.namespace", "namespace"),
    ("ka.target.resource", "resource"),
    ("ka.target.subresource", "subresource"),
    ("ka.response.reason", "reason"),
    ("ka.useragent", "user_agent"),
    ("ka.cluster.name", "cluster"),
];

/// Pointers into the audit event that name a column.
const POINTERS: &[(&str, &str)] = &[
    ("/auditID", "audit_id"),
    ("/stage", "stage"),
    ("/level", "level"),
    ("/verb", "verb"),
    ("/requestURI", "request_uri"),
    ("/user/username", "user"),
    ("/user/uid", "user_uid"),
    ("/impersonatedUser/username", "impersonated_user"),
    ("/userAgent", "user_agent"),
    ("/objectRef/resource", "resource"),
    ("/objectRef/subresource", "subresource"),
    ("/objectRef/namespace", "namespace"),
    ("/objectRef/name", "name"),
    ("/objectRef/uid", "obj_uid"),
    ("/objectRef/apiGroup", "api_group"),
    ("/objectRef/apiVersion", "api_version"),
    ("/responseStatus/reason", "reason"),
    ("/responseStatus/message", "message"),
];

/// One value in a body.
const BODY: &[(&str, &str)] = &[
    ("ka.resp.name", "response_object/metadata/name"),
    ("ka.req.binding.role", "request_object/roleRef/name"),
    ("ka.req.configmap.name", "request_object/metadata/name"),
    ("ka.req.configmap.obj", "request_object/data"),
    ("ka.req.service.type", "request_object/spec/type"),
    ("ka.target.pod.name", "request_object/metadata/name"),
];

/// Several values in a body: `*` is every element.
const BODY_LIST: &[(&str, &str)] = &[
    ("ka.req.binding.subjects", "request_object/subjects/*"),
    ("ka.req.role.rules", "request_object/rules/*"),
    ("ka.req.role.rules.apiGroups", "request_object/rules/*/apiGroups/*"),
    ("ka.req.role.rules.nonResourceURLs", "request_object/rules/*/nonResourceURLs/*"),
    ("ka.req.role.rules.verbs", "request_object/rules/*/verbs/*"),
    ("ka.req.role.rules.resources", "request_object/rules/*/resources/*"),
    ("ka.req.service.ports", "request_object/spec/ports/*"),
    ("ka.req.pod.host_ipc", "request_object/spec/hostIPC"),
    ("ka.req.pod.host_network", "request_object/spec/hostNetwork"),
    ("ka.req.pod.host_pid", "request_object/spec/hostPID"),
    ("ka.req.pod.run_as_user", "request_object/spec/securityContext/runAsUser"),
    ("ka.req.pod.run_as_group", "request_object/spec/securityContext/runAsGroup"),
    ("ka.req.pod.fs_group", "request_object/spec/securityContext/fsGroup"),
    ("ka.req.pod.supplemental_groups", "request_object/spec/securityContext/supplementalGroups/*"),
    ("ka.req.pod.volumes.hostpath", "request_object/spec/volumes/*/hostPath/path"),
    ("ka.req.pod.volumes.flexvolume_driver", "request_object/spec/volumes/*/flexVolume/driver"),
    ("ka.req.volume.hostpath", "request_object/spec/volumes/*/hostPath/path"),
];

/// What is asked of each container, below `ka.req.pod.{containers,initContainers,ephemeralContainers}.`
const CONTAINER: &[(&str, &str)] = &[
    ("image", "image"),
    ("image.repository", "image"),
    ("host_port", "ports/*/hostPort"),
    ("privileged", "securityContext/privileged"),
    ("allow_privilege_escalation", "securityContext/allowPrivilegeEscalation"),
    ("read_only_fs", "securityContext/readOnlyRootFilesystem"),
    ("run_as_user", "securityContext/runAsUser"),
    ("run_as_group", "securityContext/runAsGroup"),
    ("proc_mount", "securityContext/procMount"),
    ("add_capabilities", "securityContext/capabilities/add/*"),
];

const UNFILLED: &[&str] = &[
    "jevt.obj",
    "ka.auth.openshift.decision",
    "ka.auth.openshift.username",
    "ka.req.pod.containers.eff_run_as_user",
    "ka.req.pod.containers.eff_run_as_group",
    "ka.req.pod.volumes.volume_type",
    "ka.req.container.image",
    "ka.req.container.image.repository",
    "ka.req.container.privileged",
    "ka.req.container.host_network",
    "ka.validations.admission.policy.failure",
];

/// The keys of an `audit.k8s.io` event; what is below any other is never there.
const AUDIT_KEYS: &[&str] = &[
    "kind",
    "apiVersion",
    "metadata",
    "level",
    "timestamp",
    "auditID",
    "stage",
    "requestURI",
    "verb",
    "user",
    "impersonatedUser",
    "authenticationMetadata",
    "sourceIPs",
    "userAgent",
    "objectRef",
    "responseStatus",
    "requestObject",
    "responseObject",
    "requestReceivedTimestamp",
    "stageTimestamp",
    "annotations",
];

pub(super) fn lookup(name: &str, arg: Option<&str>) -> Lookup {
    if let Some((_, column)) = TEXT.iter().find(|(field, _)| *field == name) {
        return Lookup::Filled(Access::Text(column));
    }
    if let Some((_, path)) = BODY.iter().find(|(field, _)| *field == name) {
        return Lookup::Filled(Access::Json(path_of(path, JsonForm::AsIs)));
    }
    if let Some((_, path)) = BODY_LIST.iter().find(|(field, _)| *field == name) {
        return Lookup::Filled(Access::JsonList(path_of(path, JsonForm::AsIs)));
    }
    if let Some(access) = container(name) {
        return Lookup::Filled(access);
    }
    match name {
        "ka.response.code" => Lookup::Filled(Access::IntText("code")),
        "ka.user.groups" => Lookup::Filled(Access::List("user_groups")),
        "ka.sourceips" => Lookup::Filled(Access::List("source_ips")),
        "ka.uri.param" => match arg {
            Some(param) => Lookup::Filled(Access::UriParam("request_uri", param.to_owned())),
            None => Lookup::BadArgument("the parameter's name is missing, e.g. ka.uri.param[command]"),
        },
        "ka.req.binding.subject.has_name" => match arg {
            Some(_) => Lookup::Unfilled,
            None => Lookup::BadArgument("the subject's name is missing"),
        },
        "jevt.rawtime" | "evt.rawtime" => Lookup::Filled(Access::TimeNs("time")),
        "jevt.time" | "evt.time" => Lookup::Filled(Access::TimeText("time", TimeForm::Clock)),
        "jevt.time.iso8601" | "evt.time.iso8601" => {
            Lookup::Filled(Access::TimeText("time", TimeForm::Iso8601))
        }
        "evt.datetime" => Lookup::Filled(Access::TimeText("time", TimeForm::DateTime)),
        "evt.num" => Lookup::Filled(Access::TimeNs("time")),
        "json.value" | "jevt.value" => pointer(arg),
        _ if UNFILLED.contains(&name) => Lookup::Unfilled,
        _ => Lookup::Unknown,
    }
}

fn container(name: &str) -> Option<Access> {
    let (kind, asked) = name.strip_prefix("ka.req.pod.")?.split_once('.')?;
    if !matches!(kind, "containers" | "initContainers" | "ephemeralContainers") {
        return None;
    }
    let (_, path) = CONTAINER.iter().find(|(field, _)| *field == asked)?;
    let form = if asked == "image.repository" { JsonForm::Repository } else { JsonForm::AsIs };
    Some(Access::JsonList(path_of(&format!("request_object/spec/{kind}/*/{path}"), form)))
}

/// `jevt.value[/json/pointer]`: a column, or a way into a body or annotation.
fn pointer(arg: Option<&str>) -> Lookup {
    let Some(pointer) = arg.filter(|pointer| pointer.starts_with('/')) else {
        return Lookup::BadArgument("a JSON pointer is missing, e.g. jevt.value[/stage]");
    };
    if let Some((_, column)) = POINTERS.iter().find(|(known, _)| *known == pointer) {
        return Lookup::Filled(Access::Text(column));
    }
    if pointer == "/responseStatus/code" {
        return Lookup::Filled(Access::IntText("code"));
    }
    let indexed = |prefix: &str| pointer.strip_prefix(prefix).and_then(|index| index.parse::<usize>().ok());
    if let Some(index) = indexed("/sourceIPs/") {
        return Lookup::Filled(Access::Element("source_ips", index));
    }
    if let Some(index) = indexed("/user/groups/") {
        return Lookup::Filled(Access::Element("user_groups", index));
    }
    for (prefix, column) in [
        ("/requestObject", "request_object"),
        ("/responseObject", "response_object"),
        ("/annotations", "annotations"),
        ("/user/extra", "user_extra"),
    ] {
        let Some(rest) = pointer.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
        else {
            continue;
        };
        let steps = rest.split('/').skip(1).map(|step| Step::Key(step.replace("~1", "/").replace("~0", "~")));
        return Lookup::Filled(Access::Json(JsonPath {
            column,
            steps: steps.collect(),
            form: JsonForm::AsIs,
        }));
    }
    let key = pointer.split('/').nth(1).unwrap_or_default();
    if AUDIT_KEYS.contains(&key) { Lookup::Unfilled } else { Lookup::Filled(Access::Nothing) }
}

/// A path as written in the tables above; its first part is the column.
fn path_of(path: &str, form: JsonForm) -> JsonPath {
    let mut parts = path.split('/');
    let column = match parts.next() {
        Some("response_object") => "response_object",
        _ => "request_object",
    };
    let step = |part: &str| match part {
        "*" => Step::Each,
        key => Step::Key(key.to_owned()),
    };
    JsonPath { column, steps: parts.map(step).collect(), form }
}
