//! Which container and pod a cgroup belongs to, read from its path alone.
//!
//! The path is known before the container's first instruction runs, so nothing
//! has to wait for a container runtime or for the Kubernetes API. Patterns:
//!
//! ```text
//!   containerd, systemd   …-pod<uid with _>.slice/cri-containerd-<64 hex>.scope
//!   containerd, cgroupfs  /kubepods/<qos>/pod<uid>/<64 hex>
//!   containerd, mixed     …-pod<uid>.slice:cri-containerd:<64 hex>
//!   cri-o                 crio-<64 hex>.scope, /crio-<64 hex>     never crio-conmon-…
//!   docker, podman        docker-<64 hex>.scope, /docker/<64 hex>, libpod-<64 hex>.scope
//! ```
//!
//! The outermost pod counts, and its outermost container: what is below them was
//! named by whoever runs inside, who may call it what they like. Outside of a
//! pod it is the outermost container, with one exception that the order gives: a
//! node that is itself a container (kind) has its pods below it.

/// The container id, and the runtime's name, of what runs outside of any.
pub(crate) const HOST: &str = "host";

/// Whose a cgroup is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Container {
    /// The full id, 64 hexadecimal digits, or [`HOST`].
    pub(crate) id: String,
    /// `containerd`, `cri-o`, `docker`, `podman` or [`HOST`].
    pub(crate) runtime: &'static str,
    /// The pod's uid as its cgroup names it, with dashes; a static pod's is the
    /// hash of its configuration, without. A pod's own cgroup has a uid and no
    /// container.
    pub(crate) pod_uid: Option<String>,
}

/// What a scope's or folder's name begins with, and whose it is then. The
/// longer of two that begin alike comes first.
const PREFIXES: [(&str, &str); 7] = [
    ("cri-containerd-", "containerd"),
    ("nerdctl-", "containerd"),
    ("crio-", "cri-o"),
    ("docker-", "docker"),
    ("libpod-payload-", "podman"),
    ("libpod-", "podman"),
    ("podman-", "podman"),
];

/// Whether a cgroup is its container's own and not one made inside it.
pub(crate) fn is_own_cgroup(cgroup_path: &str, container: &Container) -> bool {
    let parent = cgroup_path.rsplit_once('/').map_or("", |(parent, _)| parent);
    container.id != HOST && container_of(parent).id != container.id
}

/// Reads a cgroup's path, below the mount or as `/proc/<pid>/cgroup` shows it.
pub(crate) fn container_of(cgroup_path: &str) -> Container {
    let parts: Vec<&str> = cgroup_path.split('/').filter(|part| !part.is_empty()).collect();
    let pod = parts.iter().enumerate().find_map(|(at, part)| Some((at, pod_uid_in(part)?)));
    let (from, pod_uid) = pod.map_or((0, None), |(at, uid)| (at, Some(uid)));
    // A uid of a form that is not known is still a pod's, for the runtime's name.
    let in_pod = pod_uid.is_some() || parts.iter().any(|part| part.contains("kubepods"));
    let found = parts.iter().enumerate().skip(from).find_map(|(at, part)| {
        let parent = at.checked_sub(1).and_then(|at| parts.get(at)).copied().unwrap_or_default();
        container_in(part, parent, in_pod)
    });
    match found {
        Some((id, runtime)) => Container { id: id.to_ascii_lowercase(), runtime, pod_uid },
        None => Container { id: HOST.to_owned(), runtime: HOST, pod_uid },
    }
}

fn container_in<'a>(part: &'a str, parent: &str, in_pod: bool) -> Option<(&'a str, &'static str)> {
    if let Some((before, id)) = part.rsplit_once(':') {
        let runtime = before.rsplit(':').next()?;
        let known = PREFIXES.iter().find(|(prefix, _)| prefix.strip_suffix('-') == Some(runtime));
        return known.filter(|_| is_container_id(id)).map(|(_, name)| (id, *name));
    }
    let name = part.strip_suffix(".scope").unwrap_or(part);
    if is_container_id(name) {
        return Some((name, bare_runtime(parent, in_pod)));
    }
    PREFIXES.iter().find_map(|(prefix, runtime)| {
        let id = name.strip_prefix(prefix)?;
        is_container_id(id).then_some((id, *runtime))
    })
}

