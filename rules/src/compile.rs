//! Rules to something that runs over record batches.
//!
//! ```text
//!   rules ─▶ distinct terms ─▶ distinct leaves ─▶ a tree of leaf numbers a rule
//!            (column.rs)       (leaf.rs)
//!
//!   batch ─▶ rows by event type ─▶ only the rules for those types ─▶ First | All
//!            each leaf at most once, on dictionary values where it can
//! ```
//!
//! Falco's logic has two values: a leaf whose field is null is false, whatever
//! its operator, and `not` makes that true. The kernels here never produce a
//! null, so there is nothing to coalesce.

mod bits;
mod build;
mod column;
mod derived;
pub(crate) mod evttype;
mod json;
mod leaf;
mod options;

use std::collections::HashMap;
use std::sync::OnceLock;

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::Int32Type;

pub(crate) use build::{Problem, is_field, problems, term};
pub(crate) use column::{Column, Term};

use bits::Bits;
use build::Builder;
use evttype::Types;
use leaf::Leaf;

use crate::domains::Domains;
use crate::loader::{Rule, RuleSet, Source};

/// Whether an event raises one alert or as many as there are rules that match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Matching {
    /// The first rule in definition order that matches; Falco's default.
    #[default]
    First,
    /// Every rule that matches.
    All,
}

/// A rule matched a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Match {
    /// The row of the batch.
    pub row: usize,
    /// The rule, see [`Compiled::rule`].
    pub rule: usize,
}

/// The enabled rules of one source, ready to run.
#[derive(Debug)]
pub struct Compiled {
    source: Source,
    rules: Vec<(Rule, Node)>,
    terms: Vec<Term>,
    leaves: Vec<Leaf>,
    classes: Classes,
}

/// A condition over leaf numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Leaf(usize),
    Never,
}

/// Event types that the same rules are interested in.
#[derive(Debug, Default)]
struct Classes {
    /// For each class, its rules in definition order.
    rules: Vec<Vec<usize>>,
    by_type: HashMap<String, usize>,
    /// The class of every type that no rule names.
    other: usize,
}

/// What is computed once for a batch.
struct BatchState<'a> {
    compiled: &'a Compiled,
    batch: &'a RecordBatch,
    columns: Vec<OnceLock<Column>>,
    tables: Vec<OnceLock<leaf::Table>>,
}

/// The rows of one class and the leaves evaluated over them.
struct Group {
    /// `None` means all rows of the batch.
    rows: Option<Vec<u32>>,
    len: usize,
    leaves: HashMap<usize, Bits>,
}

// === impl RuleSet ===

impl RuleSet {
    /// Makes the enabled rules of a source ready to run.
    pub fn compile(&self, source: Source) -> Compiled {
        let mut builder = Builder::new(source, &self.domains);
        let enabled = self.rules.iter().filter(|rule| rule.enabled && rule.source == source);
        let rules: Vec<_> = enabled.map(|rule| (rule.clone(), builder.node(&rule.condition))).collect();
        let types: Vec<Types> = rules.iter().map(|(rule, _)| evttype::types(&rule.condition)).collect();
        let (terms, leaves) = builder.finish();
        let classes = Classes::new(source, &types);
        Compiled { source, rules, terms, leaves, classes }
    }

    /// A set of these rules that shares what is known of domain names.
    pub fn with_rules(&self, rules: Vec<Rule>) -> Self {
        Self { rules, domains: self.domains.clone() }
    }

    /// The domain names that its compiled rules compare addresses with, for
    /// whoever can look them up: without addresses no event is of a name.
    pub fn domains(&self) -> &Domains {
        &self.domains
    }

    /// How many rules there are, the disabled ones too.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rule of this name.
    pub fn get(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.name == name)
    }
}

// === impl Compiled ===

impl Compiled {
    /// The source whose table's batches it takes.
    pub fn source(&self) -> Source {
        self.source
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// How many distinct comparisons the rules share.
    pub fn leaf_count(&self) -> usize {
        self.leaves.len()
    }

    /// The rule that a [`Match`] is about.
    pub fn rule(&self, index: usize) -> &Rule {
        &self.rules[index].0
    }

    /// The event types that a rule can match, or `None` when it is not limited
    /// to some. Lets a scan of history skip the rest.
    pub fn event_types(&self, index: usize) -> Option<Vec<String>> {
        match evttype::types(&self.rule(index).condition) {
            Types::Some(names) => Some(names.into_iter().collect()),
            Types::AllBut(_) => None,
        }
    }

    /// The columns that conditions read; event types are always among them.
    pub fn columns(&self) -> Vec<&'static str> {
        let typed = (self.source == Source::Syscall).then_some("evt_type");
        self.terms.iter().flat_map(Term::columns).chain(typed).collect()
    }

