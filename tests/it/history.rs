//! Rules over what is stored, through the real binary: what they find is what
//! was alerted when it happened.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use bailiwick_collector::recording::{Reader, Writer};
use serde_json::Value;

use crate::harness::{Up, scene, signal, wait_until};
use bailiwick_proto::Table;

/// What the collector captured once of the demo's scene.
pub(crate) fn recording() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/recording.bwr")
}

/// The scene replayed as if it happened now.
fn replayed(dir: &Path) -> Up {
    configure(dir, &recording(), "matching = \"all\"");
    Up::start(dir, &[])
}

/// Everything off but the replay of a recording and an audit log; `detect` is added to its section.
pub(crate) fn configure(dir: &Path, recording: &Path, detect: &str) {
    let config = format!(
        "[ingest]\nlisten = \"127.0.0.1:0\"\nflush_after_ms = 1000\n[query]\nhttp_listen = \"127.0.0.1:0\"\n\
         pgwire_listen = \"127.0.0.1:0\"\n[detect]\n{detect}\n[collector.webhook]\nlisten = \"127.0.0.1:0\"\n\
         [collector.syscalls]\nenabled = \"off\"\n[collector.usage]\nenabled = \"off\"\n\
         [collector.audit_file]\npath = \"audit.log\"\n[collector.replay]\npath = {recording:?}\n"
    );
    fs::write(dir.join("bailiwick.toml"), config).unwrap();
    fs::write(dir.join("audit.log"), scene::audit_event("history-1")).unwrap();
}

/// The scene once every five minutes, an hour of it.
fn an_hour(dir: &Path) -> PathBuf {
    let path = dir.join("hour.bwr");
    let mut hour = Writer::new(fs::File::create(&path).unwrap(), "test").unwrap();
    for minute in (0..60).step_by(5) {
        let mut scene = Reader::new(fs::File::open(recording()).unwrap()).unwrap();
        while let Some((table, rows)) = scene.next_batch().unwrap() {
            hour.write(table, &later(&rows, minute * 60_000_000)).unwrap();
        }
    }
    hour.finish().unwrap();
    path
}

