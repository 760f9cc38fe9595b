//! Rules over what is stored, through the real binary: what they find is what
//! was alerted when it happened.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::{Up, scene, wait_until};

/// What the collector captured once of the demo's scene, replayed as if it happened now.
fn replayed(dir: &Path) -> Up {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/recording.bwr");
    let config = format!(
        "[ingest]\nlisten = \"127.0.0.1:0\"\nflush_after_ms = 1000\n[query]\nhttp_listen = \"127.0.0.1:0\"\n\
         pgwire_listen = \"127.0.0.1:0\"\n[detect]\nmatching = \"all\"\n[collector.webhook]\nlisten = \"127.0.0.1:0\"\n\
         [collector.syscalls]\nenabled = \"off\"\n[collector.usage]\nenabled = \"off\"\n\
         [collector.audit_file]\npath = \"audit.log\"\n[collector.replay]\npath = {recording:?}\n"
    );
    fs::write(dir.join("bailiwick.toml"), config).unwrap();
    fs::write(dir.join("audit.log"), scene::audit_event("history-1")).unwrap();
    Up::start(dir, &[])
}

fn rules(up: &Up, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bailiwick"))
        .current_dir(&up.dir)
        .args(["--config", "bailiwick.toml", "--data-dir", "data", "rules"])
        .args(arguments)
        .env("BAILIWICK_URL", up.url())
        .output()
        .unwrap()
}

fn report(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn ids(up: &Up, sql: &str) -> BTreeSet<String> {
    up.rows(sql).into_iter().map(|row| row[0].as_str().unwrap().to_owned()).collect()
}

/// Goal: live, in SQL and in a trial the same rules over the same events give the
/// same alerts. Method: a recording, the built-in rules, all of them.
#[test]
fn a_recording_raises_the_same_alerts_live_and_over_history() {
    let dir = tempfile::tempdir().unwrap();
    let up = replayed(dir.path());
    let live = "SELECT alert_id FROM alerts WHERE mode = 'live'";
    let matched = "SELECT alert_id FROM falco_matches()";
    wait_until(|| {
        let alerted = ids(&up, live);
        !alerted.is_empty() && alerted == ids(&up, matched)
    });
    let report = report(&rules(&up, &["test", "--since", "2d", "--json"]));
    let named = |rule: &Value| (rule["rule"].as_str().unwrap().to_owned(), rule["matches"].as_i64().unwrap());
    let tried: BTreeSet<_> =
        report["rules"].as_array().unwrap().iter().map(named).filter(|(_, matches)| *matches > 0).collect();
    let counted = up.rows("SELECT rule, count(*) FROM alerts WHERE mode = 'live' GROUP BY 1");
    let alerted: BTreeSet<_> = counted
        .into_iter()
        .map(|row| (row[0].as_str().unwrap().to_owned(), row[1].as_i64().unwrap()))
        .collect();
    assert!(alerted.len() > 2, "{alerted:?}");
    assert_eq!(tried, alerted);
    let alerted = ids(&up, live);
    let examples =
        report["rules"].as_array().unwrap().iter().flat_map(|rule| rule["examples"].as_array().unwrap());
    for example in examples {
        assert!(alerted.contains(example["alert_id"].as_str().unwrap()), "{example}");
    }
    up.terminate();
}

/// Goal: a person reads what a change of rules would do, a script gets an exit
/// code that it can trust, and Falco's own alerts lie beside ours.
#[test]
fn a_change_is_compared_and_a_bad_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let up = replayed(dir.path());
    let rule = |names: &str| {
        format!(
            "- rule: Started\n  desc: d\n  condition: evt.type = execve and proc.name in ({names})\n  \
             output: started %proc.name\n  priority: INFO\n"
        )
    };
    for (file, text) in [
        ("old.yaml", rule("sh, bash, cat")),
        ("new.yaml", rule("sh, bash")),
        ("bad.yaml", rule("sh").replace("proc.name", "proc.nam")),
        ("new_test.yaml", "- test: Started\n  match: [{ evt.type: execve, proc.name: cat }]\n".to_owned()),
    ] {
        fs::write(dir.path().join(file), text).unwrap();
    }
    up.wait_for_count("SELECT count(*) FROM syscalls WHERE evt_type = 'execve' AND proc_name = 'cat'", 1);
    let cats = up.count("SELECT count(*) FROM syscalls WHERE evt_type = 'execve' AND proc_name = 'cat'");
    let compared =
        report(&rules(&up, &["test", "--compare", "old.yaml", "new.yaml", "--since", "2d", "--json"]));
    assert_eq!(
        (&compared["changes"][0]["removed"], &compared["changes"][0]["added"]),
        (&cats.into(), &0.into())
    );
    let told = rules(&up, &["test", "new.yaml", "--since", "2d"]);
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(
        told.status.success() && text.contains("1 of 1 rules match") && text.contains("Started"),
        "{text}"
    );
    let refused = rules(&up, &["test", "bad.yaml"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("bad.yaml:4"), "{refused:?}");
    let failing = rules(&up, &["check", "new.yaml", "new_test.yaml"]);
    assert_eq!(failing.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&failing.stdout)
            .contains("new_test.yaml:2: Started: must match and does not")
    );
    falcos_own_alert_lands(&mut { up });
}

fn falcos_own_alert_lands(up: &mut Up) {
    let line = up.wait_for_line("audit webhook");
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    let url = url.replace("/k8s-audit", "/falco");
    let alert = r#"{"rule":"Theirs","priority":"Warning","time":"2026-11-24T01:02:03Z","output":"01:02:03: Warning seen","output_fields":{},"source":"syscall","tags":["t"]}"#;
    let posted = Command::new("curl").args(["-sf", "-d", alert, &url]).status().unwrap();
    assert!(posted.success());
    up.wait_for_count(
        "SELECT count(*) FROM alerts WHERE source = 'falco' AND rule = 'Theirs' AND output = 'seen'",
        1,
    );
}

/// The rules that are shipped pass the tests that are shipped, by the command that people use.
#[test]
fn the_shipped_rules_are_checked_as_anybody_would() {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rules");
    let checked = Command::new(env!("CARGO_BIN_EXE_bailiwick"))
        .current_dir(folder)
        .args(["rules", "check", "bailiwick_rules.yaml", "bailiwick_rules_test.yaml", "--json"])
        .output()
        .unwrap();
    let report = report(&checked);
    assert_eq!(
        (
            report["tests"]["failures"].as_array().unwrap().len(),
            report["diagnostics"].as_array().unwrap().len()
        ),
        (0, 0)
    );
}