    /// Every match in a batch of the source's table, by row and then rule.
    ///
    /// Takes the wire, stamped and public schema alike; a column that is not
    /// there counts as null.
    pub fn matches(&self, batch: &RecordBatch, matching: Matching) -> Vec<Match> {
        let mut state = BatchState {
            compiled: self,
            batch,
            columns: (0..self.terms.len()).map(|_| OnceLock::new()).collect(),
            tables: (0..self.leaves.len()).map(|_| OnceLock::new()).collect(),
        };
        let mut matches = Vec::new();
        for (class, mut group) in self.classes.groups(batch) {
            for &rule in &self.classes.rules[class] {
                let found = state.node(&self.rules[rule].1, &mut group);
                matches
                    .extend(found.rows(group.len).into_iter().map(|at| Match { row: group.row(at), rule }));
            }
        }
        matches.sort_unstable();
        if matching == Matching::First {
            matches.dedup_by_key(|found| found.row);
        }
        matches
    }
}

// === impl BatchState ===

impl BatchState<'_> {
    fn node(&mut self, node: &Node, group: &mut Group) -> Bits {
        match node {
            Node::Never => Bits::None,
            Node::Leaf(leaf) => self.leaf(*leaf, group),
            Node::Not(inner) => self.node(inner, group).not(group.len),
            Node::And(parts) => {
                let mut so_far = Bits::All;
                for part in parts {
                    if so_far == Bits::None {
                        break;
                    }
                    so_far = so_far.and(&self.node(part, group));
                }
                so_far
            }
            Node::Or(parts) => {
                let mut so_far = Bits::None;
                for part in parts {
                    if so_far == Bits::All {
                        break;
                    }
                    so_far = so_far.or(&self.node(part, group));
                }
                so_far
            }
        }
    }

    fn leaf(&mut self, index: usize, group: &mut Group) -> Bits {
        if let Some(known) = group.leaves.get(&index) {
            return known.clone();
        }
        let leaf = &self.compiled.leaves[index];
        let column = |term: usize| {
            self.columns[term].get_or_init(|| Column::of(&self.compiled.terms[term], self.batch))
        };
        let bits = leaf.evaluate(column, &self.tables[index], group.len, |at| group.row(at));
        group.leaves.insert(index, bits.clone());
        bits
    }
}

// === impl Group ===

impl Group {
    fn row(&self, at: usize) -> usize {
        self.rows.as_ref().map_or(at, |rows| rows[at] as usize)
    }
}

// === impl Classes ===

impl Classes {
    fn new(source: Source, types: &[Types]) -> Self {
        let mut classes = Self::default();
        let of = |wanted: &dyn Fn(&Types) -> bool| -> Vec<usize> {
            types.iter().enumerate().filter(|(_, types)| wanted(types)).map(|(rule, _)| rule).collect()
        };
        classes.other = classes.put(of(&Types::is_unbounded));
        if source == Source::Syscall {
            for name in types.iter().flat_map(Types::names) {
                let class = classes.put(of(&|types| types.contains(name)));
                classes.by_type.insert(name.clone(), class);
            }
        } else {
            // API requests have no type: every rule sees every one.
            classes.other = classes.put((0..types.len()).collect());
        }
        classes
    }

    fn put(&mut self, rules: Vec<usize>) -> usize {
        self.rules.iter().position(|known| *known == rules).unwrap_or_else(|| {
            self.rules.push(rules);
            self.rules.len() - 1
        })
    }

    fn class(&self, name: Option<&str>) -> usize {
        name.and_then(|name| self.by_type.get(name)).copied().unwrap_or(self.other)
    }

    /// The rows of each class that has rules.
    fn groups(&self, batch: &RecordBatch) -> Vec<(usize, Group)> {
        let group = |rows: Option<Vec<u32>>, len| Group { rows, len, leaves: HashMap::new() };
        let Some(classes) = self.row_classes(batch) else {
            let all = (self.other, group(None, batch.num_rows()));
            return if self.rules[self.other].is_empty() { Vec::new() } else { vec![all] };
        };
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); self.rules.len()];
        for (row, class) in (0..).zip(classes) {
            if !self.rules[class].is_empty() {
                rows[class].push(row);
            }
        }
        let filled = rows.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty());
        filled.map(|(class, rows)| (class, group(Some(rows.clone()), rows.len()))).collect()
    }

    /// Each row's class; `None` when types do not matter.
    fn row_classes(&self, batch: &RecordBatch) -> Option<Vec<usize>> {
        if self.by_type.is_empty() {
            return None;
        }
        let column = batch.column_by_name("evt_type")?;
        if let Some(dictionary) = column.as_dictionary_opt::<Int32Type>() {
            let names: &StringArray = dictionary.values().as_string_opt()?;
            let of_value: Vec<usize> = names.iter().map(|name| self.class(name)).collect();
            let of_key = |key: Option<i32>| {
                let value = key.and_then(|key| usize::try_from(key).ok()).and_then(|key| of_value.get(key));
                value.copied().unwrap_or(self.other)
            };
            return Some(dictionary.keys().iter().map(of_key).collect());
        }
        let names: &StringArray = column.as_string_opt()?;
        Some(names.iter().map(|name| self.class(name)).collect())
    }
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
