//! Rule files to rules: what Falco's loader does, item by item.
//!
//! ```text
//!   YAML nodes ─▶ read one item      ─▶ definitions          ─▶ rules
//!   (yaml.rs)     shape, keys, types    lists, macros, rules    lists as text,
//!                 (loader/item.rs)      append, override        exceptions, macros
//!                                       (loader/collect.rs)     (loader/expand.rs)
//! ```
//!
//! An item that is wrong is left out and reported; its neighbours load.

mod collect;
mod exceptions;
mod expand;
mod item;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::diagnostic::{Code, Diagnostic};
use crate::domains::Domains;
use crate::filter::Expr;
use crate::yaml::{self, Mark, Node};

/// A rule file's name and text.
#[derive(Debug, Clone)]
pub struct RuleText {
    /// How diagnostics and alerts call the file.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// What a set of files contains.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The rules that load.
    pub rules: RuleSet,
    /// What is wrong with the files, in order.
    pub diagnostics: Vec<Diagnostic>,
}

/// Rules in the order of their first definition, the disabled ones too.
#[derive(Debug, Clone, Default)]
pub struct RuleSet {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Shared by everything that is compiled from the set.
    pub(crate) domains: Domains,
}

/// One rule with everything substituted.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name, unique in the set.
    pub name: String,
    /// What it means, for the person on call.
    pub desc: String,
    /// Lists, exceptions and macros replaced by what they stand for.
    pub condition: Expr,
    /// The template of the alert's text.
    pub output: String,
    /// How urgent it is.
    pub priority: Priority,
    /// Which events it is about.
    pub source: Source,
    /// Its tags, sorted.
    pub tags: BTreeSet<String>,
    /// Whether it is evaluated.
    pub enabled: bool,
    /// The file that defined it first.
    pub file: String,
}

/// Which events a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Source {
    /// System calls: the table `syscalls`.
    #[serde(rename = "syscall")]
    Syscall,
    /// API requests: the table `api_access`.
    #[serde(rename = "k8s_audit")]
    K8sAudit,
}

/// Falco's priorities, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Priority {
    /// System unusable.
    Emergency,
    /// Act at once.
    Alert,
    /// Critical.
    Critical,
    /// An error.
    Error,
    /// A warning.
    Warning,
    /// Normal but notable.
    Notice,
    /// For information.
    Informational,
    /// For debugging.
    Debug,
}

/// A file while it is read.
pub(crate) struct SourceFile {
    name: String,
    chars: Vec<char>,
    lines: Vec<String>,
}

/// Where an item stands, for diagnostics about it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    file: usize,
    item: String,
    at: Mark,
}

/// Collects diagnostics over the files.
pub(crate) struct Report {
    files: Vec<SourceFile>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// An item cannot be used.
pub(crate) struct Refused {
    code: Code,
    message: String,
    at: Mark,
    length: usize,
}

/// Loads files in order; later ones may append to or override earlier ones.
pub fn load(files: &[RuleText]) -> Loaded {
    let files: Vec<RuleText> = files.iter().map(with_line_feeds).collect();
    let mut report = Report::new(&files);
    let mut collected = collect::Collected::default();
    for (index, file) in files.iter().enumerate() {
        read_file(index, &file.text, &mut collected, &mut report);
    }
    let rules = expand::expand(&collected, &mut report);
    Loaded { rules, diagnostics: report.diagnostics }
}

/// YAML ends a line at a carriage return too; everything here counts line feeds.
fn with_line_feeds(file: &RuleText) -> RuleText {
    let text = match file.text.contains('\r') {
        true => file.text.replace("\r\n", "\n").replace('\r', "\n"),
        false => file.text.clone(),
    };
    RuleText { name: file.name.clone(), text }
}

fn read_file(file: usize, text: &str, collected: &mut collect::Collected, report: &mut Report) {
    let place = |at| Place { file, item: String::new(), at };
    let documents = match yaml::documents(text) {
        Ok(documents) => documents,
        Err(error) => return report.add(&place(error.at), Code::YamlParse, error.message),
    };
    for document in documents.iter().filter(|document| !document.is_null()) {
        let Some(items) = document.items() else {
            let message = "rules are a list of items, each beginning with '- '";
            report.add(&place(document.start), Code::YamlValidate, message);
            continue;
        };
        for node in items.iter().filter(|node| !node.is_null()) {
            let mut place = place(node.start);
            if let Err(refused) = item::read(node, &mut place, collected, report) {
                report.refuse(&place, refused);
            }
        }
    }
}

// === impl Report ===

impl Report {
    fn new(files: &[RuleText]) -> Self {
        let file = |file: &RuleText| SourceFile {
            name: file.name.clone(),
            chars: file.text.chars().collect(),
            lines: file.text.lines().map(str::to_owned).collect(),
        };
        Self { files: files.iter().map(file).collect(), diagnostics: Vec::new() }
    }

