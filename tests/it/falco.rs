//! Falco's official rules over what really happens here: its own end-to-end
//! suite, and the actions of its event generator.
//!
//! ```text
//!   suite/*.yaml ─ cases ─┐        a sandbox: an overlay of this root,
//!                         ├─ steps ─▶ bare, or as a container (runc) ─▶ kernel ─▶ bailiwick up
//!   actions (a table) ────┘                                                         │ official rules
//!                                     every case's rule must be among the alerts ◀──┘
//! ```
//!
//! The rule files and the suite are Falco's and lie beside this project; where
//! they do not, the tests say that they are skipped.

#![cfg(target_arch = "x86_64")]

mod actions;
mod sandbox;
mod suite;

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Map, Value};

use crate::harness::cgroup::Cgroup;
use crate::harness::{PATIENCE, Up, skip};
use sandbox::Sandbox;

/// One thing that is done, and the alert that must follow.
pub(crate) struct Case {
    /// For whoever reads a failure.
    pub(crate) name: String,
    pub(crate) rule: String,
    /// What the alert's fields must say.
    pub(crate) fields: Map<String, Value>,
}

/// The rules that Falco calls stable and incubating.
const RULES: [&str; 2] = ["rules_official/falco_rules.yaml", "rules_official/falco-incubating_rules.yaml"];

/// How often one looks for alerts before what has none is done again.
const LOOKS_BEFORE_AGAIN: u32 = 10;

/// A file or folder of the corpus; prints why there is none.
fn corpus(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora/falco").join(name);
    (!skip::without_corpus(&path)).then_some(path)
}

/// The binary with the official rules, if everything that this takes is here.
fn started(dir: &Path) -> Option<Up> {
    if skip::without_kernel() || skip::without_containers() {
        return None;
    }
    let rules: Option<Vec<PathBuf>> = RULES.into_iter().map(corpus).collect();
    Some(started_with(dir, &rules?))
}

/// The binary with these rules, or with its own.
fn started_with(dir: &Path, rules: &[PathBuf]) -> Up {
    let config = format!(
        "[ingest]\nlisten = \"127.0.0.1:0\"\n[query]\nhttp_listen = \"127.0.0.1:0\"\n\
         pgwire_listen = \"127.0.0.1:0\"\n[collector.webhook]\nlisten = \"127.0.0.1:0\"\n\
         [collector.syscalls]\nenvironment = true\n[detect]\nmatching = \"all\"\nrules_files = {rules:?}\n"
    );
    std::fs::write(dir.join("bailiwick.toml"), config).unwrap();
    Up::start(dir, &[])
}

/// Every alert so far: its rule, and its fields.
fn alerts(up: &Up) -> Vec<(String, Map<String, Value>)> {
    let rows = up.rows("SELECT rule, output_fields FROM alerts");
    let alert = |row: Vec<Value>| {
        let fields = serde_json::from_str(row[1].as_str().unwrap()).unwrap();
        (row[0].as_str().unwrap().to_owned(), fields)
    };
    rows.into_iter().map(alert).collect()
}

fn is_told(alerts: &[(String, Map<String, Value>)], case: &Case) -> bool {
    let fits =
        |fields: &Map<String, Value>| case.fields.iter().all(|(name, value)| fields.get(name) == Some(value));
    alerts.iter().any(|(rule, fields)| *rule == case.rule && fits(fields))
}

/// Waits until every case has its alert. While the collector says that it did not
/// see everything, because others keep this machine busy, what is missing is done
/// `again`.
fn all_are_told(up: &Up, cases: &[Case], again: &dyn Fn(&str)) {
    let began = Instant::now();
    let (mut lost, mut looks) = (0, 0);
    loop {
        let told = alerts(up);
        let missing: Vec<_> = cases.iter().filter(|case| !is_told(&told, case)).collect();
        if missing.is_empty() {
            break;
        }
        let lines: Vec<_> = missing
            .iter()
            .map(|case| format!("{}: {:?} {}", case.name, case.rule, nearest(&told, case)))
            .collect();
        assert!(
            began.elapsed() < PATIENCE,
            "{} of {} without an alert:\n{}\nlosses: {:?}",
            lines.len(),
            cases.len(),
            lines.join("\n"),
            // What was not seen can raise nothing.
            up.rows("SELECT lane, class, reason, sum(count) FROM losses GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"),
        );
        std::thread::sleep(std::time::Duration::from_millis(500));
        looks += 1;
        let now = up.count("SELECT coalesce(sum(count), 0) FROM losses");
        // Alerts of what was done last have had their time.
        if looks % LOOKS_BEFORE_AGAIN == 0 && now > lost {
            lost = now;
            missing.iter().for_each(|case| again(&case.name));
        }
    }
    println!("{} cases have their alert", cases.len());
}

