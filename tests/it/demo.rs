//! `bailiwick demo` and the other subcommands that a new user tries first.

use std::process::{Command, Output};

use crate::harness::skip;

fn bailiwick(arguments: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_bailiwick")).current_dir(dir.path()).args(arguments).output().unwrap()
}

fn told(output: &Output) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    stdout.into_owned()
}

/// What the scene does must all be seen: both tenants, both sources, the answer
/// that joins them, and the bill.
fn saw_everything(told: &str) {
    let alert = |rule: &str| told.lines().any(|line| line.contains(" acme ") && line.contains(rule));
    assert!(alert("Sensitive file read by an untrusted program"), "{told}");
    assert!(alert("Shell started in container"), "{told}");
    assert!(told.contains("jane@acme.example"), "nobody is named in the answer\n{told}");
    let owes = |tenant: &str| told.lines().any(|line| line.trim_start().starts_with(tenant));
    assert!(owes("acme") && owes("globex"), "a tenant has no bill\n{told}");
}

#[test]
fn the_demo_shows_what_really_happened() {
    if skip::without_kernel() {
        return;
    }
    saw_everything(&told(&bailiwick(&["demo"])));
}

/// Goal: the demo works where nothing may be captured. Method: the shipped
/// recording, which needs no privilege.
#[test]
fn the_demo_replays_its_recording() {
    let told = told(&bailiwick(&["demo", "--replay"]));
    assert!(told.contains("REPLAY"), "a replay must say that it is one\n{told}");
    saw_everything(&told);
}

#[test]
fn exit_codes_say_what_kind_of_failure_it_was() {
    let code = |arguments: &[&str]| bailiwick(arguments).status.code().unwrap();
    assert_eq!(code(&["no-such-command"]), 2);
    assert_eq!(code(&["--config", "missing.toml", "sql", "SELECT 1"]), 78);
    // Port 9 is discard: nobody listens there.
    assert_eq!(code(&["sql", "--url", "http://127.0.0.1:9", "--token", "t", "SELECT 1"]), 69);
    assert_eq!(code(&["rules", "check", "missing.yaml"]), 78);
}

/// Goal: a rule file that is wrong is refused with the place, and never half.
#[test]
fn a_wrong_rule_file_is_shown_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rules.yaml");
    std::fs::write(
        &file,
        "- rule: a\n  desc: d\n  condition: evt.type = open and\n  output: o\n  priority: INFO\n",
    )
    .unwrap();
    let output = bailiwick(&["rules", "check", file.to_str().unwrap()]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("rules.yaml") && told.contains("LOAD_ERR_COMPILE_CONDITION"), "{told}");
    let output = bailiwick(&["rules", "check", "--json", "missing.yaml", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["diagnostics"][0]["code"], "LOAD_ERR_FILE_READ", "{report}");
    let found = &report["diagnostics"][1];
    assert_eq!(
        (&found["code"], &found["line"]),
        (&"LOAD_ERR_COMPILE_CONDITION".into(), &3.into()),
        "{report}"
    );
}

#[test]
fn configuration_errors_name_the_file_and_the_field() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bailiwick.toml");
    std::fs::write(&file, "[ingest]\nflush_after_minutes = 1\n").unwrap();
    let output = bailiwick(&["--config", file.to_str().unwrap(), "up"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{told}");
    assert!(told.contains("bailiwick.toml") && told.contains("flush_after_minutes"), "{told}");
}
