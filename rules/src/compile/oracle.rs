//! Leaf by leaf against `sysdig`, which evaluates the same comparisons over
//! the captures that our rows were read from.
//!
//! ```text
//!   capture.jsonl ─▶ rows of `syscalls` ─▶ leaf ─▶ events ─┐ equal
//!   capture.scap ──▶ sysdig -r … 'leaf' ───────▶ events ───┘
//! ```
//!
//! A leaf that matches nothing here is asked for together with others: `sysdig`
//! must find nothing for all of them. So a few runs stand for thousands.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};

use super::tests::{batch, compile, rule};
use super::*;
use crate::corpus;
use crate::loader::{RuleText, load};
use bailiwick_proto::Table;

/// What `sysdig` 0.29 does not do as Falco does.
const NOT_COMPARABLE: &[(&str, &str)] = &[
    ("fd.name_changed", "sysdig's filter never holds, although it prints true"),
    ("evt.dir", "only exit events are stored"),
    ("evt.num", "folded before anything is evaluated"),
    ("evt.buffer", "not stored"),
    ("fd.cport", "sysdig prints 0 for a socket that listens, which has no client"),
];

/// Event numbers.
type Events = BTreeSet<i64>;

struct Capture {
    file: PathBuf,
    numbers: Vec<i64>,
    rows: RecordBatch,
    fields: BTreeMap<String, Vec<Value>>,
}

/// What `sysdig` says of a filter: the events, or that it does not take it.
fn asked(file: &Path, filter: &str) -> Option<Events> {
    let output =
        Command::new("sysdig").arg("-r").arg(file).args(["-p", "%evt.num", filter]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.lines().filter_map(|line| line.trim().parse().ok()).collect())
}

/// A flat row of Falco fields as a row of the table.
fn stored(row: &Map<String, Value>) -> Value {
    let mut stored = Map::new();
    let (mut arguments, mut ancestors) = (Vec::new(), BTreeMap::new());
    for (field, value) in row.iter().filter(|(_, value)| !value.is_null()) {
        if let Some(name) = field.strip_prefix("evt.arg.") {
            arguments.push(json!({"name": name, "value": value}));
        } else if let Some(level) = field.strip_prefix("proc.aname[") {
            ancestors.insert(level.trim_end_matches(']').parse::<usize>().unwrap(), value);
        } else if field == "proc.env" {
            stored.insert("proc_env".to_owned(), json!([value]));
        } else if !field.contains('[') {
            stored.insert(field.replace('.', "_"), value.clone());
        }
    }
    let ancestors: Vec<Value> = ancestors.values().map(|name| json!({"name": name})).collect();
    let age_us = row["proc.duration"].as_i64().map(|ns| ns / 1000);
    let time = 1_700_000_000_000_000_i64;
    stored.insert("time".to_owned(), json!(time));
    stored.insert("proc_start_time".to_owned(), json!(age_us.map(|age| time - age)));
    stored.insert("evt_arg".to_owned(), json!(arguments));
    stored.insert("proc_ancestors".to_owned(), json!(ancestors));
    stored.insert("seq".to_owned(), json!(row["evt.num"].as_i64().unwrap() - 1));
    ends(row, &mut stored);
    Value::Object(stored)
}

/// Both ends of a connection, which the rows hold in the descriptor's name.
fn ends(row: &Map<String, Value>, stored: &mut Map<String, Value>) {
    if !matches!(row["fd.typechar"].as_str(), Some("4" | "6")) {
        ["fd_cport", "fd_sport", "fd_lport", "fd_rport"].iter().for_each(|port| {
            stored.remove(*port);
        });
        return;
    }
    // Of a socket that listens sysdig prints a client's port, which is 0.
    if stored.get("fd_cport") == Some(&json!(0)) {
        stored.remove("fd_cport");
    }
    let Some((one, other)) = row["fd.name"].as_str().and_then(|name| name.split_once("->")) else { return };
    for (end, ip, port) in [(one, "fd_lip", "fd_lport"), (other, "fd_rip", "fd_rport")] {
        if let Some((address, number)) = end.rsplit_once(':') {
            stored.insert(ip.to_owned(), json!(address));
            stored.insert(port.to_owned(), json!(number.parse::<i64>().ok()));
        }
    }
    // The remote end as sysdig sees it, which is not always the second one.
    if let Some(remote) = row["fd.rip"].as_str()
        && stored.get("fd_rip") != Some(&json!(remote))
    {
        let local = stored.insert("fd_rip".to_owned(), json!(remote)).unwrap_or_default();
        stored.insert("fd_lip".to_owned(), local);
    }
}

