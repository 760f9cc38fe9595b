//! The one place where clients' statements are put into the engine's dialect.
//!
//! `datafusion-pg-catalog` knows most of what psql, Grafana, DBeaver and drivers
//! send about `pg_catalog`, and rewrites it; [`Own`] has what it does not,
//! each with its reason. [`spelling`] has what PostgreSQL writes otherwise than
//! the engine, catalogs or not. All other statements pass as they were written.

mod empty;
mod known;
mod objects;
mod spelling;
mod tableoid;

pub(super) use spelling::shown;

use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::sql::sqlparser::ast::{
    Array, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, ObjectNamePart, Query,
    Select, SelectItem, SetExpr, TableFactor, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;

use crate::gate::reading;

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
    "escape",
    "tableoid",
];

/// Whether a statement asks the catalogs, says who asks, or compares with an array's literal.
fn concerns(text: &str) -> bool {
    let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize() else { return false };
    tokens.iter().any(|token| match token {
        Token::Word(word) if word.quote_style.is_none() => {
            let word = word.value.to_ascii_lowercase();
            word.starts_with("pg_") || WORDS.contains(&word.as_str())
        }
        Token::SingleQuotedString(text) => text.starts_with('{') && text.ends_with('}'),
        _ => false,
    })
}

/// A statement as the engine can plan it.
pub(super) fn translate(text: &str) -> String {
    let text = of_catalogs(text);
    spelling::spelled(&text).unwrap_or(text)
}

fn of_catalogs(text: &str) -> String {
    // What nobody may hand to a parser, as upstream's is, the engine refuses.
    if !concerns(text) || reading::check(text).is_err() {
        return text.to_owned();
    }
    // Its table of whole queries works on text; the rest of it on the syntax tree.
    let Ok(mut statements) = UPSTREAM.parse(&objects_named(text)) else { return text.to_owned() };
    let Some(mut statement) = statements.pop().filter(|_| statements.is_empty()) else {
        return text.to_owned();
    };
    let _ = statement.visit(&mut Own);
    statement.to_string()
}

/// Names of objects are found before upstream looks for them in `pg_class`, where
/// PostgreSQL's own catalogs are not.
fn objects_named(text: &str) -> String {
    if !text.to_ascii_lowercase().contains("reg") && !text.contains("'{") {
        return text.to_owned();
    }
    match reading::statements(text) {
        Ok(mut statements) => match statements.as_mut_slice() {
            [statement] => {
                let _ = statement.visit(&mut Objects);
                statement.to_string()
            }
            _ => text.to_owned(),
        },
        Err(_) => text.to_owned(),
    }
}

/// The rule about object ids alone.
struct Objects;

impl VisitorMut for Objects {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        objects::expression(expression);
        array_literal(expression);
        ControlFlow::Continue(())
    }
}

/// `x = ANY('{a,b}')`, as drivers write an array that they do not send as a parameter.
fn array_literal(expression: &mut Expr) {
    let (Expr::AnyOp { right, .. } | Expr::AllOp { right, .. }) = expression else { return };
    let literal = match right.as_mut() {
        Expr::Nested(inner) => inner.as_mut(),
        other => other,
    };
    let literal = match literal {
        Expr::Cast { expr, .. } => expr.as_mut(),
        other => other,
    };
    let Expr::Value(value) = literal else { return };
    let Value::SingleQuotedString(text) = &value.value else { return };
    let Some(items) = super::arrays::items(text) else { return };
    let numbers = items.iter().flatten().all(|item| item.parse::<i64>().is_ok());
    let item = |item: Option<String>| match item {
        None => Expr::value(Value::Null),
        Some(item) if numbers => Expr::value(Value::Number(item, false)),
        Some(item) => Expr::value(Value::SingleQuotedString(item)),
    };
    *literal = Expr::Array(Array { elem: items.into_iter().map(item).collect(), named: true });
}

/// Our rules over the syntax tree.
struct Own;

impl VisitorMut for Own {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        known::query(query);
        empty::query(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        in_pg_catalog(table);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        search_path(expression);
        array_of_subquery(expression);
        empty::expression(expression);
        other_escape(expression);
        access_list(expression);
        locale_of_collation(expression);
        one_row(expression);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        tableoid::select(select);
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

/// `pg_catalog` is searched without being named; upstream knows its own tables only.
fn in_pg_catalog(table: &mut TableFactor) {
    // A function that gives a table, which is one here.
    if let TableFactor::Table { name, args, .. } = table
        && args.is_some()
        && name.to_string().ends_with("pg_timezone_names")
    {
        *args = None;
        *name = ObjectName::from(vec![Ident::new("pg_catalog"), Ident::new("pg_timezone_names")]);
        return;
    }
    let TableFactor::Table { name, args: None, .. } = table else { return };
    if let [ObjectNamePart::Identifier(only)] = name.0.as_slice()
        && only.value.starts_with("pg_")
        && (crate::pg_catalog::is_empty("pg_catalog", &only.value)
            || crate::pg_catalog::OWN.contains(&only.value.as_str()))
    {
        name.0.insert(0, ObjectNamePart::Identifier(Ident::new("pg_catalog")));
    }
}

/// The engine has no `array(SELECT …)`, by which psql and drivers collect a role's
/// memberships, a table's policies and much more; an aggregate does the same.
fn array_of_subquery(expression: &mut Expr) {
    let Expr::Function(function) = expression else { return };
    let FunctionArguments::Subquery(query) = &mut function.args else { return };
    if !function.name.to_string().eq_ignore_ascii_case("array") {
        return;
    }
    // Options are none as well, which `\d+` takes out of their array to put a word before each.
    if empty::has_no_rows(query) || query.to_string().contains("reloptions") {
        *expression = Expr::Array(Array { elem: Vec::new(), named: true });
        return;
    }
    if collected(query).is_some() {
        *expression = Expr::Subquery(query.clone());
    }
}

/// Makes one row of a query's rows: an array of its one column.
fn collected(query: &mut Query) -> Option<()> {
    let order = query.order_by.take().map(|order| format!(" {order}")).unwrap_or_default();
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    let [item] = select.projection.as_slice() else { return None };
    let (SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }) = item else {
        return None;
    };
    // By its place there is only one column that it can be ordered by.
    let order = order.replace("ORDER BY 1", &format!("ORDER BY {value}"));
    let array = reading::expression(&format!("array_agg({value}{order})")).ok()?;
    select.projection = vec![SelectItem::UnnamedExpr(array)];
    Some(())
}

/// The engine knows the backslash alone as an escape in `LIKE`; SQLAlchemy writes a slash.
fn other_escape(expression: &mut Expr) {
    let (Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. }) = expression
    else {
        return;
    };
    let Some(Value::SingleQuotedString(escape)) = escape_char.as_ref().map(|escape| &escape.value) else {
        return;
    };
    if escape == "\\" {
        return;
    }
    let escape = escape.replace('\'', "''");
    if let Ok(other) = reading::expression(&format!("like_escape({pattern}, '{escape}')")) {
        **pattern = other;
        *escape_char = None;
    }
}

