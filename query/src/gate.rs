//! Which statements are looked at at all: an allowlist over the parsed text.
//!
//! What is not named here is refused before anything is planned, so a new kind
//! of statement in the parser or the engine is closed until somebody opens it.

mod arguments;
pub(crate) mod depth;
pub(crate) mod reading;
mod size;
pub(crate) mod spelling;

use std::ops::ControlFlow;

use datafusion::sql::parser::{DFParserBuilder, Statement as Parsed};
use datafusion::sql::sqlparser::ast::{Query, Select, SetExpr, Statement, TableFactor, Visit, Visitor};

use crate::engine::Params;
use crate::{Code, QueryError, Role};
pub(crate) use arguments::Argument;
use reading::Bounded;

/// How deep a statement may nest.
const MAX_DEPTH: usize = 50;

/// Functions that may stand where a table does, beside those of [`crate::views`].
/// None reads a file or a URL.
const TABLE_FUNCTIONS: [&str; 7] = [
    "generate_series",
    "range",
    "unnest",
    "pg_get_keywords",
    "_pg_expandarray",
    crate::history::FALCO_MATCHES,
    crate::grants::GRANTS,
];

const ALLOWED: &str = "ask with SELECT, WITH, VALUES, DESCRIBE or SHOW TABLES";

/// One statement that may be planned.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    statement: Parsed,
}

/// Looks at every query, table and statement inside a statement.
struct Inside;

// === impl Admitted ===

impl Admitted {
    pub(crate) fn into_statement(self) -> Parsed {
        self.statement
    }

    /// With values in the places of parameters that are arguments of a function that
    /// makes a table; the others the plan has places for.
    pub(crate) fn filled(mut self, params: &Params) -> Result<Self, QueryError> {
        if let Some(statement) = self.inner() {
            arguments::fill(statement, params)?;
        }
        Ok(self)
    }

    /// The same to be described only, and those parameters.
    pub(crate) fn described(mut self) -> Result<(Self, Vec<Argument>), QueryError> {
        let found = self.inner().map(arguments::describe).transpose()?;
        Ok((self, found.unwrap_or_default()))
    }

    fn inner(&mut self) -> Option<&mut Statement> {
        let parsed = match &mut self.statement {
            Parsed::Explain(explain) => explain.statement.as_mut(),
            other => other,
        };
        match parsed {
            Parsed::Statement(statement) => Some(statement),
            _ => None,
        }
    }
}

/// Parses a text and admits its one statement, or says why not.
pub(crate) fn admit(role: Role, sql: &str) -> Result<Admitted, QueryError> {
    depth::check(sql)?;
    let dialect = Bounded::of(sql);
    let parser = DFParserBuilder::new(sql).with_dialect(&dialect).with_recursion_limit(MAX_DEPTH);
    let parsed = parser.build()?.parse_statements();
    dialect.within()?;
    let mut statements = match parsed {
        Ok(statements) => statements,
        // The engine has a COPY of its own, whose grammar is none of a client's business.
        Err(_) if begins_with_copy(sql) => {
            return Err(refused("COPY to or from a file, or from a client, is"));
        }
        Err(error) => return Err(error.into()),
    };
    let statement = match (statements.pop_front(), statements.len()) {
        (Some(statement), 0) => statement,
        (None, _) => return Err(QueryError::new(Code::Syntax, "there is no statement; ask e.g. SELECT 1")),
        (Some(_), _) => return Err(refused("several statements at once are")),
    };
    let mut admitted = Admitted { statement };
    if let Some(statement) = admitted.inner() {
        spelling::spell(statement);
    }
    check(role, &admitted.statement)?;
    Ok(admitted)
}

fn begins_with_copy(sql: &str) -> bool {
    sql.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("copy"))
}

fn check(role: Role, statement: &Parsed) -> Result<(), QueryError> {
    match statement {
        Parsed::Statement(statement) => check_sql(statement),
        Parsed::Explain(explain) => {
            // A plan names objects of the bucket and counts their rows.
            if role == Role::Tenant {
                return Err(refused("EXPLAIN for a tenant is"));
            }
            match explain.statement.as_ref() {
                Parsed::Statement(inner) if matches!(inner.as_ref(), Statement::Query(_)) => check_sql(inner),
                other => Err(refused_kind(&format!("EXPLAIN {other}"))),
            }
        }
        other => Err(refused_kind(&other.to_string())),
    }
}

fn check_sql(statement: &Statement) -> Result<(), QueryError> {
    match statement {
        Statement::Query(_) | Statement::ShowTables { .. } | Statement::ShowColumns { .. } => {}
        Statement::ExplainTable { .. } => return Ok(()),
        other => return Err(refused_kind(&other.to_string())),
    }
    match statement.visit(&mut Inside) {
        ControlFlow::Continue(()) => size::check(statement),
        ControlFlow::Break(error) => Err(error),
    }
}

// === impl Inside ===

impl Visitor for Inside {
    type Break = QueryError;

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<QueryError> {
        match statement {
            Statement::Query(_) | Statement::ShowTables { .. } | Statement::ShowColumns { .. } => {
                ControlFlow::Continue(())
            }
            other => ControlFlow::Break(refused_kind(&other.to_string())),
        }
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<QueryError> {
        if !query.locks.is_empty() {
            return ControlFlow::Break(refused("SELECT … FOR UPDATE or SHARE is"));
        }
        body(&query.body)
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<QueryError> {
        match &select.into {
            Some(_) => ControlFlow::Break(refused("SELECT INTO is")),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<QueryError> {
        let function = match factor {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => name,
            TableFactor::Table { .. }
            | TableFactor::Derived { .. }
            | TableFactor::UNNEST { .. }
            | TableFactor::NestedJoin { .. } => return ControlFlow::Continue(()),
            other => return ControlFlow::Break(refused(&format!("{other} as a table is"))),
        };
        let known =
            function.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.to_ascii_lowercase());
        let is_open = |name: String| {
            TABLE_FUNCTIONS.iter().chain(&crate::views::TABLE_FUNCTIONS).any(|open| *open == name)
        };
        match known.is_some_and(is_open) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(refused(&format!("the function {function} as a table is"))),
        }
    }
}

fn body(body: &SetExpr) -> ControlFlow<QueryError> {
    match body {
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) | SetExpr::Table(_) => {
            ControlFlow::Continue(())
        }
        SetExpr::SetOperation { left, right, .. } => {
            self::body(left)?;
            self::body(right)
        }
        other => ControlFlow::Break(refused_kind(&other.to_string())),
    }
}

/// Names what is refused by its first words, so that no long text comes back.
fn refused_kind(text: &str) -> QueryError {
    let words: Vec<&str> = text.split_whitespace().take(2).collect();
    refused(&format!("{} is", words.join(" ")))
}

fn refused(what: &str) -> QueryError {
    let what: String = what.chars().take(120).collect();
    QueryError::new(Code::NotAllowed, format!("{what} not allowed here; {ALLOWED}"))
}

#[cfg(test)]
mod tests;
