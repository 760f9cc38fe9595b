//! `bailiwick rules check`: what a rule file would do, before it goes live.

use std::fs;
use std::path::{Path, PathBuf};

use bailiwick_rules::{CaseReport, Diagnostic, Loaded, RuleText, Severity, is_case_file, load, run_cases};

use crate::failure::Failure;
use crate::say::say;
use crate::terminal::printable;

/// Loads the files in order, runs the tests among them and prints what is wrong;
/// fails on an error and on a test that fails. A file that cannot be read is
/// told beside what is wrong with the others.
pub(crate) fn check(files: &[PathBuf], json: bool) -> Result<(), Failure> {
    let (mut texts, mut unreadable) = (Vec::new(), Vec::new());
    for file in files {
        let name = file.display().to_string();
        match fs::read_to_string(file) {
            Ok(text) => texts.push(RuleText { name, text }),
            Err(error) => unreadable.push(Diagnostic::unreadable(&name, &error)),
        }
    }
    let missing = unreadable.first().map(|first| format!("{}: {}", first.file, first.message));
    let (cases, rules): (Vec<_>, Vec<_>) = texts.into_iter().partition(|text| is_case_file(&text.name));
    let mut loaded = load(&rules);
    loaded.diagnostics.splice(0..0, unreadable);
    let tests = (!cases.is_empty()).then(|| run_cases(&loaded.rules, &cases));
    match json {
        true => print_json(&loaded, tests.as_ref())?,
        false => print_text(&loaded, tests.as_ref()),
    }
    if let Some(missing) = missing {
        return Err(Failure::config(missing));
    }
    let errors = loaded.diagnostics.iter().filter(|one| one.severity == Severity::Error).count();
    let failures = tests.map_or(0, |tests| tests.failures.len());
    match (errors, failures) {
        (0, 0) => Ok(()),
        (0, count) => Err(Failure::failed(format!("{count} tests of rules fail"))),
        (count, _) => Err(Failure::failed(format!("{count} errors in {} files", files.len()))),
    }
}

/// A rule file's text under the name that diagnostics will show.
pub(crate) fn read(file: &Path) -> Result<RuleText, Failure> {
    let text =
        fs::read_to_string(file).map_err(|error| Failure::config(format!("{}: {error}", file.display())))?;
    Ok(RuleText { name: file.display().to_string(), text })
}

fn print_text(loaded: &Loaded, tests: Option<&CaseReport>) {
    for diagnostic in &loaded.diagnostics {
        // Line by line, so that line breaks stay and control bytes do not.
        for line in diagnostic.to_string().lines() {
            say!("{}", printable(line));
        }
    }
    for failure in tests.iter().flat_map(|tests| &tests.failures) {
        let (file, rule) = (printable(&failure.file), printable(&failure.rule));
        let about = if rule.is_empty() { String::new() } else { format!("{rule}: ") };
        say!("{file}:{}: {about}{}", failure.line, printable(&failure.message));
    }
    say!("{} rules load", loaded.rules.len());
    if let Some(tests) = tests {
        let untested = tests.untested.len();
        say!(
            "{} events judged as their tests say, {} not; {untested} rules without a test",
            tests.passed,
            tests.failures.len()
        );
    }
}

fn print_json(loaded: &Loaded, tests: Option<&CaseReport>) -> Result<(), Failure> {
    let mut report = serde_json::json!({ "rules": loaded.rules.len(), "diagnostics": loaded.diagnostics });
    if let Some(tests) = tests {
        report["tests"] = serde_json::json!(tests);
    }
    let text = serde_json::to_string_pretty(&report).map_err(|error| Failure::failed(error.to_string()))?;
    crate::say::json(&text);
    Ok(())
}