    pub(crate) fn file_name(&self, place: &Place) -> String {
        self.files.get(place.file).map(|file| file.name.clone()).unwrap_or_default()
    }

    fn add(&mut self, place: &Place, code: Code, message: impl Into<String>) {
        self.add_at(place, code, message.into(), place.at, 1);
    }

    fn refuse(&mut self, place: &Place, refused: Refused) {
        self.add_at(place, refused.code, refused.message, refused.at, refused.length);
    }

    fn add_at(&mut self, place: &Place, code: Code, message: String, at: Mark, length: usize) {
        let file = self.files.get(place.file);
        let line = file.and_then(|file| file.lines.get(at.line.checked_sub(1)?));
        let snippet: String = line.map(|line| line.chars().take(400).collect()).unwrap_or_default();
        // Without a length of its own it is about the word that begins there.
        let word = snippet.chars().skip(at.column.saturating_sub(1)).take_while(|c| !c.is_whitespace());
        let length = if length > 1 { length } else { word.count().max(1) };
        self.diagnostics.push(Diagnostic {
            file: self.file_name(place),
            line: at.line,
            column: at.column,
            length,
            code,
            severity: code.severity(),
            message,
            item: place.item.clone(),
            snippet,
        });
    }

    /// Where the `at`-th byte of a scalar stands in its file.
    fn locate(&self, place: &Place, node: &Node, at: usize) -> Mark {
        self.files.get(place.file).map_or(node.start, |file| node.locate(&file.chars, at))
    }
}

// === impl Refused ===

impl Refused {
    fn new(code: Code, at: Mark, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), at, length: 1 }
    }

    fn shape(at: Mark, message: impl Into<String>) -> Self {
        Self::new(Code::YamlValidate, at, message)
    }

    fn contradiction(at: Mark, message: impl Into<String>) -> Self {
        Self::new(Code::Validate, at, message)
    }
}

// === impl Priority, Source ===

impl Priority {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 8] = [
        Self::Emergency,
        Self::Alert,
        Self::Critical,
        Self::Error,
        Self::Warning,
        Self::Notice,
        Self::Informational,
        Self::Debug,
    ];

    /// As Falco prints it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Emergency => "Emergency",
            Self::Alert => "Alert",
            Self::Critical => "Critical",
            Self::Error => "Error",
            Self::Warning => "Warning",
            Self::Notice => "Notice",
            Self::Informational => "Informational",
            Self::Debug => "Debug",
        }
    }
}

impl FromStr for Priority {
    type Err = ();

    /// Its whole name in any case; `INFO` is informational as well.
    fn from_str(text: &str) -> Result<Self, ()> {
        let text = if text.eq_ignore_ascii_case("info") { Self::Informational.as_str() } else { text };
        Self::ALL.into_iter().find(|priority| priority.as_str().eq_ignore_ascii_case(text)).ok_or(())
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Syscall, Self::K8sAudit];

    /// As rule files call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syscall => "syscall",
            Self::K8sAudit => "k8s_audit",
        }
    }

    /// The table that holds its events.
    pub const fn table(self) -> bailiwick_proto::Table {
        match self {
            Self::Syscall => bailiwick_proto::Table::Syscalls,
            Self::K8sAudit => bailiwick_proto::Table::ApiAccess,
        }
    }
}

impl FromStr for Source {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Syscall, Self::K8sAudit].into_iter().find(|source| source.as_str() == text).ok_or(())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