fn captures() -> Vec<Capture> {
    let Some(folder) = corpus::path("captures") else { return Vec::new() };
    if Command::new("sysdig").arg("--version").output().is_err() {
        corpus::missing("BAILIWICK_REQUIRE_CLIENTS", "sysdig is not installed");
        return Vec::new();
    }
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let rows_of = |file: &PathBuf| -> Capture {
        let text = std::fs::read_to_string(file).unwrap();
        let rows: Vec<Map<String, Value>> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut fields: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (field, value) in rows.iter().flatten() {
            let known = fields.entry(field.clone()).or_default();
            if !value.is_null() && known.len() < 3 && !known.contains(value) {
                known.push(value.clone());
            }
        }
        Capture {
            file: file.with_extension("scap"),
            numbers: rows.iter().map(|row| row["evt.num"].as_i64().unwrap()).collect(),
            rows: batch(Table::Syscalls, &rows.iter().map(stored).collect::<Vec<_>>(), false),
            fields,
        }
    };
    files.iter().filter(|file| file.extension().is_some_and(|kind| kind == "jsonl")).map(rows_of).collect()
}

/// The events that a condition matches here.
fn found(capture: &Capture, condition: &str) -> Events {
    let compiled = compile(Source::Syscall, &rule(condition));
    let matches = compiled.matches(&capture.rows, Matching::All);
    matches.iter().map(|found| capture.numbers[found.row]).collect()
}

/// Compares, halving what is asked for until the leaf that differs is alone.
fn compare(
    capture: &Capture,
    leaves: &[(String, Events)],
    refused: &mut BTreeSet<String>,
    wrong: &mut Vec<String>,
) {
    let Some((first, rest)) = leaves.split_first() else { return };
    let union: Vec<_> = leaves.iter().map(|(leaf, _)| leaf.as_str()).collect();
    let expected: Events = leaves.iter().flat_map(|(_, events)| events.iter().copied()).collect();
    let answer = asked(&capture.file, &union.join(" or "));
    if answer.as_ref() == Some(&expected) && (rest.is_empty() || expected.is_empty()) {
        return;
    }
    if rest.is_empty() {
        match answer {
            None => {
                refused.insert(first.0.clone());
            }
            Some(answer) => {
                let (here, there): (Vec<_>, Vec<_>) = (
                    expected.difference(&answer).take(5).collect(),
                    answer.difference(&expected).take(5).collect(),
                );
                wrong.push(format!(
                    "{} in {:?}: only here {here:?}, only there {there:?}",
                    first.0,
                    capture.file.file_name()
                ));
            }
        }
        return;
    }
    let (left, right) = leaves.split_at(leaves.len() / 2);
    compare(capture, left, refused, wrong);
    compare(capture, right, refused, wrong);
}

/// Every distinct comparison of the official rules whose fields the rows hold.
fn official(rows: &BTreeMap<String, Vec<Value>>) -> BTreeSet<String> {
    let files = ["falco_rules.yaml", "falco-incubating_rules.yaml"];
    let texts = files.map(|name| RuleText {
        name: name.to_owned(),
        text: corpus::text(&format!("rules_official/{name}")).unwrap_or_default(),
    });
    let mut leaves = BTreeSet::new();
    for rule in &load(&texts).rules.rules {
        rule.condition.checks(&mut |check| {
            let mut held = true;
            check.fields(&mut |field| held &= is_held(rows, &field.to_string()));
            if held {
                leaves.insert(check.to_string());
            }
        });
    }
    leaves
}

/// Whether the rows have the field, or what it is made of.
fn is_held(rows: &BTreeMap<String, Vec<Value>>, field: &str) -> bool {
    let made = ["fd.ip", "fd.net", "fd.port", "fd.cnet", "fd.snet", "fd.rnet", "proc.aname"];
    let excluded = NOT_COMPARABLE.iter().any(|(name, _)| *name == field) || field.ends_with("ip.name");
    !excluded && (rows.contains_key(field) || made.contains(&field))
}