/// The fields of some alert of the same rule, for whoever reads a failure.
fn nearest(told: &[(String, Map<String, Value>)], case: &Case) -> String {
    let same: Vec<_> = told.iter().filter(|(rule, _)| *rule == case.rule).collect();
    let wanted = Value::Object(case.fields.clone());
    match same.last() {
        None => format!("wants {wanted}, no alert of the rule"),
        Some((_, fields)) => format!("wants {wanted}, {} others, e.g. {fields:?}", same.len()),
    }
}

/// Goal: Falco's own end-to-end suite finds here what it finds with Falco.
#[test]
fn falcos_own_suite() {
    let dir = tempfile::tempdir().unwrap();
    let Some(folder) = corpus("evtgen_suite") else { return };
    let Some(up) = started(dir.path()) else { return };
    let sandbox = Sandbox::new();
    let cases = suite::perform(&folder, &sandbox);
    all_are_told(&up, &cases, &|_| {});
    up.terminate();
}

/// Goal: what Falco's event generator does to set off a rule sets it off here.
#[test]
fn the_event_generators_actions() {
    let dir = tempfile::tempdir().unwrap();
    let Some(list) = corpus("event_generator_actions.json") else { return };
    let Some(up) = started(dir.path()) else { return };
    let sandbox = Sandbox::new();
    let cases = actions::perform(&list, &sandbox);
    all_are_told(&up, &cases, &|name| actions::again(name, &sandbox));
    up.terminate();
}

/// Goal: our own rules find what Falco's find. Method: the same actions, each with
/// the rule of ours that is about it, against the binary as it comes. No list of
/// Falco's is needed.
#[test]
fn our_own_rules_find_every_action() {
    if skip::without_kernel() || skip::without_containers() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let up = started_with(dir.path(), &[]);
    let sandbox = Sandbox::new();
    let cases = actions::perform_for_own(&sandbox);
    all_are_told(&up, &cases, &|name| actions::again(name, &sandbox));
    up.terminate();
}

/// Goal: honest work is left alone. Method: a crate is built, many small programs
/// run, in a cgroup that belongs to a tenant of its own; of that tenant there must
/// be thousands of events and no alert of priority Warning or above.
#[test]
fn a_busy_build_raises_no_alarm() {
    if skip::without_kernel() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let name = crate::harness::scene::unique("build");
    let tenants = format!("tenants:\n  - tenant: build\n    cgroups: [\"*{name}*\"]\n");
    std::fs::write(dir.path().join("tenants.yaml"), tenants).unwrap();
    let config = "[ingest]\nlisten = \"127.0.0.1:0\"\n[query]\nhttp_listen = \"127.0.0.1:0\"\n\
        pgwire_listen = \"127.0.0.1:0\"\n[collector.webhook]\nlisten = \"127.0.0.1:0\"\n[detect]\nmatching = \"all\"\n";
    std::fs::write(dir.path().join("bailiwick.toml"), config).unwrap();
    let up = Up::start(dir.path(), &["--tenants", "tenants.yaml"]);
    let cgroup = Cgroup::new(&name, "work");
    let built = cgroup.shell(&busy_build(&dir.path().join("work"))).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let last =
        "SELECT count(*) FROM syscalls WHERE tenant = 'build' AND proc_cmdline LIKE '%the-build-is-done%'";
    up.wait_for_count(last, 1);
    let events = up.count("SELECT count(*) FROM syscalls WHERE tenant = 'build'");
    assert!(events > 1_000, "{events} events are no busy build");
    let alarms = up.rows(
        "SELECT DISTINCT rule, output FROM alerts WHERE tenant = 'build' \
         AND priority IN ('Emergency', 'Alert', 'Critical', 'Error', 'Warning')",
    );
    assert!(alarms.is_empty(), "{alarms:#?}");
    println!("{events} events of a build, no alarm");
    up.terminate();
}

/// A script that builds a crate with a build script and tests, and runs what a
/// build runs besides: shells, compilers, archives, copies.
fn busy_build(work: &Path) -> String {
    let source = work.join("src");
    std::fs::create_dir_all(&source).unwrap();
    std::fs::write(
        work.join("Cargo.toml"),
        "[package]\nname = \"busy\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n",
    )
    .unwrap();
    std::fs::write(
        work.join("build.rs"),
        "fn main() { std::process::Command::new(\"id\").output().unwrap(); }",
    )
    .unwrap();
    std::fs::write(source.join("main.rs"), "fn main() {}\n#[test]\nfn works() {}\n").unwrap();
    let (at, path) = (work.display(), std::env::var("PATH").unwrap());
    format!(
        "cd {at} && export PATH='{path}' && unset CARGO_TARGET_DIR RUSTC_WRAPPER && \
         cargo build --offline --quiet && cargo test --offline --quiet >/dev/null && \
         for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do \
         sh -c 'cat Cargo.toml | sort | head -1 >/dev/null'; cp Cargo.toml copy-$i; \
         tar cf $i.tar copy-$i src; ls -lR . >/dev/null; find . -name '*.rs' >/dev/null; \
         grep -r fn src >/dev/null; id >/dev/null; done; echo the-build-is-done >/dev/null; \
         /bin/echo the-build-is-done"
    )
}
