//! `bailiwick rules check`: what a rule file would do, before it goes live.

use std::fs;
use std::path::{Path, PathBuf};

use bailiwick_rules::{Loaded, RuleText, Severity, load};

use crate::failure::Failure;
use crate::say::say;
use crate::terminal::printable;

/// Loads the files in order and prints every diagnostic; fails on an error.
pub(crate) fn check(files: &[PathBuf], json: bool) -> Result<(), Failure> {
    let texts = files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
    let loaded = load(&texts);
    match json {
        true => print_json(&loaded)?,
        false => print_text(&loaded),
    }
    let errors = loaded.diagnostics.iter().filter(|one| one.severity == Severity::Error).count();
    match errors {
        0 => Ok(()),
        count => Err(Failure::failed(format!("{count} errors in {} files", files.len()))),
    }
}

/// A rule file's text under the name that diagnostics will show.
pub(crate) fn read(file: &Path) -> Result<RuleText, Failure> {
    let text =
        fs::read_to_string(file).map_err(|error| Failure::config(format!("{}: {error}", file.display())))?;
    Ok(RuleText { name: file.display().to_string(), text })
}

fn print_text(loaded: &Loaded) {
    for diagnostic in &loaded.diagnostics {
        // Line by line, so that line breaks stay and control bytes do not.
        for line in diagnostic.to_string().lines() {
            say!("{}", printable(line));
        }
    }
    say!("{} rules load", loaded.rules.len());
}

fn print_json(loaded: &Loaded) -> Result<(), Failure> {
    let report = serde_json::json!({ "rules": loaded.rules.len(), "diagnostics": loaded.diagnostics });
    let text = serde_json::to_string_pretty(&report).map_err(|error| Failure::failed(error.to_string()))?;
    crate::say::json(&text);
    Ok(())
}
