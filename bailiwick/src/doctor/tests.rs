use std::collections::BTreeMap;

use bailiwick_collector::capabilities::Capabilities;
use bailiwick_collector::features::{Attempt, Facts, Part, judge, verdict};

use super::*;

fn check(name: &str, state: State, found: &str, how_to_get_it: &str) -> Check {
    Check { name: name.into(), state, found: found.into(), how_to_get_it: how_to_get_it.into() }
}

/// A machine of which only this much is known.
fn facts(attempts: &[(Part, Attempt)], capabilities: &str) -> Facts {
    use Part::{Btf, RawTracepoint, RingBuffer, TailCall, TypedTracepoint};
    let core = [Btf, RingBuffer, RawTracepoint, TypedTracepoint, TailCall];
    let mut all: BTreeMap<_, _> = core.map(|part| (part, Attempt::Works)).into();
    all.extend(attempts.iter().copied());
    Facts {
        release: "6.1.0-18-amd64".into(),
        machine: "x86_64".into(),
        attempts: all,
        cgroup_v2: Some("/sys/fs/cgroup".into()),
        capabilities: Capabilities::of_status(&format!("CapEff:\t{capabilities}"), "CapEff").unwrap(),
        ..Facts::default()
    }
}

fn report(facts: &Facts, source: Check) -> Report {
    let features = judge(facts);
    Report {
        verdict: verdict(&features),
        features,
        sources: vec![source, check("replay", State::Unknown, "turn on with collector.replay.path", "")],
        bucket: check("bucket", State::Unknown, "/srv/b is not there yet; a start makes it", ""),
        refusal: None,
        wants_syscalls: true,
        clients: vec![check(
            "PostgreSQL",
            State::Unknown,
            "nobody listens at 127.0.0.1:4154",
            "bailiwick up, or serve",
        )],
    }
}

#[test]
fn a_report_is_read_by_people_and_programs() {
    let works = check("system calls", State::Yes, "exec, fork, exit", "");
    let able = report(&facts(&[(Part::Fentry, Attempt::Refused(libc::EPERM))], "000001ffffffffff"), works);
    insta::assert_snapshot!("able", text::of(&able));
    assert!(able.outcome().is_ok());
    let json = serde_json::to_value(&able).unwrap();
    assert_eq!(json["verdict"], "able");
    let btf = json["features"].as_array().unwrap().iter().find(|feature| feature["name"] == "BTF").unwrap();
    assert_eq!((&btf["state"], &btf["need"]), (&"yes".into(), &"core".into()));
    assert_eq!(json["sources"][1]["state"], "unknown");
}

#[test]
fn what_the_core_lacks_decides_how_it_ends() {
    let missing = || check("system calls", State::No, "no privilege", "run it as root");
    let unprivileged = [Part::RingBuffer, Part::RawTracepoint, Part::TypedTracepoint, Part::TailCall];
    let unprivileged = unprivileged.map(|part| (part, Attempt::Refused(libc::EPERM)));
    let report_of = |facts: &Facts| report(facts, missing());
    let unprivileged = report_of(&facts(&unprivileged, "0000000000000000"));
    insta::assert_snapshot!("unprivileged", text::of(&unprivileged));
    let told = |report: &Report| report.outcome().unwrap_err();
    assert_eq!(told(&unprivileged).exit_status(), 77, "{:?}", told(&unprivileged));
    let old = report_of(&facts(&[(Part::Btf, Attempt::Refused(libc::ENOENT))], "000001ffffffffff"));
    assert_eq!(told(&old).exit_status(), 71);
    assert!(told(&old).to_string().contains("BTF"));
    // All the core needs is there, and yet the source did not start.
    let odd = report_of(&facts(&[], "000001ffffffffff"));
    assert_eq!(told(&odd).exit_status(), 1);
}

#[test]
fn the_bucket_ends_it_with_its_own_code() {
    let works = || check("system calls", State::Yes, "exec, fork, exit", "");
    let mut report = report(&facts(&[(Part::Btf, Attempt::Refused(libc::ENOENT))], "0"), works());
    for refusal in [Failure::config("s3://b: no such bucket"), Failure::unavailable("s3://b: no answer")] {
        report.bucket = check("bucket", State::No, &refusal.to_string(), "");
        report.refusal = Some(refusal.clone());
        let told = report.outcome().unwrap_err();
        assert_eq!((told.exit_status(), told.to_string()), (refusal.exit_status(), refusal.to_string()));
    }
}

#[test]
fn a_kernel_that_nobody_asks_for_is_no_failure() {
    let off = check("system calls", State::Unknown, "turn on with …", "");
    let mut report = report(&facts(&[(Part::Btf, Attempt::Refused(libc::ENOENT))], "0"), off);
    assert_eq!(report.outcome().unwrap_err().exit_status(), 71);
    report.wants_syscalls = false;
    assert!(report.outcome().is_ok());
}
