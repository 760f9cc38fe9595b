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
    ("ka.req.configmap.name", "name"),
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
    ("ka.req.configmap.obj", "request_object/data"),
    ("ka.req.service.type", "request_object/spec/type"),
    ("ka.target.pod.name", "request_object/metadata/name"),
    ("ka.req.pod.host_ipc", "request_object/spec/hostIPC"),
    ("ka.req.pod.host_network", "request_object/spec/hostNetwork"),
    ("ka.req.container.host_network", "request_object/spec/hostNetwork"),
    ("ka.req.pod.host_pid", "request_object/spec/hostPID"),
    ("ka.req.pod.run_as_user", "request_object/spec/securityContext/runAsUser"),
    ("ka.req.pod.run_as_group", "request_object/spec/securityContext/runAsGroup"),
    ("ka.req.pod.fs_group", "request_object/spec/securityContext/fsGroup"),
    ("ka.req.container.image", "request_object/spec/containers/0/image"),
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
    ("ka.req.pod.supplemental_groups", "request_object/spec/securityContext/supplementalGroups/*"),
    ("ka.req.pod.volumes.hostpath", "request_object/spec/volumes/*/hostPath/path"),
    ("ka.req.pod.volumes.flexvolume_driver", "request_object/spec/volumes/*/flexVolume/driver"),
    ("ka.req.pod.volumes.volume_type", "request_object/spec/volumes/*"),
];

/// What is asked of each container, below `ka.req.pod.{containers,initContainers,ephemeralContainers}.`
const CONTAINER: &[(&str, &str)] = &[
    ("image", "image"),
    ("image.repository", "image"),
    ("host_port", "ports/*"),
    ("privileged", "securityContext/privileged"),
    ("allow_privilege_escalation", "securityContext/allowPrivilegeEscalation"),
    ("read_only_fs", "securityContext/readOnlyRootFilesystem"),
    ("run_as_user", "securityContext/runAsUser"),
    ("run_as_group", "securityContext/runAsGroup"),
    ("eff_run_as_user", ""),
    ("eff_run_as_group", ""),
    ("proc_mount", "securityContext/procMount"),
    ("add_capabilities", "securityContext/capabilities/add/*"),
];

pub(super) const UNFILLED: &[&str] = &[
    "evt.plugininfo",
    "jevt.obj",
    "json.obj",
    "ka.auth.openshift.decision",
    "ka.auth.openshift.username",
    "ka.validations.admission.policy.failure",
];

/// Lists of a body of which an index picks one element.
const INDEXED: &[&str] = &["ka.req.role.rules.", "ka.req.service.ports", "ka.req.pod.volumes."];

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
    if let Some(found) = with_argument(name, arg).or_else(|| of_lists(name, arg)) {
        return found;
    }
    let Some(found) = without_argument(name) else {
        return if UNFILLED.contains(&name) { Lookup::Unfilled } else { Lookup::Unknown };
    };
    if arg.is_some() { Lookup::BadArgument("the field takes no argument") } else { Lookup::Filled(found) }
}

fn without_argument(name: &str) -> Option<Access> {
    if let Some((_, column)) = TEXT.iter().find(|(field, _)| *field == name) {
        return Some(Access::Text(column));
    }
    if let Some((_, path)) = BODY.iter().find(|(field, _)| *field == name) {
        return Some(Access::Json(path_of(path, JsonForm::AsIs)));
    }
    Some(match name {
        "ka.response.code" => Access::IntText("code"),
        "ka.user.groups" => Access::List("user_groups"),
        "ka.sourceips" => Access::List("source_ips"),
        // Names from before pods had several containers.
        "ka.req.container.image.repository" => {
            Access::Json(path_of("request_object/spec/containers/0/image", JsonForm::Repository))
        }
        "ka.req.container.privileged" => {
            let path = "request_object/spec/containers/*/securityContext/privileged";
            Access::JsonAny(path_of(path, JsonForm::AsIs))
        }
        "jevt.rawtime" | "json.rawtime" | "evt.rawtime" => Access::TimeNs("time"),
        "evt.rawtime.s" => Access::TimeSeconds("time"),
        "evt.rawtime.ns" => Access::TimeRest("time"),
        "jevt.time" | "json.time" | "evt.time" => Access::TimeText("time", TimeForm::Clock),
        "evt.time.s" => Access::TimeText("time", TimeForm::ClockSeconds),
        "jevt.time.iso8601" | "json.time.iso8601" | "evt.time.iso8601" => {
            Access::TimeText("time", TimeForm::Iso8601)
        }
        "evt.datetime" => Access::TimeText("time", TimeForm::DateTime),
        "evt.datetime.s" => Access::TimeText("time", TimeForm::DateTimeSeconds),
        "evt.num" => Access::TimeNs("time"),
        "evt.source" => Access::Constant("k8s_audit"),
        "evt.pluginname" => Access::Constant("k8saudit"),
        "evt.is_async" => Access::Truth(false),
        "evt.asynctype" => Access::Nothing,
        _ => return None,
    })
}

