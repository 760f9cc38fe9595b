//! Recorded machines, judged; and this one, probed.

use super::*;

/// The machine that the release was made on: root, everything but three optional kinds.
fn this_kernel() -> Facts {
    use Part::*;
    let works =
        [Btf, RingBuffer, RawTracepoint, TypedTracepoint, TailCall, TaskIterator, CgroupSkb, IoUring, Loop];
    let mut attempts: BTreeMap<_, _> = works.map(|part| (part, Attempt::Works)).into();
    attempts.insert(CallTracepoints, Attempt::Works);
    attempts.extend([Fentry, Lsm].map(|part| (part, Attempt::Refused(libc::EPERM))));
    attempts.insert(Kprobe, Attempt::Absent);
    Facts {
        release: "6.18.44".into(),
        machine: "x86_64".into(),
        attempts,
        lockdown: Some("integrity".into()),
        security_modules: Some("lockdown,capability,landlock,bpf".into()),
        tracefs: Some("/sys/kernel/tracing".into()),
        bpffs: Some("/sys/fs/bpf".into()),
        cgroup_v2: Some("/sys/fs/cgroup/unified".into()),
        cgroup_v1: vec!["cpu".into(), "memory".into()],
        runs_32_bit: true,
        uid: 0,
        capabilities: Capabilities::of_status("CapEff:\t000001fffeffffff", "CapEff").unwrap(),
        memlock_bytes: Some(8 << 20),
        sees_all_processes: true,
        runtimes: vec![("containerd", "/run/containerd/containerd.sock".into())],
    }
}

/// The oldest that the core is said to work on, in a pod with the manifest's capabilities.
fn oldest_kernel() -> Facts {
    let mut facts = this_kernel();
    facts.release = "5.8.0-63-generic".into();
    facts.attempts.extend([Part::Fentry, Part::Lsm].map(|part| (part, Attempt::Refused(libc::EINVAL))));
    facts
        .attempts
        .extend([Part::Loop, Part::IoUring, Part::CallTracepoints].map(|part| (part, Attempt::Absent)));
    facts.lockdown = None;
    facts.security_modules = None;
    facts.tracefs = None;
    facts.capabilities = Capabilities::BPF
        .and(Capabilities::PERFMON)
        .and(Capabilities::SYS_PTRACE)
        .and(Capabilities::DAC_READ_SEARCH);
    facts.memlock_bytes = Some(64 << 10);
    facts.runtimes = Vec::new();
    facts
}

/// The same machine for somebody who may nothing.
fn unprivileged() -> Facts {
    let mut facts = this_kernel();
    for (part, attempt) in &mut facts.attempts {
        let by_looking = [Part::Btf, Part::IoUring, Part::Loop, Part::Kprobe].contains(part);
        *attempt = if by_looking { *attempt } else { Attempt::Refused(libc::EPERM) };
    }
    facts.attempts.insert(Part::CallTracepoints, Attempt::Absent);
    (facts.uid, facts.capabilities, facts.tracefs) = (1_000, Capabilities::NONE, None);
    (facts.lockdown, facts.security_modules) = (None, None);
    facts
}

fn told(facts: &Facts) -> String {
    let features = judge(facts);
    let line = |feature: &Feature| {
        let Feature { section, name, state, need, found, .. } = feature;
        format!("{section:?} | {name} | {state:?} | {need:?} | {found}")
    };
    let lines: Vec<String> = features.iter().map(line).collect();
    format!("{:?}\n{}", verdict(&features), lines.join("\n"))
}

#[test]
fn machines_are_judged() {
    insta::assert_snapshot!("this_kernel", told(&this_kernel()));
    insta::assert_snapshot!("oldest_kernel", told(&oldest_kernel()));
    insta::assert_snapshot!("unprivileged", told(&unprivileged()));
}

#[test]
fn the_core_needs_all_of_its_parts() {
    for part in [Part::Btf, Part::RingBuffer, Part::RawTracepoint, Part::TypedTracepoint, Part::TailCall] {
        let mut facts = this_kernel();
        facts.attempts.insert(part, Attempt::Refused(libc::EINVAL));
        assert_eq!(verdict(&judge(&facts)), Verdict::NotSupported, "{part:?}");
    }
    let mut facts = this_kernel();
    facts.lockdown = Some("confidentiality".into());
    assert_eq!(verdict(&judge(&facts)), Verdict::NotSupported);
    for release in ["5.7.19", "4.19.0-1-amd64"] {
        assert_eq!(
            verdict(&judge(&Facts { release: release.into(), ..this_kernel() })),
            Verdict::NotSupported
        );
    }
    let facts = Facts { capabilities: Capabilities::SYS_PTRACE, ..this_kernel() };
    assert_eq!(verdict(&judge(&facts)), Verdict::NotPermitted);
    let facts = Facts { capabilities: Capabilities::SYS_ADMIN, ..this_kernel() };
    assert_eq!(verdict(&judge(&facts)), Verdict::Able);
}

/// Everything that is missing says what to do about it.
#[test]
fn what_is_missing_says_how_to_get_it() {
    for facts in [oldest_kernel(), unprivileged(), Facts::default()] {
        for feature in judge(&facts).iter().filter(|feature| feature.need == Need::Core) {
            assert!(feature.state == State::Yes || !feature.how_to_get_it.is_empty(), "{feature:?}");
        }
    }
}

/// Goal: probing tells of this kernel what the loader finds to be so.
#[test]
fn this_machine_can_be_probed() {
    let facts = probe();
    let named = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(facts.release, named.trim());
    if !facts.capabilities.may_load() || facts.attempts[&Part::Btf] != Attempt::Works {
        println!("skipped: needs root and a kernel with BTF");
        assert!(std::env::var_os("BAILIWICK_REQUIRE_KERNEL").is_none());
        return;
    }
    assert_eq!(verdict(&judge(&facts)), Verdict::Able, "{facts:#?}");
}

/// Goal: probing leaves nothing open, so nothing loaded. Method: descriptors of
/// a process that does nothing else.
#[test]
fn probing_leaves_nothing_behind() {
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    alone.args(["--exact", "features::tests::probes_alone", "--ignored"]);
    let output = alone.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

/// Not a test of its own: the other half of the one above.
#[test]
#[ignore = "another test runs it in a process of its own"]
fn probes_alone() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    assert_eq!(probe(), probe());
    assert_eq!(open(), before);
}
