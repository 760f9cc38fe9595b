//! How much a statement becomes when it is planned.
//!
//! A few words can stand for a great deal: a common table expression is put in
//! everywhere it is named, so that a chain of them doubles again and again, and
//! `CUBE` over twenty columns is a million groupings. Planning takes memory that no
//! limit counts, so both are counted here.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, GroupByExpr, Query, Select, TableFactor, Visit, Visitor};

use crate::{Code, QueryError};

/// Tables that a statement may read, each as often as it is put in, and queries that
/// they are read through. To join 100 tables is planned in a second, 200 in minutes.
const MAX_TABLES: u64 = 150;

/// Groupings of one `GROUP BY`, as in PostgreSQL.
const MAX_GROUPINGS: u64 = 4_096;

/// How deep expressions may nest of which the planner writes a part twice.
const MAX_DOUBLINGS: u32 = 10;

/// Functions that the planner writes as `CASE WHEN a IS NOT NULL THEN a …`.
const WRITTEN_TWICE: [&str; 5] = ["coalesce", "ifnull", "nullif", "nvl", "nvl2"];

/// Refuses what would become too much.
pub(super) fn check(statement: &impl Visit) -> Result<(), QueryError> {
    match statement.visit(&mut Size { open: vec![Frame::default()], doublings: 0 }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Counts tables, query by query.
struct Size {
    /// Of the queries that are being read, the innermost last.
    open: Vec<Frame>,
    /// Expressions around this place of which a part is written twice.
    doublings: u32,
}

/// What one query has named so far.
#[derive(Default)]
struct Frame {
    tables: u64,
    /// Its common table expressions: where their queries are, and their names.
    expressions: Vec<(*const Query, String)>,
    /// What each of them reads.
    known: HashMap<String, u64>,
}

// === impl Size ===

impl Size {
    /// What a name stands for: a table, or all that an expression of this name reads.
    fn weight(&self, name: &str) -> u64 {
        self.open.iter().rev().find_map(|frame| frame.known.get(name)).copied().unwrap_or(1)
    }

    fn count(&mut self, tables: u64) -> ControlFlow<QueryError> {
        let Some(frame) = self.open.last_mut() else { return ControlFlow::Continue(()) };
        frame.tables = frame.tables.saturating_add(tables);
        match frame.tables > MAX_TABLES {
            true => ControlFlow::Break(too_large(format!(
                "the statement reads more than {MAX_TABLES} tables, each as often as it is named; \
                 name a WITH query fewer times"
            ))),
            false => ControlFlow::Continue(()),
        }
    }
}

impl Visitor for Size {
    type Break = QueryError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<QueryError> {
        let expressions = query.with.iter().flat_map(|with| &with.cte_tables);
        let expressions = expressions.map(|cte| {
            let address: *const Query = cte.query.as_ref();
            (address, cte.alias.name.value.to_ascii_lowercase())
        });
        self.open.push(Frame { expressions: expressions.collect(), ..Frame::default() });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<QueryError> {
        let Some(read) = self.open.pop() else { return ControlFlow::Continue(()) };
        let Some(outer) = self.open.last_mut() else { return ControlFlow::Continue(()) };
        let expression = outer.expressions.iter().find(|(address, _)| std::ptr::eq(*address, query));
        match expression.map(|(_, name)| name.clone()) {
            Some(name) => {
                outer.known.insert(name, read.tables.saturating_add(1));
                ControlFlow::Continue(())
            }
            None => self.count(read.tables),
        }
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<QueryError> {
        self.doublings += u32::from(is_written_twice(expression));
        match self.doublings > MAX_DOUBLINGS {
            true => ControlFlow::Break(too_large(format!(
                "BETWEEN, coalesce() and the like stand in each other more than {MAX_DOUBLINGS} deep"
            ))),
            false => ControlFlow::Continue(()),
        }
    }

    fn post_visit_expr(&mut self, expression: &Expr) -> ControlFlow<QueryError> {
        self.doublings -= u32::from(is_written_twice(expression));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<QueryError> {
        match factor {
            TableFactor::Table { name, .. } => {
                let name = name.0.last().and_then(|part| part.as_ident());
                let weight = name.map_or(1, |name| self.weight(&name.value.to_ascii_lowercase()));
                self.count(weight)
            }
            TableFactor::Derived { .. } => self.count(1),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<QueryError> {
        let GroupByExpr::Expressions(expressions, _) = &select.group_by else {
            return ControlFlow::Continue(());
        };
        let groupings = expressions.iter().map(groupings).fold(1_u64, u64::saturating_mul);
        match groupings > MAX_GROUPINGS {
            true => ControlFlow::Break(too_large(format!(
                "GROUP BY makes {groupings} groupings, at most {MAX_GROUPINGS} are computed; name fewer columns"
            ))),
            false => ControlFlow::Continue(()),
        }
    }
}

fn is_written_twice(expression: &Expr) -> bool {
    match expression {
        Expr::Between { .. } => true,
        Expr::Function(function) => {
            let name = function.name.0.last().and_then(|part| part.as_ident());
            name.is_some_and(|name| WRITTEN_TWICE.iter().any(|known| name.value.eq_ignore_ascii_case(known)))
        }
        _ => false,
    }
}

fn groupings(expression: &Expr) -> u64 {
    let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    match expression {
        Expr::Cube(columns) => {
            u32::try_from(columns.len()).ok().and_then(|n| 1_u64.checked_shl(n)).unwrap_or(u64::MAX)
        }
        Expr::Rollup(columns) => count(columns.len()).saturating_add(1),
        Expr::GroupingSets(sets) => count(sets.len()).max(1),
        _ => 1,
    }
}

fn too_large(message: String) -> QueryError {
    QueryError::new(Code::TooLarge, message)
}
