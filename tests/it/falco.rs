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

/// A file or folder of the corpus; prints why there is none.
fn corpus(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora/falco").join(name);
    let found = path.canonicalize().ok();
    if found.is_none() {
        println!("skipped: {} is not here", path.display());
    }
    found
}

/// The binary with the official rules, if everything that this takes is here.
fn started(dir: &Path) -> Option<Up> {
    if skip::without_kernel() || skip::without_containers() {
        return None;
    }
    let rules: Option<Vec<PathBuf>> = RULES.into_iter().map(corpus).collect();
    let config = format!(
        "[ingest]\nlisten = \"127.0.0.1:0\"\n[query]\nhttp_listen = \"127.0.0.1:0\"\n\
         pgwire_listen = \"127.0.0.1:0\"\n[collector.webhook]\nlisten = \"127.0.0.1:0\"\n\
         [collector.syscalls]\nenvironment = true\n[detect]\nmatching = \"all\"\nrules_files = {:?}\n",
        rules?
    );
    std::fs::write(dir.join("bailiwick.toml"), config).unwrap();
    Some(Up::start(dir, &[]))
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

/// Waits until every case has its alert.
fn all_are_told(up: &Up, cases: &[Case]) {
    let began = Instant::now();
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
            "{} of {} without an alert:\n{}\nlost meanwhile: {:?}",
            lines.len(),
            cases.len(),
            lines.join("\n"),
            up.rows("SELECT lane, class, reason, sum(count) FROM losses GROUP BY ALL")
        );
        std::thread::sleep(std::time::Duration::from_millis(500));
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
    all_are_told(&up, &cases);
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
    all_are_told(&up, &cases);
    up.terminate();
}
