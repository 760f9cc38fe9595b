//! Reading statements, within bounds.
//!
//! The parser tries a grammar's ways one after another, and what it finds inside of one
//! it reads anew in the next. Nested, that doubles at every level: a mistake inside of 50
//! levels of `CAST(`, in 500 bytes, would keep a processor busy for years. So what is
//! tried is counted, and reading ends when it is out of all proportion to the text:
//!
//! ```text
//!   text ─▶ depth: chains ─▶ parser ──▶ statements
//!                              │ each try of an expression
//!                              └▶ Bounded: one less; none left: every further try fails
//! ```
//!
//! The parser is used nowhere else in this room; `clippy.toml` sees to it.

#![allow(clippy::disallowed_methods, reason = "here it is bounded")]

use std::any::TypeId;
use std::cell::Cell;

use datafusion::sql::sqlparser::ast::{DataType, Expr, Statement};
use datafusion::sql::sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

use super::depth;
use crate::{Code, QueryError};

/// Tries beside one for each byte. What clients ask needs some hundreds.
const TRIES: usize = 20_000;

const POSTGRES: PostgreSqlDialect = PostgreSqlDialect {};

/// PostgreSQL's dialect for one text, with an end to what is tried.
#[derive(Debug)]
pub(crate) struct Bounded {
    left: Cell<usize>,
    is_spent: Cell<bool>,
}

/// The statements of a text.
pub(crate) fn statements(sql: &str) -> Result<Vec<Statement>, ParserError> {
    read(sql, |parser| parser.parse_statements())
}

/// A text that is one expression.
pub(crate) fn expression(sql: &str) -> Result<Expr, ParserError> {
    read(sql, |parser| parser.parse_expr())
}

/// A type's name.
pub(crate) fn data_type(sql: &str) -> Result<DataType, ParserError> {
    read(sql, |parser| parser.parse_data_type())
}

/// Refuses a text that nobody here may hand to a parser.
pub(crate) fn check(sql: &str) -> Result<(), QueryError> {
    depth::check(sql)?;
    let dialect = Bounded::of(sql);
    // Whether it is a statement is for the engine to say.
    let _ = Parser::new(&dialect).try_with_sql(sql).and_then(|mut parser| parser.parse_statements());
    dialect.within()
}

fn read<T>(
    sql: &str,
    what: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
) -> Result<T, ParserError> {
    let refused = |error: QueryError| ParserError::ParserError(error.to_string());
    depth::check(sql).map_err(refused)?;
    let dialect = Bounded::of(sql);
    let read = what(&mut Parser::new(&dialect).try_with_sql(sql)?);
    dialect.within().map_err(refused)?;
    read
}

// === impl Bounded ===

impl Bounded {
    pub(crate) fn of(sql: &str) -> Self {
        Self { left: Cell::new(TRIES + sql.len()), is_spent: Cell::new(false) }
    }

    /// Refuses the text if not all of it was tried.
    pub(crate) fn within(&self) -> Result<(), QueryError> {
        if !self.is_spent.get() {
            return Ok(());
        }
        let message =
            "functions, lists or subqueries are nested too deep to be read; take some apart with WITH";
        Err(QueryError::new(Code::TooLarge, message))
    }
}

/// Answers that are PostgreSQL's.
macro_rules! as_postgres {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        $(fn $name(&self, $($argument: $kind),*) -> $answer { POSTGRES.$name($($argument),*) })*
    };
}

/// What `PostgreSqlDialect` has of its own; a test compares with its source.
impl Dialect for Bounded {
    /// The parser asks for some of its ways by the dialect's type.
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    fn parse_prefix(&self, _: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        if let Some(left) = self.left.get().checked_sub(1) {
            self.left.set(left);
            return None;
        }
        self.is_spent.set(true);
        Some(Err(ParserError::RecursionLimitExceeded))
    }

    /// `json_object('a': 1)`, which the engine does not know, has the parser read each
    /// argument of every function twice.
    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        false
    }

    as_postgres! {
        identifier_quote_style(name: &str) -> Option<char>;
        is_delimited_identifier_start(letter: char) -> bool;
        is_identifier_start(letter: char) -> bool;
        is_identifier_part(letter: char) -> bool;
        is_custom_operator_part(letter: char) -> bool;
        is_reserved_for_identifier(keyword: Keyword) -> bool;
        get_next_precedence(parser: &Parser<'_>) -> Option<Result<u8, ParserError>>;
        prec_value(precedence: Precedence) -> u8;
        allow_extract_custom() -> bool;
        allow_extract_single_quotes() -> bool;
        supports_alter_column_type_using() -> bool;
        supports_array_typedef_with_brackets() -> bool;
        supports_bitwise_shift_operators() -> bool;
        supports_comma_separated_trim() -> bool;
        supports_comment_on() -> bool;
        supports_comment_optimizer_hint() -> bool;
        supports_create_index_with_clause() -> bool;
        supports_create_table_like_parenthesized() -> bool;
        supports_empty_projections() -> bool;
        supports_explain_with_utility_options() -> bool;
        supports_factorial_operator() -> bool;
        supports_filter_during_aggregation() -> bool;
        supports_geometric_types() -> bool;
        supports_group_by_expr() -> bool;
        supports_insert_table_alias() -> bool;
        supports_interval_options() -> bool;
        supports_listen_notify() -> bool;
        supports_load_extension() -> bool;
        supports_named_fn_args_with_colon_operator() -> bool;
        supports_nested_comments() -> bool;
        supports_notnull_operator() -> bool;
        supports_numeric_literal_underscores() -> bool;
        supports_select_wildcard_with_alias() -> bool;
        supports_set_names() -> bool;
        supports_string_escape_constant() -> bool;
        supports_unicode_string_literal() -> bool;
        supports_xml_expressions() -> bool;
    }
}

#[cfg(test)]
mod tests;
