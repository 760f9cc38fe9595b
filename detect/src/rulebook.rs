//! The rules that run now, and how a changed file replaces them.

use std::sync::{Arc, PoisonError, RwLock};

use bailiwick_query::RulesInUse;
use bailiwick_rules::{Diagnostic, RuleSet, RuleText, load};

use crate::DetectError;
use crate::config::Config;
use crate::files;

/// The rules that run when no file is configured.
pub const BUILT_IN_RULES: &str = include_str!("../../deploy/rules/bailiwick_rules.yaml");
/// How alerts and diagnostics call them.
pub const BUILT_IN_NAME: &str = "built-in";

/// Rules ready to run, and what was said of their files.
#[derive(Debug)]
pub(crate) struct Rulebook {
    /// The rules.
    pub(crate) rules: bailiwick_rules::Rulebook,
    /// The rules as loaded, for runs over history.
    pub(crate) set: Arc<RuleSet>,
    /// What the files said, errors first.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// The rulebook in use; readers take it once a batch.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    book: Arc<RwLock<Arc<Rulebook>>>,
    in_use: RulesInUse,
}

// === impl Rulebook ===

impl Rulebook {
    /// Makes texts ready, with what is wrong left out.
    pub(crate) fn of(texts: &[RuleText], config: &Config) -> Result<Self, DetectError> {
        let mut loaded = load(texts);
        loaded.rules.rules.retain(|rule| rule.priority <= config.minimum_priority);
        loaded.diagnostics.sort_by_key(|found| !found.is_error());
        if let Some(first) =
            loaded.diagnostics.first().filter(|first| first.is_error() && loaded.rules.is_empty())
        {
            let files = texts.iter().map(|text| text.name.clone()).collect::<Vec<_>>().join(", ");
            return Err(DetectError::NoRules { files, first: first.to_string() });
        }
        let rules = bailiwick_rules::Rulebook::new(&loaded.rules);
        Ok(Self { rules, set: Arc::new(loaded.rules), diagnostics: loaded.diagnostics })
    }

    pub(crate) fn rules(&self) -> usize {
        self.rules.len()
    }
}

/// The configured files' texts, or the built-in one.
pub(crate) fn texts(config: &Config) -> Result<Vec<RuleText>, DetectError> {
    if config.rules_files.is_empty() {
        return Ok(vec![RuleText { name: BUILT_IN_NAME.to_owned(), text: BUILT_IN_RULES.to_owned() }]);
    }
    files::texts(&config.rules_files)
}

/// The rules of files that changed. At the start a bad item is left out; while
/// rules run, a file with an error most likely was saved half-way.
pub(crate) fn changed(texts: &[RuleText], config: &Config) -> Result<Rulebook, String> {
    let book = Rulebook::of(texts, config).map_err(|error| error.to_string())?;
    match book.diagnostics.first().filter(|first| first.is_error()) {
        Some(first) => Err(first.to_string()),
        None => Ok(book),
    }
}

// === impl Current ===

impl Current {
    pub(crate) fn new(book: Rulebook, in_use: RulesInUse) -> Self {
        in_use.set(Arc::clone(&book.set));
        Self { book: Arc::new(RwLock::new(Arc::new(book))), in_use }
    }

    pub(crate) fn get(&self) -> Arc<Rulebook> {
        Arc::clone(&self.book.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set(&self, book: Rulebook) {
        book.set.domains().learn_from(self.get().set.domains());
        self.in_use.set(Arc::clone(&book.set));
        *self.book.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(book);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::{Files, Reload};

    const RULE: &str = "- rule: R\n  desc: d\n  condition: evt.type = open\n  output: o\n  priority: INFO\n";

    fn read(config: &Config) -> Result<Rulebook, DetectError> {
        Rulebook::of(&texts(config)?, config)
    }

    #[test]
    fn the_built_in_rules_load_without_a_word() {
        let book = read(&Config::default()).unwrap();
        assert!(book.rules() >= 14 && book.diagnostics.is_empty());
    }

    #[test]
    fn a_bad_file_leaves_the_old_rules_running() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rules.yaml");
        fs::write(&file, RULE).unwrap();
        let config = Config { rules_files: vec![file.clone()], ..Config::default() };
        let current = Current::new(read(&config).unwrap(), RulesInUse::default());
        let mut files = Files::new("rule", &config.rules_files, texts(&config).unwrap());
        let mut look = || files.look(|texts| changed(texts, &config));
        assert!(matches!(look(), Reload::Same));
        fs::write(&file, format!("{RULE}- rule: S\n  condition: evt.type == == x\n")).unwrap();
        assert!(matches!(look(), Reload::Refused(message) if message.contains("rules.yaml:6")));
        assert_eq!(current.get().rules(), 1);
        fs::remove_file(&file).unwrap();
        assert!(matches!(look(), Reload::Refused(_)));
        fs::write(&file, format!("{RULE}{}", RULE.replace("rule: R", "rule: S"))).unwrap();
        let Reload::New(book) = look() else { panic!("not reloaded") };
        current.set(book);
        assert_eq!(current.get().rules(), 2);
    }
}
