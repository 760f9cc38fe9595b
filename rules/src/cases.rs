//! Tests of rules: events that a rule must match, and events that it must not.
//!
//! ```text
//!   - test: Shell in container            the rule's name
//!     given: { evt.type: execve }         what all events below have
//!     match:                              each of these must match …
//!       - { proc.name: sh, container.id: 3ad7b26ded6d }
//!     no_match:                           … and none of these
//!       - { proc.name: sh, container.id: host }
//! ```
//!
//! They stand in files of their own, `*_test.yaml`, because Falco would not know
//! what to do with them. A value is given by Falco's name of a field or by the
//! column's; what is not given is null, as it is where nobody knows it.

mod event;

use std::collections::HashSet;

use serde::Serialize;

use crate::compile::Matching;
use crate::loader::{Rule, RuleSet, RuleText};
use crate::yaml::{self, Mark, Node};
use event::Events;

/// How the tests of some files went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CaseReport {
    /// Events that were judged as they should be.
    pub passed: usize,
    /// What was not, and what is wrong with the files, in order.
    pub failures: Vec<CaseFailure>,
    /// Rules that run and have no test.
    pub untested: Vec<String>,
}

/// A test that fails or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaseFailure {
    /// The file's name.
    pub file: String,
    /// The line of the event, from 1.
    pub line: usize,
    /// The rule's name, empty where it is not known.
    pub rule: String,
    /// What is wrong.
    pub message: String,
}

/// One item of a file.
struct Item<'a> {
    rule: &'a Rule,
    given: Option<&'a Node>,
    /// Each event, and whether it must match.
    events: Vec<(&'a Node, bool)>,
}

/// Whether a file holds tests, by its name.
pub fn is_case_file(name: &str) -> bool {
    let stem = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml"));
    stem.is_some_and(|stem| stem.ends_with("_test") || stem.ends_with("_tests"))
}

/// Runs every test of some files against loaded rules, each rule by itself.
pub fn run_cases(rules: &RuleSet, files: &[RuleText]) -> CaseReport {
    let mut report = CaseReport::default();
    let mut tested = HashSet::new();
    for file in files {
        run_file(rules, file, &mut tested, &mut report);
    }
    let untested = rules.rules.iter().filter(|rule| rule.enabled && !tested.contains(&rule.name));
    report.untested = untested.map(|rule| rule.name.clone()).collect();
    report
}

fn run_file(rules: &RuleSet, file: &RuleText, tested: &mut HashSet<String>, report: &mut CaseReport) {
    let documents = match yaml::documents(&file.text) {
        Ok(documents) => documents,
        Err(error) => return report.fail(file, error.at, "", error.message),
    };
    for document in documents.iter().filter(|document| !document.is_null()) {
        let Some(items) = document.items() else {
            report.fail(file, document.start, "", "tests are a list of items, each beginning with '- test:'");
            continue;
        };
        for node in items.iter().filter(|node| !node.is_null()) {
            match Item::read(node, rules) {
                Ok(item) => {
                    tested.insert(item.rule.name.clone());
                    item.run(file, report);
                }
                Err((at, message)) => report.fail(file, at, "", message),
            }
        }
    }
}

// === impl CaseReport ===

impl CaseReport {
    fn fail(&mut self, file: &RuleText, at: Mark, rule: &str, message: impl Into<String>) {
        self.failures.push(CaseFailure {
            file: file.name.clone(),
            line: at.line.max(1),
            rule: rule.to_owned(),
            message: message.into(),
        });
    }
}

// === impl Item ===

impl<'a> Item<'a> {
    fn read(node: &'a Node, rules: &'a RuleSet) -> Result<Self, (Mark, String)> {
        let known = ["test", "given", "match", "no_match"];
        for (key, _) in node.pairs() {
            let name = key.text().unwrap_or_default();
            if !known.contains(&name) {
                return Err((key.start, format!("unknown key {name:?}; there are {}", known.join(", "))));
            }
        }
        let Some(name) = node.get("test").and_then(Node::text) else {
            return Err((node.start, "an item needs the key test with a rule's name".to_owned()));
        };
        let rule =
            rules.get(name).ok_or_else(|| (node.start, format!("no rule {name:?} is among the files")))?;
        let mut events = Vec::new();
        for (key, must) in [("match", true), ("no_match", false)] {
            let Some(list) = node.get(key) else { continue };
            let items = list.items().ok_or_else(|| (list.start, format!("{key} is a list of events")))?;
            events.extend(items.iter().map(|event| (event, must)));
        }
        if events.is_empty() {
            return Err((node.start, format!("the test of {name:?} has no event")));
        }
        Ok(Self { rule, given: node.get("given"), events })
    }

    /// Runs the rule alone, also where it is disabled: what it looks for does
    /// not depend on who looks first.
    fn run(&self, file: &RuleText, report: &mut CaseReport) {
        let mut events = Events::new(self.rule.source);
        let mut judged = Vec::new();
        for (node, must) in &self.events {
            match events.push(self.given, node) {
                Ok(()) => judged.push((*node, *must)),
                Err((at, message)) => report.fail(file, at, &self.rule.name, message),
            }
        }
        let matched = match events.batch() {
            Ok(batch) => {
                let rule = Rule { enabled: true, ..self.rule.clone() };
                let alone = RuleSet { rules: vec![rule], ..RuleSet::default() }.compile(self.rule.source);
                alone.matches(&batch, Matching::All).iter().map(|found| found.row).collect::<HashSet<_>>()
            }
            Err(error) => {
                let at = self.events.first().map(|(node, _)| node.start).unwrap_or_default();
                return report.fail(file, at, &self.rule.name, error.to_string());
            }
        };
        for (row, (node, must)) in judged.into_iter().enumerate() {
            match (must, matched.contains(&row)) {
                (true, false) => report.fail(file, node.start, &self.rule.name, "must match and does not"),
                (false, true) => report.fail(file, node.start, &self.rule.name, "must not match and does"),
                _ => report.passed += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests;