/// Comparisons of every field with values that a capture has, by every operator.
fn generated(rows: &BTreeMap<String, Vec<Value>>) -> BTreeSet<String> {
    let plain = |text: &str| {
        !text.is_empty()
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "_./:-".contains(c))
            && text.len() < 80
    };
    let mut leaves = BTreeSet::new();
    for (field, values) in rows.iter().filter(|(field, _)| is_held(rows, field)) {
        leaves.insert(format!("{field} exists"));
        for value in values.iter().take(1) {
            match value {
                Value::String(text) if plain(text) && field.ends_with("ip") => {
                    for op in ["=", "!="] {
                        leaves.insert(format!("{field} {op} {text}"));
                    }
                    leaves.insert(format!("{field} in ({text}, 1.2.3.4)"));
                }
                Value::String(text) if plain(text) => {
                    let half = &text[..text.len().div_ceil(2)];
                    for (op, value) in
                        [("=", text.as_str()), ("!=", text), ("contains", half), ("startswith", half)]
                    {
                        leaves.insert(format!("{field} {op} {value}"));
                    }
                    leaves.insert(format!("{field} icontains {}", half.to_ascii_uppercase()));
                    leaves.insert(format!("{field} endswith {}", &text[text.len() / 2..]));
                    leaves.insert(format!("{field} glob *{half}*"));
                    // There is no event of a type that does not exist to ask for.
                    let other = if field == "evt.type" { "setns" } else { "other" };
                    leaves.insert(format!("{field} in ({text}, {other})"));
                    leaves.insert(format!("{field} pmatch ({text}, /usr)"));
                }
                Value::Number(number) => {
                    for op in ["=", "!=", "<", "<=", ">", ">="] {
                        leaves.insert(format!("{field} {op} {number}"));
                    }
                }
                Value::Bool(truth) => {
                    leaves.insert(format!("{field} = {truth}"));
                    leaves.insert(format!("{field} != {truth}"));
                }
                _ => {}
            }
        }
    }
    leaves
}

fn compare_all(
    captures: &[Capture],
    leaves: impl Fn(&Capture) -> BTreeSet<String>,
) -> (usize, usize, Vec<String>) {
    let (mut refused, mut wrong) = (BTreeSet::new(), Vec::new());
    let (mut seen, mut positive) = (BTreeSet::new(), BTreeSet::new());
    for capture in captures {
        let leaves = leaves(capture).into_iter().filter(|leaf| !refused.contains(leaf));
        let found: Vec<_> = leaves.map(|leaf| (leaf.clone(), found(capture, &leaf))).collect();
        seen.extend(found.iter().map(|(leaf, _)| leaf.clone()));
        let (mut some, none): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|(_, events)| !events.is_empty());
        // One capture in which it holds is enough of a leaf: each is a run of sysdig.
        some.retain(|(leaf, _)| !positive.contains(leaf));
        positive.extend(some.iter().map(|(leaf, _)| leaf.clone()));
        none.chunks(60).for_each(|leaves| compare(capture, leaves, &mut refused, &mut wrong));
        some.chunks(1).for_each(|leaf| compare(capture, leaf, &mut refused, &mut wrong));
    }
    println!("sysdig refuses: {refused:#?}");
    (seen.difference(&refused).count(), positive.difference(&refused).count(), wrong)
}

#[test]
fn official_leaves_match_what_sysdig_matches() {
    let captures = captures();
    let (compared, positive, wrong) = compare_all(&captures, |capture| official(&capture.fields));
    println!("{compared} leaves of official rules compared, {positive} match some event");
    assert!(wrong.is_empty(), "{} differ: {wrong:#?}", wrong.len());
}

#[test]
fn every_operator_matches_what_sysdig_matches() {
    let captures = captures();
    let some: Vec<_> = captures.into_iter().filter(|capture| capture.numbers.len() < 100).collect();
    let (compared, positive, wrong) = compare_all(&some, |capture| generated(&capture.fields));
    println!("{compared} generated leaves compared, {positive} match some event");
    assert!(wrong.is_empty(), "{} differ: {wrong:#?}", wrong.len());
}
