//! Alerts as they leave the real binary.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{PATIENCE, signal, wait_until};
use crate::history::{configure, recording};

/// What Falco's JSON alerts have, in Falco's order.
const KEYS: [&str; 8] = ["hostname", "output", "output_fields", "priority", "rule", "source", "tags", "time"];

/// Goal: a log shipper that reads standard output or the file gets Falco's alerts
/// and nothing else. Method: a recording, JSON printed and text in the file: both
/// tell of the same alerts.
#[test]
fn standard_output_and_file_hold_falcos_alerts_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let detect =
        "printed_format = \"falco_json\"\nalert_file_format = \"falco_text\"\nalert_file = \"alerts.txt\"";
    configure(dir.path(), &recording(), detect);
    let file = |name: &str| dir.path().join(name);
    let mut up = Command::new(env!("CARGO_BIN_EXE_bailiwick"))
        .current_dir(dir.path())
        .args(["--config", "bailiwick.toml", "--data-dir", "data", "up"])
        .stdin(Stdio::null())
        .stdout(fs::File::create(file("stdout")).unwrap())
        .stderr(fs::File::create(file("stderr")).unwrap())
        .spawn()
        .unwrap();
    let read = |name: &str| fs::read_to_string(file(name)).unwrap_or_default();
    wait_until(|| read("stdout").lines().count() > 2);
    signal(&up, nix::sys::signal::Signal::SIGTERM);
    let began = std::time::Instant::now();
    while up.try_wait().unwrap().is_none() {
        if began.elapsed() > PATIENCE {
            up.kill().unwrap();
            panic!("does not end: {}", read("stderr"));
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(read("stderr").contains("ready in"), "{}", read("stderr"));
    let mut printed: Vec<String> = read("stdout").lines().map(output_of).collect();
    let mut written: Vec<String> = read("alerts.txt").lines().map(str::to_owned).collect();
    printed.sort();
    written.sort();
    assert_eq!(printed, written);
}

/// The text in a JSON alert, which must be whole.
fn output_of(line: &str) -> String {
    let alert: Value = serde_json::from_str(line).unwrap();
    let keys: Vec<_> = alert.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, KEYS, "{line}");
    let output = alert["output"].as_str().unwrap();
    let (clock, rest) = output.split_once(": ").unwrap();
    let (day, of_day) = alert["time"].as_str().unwrap().split_once('T').unwrap();
    assert_eq!((day.len(), of_day), (10, format!("{clock}Z").as_str()), "{line}");
    assert!(rest.starts_with(alert["priority"].as_str().unwrap()), "{line}");
    let ns = alert["output_fields"]["evt.time"].as_i64().unwrap();
    assert!(clock.ends_with(&format!("{:09}", ns % 1_000_000_000)), "{line}");
    output.to_owned()
}
