//! The one place where clients' catalog queries are put into the engine's dialect.
//!
//! `datafusion-pg-catalog` knows most of what psql, Grafana, DBeaver and drivers
//! send about `pg_catalog`, and rewrites it; [`Own`] has what it does not,
//! each with its reason. Statements that name nothing of the catalogs pass as
//! they were written.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::sql::sqlparser::ast::{
    Array, Expr, FunctionArguments, Ident, Query, Select, SelectItem, SetExpr, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;

static UPSTREAM: LazyLock<PostgresCompatibilityParser> = LazyLock::new(PostgresCompatibilityParser::new);

/// Words that only occur in statements that need a look.
const WORDS: &[&str] = &[
    "information_schema",
    "current_catalog",
    "current_database",
    "current_schema",
    "current_user",
    "session_user",
    "user",
    "regclass",
    "regtype",
    "regproc",
    "regnamespace",
    "regrole",
    "oid",
    "collate",
    "operator",
    "version",
];

/// Whether a statement asks the catalogs, or says who asks.
fn concerns(text: &str) -> bool {
    let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize() else { return false };
    tokens.iter().any(|token| match token {
        Token::Word(word) if word.quote_style.is_none() => {
            let word = word.value.to_ascii_lowercase();
            word.starts_with("pg_") || WORDS.contains(&word.as_str())
        }
        _ => false,
    })
}

/// A statement as the engine can plan it.
pub(super) fn translate(text: &str) -> String {
    if !concerns(text) {
        return text.to_owned();
    }
    // Its table of whole queries works on text; the rest of it on the syntax tree.
    let Ok(mut statements) = UPSTREAM.parse(text) else { return text.to_owned() };
    let Some(mut statement) = statements.pop().filter(|_| statements.is_empty()) else {
        return text.to_owned();
    };
    let _ = statement.visit(&mut Own);
    statement.to_string()
}

/// Our rules over the syntax tree.
struct Own;

impl VisitorMut for Own {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        search_path(expression);
        array_of_subquery(expression);
        one_row(expression);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        same_names(select);
        ControlFlow::Continue(())
    }
}

/// The engine wants every column's name to be another one; upstream makes
/// `session_user` of `current_user`, and clients ask for both at once.
fn same_names(select: &mut Select) {
    let mut names = BTreeSet::new();
    for (place, item) in select.projection.iter_mut().enumerate() {
        let SelectItem::UnnamedExpr(expression) = item else { continue };
        if !names.insert(expression.to_string()) {
            let alias = Ident::new(format!("column{}", place + 1));
            *item = SelectItem::ExprWithAlias { expr: expression.clone(), alias };
        }
    }
}

/// Grafana asks whether a table's schema is in the search path with a join over
/// two set-returning functions. Upstream puts `('')` in that subquery's place,
/// and Grafana then finds no column of a table that is named without its schema.
fn search_path(expression: &mut Expr) {
    let Expr::InList { expr, list, .. } = expression else { return };
    let Expr::Function(asked) = expr.as_ref() else { return };
    if let [Expr::Value(value)] = list.as_mut_slice()
        && asked.name.to_string() == "quote_ident"
        && value.value == Value::SingleQuotedString(String::new())
    {
        value.value = Value::SingleQuotedString("public".to_owned());
    }
}

/// `\du`, `\dp` and `\d+` collect a role's memberships, a table's policies and its
/// options with `array(SELECT …)`, which the engine does not have. There are none of them.
fn array_of_subquery(expression: &mut Expr) {
    let Expr::Function(function) = expression else { return };
    let FunctionArguments::Subquery(query) = &function.args else { return };
    let (collects, from) = (function.name.to_string().eq_ignore_ascii_case("array"), query.to_string());
    if collects && (from.contains("pg_") || from.contains("reloptions")) {
        *expression = Expr::Array(Array { elem: Vec::new(), named: true });
    }
}

/// `\dT` and `\dp` take a value from the one row that a correlated subquery
/// finds; the engine wants to see that it is one. The greatest of one is that one.
fn one_row(expression: &mut Expr) {
    let Expr::Subquery(query) = expression else { return };
    let Query { body, limit_clause: None, order_by: None, .. } = query.as_mut() else { return };
    let SetExpr::Select(select) = body.as_mut() else { return };
    let Select { projection, selection: Some(_), distinct: None, .. } = select.as_mut() else { return };
    if let [SelectItem::UnnamedExpr(value)] = projection.as_mut_slice()
        && !matches!(value, Expr::Function(_))
        && let Ok(greatest) = parsed(&format!("max({value})"))
    {
        *value = greatest;
    }
}

fn parsed(expression: &str) -> Result<Expr, ParserError> {
    Parser::new(&PostgreSqlDialect {}).try_with_sql(expression)?.parse_expr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_ask_the_catalogs_is_left_as_it_is() {
        for text in [
            "select  \"user\"  from api_access",
            "SELECT array(SELECT 1)",
            "SELECT (SELECT max(time) FROM usage)",
            "SELECT fd_name IN ('') FROM syscalls",
        ] {
            assert_eq!(translate(text), text);
        }
    }

    #[test]
    fn each_rule_of_ours_does_what_it_says() {
        let translated =
            translate("SELECT 1 FROM information_schema.tables WHERE quote_ident(table_schema) IN ('')");
        assert!(translated.ends_with("quote_ident(table_schema) IN ('public')"), "{translated}");
        let translated =
            translate("SELECT ARRAY(SELECT rolname FROM pg_catalog.pg_roles) AS a FROM pg_catalog.pg_roles");
        assert!(translated.starts_with("SELECT ARRAY[] AS a"), "{translated}");
        let asked = "SELECT oid FROM pg_type t WHERE (SELECT c.relkind = 'c' FROM pg_class c WHERE c.oid = t.typrelid)";
        assert!(translate(asked).contains("(SELECT max(c.relkind = 'c') FROM"), "{}", translate(asked));
        assert_eq!(
            translate("SELECT current_user, session_user"),
            "SELECT session_user, session_user AS column2"
        );
    }
}