/// Access lists are arrays in PostgreSQL and texts in upstream's tables; all of them are null.
fn access_list(expression: &mut Expr) {
    let Expr::Function(function) = expression else { return };
    let FunctionArguments::List(list) = &function.args else { return };
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = list.args.first() else { return };
    let column = match first {
        Expr::Identifier(name) => name,
        Expr::CompoundIdentifier(names) => match names.last() {
            Some(name) => name,
            None => return,
        },
        _ => return,
    };
    let null = match function.name.0.last().map(ToString::to_string).as_deref() {
        Some("array_to_string") => "NULL::TEXT",
        Some("array_length") => "NULL::INT",
        _ => return,
    };
    if (column.value.ends_with("acl") || column.value.ends_with("options"))
        && let Ok(null) = reading::expression(null)
    {
        *expression = null;
    }
}

/// PostgreSQL 15 and 16 have another name for a column of `pg_collation` than 17.
fn locale_of_collation(expression: &mut Expr) {
    if let Expr::CompoundIdentifier(names) = expression
        && let Some(name) = names.last_mut()
        && name.value == "colliculocale"
    {
        *name = Ident::new("colllocale");
    }
}

/// `\dT` and `\dp` take a value from the one row that a correlated subquery
/// finds; the engine wants to see that it is one. The greatest of one is that one.
fn one_row(expression: &mut Expr) {
    let Expr::Subquery(query) = expression else { return };
    let Query { body, limit_clause: None, order_by: None, .. } = query.as_mut() else { return };
    let SetExpr::Select(select) = body.as_mut() else { return };
    let Select { projection, selection: Some(_), distinct: None, .. } = select.as_mut() else { return };
    if let [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] =
        projection.as_mut_slice()
        && !empty::is_aggregate(value)
        && let Ok(greatest) = reading::expression(&format!("max({value})"))
    {
        *value = greatest;
    }
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
        let translated = translate(
            "SELECT ARRAY(SELECT rolname FROM pg_catalog.pg_roles ORDER BY 1) AS a FROM pg_catalog.pg_roles",
        );
        assert!(
            translated.starts_with("SELECT (SELECT array_agg(rolname ORDER BY rolname) FROM"),
            "{translated}"
        );
        let translated = translate("SELECT ARRAY(SELECT roleid FROM pg_auth_members) AS a FROM pg_roles");
        assert!(translated.starts_with("SELECT ARRAY[] AS a"), "{translated}");
        let asked = "SELECT oid FROM pg_type t WHERE (SELECT c.relkind = 'c' FROM pg_class c WHERE c.oid = t.typrelid)";
        assert!(translate(asked).contains("(SELECT max(c.relkind = 'c') FROM"), "{}", translate(asked));
        let translated =
            translate("SELECT 1 WHERE 1 = ANY('{1,2}'::int[]) AND 'a' <> ALL ('{a,\"b,c\",null}')");
        assert!(!translated.contains('{') && translated.contains("'b,c'"), "{translated}");
        let translated =
            translate("SELECT c.tableoid FROM pg_class c, (SELECT 1 AS tableoid) d WHERE d.tableoid = 1");
        assert!(
            translated.starts_with("SELECT 1259 FROM") && translated.contains("d.tableoid"),
            "{translated}"
        );
        let translated = translate(
            "SELECT 'pg_class'::regclass, 'text'::regtype, typinput = 'pg_catalog.array_in'::regproc FROM pg_type",
        );
        assert!(translated.starts_with("SELECT 1259, 25, typinput = 'array_in' FROM"), "{translated}");
        let translated = translate("SELECT a FROM t WHERE a NOT LIKE 'b' || '%' ESCAPE '/'");
        assert!(translated.contains("like_escape('b' || '%', '/')"), "{translated}");
        assert_eq!(
            translate("SELECT current_user, session_user"),
            "SELECT session_user AS \"session_user\u{e000}1\", session_user AS \"session_user\u{e000}2\""
        );
    }
}
