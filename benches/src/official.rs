//! Falco's official rules for system calls.

use std::path::Path;

use bailiwick_rules::{RuleSet, RuleText, Source, load};

use crate::Outcome;

/// The files of system call rules that Falco calls stable and incubating.
const FILES: [&str; 2] = ["falco_rules.yaml", "falco-incubating_rules.yaml"];

/// The stable and the incubating ones, from a folder with Falco's files.
pub fn rules(folder: &Path) -> Outcome<RuleSet> {
    let read = |name: &str| -> Outcome<RuleText> {
        let path = folder.join(name);
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(RuleText { name: name.to_owned(), text })
    };
    let mut rules = load(&FILES.map(read).into_iter().collect::<Outcome<Vec<_>>>()?).rules;
    rules.rules.retain(|rule| rule.source == Source::Syscall);
    Ok(rules)
}
