//! Falco's rules over what is stored.
//!
//! ```text
//!   falco_matches('rule') ─▶ the session's own table ─▶ rules ─▶ rows as `alerts` would have them
//!                            (matches)
//!   a trial of rule files ─▶ one statement a day and source ─▶ rules ─▶ tally ─▶ report
//!                            (trial)                                   (tally)
//! ```
//!
//! Both read what the principal may read and nothing else, and only the event
//! types, the days and the columns that the rules need. A row's alert has the id
//! that it has live: the same code makes it.

mod matches;
mod names;
mod tally;
mod trial;

use std::sync::{Arc, PoisonError, RwLock};

use bailiwick_rules::{Compiled, RuleSet};

pub(crate) use matches::{FalcoMatches, NAME as FALCO_MATCHES};
pub use names::look_up_names;
pub use tally::{Change, Example, RuleReport, TrialReport};
pub use trial::{Progress, Trial};

/// The rules that run live on this server, by name for `falco_matches`. Clones
/// share them.
#[derive(Debug, Clone, Default)]
pub struct RulesInUse {
    rules: Arc<RwLock<Arc<RuleSet>>>,
}

// === impl RulesInUse ===

impl RulesInUse {
    /// The rules now.
    pub fn get(&self) -> Arc<RuleSet> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Other rules from now on.
    pub fn set(&self, rules: Arc<RuleSet>) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }
}

/// The event types that any of the rules can match; nothing if it could be any.
fn event_types(compiled: &Compiled) -> Option<Vec<String>> {
    let mut types = Vec::new();
    for rule in 0..compiled.len() {
        types.extend(compiled.event_types(rule)?);
    }
    types.sort_unstable();
    types.dedup();
    Some(types)
}
