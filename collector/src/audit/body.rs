//! What rules and people need out of request bodies, so that they need not parse them.

use serde_json::Value;

/// What was found; `None` and empty where the body holds nothing of the kind.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Extract {
    pub(super) pod: Option<PodSpec>,
    pub(super) role_verbs: Vec<String>,
    pub(super) role_resources: Vec<String>,
    pub(super) binding_role: Option<String>,
    pub(super) binding_subjects: Vec<String>,
    /// `PodExecOptions`, which some clients send as a body instead of a query.
    pub(super) command: Vec<String>,
    pub(super) container: Option<String>,
}

/// A pod's specification, wherever in a body it was.
#[derive(Debug, Default, PartialEq)]
pub(super) struct PodSpec {
    pub(super) images: Vec<String>,
    pub(super) privileged: bool,
    pub(super) host_network: bool,
    pub(super) host_pid: bool,
    pub(super) host_ipc: bool,
    pub(super) hostpaths: Vec<String>,
    pub(super) added_caps: Vec<String>,
}

/// Where pod specifications are: in a pod, in what makes pods, in what makes those.
const POD_SPECS: [&str; 4] =
    ["/spec/template/spec", "/spec/jobTemplate/spec/template/spec", "/template/spec", "/spec"];
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];
/// Keys that only a pod's specification has, for patches that name no container.
const HOST_KEYS: [&str; 3] = ["hostNetwork", "hostPID", "hostIPC"];

/// Looks into a request's body. `resource` is the request's, e.g. `pods`.
pub(super) fn extract(resource: &str, body: &Value) -> Extract {
    let mut found = Extract { pod: pod_spec(body).map(PodSpec::of), ..Extract::default() };
    match resource {
        "roles" | "clusterroles" => {
            found.role_verbs = of_all_rules(body, "verbs");
            found.role_resources = of_all_rules(body, "resources");
        }
        "rolebindings" | "clusterrolebindings" => {
            found.binding_role = text(&body["roleRef"]["name"]);
            found.binding_subjects = items(&body["subjects"]).filter_map(subject).collect();
        }
        "pods" => {
            found.command = texts(&body["command"]).collect();
            found.container = text(&body["container"]);
        }
        _ => {}
    }
    found
}

fn pod_spec(body: &Value) -> Option<&Value> {
    let is_spec = |spec: &&Value| {
        CONTAINERS.iter().any(|key| spec[key].is_array())
            || HOST_KEYS.iter().any(|key| spec[key].is_boolean())
            || items(&spec["volumes"]).any(|volume| volume["hostPath"].is_object())
    };
    POD_SPECS.iter().filter_map(|place| body.pointer(place)).find(is_spec)
}

fn of_all_rules(body: &Value, key: &str) -> Vec<String> {
    distinct(items(&body["rules"]).flat_map(|rule| texts(&rule[key])))
}

/// `kind:namespace/name`, or `kind:name` for what has no namespace.
fn subject(subject: &Value) -> Option<String> {
    let kind = subject["kind"].as_str()?;
    let name = subject["name"].as_str()?;
    Some(match subject["namespace"].as_str().filter(|namespace| !namespace.is_empty()) {
        Some(namespace) => format!("{kind}:{namespace}/{name}"),
        None => format!("{kind}:{name}"),
    })
}

// === impl PodSpec ===

impl PodSpec {
    fn of(spec: &Value) -> Self {
        let containers = || CONTAINERS.iter().flat_map(|key| items(&spec[key]));
        let context = |container: &Value, pointer: &str| {
            container.pointer(&format!("/securityContext/{pointer}")).cloned().unwrap_or_default()
        };
        Self {
            images: distinct(containers().filter_map(|container| text(&container["image"]))),
            privileged: containers().any(|container| context(container, "privileged") == Value::Bool(true)),
            host_network: spec["hostNetwork"] == Value::Bool(true),
            host_pid: spec["hostPID"] == Value::Bool(true),
            host_ipc: spec["hostIPC"] == Value::Bool(true),
            hostpaths: distinct(
                items(&spec["volumes"]).filter_map(|volume| text(&volume["hostPath"]["path"])),
            ),
            added_caps: distinct(
                containers()
                    .flat_map(|container| texts(&context(container, "capabilities/add")).collect::<Vec<_>>()),
            ),
        }
    }
}

// === small views of JSON that may be anything ===

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn texts(value: &Value) -> impl Iterator<Item = String> {
    items(value).filter_map(text)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(ToOwned::to_owned)
}

/// In the order of first appearance. Bodies are bounded by the reader's limits.
fn distinct(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    texts.filter(|text| seen.insert(text.clone())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn dangerous() -> Value {
        json!({
            "hostNetwork": true, "hostPID": true, "hostIPC": false,
            "volumes": [{"name": "a", "emptyDir": {}}, {"name": "r", "hostPath": {"path": "/"}}],
            "containers": [
                {"name": "a", "image": "nginx:1"},
                {"name": "b", "image": "busybox", "securityContext":
                    {"privileged": true, "capabilities": {"add": ["SYS_ADMIN", "NET_RAW"]}}}
            ],
            "initContainers": [{"image": "nginx:1", "securityContext": {"capabilities": {"add": ["NET_RAW"]}}}]
        })
    }

    #[test]
    fn a_pod_is_found_in_whatever_makes_it() {
        let pod = PodSpec {
            images: vec!["nginx:1".into(), "busybox".into()],
            privileged: true,
            host_network: true,
            host_pid: true,
            host_ipc: false,
            hostpaths: vec!["/".into()],
            added_caps: vec!["SYS_ADMIN".into(), "NET_RAW".into()],
        };
        for (resource, body) in [
            ("pods", json!({"spec": dangerous()})),
            ("deployments", json!({"spec": {"replicas": 2, "template": {"spec": dangerous()}}})),
            ("cronjobs", json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": dangerous()}}}}})),
            ("podtemplates", json!({"template": {"spec": dangerous()}})),
        ] {
            assert_eq!(extract(resource, &body).pod.as_ref(), Some(&pod), "{resource}");
        }
    }

    #[test]
    fn a_patch_without_containers_still_shows_host_access() {
        let body = json!({"spec": {"template": {"spec": {"hostPID": true}}}});
        assert!(extract("deployments", &body).pod.unwrap().host_pid);
    }

    #[test]
    fn roles_and_bindings() {
        let role = json!({"rules": [
            {"verbs": ["get", "list"], "resources": ["secrets"], "apiGroups": [""]},
            {"verbs": ["*", "get"], "resources": ["*"]}
        ]});
        let found = extract("clusterroles", &role);
        assert_eq!(found.role_verbs, ["get", "list", "*"]);
        assert_eq!(found.role_resources, ["secrets", "*"]);

        let binding = json!({
            "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "namespace": "dev", "name": "ci"},
                         {"kind": "User", "name": "jane"}, {"kind": "Group"}, 7]
        });
        let found = extract("clusterrolebindings", &binding);
        assert_eq!(found.binding_role.as_deref(), Some("cluster-admin"));
        assert_eq!(found.binding_subjects, ["ServiceAccount:dev/ci", "User:jane"]);
    }

    #[test]
    fn what_is_no_pod_has_none() {
        for body in
            [json!({"spec": {"type": "NodePort"}}), json!([{"op": "add"}]), json!("text"), Value::Null]
        {
            assert_eq!(extract("services", &body), Extract::default());
        }
    }
}
