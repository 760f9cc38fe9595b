//! The functions over seeds that chance has changed.
//!
//! `BAILIWICK_FUZZ_INPUTS=1000000` looks for longer.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::seeds::{TARGETS, of};

/// How many inputs of each kind, unless the environment asks for others.
const INPUTS: u32 = 4_000;

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

fn cases() -> Config {
    let asked = std::env::var("BAILIWICK_FUZZ_INPUTS").ok();
    let cases = asked.map_or(INPUTS, |text| text.parse().expect("BAILIWICK_FUZZ_INPUTS is a number"));
    Config { cases, failure_persistence: None, ..Config::default() }
}

fn run(target: &str, function: fn(&[u8])) {
    let target = TARGETS.into_iter().find(|(name, ..)| *name == target).unwrap();
    let seeds = of(target);
    seeds.iter().for_each(|seed| function(seed.as_bytes()));
    let any_index = any::<prop::sample::Index>;
    let input = (any_index(), any_index(), prop::collection::vec(edit(), 0..8));
    let outcome = TestRunner::new(cases()).run(&input, |(seed, other, edits)| {
        let mut data = seed.get(&seeds).clone().into_bytes();
        edits.iter().for_each(|edit| apply(&mut data, edit, other.get(&seeds).as_bytes()));
        let outcome = std::panic::catch_unwind(|| function(&data));
        prop_assert!(outcome.is_ok(), "{:?}", String::from_utf8_lossy(&data));
        Ok(())
    });
    outcome.unwrap();
}

fn run_bytes(function: fn(&[u8])) {
    let input = prop::collection::vec(any::<u8>(), 0..60);
    let outcome = TestRunner::new(cases()).run(&input, |data| {
        prop_assert!(std::panic::catch_unwind(|| function(&data)).is_ok(), "{data:?}");
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn conditions() {
    run("condition", condition);
}

#[test]
fn rule_files() {
    run("rule_file", rule_file);
}

#[test]
fn output_templates() {
    run("output", output);
}

#[test]
fn rule_tests() {
    run("rule_test", rule_test);
}

#[test]
fn batches() {
    run_bytes(batch);
}

#[test]
fn recordings() {
    run_bytes(recording);
}
