//! The fuzz targets' functions over mutated seeds, with a stable compiler.
//!
//! Seeds are Falco's own cases where they are present, and a few of ours.
//! `BAILIWICK_FUZZ_INPUTS=1000000` looks for longer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a failing test should panic, and one that is skipped says why"
)]

#[path = "../fuzz/harness.rs"]
mod harness;

use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// How many inputs of each kind, unless the environment asks for others.
const INPUTS: u32 = 4_000;

const CONDITIONS: &[&str] = &[
    "evt.type in (open, openat) and not proc.name startswith oneof (a, \"b c\")",
    "tolower(proc.name) = val(proc.pname) or join('-', (proc.name, 1)) exists",
    "concat(proc.name, \"a'b\", tolower(proc.exe)) in (x) and getopt((proc.name, 1), 'a:')[t] = concat(\"\\\\ \", '\"')",
    "proc.name = 'a\u{b}and b' or proc.env['a]b['] exists",
    "proc.aname[2]='x' and (fd.net != 10.0.0.0/8 or evt.arg.flags icontains 0x1)",
];
const FILES: &[&str] = &[
    "- list: l\n  items: [a, 'b c', l2]\n- macro: m\n  condition: proc.name in (l)\n- rule: R\n  desc: d\n  \
     condition: m and evt.type = open\n  output: \"%proc.name %evt.time\"\n  priority: INFO\n  exceptions:\n  \
     - {name: e, fields: [proc.name, fd.name], comps: [=, in], values: [[a, [b, c]]]}\n",
    "- rule: R\n  condition: and proc.name = x\n  override: {condition: append}\n- &a {macro: m, condition: *b}\n",
    "- required_engine_version: 0.50.0\n- required_plugin_versions:\n  - {name: json, version: 0.7.0}\n",
];
const OUTPUTS: &[&str] =
    &["*%evt.time: %proc.name[1] 100%% %evt.arg.flags. (%proc.aname[2])", "%jevt.value[/a~1b]"];

fn corpus(name: &str) -> serde_json::Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora/falco").join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).unwrap(),
        Err(_) => {
            let required = std::env::var_os("BAILIWICK_REQUIRE_CORPORA").is_some();
            assert!(!required, "{} is not here, and BAILIWICK_REQUIRE_CORPORA is set", path.display());
            println!("skipped: {} is not here", path.display());
            serde_json::Value::Null
        }
    }
}

/// Every text in a JSON value.
fn texts(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) => found.push(text.clone()),
        serde_json::Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        serde_json::Value::Object(pairs) => pairs.values().for_each(|item| texts(item, found)),
        _ => {}
    }
}

fn seeds(own: &[&str], case_file: &str) -> Vec<String> {
    let mut seeds: Vec<String> = own.iter().map(|text| (*text).to_owned()).collect();
    texts(&corpus(case_file), &mut seeds);
    seeds
}

/// What fuzzers do to a seed: change, insert, remove and repeat bytes, and put
/// a piece of another seed in.
#[derive(Debug, Clone)]
enum Edit {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize, usize),
    Splice(prop::sample::Index, prop::sample::Index, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(&b" ()[]{}<>=!,.:-'\"\\%*&|\n\t\0\x80"[..])];
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), byte.clone()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (at(), byte).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        (at(), 1..40_usize).prop_map(|(at, len)| Edit::Remove(at, len)),
        (at(), 1..20_usize, 1..300_usize).prop_map(|(at, len, times)| Edit::Repeat(at, len, times)),
        (at(), at(), 1..60_usize).prop_map(|(at, other, len)| Edit::Splice(at, other, len)),
    ]
}

fn apply(data: &mut Vec<u8>, edit: &Edit, other: &[u8]) {
    let place = |at: &prop::sample::Index| at.index(data.len().max(1));
    match edit {
        Edit::Set(at, byte) => {
            let at = place(at);
            if let Some(place) = data.get_mut(at) {
                *place = *byte;
            }
        }
        Edit::Insert(at, byte) => data.insert(place(at).min(data.len()), *byte),
        Edit::Remove(at, len) => {
            let at = place(at).min(data.len());
            data.drain(at..(at + len).min(data.len()));
        }
        Edit::Repeat(at, len, times) => {
            let at = place(at).min(data.len());
            let piece = data[at..(at + len).min(data.len())].repeat(*times);
            data.splice(at..at, piece);
        }
        Edit::Splice(at, from, len) => {
            let at = place(at).min(data.len());
            let from = from.index(other.len().max(1)).min(other.len());
            data.splice(at..at, other[from..(from + len).min(other.len())].to_vec());
        }
    }
}

fn run(seeds: &[String], target: fn(&[u8])) {
    seeds.iter().for_each(|seed| target(seed.as_bytes()));
    let asked = std::env::var("BAILIWICK_FUZZ_INPUTS").ok();
    let cases = asked.map_or(INPUTS, |text| text.parse().expect("BAILIWICK_FUZZ_INPUTS is a number"));
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let input =
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), prop::collection::vec(edit(), 0..8));
    let outcome = runner.run(&input, |(seed, other, edits)| {
        let mut data = seed.get(seeds).clone().into_bytes();
        edits.iter().for_each(|edit| apply(&mut data, edit, other.get(seeds).as_bytes()));
        let outcome = std::panic::catch_unwind(|| target(&data));
        prop_assert!(outcome.is_ok(), "{:?}", String::from_utf8_lossy(&data));
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn conditions() {
    run(&seeds(CONDITIONS, "grammar/cases.json"), harness::condition);
}

#[test]
fn rule_files() {
    run(&seeds(FILES, "loader/cases.json"), harness::loader);
}

#[test]
fn output_templates() {
    run(&seeds(OUTPUTS, "grammar/cases.json"), harness::output);
}
