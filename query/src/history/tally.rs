//! What a trial counts: pure.

use std::collections::{BTreeMap, HashMap};

use bailiwick_rules::{Match, Matching, Priority, Rulebook, Source, row};
use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use datafusion::arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

/// Examples kept of each rule and of each change.
const EXAMPLES: usize = 3;
/// Characters of an example's output.
const EXAMPLE_CHARS: usize = 600;

/// What rules would have found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialReport {
    /// From when on events were looked at.
    pub from: DateTime<Utc>,
    /// Before when.
    pub to: DateTime<Utc>,
    /// Events that a rule had to look at.
    pub events: u64,
    /// Names that rules compare addresses with and that no address is known of:
    /// such a comparison held for no event.
    #[serde(default)]
    pub unresolved: Vec<String>,
    /// The rules in the order in which they are tried.
    pub rules: Vec<RuleReport>,
    /// The rules whose alerts are others than with the old rules; nothing was
    /// compared without old rules.
    pub changes: Option<Vec<Change>>,
}

/// What one rule would have found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleReport {
    /// Its name.
    pub rule: String,
    /// Which events it is about.
    pub source: String,
    /// How urgent it is, as Falco prints it.
    pub priority: String,
    /// Events that it matches; its alerts where every rule that matches alerts.
    pub matches: u64,
    /// Its alerts where only the first rule that matches alerts.
    pub alerts: u64,
    /// Matches a day on average over the whole period.
    pub matches_per_day: f64,
    /// The day with most matches, UTC, and how many there were.
    pub busiest_day: Option<(NaiveDate, u64)>,
    /// Matches by tenant.
    pub tenants: BTreeMap<String, u64>,
    /// Events that it matches and another rule alerts because it comes first.
    pub shadowed_by: BTreeMap<String, u64>,
    /// Its earliest matches.
    pub examples: Vec<Example>,
}

/// A match, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// The alert's id, the same as live.
    pub alert_id: String,
    /// When the event happened, RFC 3339.
    pub time: String,
    /// Whose it is.
    pub tenant: String,
    /// The alert's text, cut where it is long.
    pub output: String,
}

/// How the alerts of a rule change, the first rule that matches alerting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The rule's name.
    pub rule: String,
    /// Alerts of the old rules.
    pub before: u64,
    /// Alerts of the new rules.
    pub after: u64,
    /// Alerts that only the new rules raise.
    pub added: u64,
    /// Alerts that only the old rules raise.
    pub removed: u64,
    /// Some that are added.
    pub added_examples: Vec<Example>,
    /// Some that are removed.
    pub removed_examples: Vec<Example>,
}

/// Counts while events go by.
pub(super) struct Tally<'a> {
    new: &'a Rulebook,
    old: Option<&'a Rulebook>,
    events: u64,
    matches: u64,
    counts: HashMap<(Source, usize), Counts>,
    changes: BTreeMap<String, Change>,
}

#[derive(Default)]
struct Counts {
    matches: u64,
    alerts: u64,
    days: BTreeMap<NaiveDate, u64>,
    tenants: BTreeMap<String, u64>,
    shadowed_by: BTreeMap<usize, u64>,
    examples: Vec<Example>,
}

// === impl Tally ===

impl<'a> Tally<'a> {
    pub(super) fn new(new: &'a Rulebook, old: Option<&'a Rulebook>) -> Self {
        Self { new, old, events: 0, matches: 0, counts: HashMap::new(), changes: BTreeMap::new() }
    }

    /// Looks at a batch of a source's events.
    pub(super) fn add(&mut self, source: Source, batch: &RecordBatch) {
        self.events += batch.num_rows() as u64;
        let found = self.new.matches(source, batch, Matching::All);
        self.matches += found.len() as u64;
        for event in found.chunk_by(|a, b| a.row == b.row) {
            self.count(source, batch, event);
        }
        if let Some(old) = self.old {
            let before = old.matches(source, batch, Matching::First);
            let after = found.chunk_by(|a, b| a.row == b.row).filter_map(|event| event.first().copied());
            self.compare(source, batch, old, &before, &after.collect::<Vec<_>>());
        }
    }

    /// Events and matches so far.
    pub(super) fn so_far(&self) -> (u64, u64) {
        (self.events, self.matches)
    }

    pub(super) fn report(
        mut self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        unresolved: Vec<String>,
    ) -> TrialReport {
        let days = (to - from).num_milliseconds() as f64 / 86_400_000.0;
        let mut rules = Vec::new();
        for source in Source::ALL {
            for index in 0..self.new.compiled(source).len() {
                let counts = self.counts.remove(&(source, index)).unwrap_or_default();
                rules.push(self.rule(source, index, counts, days));
            }
        }
        let changed = self.changes.into_values().filter(|change| change.added + change.removed > 0);
        let changes = self.old.is_some().then(|| changed.collect());
        TrialReport { from, to, events: self.events, unresolved, rules, changes }
    }