/// Fields that have no meaning without an argument.
fn with_argument(name: &str, arg: Option<&str>) -> Option<Lookup> {
    let named = |what, make: &dyn Fn(String) -> Access| match arg {
        Some(arg) => Lookup::Filled(make(arg.to_owned())),
        None => Lookup::BadArgument(what),
    };
    Some(match name {
        "ka.uri.param" => named("the parameter's name is missing, e.g. ka.uri.param[command]", &|param| {
            Access::UriParam("request_uri", param)
        }),
        // Kept by Falco for old rules only, where it is true whatever is asked.
        "ka.req.binding.subject.has_name" => {
            named("the subject's name is missing", &|_| Access::Constant("true"))
        }
        "ka.req.volume.hostpath" => {
            let path = path_of("request_object/spec/volumes/*/hostPath/path", JsonForm::AsIs);
            named("the path is missing, e.g. ka.req.volume.hostpath[/etc]", &|wanted| {
                Access::JsonHas(path.clone(), wanted)
            })
        }
        "json.value" | "jevt.value" => pointer(arg),
        _ => return None,
    })
}

/// Lists in a body, whole or one element.
fn of_lists(name: &str, arg: Option<&str>) -> Option<Lookup> {
    let of_body = || {
        let (_, path) = BODY_LIST.iter().find(|(field, _)| *field == name)?;
        let form = if name.ends_with(".volume_type") { JsonForm::Keys } else { JsonForm::AsIs };
        let indexed = INDEXED.iter().any(|start| name.starts_with(start));
        Some(((*path).to_owned(), form, indexed))
    };
    let of_container = container(name).map(|(path, form)| (path, form, true));
    let (path, form, indexed) = of_container.or_else(of_body)?;
    let path = match arg {
        None => path,
        Some(arg) if indexed && arg.parse::<usize>().is_ok() => path.replacen("/*", &format!("/{arg}"), 1),
        Some(_) => return Some(Lookup::BadArgument("the argument must be an index, e.g. [0]")),
    };
    Some(Lookup::Filled(Access::JsonList(path_of(&path, form))))
}

/// What is asked of each container.
fn container(name: &str) -> Option<(String, JsonForm)> {
    let (kind, asked) = name.strip_prefix("ka.req.pod.")?.split_once('.')?;
    if !matches!(kind, "containers" | "initContainers" | "ephemeralContainers") {
        return None;
    }
    let (_, path) = CONTAINER.iter().find(|(field, _)| *field == asked)?;
    let form = match asked {
        "image.repository" => JsonForm::Repository,
        "host_port" => JsonForm::Port,
        "eff_run_as_user" => JsonForm::Effective("runAsUser"),
        "eff_run_as_group" => JsonForm::Effective("runAsGroup"),
        _ => JsonForm::AsIs,
    };
    let separator = if path.is_empty() { "" } else { "/" };
    Some((format!("request_object/spec/{kind}/*{separator}{path}"), form))
}

/// `jevt.value[/json/pointer]`: a column, or a way into a body or annotation.
fn pointer(arg: Option<&str>) -> Lookup {
    let Some(pointer) = arg.filter(|pointer| !pointer.is_empty()) else {
        return Lookup::BadArgument("a JSON pointer is missing, e.g. jevt.value[/stage]");
    };
    // Its first slash may be left out.
    let pointer = if pointer.starts_with('/') { pointer } else { &format!("/{pointer}") };
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
