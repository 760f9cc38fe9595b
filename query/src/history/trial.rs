//! Rule files tried on what is stored, a day at a time.
//!
//! Each day of each source is a statement of its own, run as the principal that
//! asked: it has the limits and the record in `queries` that any statement has,
//! other questions get their turn in between, and dropping the trial ends it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bailiwick_rules::{RuleSet, Rulebook, Source};
use chrono::{DateTime, Days, NaiveTime, Utc};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use super::tally::{Tally, TrialReport};
use super::{event_types, names};
use crate::{Code, Endpoint, Engine, Principal, QueryError};

/// The longest period, days.
const MAX_DAYS: i64 = 400;
/// Batches of events between two signs of progress.
const BATCHES_BETWEEN: usize = 32;

/// Rules, and what to try them on.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The rules that are tried.
    pub rules: Arc<RuleSet>,
    /// The rules that they are compared with.
    pub old: Option<Arc<RuleSet>>,
    /// From when on.
    pub from: DateTime<Utc>,
    /// Before when.
    pub to: DateTime<Utc>,
    /// Whose events; of everybody in sight where empty.
    pub tenants: Vec<String>,
}

/// How far a trial has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Parts that are done.
    pub done: usize,
    /// Parts in all: days times sources.
    pub total: usize,
    /// Events looked at.
    pub events: u64,
    /// Matches found.
    pub matches: u64,
}

/// One day of one source.
struct Part {
    source: Source,
    sql: String,
}

// === impl Trial ===

impl Trial {
    /// Runs to the end, telling how far it has come.
    pub(crate) async fn run(
        self,
        engine: &Engine,
        principal: &Principal,
        mut told: impl FnMut(Progress),
    ) -> Result<TrialReport, QueryError> {
        self.check()?;
        let new = Rulebook::new(&self.rules);
        let old = self.old.as_ref().map(|old| Rulebook::new(old));
        let unresolved = self.unresolved(engine, principal).await;
        let parts = self.parts(&new, old.as_ref());
        let total = parts.len();
        let mut tally = Tally::new(&new, old.as_ref());
        for (done, part) in parts.into_iter().enumerate() {
            let progress = |tally: &Tally<'_>, done| {
                let (events, matches) = tally.so_far();
                Progress { done, total, events, matches }
            };
            told(progress(&tally, done));
            let mut batches = engine.run(principal, Endpoint::Report, &part.sql).await?;
            let mut count = 0;
            while let Some(batch) = batches.next().await {
                tally.add(part.source, &batch?);
                count += 1;
                if count % BATCHES_BETWEEN == 0 {
                    told(progress(&tally, done));
                }
            }
            told(progress(&tally, done + 1));
        }
        Ok(tally.report(self.from, self.to, unresolved))
    }

    /// Makes the names of the rules known; what is left. Compiled rules have said
    /// which names they are.
    async fn unresolved(&self, engine: &Engine, principal: &Principal) -> Vec<String> {
        let mut unresolved = BTreeSet::new();
        for rules in std::iter::once(&self.rules).chain(&self.old) {
            unresolved.extend(names::resolve(rules.domains(), engine.rules(), principal.role()).await);
        }
        unresolved.into_iter().collect()
    }

    fn check(&self) -> Result<(), QueryError> {
        if self.from >= self.to {
            return Err(QueryError::new(Code::BadRequest, "field from: it must lie before field to"));
        }
        if (self.to - self.from).num_days() > MAX_DAYS {
            let message = format!("a trial may look at {MAX_DAYS} days");
            return Err(QueryError::new(Code::BadRequest, message));
        }
        Ok(())
    }

    /// The statements, day by day, so that a trial that is ended has seen whole days.
    fn parts(&self, new: &Rulebook, old: Option<&Rulebook>) -> Vec<Part> {
        let books: Vec<&Rulebook> = std::iter::once(new).chain(old).collect();
        let sources: Vec<Source> = Source::ALL
            .into_iter()
            .filter(|source| books.iter().any(|book| !book.compiled(*source).is_empty()))
            .collect();
        let mut parts = Vec::new();
        let mut from = self.from;
        while from < self.to {
            let to = next_midnight(from).min(self.to);
            parts.extend(
                sources
                    .iter()
                    .map(|source| Part { source: *source, sql: self.sql(&books, *source, from, to) }),
            );
            from = to;
        }
        parts
    }

    /// The events of one source in `[from, to)` that any rule has to look at.
    fn sql(&self, books: &[&Rulebook], source: Source, from: DateTime<Utc>, to: DateTime<Utc>) -> String {
        let mut columns: Vec<&str> = books.iter().flat_map(|book| book.columns(source)).collect();
        columns.sort_unstable();
        columns.dedup();
        let columns: Vec<String> = columns.iter().map(|name| format!("\"{name}\"")).collect();
        let moment = |time: DateTime<Utc>| {
            let us = time.timestamp_micros();
            format!("arrow_cast({us}, 'Timestamp(Microsecond, Some(\"UTC\"))')")
        };
        let (table, from, to) = (source.table(), moment(from), moment(to));
        let mut sql =
            format!("SELECT {} FROM {table} WHERE time >= {from} AND time < {to}", columns.join(", "));
        if !self.tenants.is_empty() {
            sql += &format!(" AND tenant IN ({})", texts(&self.tenants));
        }
        let types: Option<Vec<Vec<String>>> =
            books.iter().map(|book| event_types(book.compiled(source))).collect();
        if let Some(types) = types.filter(|_| source == Source::Syscall) {
            let mut types = types.concat();
            types.sort_unstable();
            types.dedup();
            sql += &match types.is_empty() {
                true => " AND false".to_owned(),
                false => format!(" AND evt_type IN ({})", texts(&types)),
            };
        }
        sql
    }
}

/// Texts as literals of SQL.
fn texts(values: &[String]) -> String {
    values.iter().map(|value| format!("'{}'", value.replace('\'', "''"))).collect::<Vec<_>>().join(", ")
}

fn next_midnight(time: DateTime<Utc>) -> DateTime<Utc> {
    let day = time.date_naive().checked_add_days(Days::new(1)).unwrap_or(time.date_naive());
    let midnight = day.and_time(NaiveTime::MIN).and_utc();
    // The last day that the calendar knows has no next one.
    if midnight > time { midnight } else { DateTime::<Utc>::MAX_UTC }
}

// === impl Engine ===

impl Engine {
    /// Tries rules on what the principal may see, on the engine's own threads.
    /// Dropping the future ends the trial.
    pub async fn try_rules(
        self: &Arc<Self>,
        principal: &Principal,
        trial: Trial,
        told: impl FnMut(Progress) + Send + 'static,
    ) -> Result<TrialReport, QueryError> {
        let (engine, principal) = (Arc::clone(self), principal.clone());
        let lane = self.account(&principal)?.lane()?;
        let work = async move { trial.run(&engine, &principal, told).await };
        let work = tokio_util::task::AbortOnDropHandle::new(lane.handle().spawn(work));
        work.await.map_err(QueryError::internal)?
    }
}
