//! The one place where clients' catalog queries are put into the engine's dialect.
//!
//! `datafusion-pg-catalog` knows most of what psql, Grafana, DBeaver and drivers
//! send about `pg_catalog`, and rewrites it; [`Own`] has what it does not,
//! each with its reason. Statements that name nothing of the catalogs pass as
//! they were written.

use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::sql::sqlparser::ast::{Expr, Statement, Value, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
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
pub(super) fn concerns(text: &str) -> bool {
    let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize() else { return false };
    tokens.iter().any(|token| match token {
        Token::Word(word) if word.quote_style.is_none() => {
            let word = word.value.to_ascii_lowercase();
            word.starts_with("pg_") || WORDS.contains(&word.as_str())
        }
        _ => false,
    })
}

/// The statement as the engine can plan it.
pub(super) fn translate(statement: Statement) -> String {
    let text = statement.to_string();
    if !concerns(&text) {
        return text;
    }
    // Its table of whole queries works on text; the rest of it on the syntax tree.
    let Ok(mut statements) = UPSTREAM.parse(&text) else { return text };
    let Some(mut statement) = statements.pop().filter(|_| statements.is_empty()) else { return text };
    let _ = statement.visit(&mut Own);
    statement.to_string()
}

/// Our rules over the syntax tree.
struct Own;

impl VisitorMut for Own {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        search_path(expression);
        ControlFlow::Continue(())
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
