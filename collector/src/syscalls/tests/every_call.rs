//! Every call is made for real, and every time exactly the right row is there.

use std::collections::HashSet;

use bailiwick_collector_ebpf::calls::CALLS;

use super::actors;
use super::*;

/// Which calls are made through other numbers on this architecture only.
#[test]
fn every_call_has_an_actor() {
    let played: HashSet<&str> = actors::all().into_iter().map(|(name, _)| name).collect();
    let missing: Vec<_> =
        CALLS.iter().skip(1).map(|call| call.name).filter(|name| !played.contains(name)).collect();
    // Other architectures lack the oldest calls.
    if cfg!(target_arch = "x86_64") {
        assert!(missing.is_empty(), "{missing:?}");
    }
}

/// Whether the row has these cells and arguments.
fn fits(row: &Row, expected: &Value) -> bool {
    let cells = expected["cells"].as_object().unwrap();
    let pairs = row.get("evt_arg").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let has_argument =
        |wanted: &Value| pairs.iter().any(|pair| pair["name"] == wanted[0] && pair["value"] == wanted[1]);
    cells.iter().all(|(name, value)| row.get(name).unwrap_or(&Value::Null) == value)
        && expected["arguments"].as_array().unwrap().iter().all(has_argument)
}

/// What the nearest row has otherwise, for whoever reads a failure.
fn nearest(rows: &[Row], expected: &Value) -> String {
    let cells = expected["cells"].as_object().unwrap();
    let of_call = rows
        .iter()
        .filter(|row| row["evt_type"] == cells["evt_type"] && row["proc_pid"] == cells["proc_pid"]);
    let differing = |row: &Row| -> Vec<String> {
        let wrong = cells.iter().filter(|(name, value)| row.get(*name).unwrap_or(&Value::Null) != *value);
        let mut told: Vec<_> =
            wrong.map(|(name, _)| format!("{name} is {}", row.get(name).unwrap_or(&Value::Null))).collect();
        for wanted in expected["arguments"].as_array().unwrap() {
            let pair = row
                .get("evt_arg")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .find(|pair| pair["name"] == wanted[0]);
            if pair.map(|pair| &pair["value"]) != Some(&wanted[1]) {
                told.push(format!("argument {} is {:?}", wanted[0], pair.map(|pair| &pair["value"])));
            }
        }
        told
    };
    of_call
        .map(differing)
        .min_by_key(Vec::len)
        .map_or("there is none of the call".into(), |told| told.join(", "))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_leaves_exactly_its_row() {
    if cannot_load() {
        return;
    }
    let folders: Vec<_> =
        actors::all().into_iter().map(|(name, _)| (name, tempfile::tempdir().unwrap())).collect();
    let ran: Vec<_> = folders.iter().map(|(name, dir)| (*name, dir.path().canonicalize().unwrap())).collect();
    let play = move || {
        for (name, folder) in &ran {
            child::run_to_its_end(&format!("actor:{name}"), folder);
        }
    };
    let (rows, losses) = capture(|config| config.syscalls.repeats_after_ms = 0, play).await;
    assert!(losses.iter().all(|loss| loss["count"] == 0), "{losses:?}");
    let mut wrong = Vec::new();
    for (name, dir) in &folders {
        let notes = std::fs::read(dir.path().join(stage::NOTES)).unwrap();
        let notes: Vec<Value> = serde_json::from_slice(&notes).unwrap();
        assert!(!notes.is_empty(), "{name} expects nothing");
        for expected in notes {
            let found = rows.iter().filter(|row| fits(row, &expected)).count();
            if found != 1 {
                wrong.push(format!("{name}: {found} rows of {expected}\n    {}", nearest(&rows, &expected)));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
