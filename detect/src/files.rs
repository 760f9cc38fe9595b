//! Files that are read again when they change; a bad one changes nothing.

use std::fs;
use std::path::{Path, PathBuf};

use bailiwick_rules::RuleText;

use crate::DetectError;
use crate::metrics::{Metrics, OutcomeLabel};

/// Files by path and what was in them when they were last looked at.
#[derive(Debug)]
pub(crate) struct Files {
    /// As logs call them.
    kind: &'static str,
    paths: Vec<PathBuf>,
    texts: Vec<RuleText>,
    /// What was last said against them, so that it is said once.
    complaint: String,
}

/// What looking at files led to.
pub(crate) enum Reload<T> {
    /// Nothing has changed.
    Same,
    /// This now.
    New(T),
    /// The files are worse than before: what was there goes on.
    Refused(String),
}

/// What is in the files; each is named as it is configured.
pub(crate) fn texts(paths: &[PathBuf]) -> Result<Vec<RuleText>, DetectError> {
    let text = |path: &PathBuf| Ok(RuleText { name: path.display().to_string(), text: read(path)? });
    paths.iter().map(text).collect()
}

fn read(path: &Path) -> Result<String, DetectError> {
    fs::read_to_string(path).map_err(|source| DetectError::ReadFile { path: path.to_owned(), source })
}

// === impl Files ===

impl Files {
    /// Files that had these texts when what runs was made of them.
    pub(crate) fn new(kind: &'static str, paths: &[PathBuf], texts: Vec<RuleText>) -> Self {
        Self { kind, paths: paths.to_vec(), texts, complaint: String::new() }
    }

    /// What `make` makes of them if one has changed. Texts that it refuses are
    /// not shown to it again until they change.
    pub(crate) fn look<T>(&mut self, make: impl FnOnce(&[RuleText]) -> Result<T, String>) -> Reload<T> {
        let texts = match texts(&self.paths) {
            Ok(texts) => texts,
            Err(error) => return Reload::Refused(error.to_string()),
        };
        let same = |(new, old): (&RuleText, &RuleText)| new.text == old.text;
        if texts.len() == self.texts.len() && texts.iter().zip(&self.texts).all(same) {
            return Reload::Same;
        }
        let made = make(&texts);
        self.texts = texts;
        made.map_or_else(Reload::Refused, Reload::New)
    }

    /// The same, with what came of it logged and counted.
    pub(crate) fn take_up<T>(
        &mut self,
        metrics: &Metrics,
        make: impl FnOnce(&[RuleText]) -> Result<T, String>,
    ) -> Option<T> {
        let kind = self.kind;
        let (outcome, new) = match self.look(make) {
            Reload::Same => return None,
            Reload::New(new) => {
                tracing::info!("{kind} files changed, what is in them runs now");
                self.complaint.clear();
                ("loaded", Some(new))
            }
            Reload::Refused(message) if message == self.complaint => return None,
            Reload::Refused(message) => {
                tracing::error!("{kind} files changed and do not load, the old ones go on:\n{message}");
                self.complaint = message;
                ("refused", None)
            }
        };
        metrics.reloads.get_or_create(&OutcomeLabel { outcome }).inc();
        new
    }
}