    /// The matches of one event, the rule that comes first before the others.
    fn count(&mut self, source: Source, batch: &RecordBatch, event: &[Match]) {
        let Some(first) = event.first() else { return };
        let day = row::time_us(batch, "time", first.row).and_then(DateTime::from_timestamp_micros);
        let tenant = row::text(batch, "tenant", first.row).unwrap_or_default();
        for found in event {
            let counts = self.counts.entry((source, found.rule)).or_default();
            counts.matches += 1;
            if let Some(day) = day {
                *counts.days.entry(day.date_naive()).or_default() += 1;
            }
            match counts.tenants.get_mut(tenant) {
                Some(count) => *count += 1,
                None => drop(counts.tenants.insert(tenant.to_owned(), 1)),
            }
            match found.rule == first.rule {
                true => counts.alerts += 1,
                false => *counts.shadowed_by.entry(first.rule).or_default() += 1,
            }
            keep_earliest(&mut counts.examples, self.new, source, batch, *found);
        }
    }

    /// Both sides are by row, at most one match a row.
    fn compare(
        &mut self,
        source: Source,
        batch: &RecordBatch,
        old: &Rulebook,
        before: &[Match],
        after: &[Match],
    ) {
        let name = |book: &Rulebook, found: &Match| book.compiled(source).rule(found.rule).name.clone();
        let new = self.new;
        let mut kept: HashMap<usize, String> =
            before.iter().map(|found| (found.row, name(old, found))).collect();
        for found in after {
            let rule = name(new, found);
            let same = kept.get(&found.row) == Some(&rule);
            let change = self.change(&rule);
            change.after += 1;
            if same {
                kept.remove(&found.row);
                change.before += 1;
                continue;
            }
            change.added += 1;
            keep_earliest(&mut change.added_examples, new, source, batch, *found);
        }
        for found in before.iter().filter(|found| kept.contains_key(&found.row)) {
            let change = self.change(&name(old, found));
            change.before += 1;
            change.removed += 1;
            keep_earliest(&mut change.removed_examples, old, source, batch, *found);
        }
    }

    fn change(&mut self, rule: &str) -> &mut Change {
        self.changes.entry(rule.to_owned()).or_insert_with(|| Change {
            rule: rule.to_owned(),
            before: 0,
            after: 0,
            added: 0,
            removed: 0,
            added_examples: Vec::new(),
            removed_examples: Vec::new(),
        })
    }

    fn rule(&self, source: Source, index: usize, counts: Counts, days: f64) -> RuleReport {
        let compiled = self.new.compiled(source);
        let rule = compiled.rule(index);
        let priority: Priority = rule.priority;
        let named = |(rule, count): (usize, u64)| (compiled.rule(rule).name.clone(), count);
        let busiest = counts.days.into_iter().max_by_key(|(day, count)| (*count, std::cmp::Reverse(*day)));
        RuleReport {
            rule: rule.name.clone(),
            source: source.as_str().to_owned(),
            priority: priority.as_str().to_owned(),
            matches: counts.matches,
            alerts: counts.alerts,
            matches_per_day: if days > 0.0 { counts.matches as f64 / days } else { 0.0 },
            busiest_day: busiest,
            tenants: counts.tenants,
            shadowed_by: counts.shadowed_by.into_iter().map(named).collect(),
            examples: counts.examples,
        }
    }
}

/// Keeps the earliest matches, in whatever order they come: the same events give
/// the same examples.
fn keep_earliest(
    examples: &mut Vec<Example>,
    book: &Rulebook,
    source: Source,
    batch: &RecordBatch,
    found: Match,
) {
    let time = moment(row::time_us(batch, "time", found.row));
    let is_full = examples.len() >= EXAMPLES;
    // Most matches are later than those kept, and need not be made into alerts.
    if is_full && examples.last().is_some_and(|last| last.time < time) {
        return;
    }
    let alert = book.alert(source, batch, found, "backtest");
    let output = alert.output.chars().take(EXAMPLE_CHARS).collect();
    examples.push(Example { alert_id: alert.alert_id, time, tenant: alert.owner, output });
    examples.sort_by(|a, b| (&a.time, &a.alert_id).cmp(&(&b.time, &b.alert_id)));
    examples.truncate(EXAMPLES);
}

fn moment(time_us: Option<i64>) -> String {
    let time = time_us.and_then(DateTime::from_timestamp_micros).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}