/// The rows with every time moved, by which they are other events.
fn later(rows: &RecordBatch, by_us: i64) -> RecordBatch {
    let moved = |column: &ArrayRef| match column.as_primitive_opt::<TimestampMicrosecondType>() {
        Some(times) => {
            let moved: PrimitiveArray<TimestampMicrosecondType> = times.unary(|time| time + by_us);
            Arc::new(moved.with_data_type(column.data_type().clone()))
        }
        None => Arc::clone(column),
    };
    RecordBatch::try_new(rows.schema(), rows.columns().iter().map(moved).collect()).unwrap()
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
    arrived(&up, 1);
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

/// Goal: the rules find the same alerts, by their ids, as events stream by, on a
/// schedule over what arrived, and over history. Method: an hour with the same
/// scene twelve times, the built-in rules live, and a detection that asks for
/// their matches.
#[test]
fn an_hour_gives_the_same_alerts_live_scheduled_and_over_history() {
    let dir = tempfile::tempdir().unwrap();
    let detection = "- name: Rules again\n  desc: d\n  priority: NOTICE\n  every_s: 1\n  window_s: 20\n  \
        key: [alert_id]\n  output: \"{output}\"\n  sql: |\n    SELECT alert_id, tenant, time, output\n    \
        FROM falco_matches() WHERE ingest_time > $from AND ingest_time <= $to\n";
    fs::write(dir.path().join("again.yaml"), detection).unwrap();
    let detect = "matching = \"all\"\ndetections_files = [\"again.yaml\"]\nsettle_ms = 1000";
    configure(dir.path(), &an_hour(dir.path()), detect);
    let up = Up::start(dir.path(), &[]);
    let alerted = |mode: &str| ids(&up, &format!("SELECT alert_id FROM alerts WHERE mode = '{mode}'"));
    arrived(&up, 12);
    let (mut matched, mut scheduled) = (BTreeSet::new(), BTreeSet::new());
    wait_until(|| {
        matched = ids(&up, "SELECT alert_id FROM falco_matches()");
        scheduled = alerted("scheduled");
        !matched.is_empty() && scheduled.len() >= matched.len() && alerted("live").len() >= matched.len()
    });
    assert!(matched.len() > 12, "{matched:?}");
    assert_eq!(matched, alerted("live"));
    assert_eq!(matched, scheduled);
    for mode in ["live", "scheduled"] {
        let rows = up.count(&format!("SELECT count(*) FROM alerts WHERE mode = '{mode}'"));
        assert_eq!(rows, i64::try_from(matched.len()).unwrap(), "{mode}: an alert came twice");
    }
    let same = "SELECT count(*) FROM alerts l JOIN alerts s ON l.alert_id = s.alert_id AND l.output = s.output \
        AND l.time = s.time AND l.owner = s.owner WHERE l.mode = 'live' AND s.mode = 'scheduled'";
    assert_eq!(up.count(same), i64::try_from(matched.len()).unwrap());
    up.terminate();
}

/// Waits until everything is there: the scene so many times, and the audit log.
fn arrived(up: &Up, times: i64) {
    let mut scene = Reader::new(fs::File::open(recording()).unwrap()).unwrap();
    let mut rows = 0;
    while let Some((table, batch)) = scene.next_batch().unwrap() {
        rows += if table == Table::Syscalls { batch.num_rows() } else { 0 };
    }
    up.wait_for_count("SELECT count(*) FROM syscalls", times * i64::try_from(rows).unwrap());
    up.wait_for_count("SELECT count(*) FROM api_access", 1);
}

/// Goal: Ctrl-C ends a trial at the server too, with the exit code that shells
/// know. Method: the server's one place is taken by an answer that nobody reads, so
/// that the trial's first statement waits; what it recorded of the trial is one
/// statement, cancelled, although the period has a statement for each of its days.
#[test]
fn a_trial_that_is_interrupted_ends_at_the_server() {
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path(), &recording(), "matching = \"all\"");
    let file = dir.path().join("bailiwick.toml");
    let config = fs::read_to_string(&file).unwrap().replace("[query]\n", "[query]\nmax_concurrent = 1\n");
    fs::write(&file, config).unwrap();
    let up = Up::start(dir.path(), &[]);
    arrived(&up, 1);
    let unread = taken(&up);
    let trial = Command::new(env!("CARGO_BIN_EXE_bailiwick"))
        .current_dir(&up.dir)
        .args(["--config", "bailiwick.toml", "--data-dir", "data", "rules", "test", "--since", "30d"])
        .env("BAILIWICK_URL", up.url())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until(|| up.get("/metrics").contains("bailiwick_query_waiting 1\n"));
    signal(&trial, nix::sys::signal::Signal::SIGINT);
    let ended = trial.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(130), "{told}");
    assert!(told.contains("ended, nothing was found out"), "{told}");
    assert!(ended.stdout.is_empty(), "{}", String::from_utf8_lossy(&ended.stdout));
    wait_until(|| up.get("/metrics").contains("bailiwick_query_waiting 0\n"));
    drop(unread);
    let outcomes = "SELECT count(*) FROM queries WHERE endpoint = 'report'";
    up.wait_for_count(&format!("{outcomes} AND outcome = 'cancelled'"), 1);
    assert_eq!(up.count(outcomes), 1);
    up.terminate();
}

/// An answer that has begun and is too long for what lies between the server and
/// a client that does not read.
fn taken(up: &Up) -> TcpStream {
    let statement = "SELECT a.*, b.* FROM syscalls a CROSS JOIN syscalls b CROSS JOIN syscalls c";
    let (host, token) = (up.url().replace("http://", ""), up.operator_token());
    let mut stream = TcpStream::connect(&host).unwrap();
    write!(
        stream,
        "POST /api/v1/sql?format=json HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\
         content-length: {}\r\n\r\n{statement}",
        statement.len()
    )
    .unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    stream
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
