//! The rules of every source, ready to run and to speak.

use arrow::array::RecordBatch;

use crate::alert::{Alert, event_alert_id};
use crate::compile::{Compiled, Match, Matching};
use crate::loader::{Rule, RuleSet, Source};
use crate::output::Output;

/// Compiled rules with their outputs parsed.
#[derive(Debug)]
pub struct Rulebook {
    sources: [Sourced; 2],
}

/// The rules of one source.
#[derive(Debug)]
struct Sourced {
    compiled: Compiled,
    /// One for each rule.
    outputs: Vec<Output>,
}

// === impl Rulebook ===

impl Rulebook {
    /// Makes the enabled rules of a set ready.
    pub fn new(rules: &RuleSet) -> Self {
        let sources = Source::ALL.map(|source| {
            let compiled = rules.compile(source);
            let outputs = (0..compiled.len()).map(|rule| output(compiled.rule(rule))).collect();
            Sourced { compiled, outputs }
        });
        Self { sources }
    }

    /// How many rules run.
    pub fn len(&self) -> usize {
        self.sources.iter().map(|sourced| sourced.compiled.len()).sum()
    }

    /// Whether no rule runs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rules of a source.
    pub fn compiled(&self, source: Source) -> &Compiled {
        &self.of(source).compiled
    }

    /// The matches of a source's rules in a batch.
    pub fn matches(&self, source: Source, batch: &RecordBatch, matching: Matching) -> Vec<Match> {
        self.compiled(source).matches(batch, matching)
    }

    /// The id of a match's alert, without the work of making the alert.
    pub fn alert_id(&self, source: Source, batch: &RecordBatch, found: Match) -> String {
        event_alert_id(&self.compiled(source).rule(found.rule).name, source, batch, found.row)
    }

    /// A match's alert; `mode` says how it was found.
    pub fn alert(&self, source: Source, batch: &RecordBatch, found: Match, mode: &'static str) -> Alert {
        let Sourced { compiled, outputs } = self.of(source);
        Alert::of_event(compiled.rule(found.rule), &outputs[found.rule], batch, found.row, mode)
    }

    /// Every column of the source's table that matching and alerts read, sorted.
    pub fn columns(&self, source: Source) -> Vec<&'static str> {
        let Sourced { compiled, outputs } = self.of(source);
        let mut columns: Vec<_> = compiled.columns();
        columns.extend(outputs.iter().flat_map(Output::columns));
        columns.extend(crate::alert::key_columns(source).iter().chain(&crate::alert::EVENT_COLUMNS));
        columns.retain(|name| source.table().columns().any(|column| column.name == *name));
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    fn of(&self, source: Source) -> &Sourced {
        match source {
            Source::Syscall => &self.sources[0],
            Source::K8sAudit => &self.sources[1],
        }
    }
}

/// The loader has parsed it once already, so it parses.
fn output(rule: &Rule) -> Output {
    Output::parse(rule.source, &rule.output).unwrap_or_else(|_| Output::literal(&rule.output))
}
