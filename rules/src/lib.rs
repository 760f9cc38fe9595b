//! Detection rules: Falco's language, read, checked and run over record batches.
//!
//! ```text
//!   rule files ──load──▶ RuleSet ──compile(source)──▶ Compiled ──matches(batch)──▶ [Match]
//!                 │      rules, lists and              leaves shared by all         rule, row
//!                 │      macros substituted            rules, rows by event type       │
//!                 └─▶ [Diagnostic]                                       Output::render┘
//!                     file, line, column, Falco's code
//! ```
//!
//! The same [`Compiled`] runs live over what ingest streams and later over what
//! the tables hold: it takes dictionary and plain text columns alike. Nothing
//! in here opens a file, asks for the time or starts a task.
//!
//! Modules, outermost first: [`load`] reads files ([`filter`] their
//! conditions), `fields` says which column fills which of Falco's fields,
//! `compile` runs, [`Output`] prints, [`Rulebook`] makes an [`Alert`] of a match.

mod alert;
mod cases;
mod compile;
#[cfg(test)]
mod corpus;
mod diagnostic;
mod domains;
mod fields;
pub mod filter;
mod loader;
mod output;
mod pattern;
pub mod row;
mod rulebook;
mod yaml;

pub use alert::{Alert, alert_id, event_alert_id};
pub use cases::{CaseFailure, CaseReport, is_case_file, run_cases};
pub use compile::{Compiled, Match, Matching};
pub use diagnostic::{Code, Diagnostic, Severity};
pub use domains::Domains;
pub use loader::{Loaded, Priority, Rule, RuleSet, RuleText, Source, load};
pub use output::{Output, OutputError};
pub use rulebook::Rulebook;