/// Who writes a bare id: runtimes that drive cgroups themselves. Below a pod that
/// is containerd, and below a namespace of containerd; elsewhere Docker, whatever
/// the parent folder that it was told to use.
fn bare_runtime(parent: &str, in_pod: bool) -> &'static str {
    match parent {
        "docker" => "docker",
        "libpod_parent" => "podman",
        "default" | "k8s.io" => "containerd",
        _ if in_pod => "containerd",
        _ => "docker",
    }
}

fn is_container_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `pod<uid>` alone, or after a dash at the end of a slice's name.
fn pod_uid_in(part: &str) -> Option<String> {
    part.match_indices("pod").find_map(|(at, found)| {
        let (before, rest) = (part.get(..at)?, part.get(at + found.len()..)?);
        let uid = rest.split(['.', ':']).next()?;
        let begins = before.is_empty() || before.ends_with('-');
        (begins && is_pod_uid(uid)).then(|| uid.replace('_', "-"))
    })
}

fn is_pod_uid(text: &str) -> bool {
    let hex_only = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_hexdigit);
    match text.as_bytes() {
        bytes if bytes.len() == 32 => hex_only(bytes),
        bytes if bytes.len() == 36 => bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => matches!(byte, b'-' | b'_'),
            _ => byte.is_ascii_hexdigit(),
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "5b1cc7e1d1a0c3a7d6d4e5f60718293a4b5c6d7e8f90123456789abcdef01234";
    const OTHER: &str = "0000000000000000000000000000000000000000000000000000000000000bad";
    const UID: &str = "3f2b8f0e-1c2d-4e5f-8a9b-0c1d2e3f4a5b";
    const UID_: &str = "3f2b8f0e_1c2d_4e5f_8a9b_0c1d2e3f4a5b";

    fn expect(path: &str, runtime: &str, pod: Option<&str>) {
        let found = container_of(path);
        let id = if runtime == HOST { HOST } else { ID };
        assert_eq!(
            (found.id.as_str(), found.runtime, found.pod_uid.as_deref()),
            (id, runtime, pod),
            "{path}"
        );
    }

    #[test]
    fn pods_of_every_runtime_and_cgroup_driver() {
        for (path, runtime) in [
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/cri-containerd-{ID}.scope"
                ),
                "containerd",
            ),
            (format!("/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{ID}.scope"), "containerd"),
            (format!("/kubepods/besteffort/pod{UID}/{ID}"), "containerd"),
            (format!("/kubepods/pod{UID}/{ID}"), "containerd"),
            (
                format!(
                    "/system.slice/containerd.service/kubepods-burstable-pod{UID_}.slice:cri-containerd:{ID}"
                ),
                "containerd",
            ),
            (format!("/kubepods.slice/kubepods-burstable-pod{UID_}.slice/crio-{ID}.scope"), "cri-o"),
            (format!("/kubepods/burstable/pod{UID}/crio-{ID}"), "cri-o"),
            (
                format!("/kubepods.slice/kubepods-burstable-pod{UID_}.slice/crio-{ID}.scope/container"),
                "cri-o",
            ),
            (format!("/kubepods.slice/kubepods-pod{UID_}.slice/docker-{ID}.scope"), "docker"),
            (
                format!(
                    "/docker/0123/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID_}.slice/cri-containerd-{ID}.scope"
                ),
                "containerd",
            ),
            (format!("/docker/{OTHER}/kubelet/kubepods/besteffort/pod{UID}/{ID}"), "containerd"),
            (
                format!(
                    "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{UID_}.slice/cri-containerd-{ID}.scope"
                ),
                "containerd",
            ),
            (format!("/system.slice/k3s.service/kubepods/besteffort/pod{UID}/{ID}"), "containerd"),
            (format!("/kubepods-burstable-pod{UID_}.slice:cri-containerd:{ID}"), "containerd"),
            (format!("/kubepods.slice/kubepods-pod{UID_}.slice:crio:{ID}"), "cri-o"),
            (format!("/kubepods.slice/kubepods-pod{UID_}.slice:docker:{ID}"), "docker"),
            (format!("/bailiwick-demo-1/kubepods/burstable/pod{UID}/{ID}"), "containerd"),
        ] {
            expect(&path, runtime, Some(UID));
        }
    }

    #[test]
    fn containers_without_a_pod() {
        for (path, runtime) in [
            (format!("/docker/{ID}"), "docker"),
            (format!("/system.slice/docker-{ID}.scope"), "docker"),
            (format!("/docker.slice/docker-{ID}.scope"), "docker"),
            (format!("/ecs/task/{ID}"), "docker"),
            (format!("/default/{ID}"), "containerd"),
            (format!("/user.slice/user-1000.slice/user@1000.service/libpod-{ID}"), "podman"),
            (
                format!(
                    "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container"
                ),
                "podman",
            ),
            (format!("/libpod_parent/libpod-{ID}"), "podman"),
            (format!("/libpod_parent/{ID}"), "podman"),
            (format!("/machine.slice/machine-libpod_pod_{OTHER}.slice/libpod-{ID}.scope"), "podman"),
            (
                format!("/system.slice/system-ceph.slice/ceph@mon.a.service/libpod-payload-{ID}.scope"),
                "podman",
            ),
            // A runtime inside of a container is inside of that container.
            (format!("/docker/{ID}/docker/{OTHER}"), "docker"),
            (format!("/machine.slice/libpod-{ID}.scope/container"), "podman"),
            (format!("/machine.slice/libpod-payload-{ID}"), "podman"),
            (format!("/user.slice/nerdctl-{ID}.scope"), "containerd"),
            (format!("/system.slice/docker-{ID}.scope/init.scope/system.slice/cron.service"), "docker"),
        ] {
            expect(&path, runtime, None);
        }
    }

    #[test]
    fn what_is_not_a_container() {
        for path in ["/", "", "/system.slice/ssh.service", "/kubepods.slice/kubepods-burstable.slice"] {
            expect(path, HOST, None);
        }
        let conmon = format!("/kubepods.slice/kubepods-pod{UID_}.slice/crio-conmon-{ID}.scope");
        expect(&conmon, HOST, Some(UID));
        expect(&format!("/kubepods/burstable/pod{UID}"), HOST, Some(UID));
        expect(&format!("/machine.slice/libpod-conmon-{ID}.scope"), HOST, None);
        expect(&format!("/machine.slice/libpod-{ID}{ID}.scope"), HOST, None);
        expect(&format!("/machine.slice/libpod-{}g.scope", &ID[1..]), HOST, None);
        expect(&format!("/x/docker-{}.scope", &ID[1..]), HOST, None);
        expect(&format!("/x/tripod{UID}"), HOST, None);
        expect("/user.slice/user-1000.slice/user@1000.service/init.scope", HOST, None);
    }

    /// Who can make cgroups inside of a container must not name others as theirs.
    #[test]
    fn what_is_made_inside_a_container_cannot_pass_for_another() {
        let pod = format!("/kubepods/burstable/pod{UID}/{ID}");
        let other = "11111111-1111-4111-8111-111111111111";
        for inside in [
            format!("kubepods/pod{other}/{OTHER}"),
            format!("docker/{OTHER}"),
            format!("kubepods-pod{other}.slice:cri-containerd:{OTHER}"),
        ] {
            expect(&format!("{pod}/{inside}"), "containerd", Some(UID));
        }
    }

    #[test]
    fn a_pod_uid_of_a_form_that_is_not_known_leaves_the_container() {
        expect(&format!("/kubepods/burstable/podkube-apiserver-1/{ID}"), "containerd", None);
    }

    #[test]
    fn a_static_pod_is_named_by_the_hash_of_its_configuration() {
        let hash = "0123456789abcdef0123456789abcdef";
        expect(&format!("/kubepods/burstable/pod{hash}/{ID}"), "containerd", Some(hash));
    }

    proptest! {
        #[test]
        fn no_path_is_too_strange(path in "\\PC*|[a-z0-9_:./-]{0,200}") {
            let found = container_of(&path);
            prop_assert!(found.id == HOST || is_container_id(&found.id));
            prop_assert_eq!(found.id == HOST, found.runtime == HOST);
        }

        #[test]
        fn a_cgroup_inside_a_container_is_the_containers(inside in "(/[a-z.-]{1,12}){0,4}") {
            let path = format!("/kubepods/pod{UID}/{ID}");
            prop_assert_eq!(container_of(&format!("{path}{inside}")), container_of(&path));
        }
    }
}
