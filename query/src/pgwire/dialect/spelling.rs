//! What PostgreSQL writes otherwise than the engine, and the engine's way to write it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Array, BinaryOperator, CastKind, DataType, Expr, Ident, ObjectName, Query, Select, SelectItem, SetExpr,
    Statement, Value, VisitMut, VisitorMut,
};

use super::parsed;

use crate::gate::reading;

/// Stands between a column's name and the number that makes it another name than
/// its neighbours'. Of Unicode's private use, so that no name has it by chance.
const MARK: char = '\u{e000}';

/// A column's name as clients are told it.
pub(in crate::pgwire) fn shown(name: &str) -> &str {
    name.split_once(MARK).map_or(name, |(name, _)| name)
}

/// The statement as the engine can plan it; `None` if it can as it is.
pub(super) fn spelled(text: &str) -> Option<String> {
    let mut statements = reading::statements(text).ok()?;
    let [statement @ (Statement::Query(_) | Statement::Explain { .. })] = statements.as_mut_slice() else {
        return None;
    };
    let mut spelling = Spelling { changed: false };
    if let Statement::Query(query) = statement
        && let SetExpr::Select(select) = query.body.as_mut()
    {
        spelling.changed |= beside_all(select);
    }
    let _ = statement.visit(&mut spelling);
    spelling.changed.then(|| statement.to_string())
}

struct Spelling {
    changed: bool,
}

// === impl Spelling ===

impl VisitorMut for Spelling {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.changed |= tables(&mut query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.changed |= same_names(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        let other = match expression {
            Expr::Like { any: true, .. } | Expr::ILike { any: true, .. } => like_any(expression),
            Expr::AnyOp { .. } | Expr::AllOp { .. } => quantified(expression),
            Expr::BinaryOp {
                left,
                op: BinaryOperator::PGOverlap | BinaryOperator::AtArrow | BinaryOperator::ArrowAt,
                right,
            } => {
                self.changed |= beside_array(left, right) || beside_array(right, left);
                None
            }
            Expr::AtTimeZone { timestamp, time_zone } => {
                parsed(&format!("timezone({time_zone}, {timestamp})")).ok()
            }
            Expr::Cast { data_type, .. } if is_text_here(data_type) => {
                *data_type = text_of(data_type);
                self.changed = true;
                None
            }
            Expr::TypedString(typed) if is_text_here(&typed.data_type) => {
                typed.data_type = DataType::Text;
                self.changed = true;
                None
            }
            _ => None,
        };
        if let Some(other) = other {
            *expression = other;
            self.changed = true;
        }
        ControlFlow::Continue(())
    }
}

/// `TABLE alerts`.
fn tables(body: &mut SetExpr) -> bool {
    match body {
        SetExpr::Table(table) => {
            let Some(name) = &table.table_name else { return false };
            let parts = table.schema_name.iter().chain([name]);
            let name: Vec<Ident> = parts.map(|part| Ident::with_quote('"', part.to_lowercase())).collect();
            let text = format!("SELECT * FROM {}", ObjectName::from(name));
            let Ok(mut statements) = reading::statements(&text) else { return false };
            let Some(Statement::Query(query)) = statements.pop() else { return false };
            *body = *query.body;
            true
        }
        SetExpr::SetOperation { left, right, .. } => tables(left) | tables(right),
        _ => false,
    }
}

/// Identifiers and documents are texts here.
fn is_text_here(kind: &DataType) -> bool {
    let name = kind.to_string().to_ascii_lowercase();
    let name = name.trim_start_matches("pg_catalog.").trim_end_matches("[]").trim_matches('"');
    ["uuid", "json", "jsonb"].contains(&name)
}

fn text_of(kind: &DataType) -> DataType {
    let name = if kind.to_string().ends_with("[]") { "text[]" } else { "text" };
    reading::data_type(name).unwrap_or(DataType::Text)
}

/// The engine wants every column's name to be another one.
fn same_names(select: &mut Select) -> bool {
    let names: Vec<Option<String>> = select.projection.iter().map(name_of_item).collect();
    let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, name) in names.iter().enumerate() {
        if let Some(name) = name {
            places.entry(name).or_default().push(place);
        }
    }
    let mut changed = false;
    for places in places.into_values().filter(|places| places.len() > 1) {
        // Columns of two tables may have one name.
        let mut columns: Vec<String> = Vec::new();
        for place in &places {
            if let SelectItem::UnnamedExpr(column @ Expr::CompoundIdentifier(_)) = &select.projection[*place]
            {
                columns.push(column.to_string());
            }
        }
        columns.sort();
        columns.dedup();
        if columns.len() == places.len() {
            continue;
        }
        for (nth, place) in places.into_iter().enumerate() {
            let named = match &select.projection[place] {
                SelectItem::UnnamedExpr(expression) => !is_column(expression),
                _ => false,
            };
            if nth > 0 || named {
                changed |= mark(&mut select.projection[place], place);
            }
        }
    }
    changed
}

/// A column that is asked for beside all of them.
fn beside_all(select: &mut Select) -> bool {
    let all = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    if !select.projection.iter().any(all) {
        return false;
    }
    let mut changed = false;
    for (place, item) in select.projection.iter_mut().enumerate() {
        if matches!(item, SelectItem::UnnamedExpr(expression) if is_column(expression)) {
            changed |= mark(item, place);
        }
    }
    changed
}

fn is_column(expression: &Expr) -> bool {
    matches!(expression, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

/// Gives a column another name, of which [`shown`] shows the one that PostgreSQL has for it.
fn mark(item: &mut SelectItem, place: usize) -> bool {
    let (expr, name) = match item {
        SelectItem::UnnamedExpr(expression) => (expression.clone(), name_in_postgresql(expression)),
        SelectItem::ExprWithAlias { expr, alias } => (expr.clone(), Some(folded(alias))),
        _ => return false,
    };
    let name = name.unwrap_or_else(|| "?column?".to_owned());
    let alias = Ident::with_quote('"', format!("{}{MARK}{}", name.replace('"', "\"\""), place + 1));
    *item = SelectItem::ExprWithAlias { expr, alias };
    true
}

/// What tells an item's name in the engine, which does not see casts.
fn name_of_item(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(expression) => Some(match inside(expression) {
            Expr::Identifier(name) => folded(name),
            Expr::CompoundIdentifier(names) => names.last().map(folded)?,
            other => other.to_string().to_lowercase(),
        }),
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        _ => None,
    }
}

fn inside(expression: &Expr) -> &Expr {
    match expression {
        Expr::Cast { expr, .. } | Expr::Nested(expr) => inside(expr),
        other => other,
    }
}

fn folded(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

fn name_in_postgresql(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Identifier(name) => Some(folded(name)),
        Expr::CompoundIdentifier(names) => names.last().map(folded),
        Expr::Nested(inner) => name_in_postgresql(inner),
        Expr::Cast { expr, data_type, .. } => {
            name_in_postgresql(expr).or_else(|| Some(name_of_kind(data_type)))
        }
        Expr::Function(function) => function.name.0.last()?.as_ident().map(folded),
        Expr::Case { .. } => Some("case".to_owned()),
        Expr::Array(_) => Some("array".to_owned()),
        Expr::Extract { .. } => Some("extract".to_owned()),
        _ => None,
    }
}

fn name_of_kind(kind: &DataType) -> String {
    let name = kind.to_string().to_ascii_lowercase();
    let name = name.split('(').next().unwrap_or_default().trim().to_owned();
    match name.as_str() {
        "int" | "integer" => "int4".to_owned(),
        "bigint" => "int8".to_owned(),
        "smallint" => "int2".to_owned(),
        "real" => "float4".to_owned(),
        "double precision" => "float8".to_owned(),
        "boolean" => "bool".to_owned(),
        "decimal" => "numeric".to_owned(),
        _ => name,
    }
}

/// `LIKE ANY (ARRAY['a%', 'b%'])`: one after the other, or by a function if the patterns are not there.
fn like_any(expression: &Expr) -> Option<Expr> {
    let (negated, expr, pattern, is_insensitive) = match expression {
        Expr::Like { negated, expr, pattern, .. } => (*negated, expr, pattern, false),
        Expr::ILike { negated, expr, pattern, .. } => (*negated, expr, pattern, true),
        _ => return None,
    };
    let like = match (negated, is_insensitive) {
        (false, false) => "LIKE",
        (true, false) => "NOT LIKE",
        (false, true) => "ILIKE",
        (true, true) => "NOT ILIKE",
    };
    if let Some(patterns) = items(pattern) {
        let each = patterns.iter().map(|pattern| format!("({expr} {like} {pattern})"));
        return joined(each, "OR", "false");
    }
    let pattern = of_texts(pattern).unwrap_or_else(|| pattern.to_string());
    let found = format!("like_any({expr}, {pattern}, {is_insensitive})");
    (!negated).then(|| parsed(&found).ok()).flatten()
}

/// `= ANY (SELECT …)`, and operators that the engine does not have for all items of an array.
fn quantified(expression: &Expr) -> Option<Expr> {
    let (left, operator, right, is_any) = match expression {
        Expr::AnyOp { left, compare_op, right, .. } => (left, compare_op, right, true),
        Expr::AllOp { left, compare_op, right } => (left, compare_op, right, false),
        _ => return None,
    };
    if let Expr::Subquery(subquery) = right.as_ref() {
        let negated = match (operator, is_any) {
            (BinaryOperator::Eq, true) => false,
            (BinaryOperator::NotEq, false) => true,
            _ => return None,
        };
        return Some(Expr::InSubquery { expr: left.clone(), subquery: subquery.clone(), negated });
    }
    use BinaryOperator::{
        PGILikeMatch, PGLikeMatch, PGNotILikeMatch, PGNotLikeMatch, PGRegexIMatch, PGRegexMatch,
        PGRegexNotIMatch, PGRegexNotMatch,
    };
    let written = match operator {
        PGRegexMatch | PGRegexIMatch | PGRegexNotMatch | PGRegexNotIMatch => operator.to_string(),
        PGLikeMatch => "LIKE".to_owned(),
        PGILikeMatch => "ILIKE".to_owned(),
        PGNotLikeMatch => "NOT LIKE".to_owned(),
        PGNotILikeMatch => "NOT ILIKE".to_owned(),
        _ => return None,
    };
    let each = items(right)?;
    let each = each.iter().map(|item| format!("({left} {written} {item})"));
    match is_any {
        true => joined(each, "OR", "false"),
        false => joined(each, "AND", "true"),
    }
}

fn joined(each: impl Iterator<Item = String>, word: &str, none: &str) -> Option<Expr> {
    let all = each.collect::<Vec<_>>().join(&format!(" {word} "));
    parsed(&format!("({})", if all.is_empty() { none } else { &all })).ok()
}

/// The items of an array that is written out.
fn items(expression: &Expr) -> Option<Vec<Expr>> {
    match expression {
        Expr::Nested(inner) => items(inner),
        Expr::Cast { expr, kind: CastKind::DoubleColon | CastKind::Cast, .. } => items(expr),
        Expr::Array(Array { elem, .. }) => Some(elem.clone()),
        Expr::Tuple(elem) => Some(elem.clone()),
        Expr::Value(value) => {
            let Value::SingleQuotedString(text) = &value.value else { return None };
            let items = crate::pgwire::arrays::items(text)?;
            let item =
                |item: Option<String>| Expr::value(item.map_or(Value::Null, Value::SingleQuotedString));
            Some(items.into_iter().map(item).collect())
        }
        _ => None,
    }
}

/// A parameter as an array of texts, as all arrays of the tables are.
fn of_texts(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Nested(inner) => of_texts(inner),
        Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
            Some(format!("{expression}::TEXT[]"))
        }
        _ => None,
    }
}

/// A parameter beside an operator of arrays is one too, and so is an array's literal.
fn beside_array(side: &mut Expr, other: &Expr) -> bool {
    if of_texts(other).is_some() {
        return false;
    }
    let typed = match side {
        Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)) => {
            items(side).map(|elem| Expr::Array(Array { elem, named: true }))
        }
        _ => of_texts(side).and_then(|text| parsed(&text).ok()),
    };
    match typed {
        Some(typed) => {
            *side = typed;
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_spelling_becomes_the_engines() {
        for (written, expected) in [
            ("SELECT 1::int, 1::bigint", "SELECT 1::INT AS \"int4#1\", 1::BIGINT AS \"int8#2\""),
            ("SELECT 1 AS a, 2 AS A", "SELECT 1 AS a, 2 AS \"a#2\""),
            ("SELECT a, a FROM t", "SELECT a, a AS \"a#2\" FROM t"),
            ("SELECT *, a FROM t", "SELECT *, a AS \"a#2\" FROM t"),
            ("WITH a AS (SELECT 1) TABLE a", "WITH a AS (SELECT 1) SELECT * FROM \"a\""),
            ("SELECT tags @> '{x}'", "SELECT tags @> ARRAY['x']"),
            ("SELECT tags && $1, ARRAY[1] @> ($2)", "SELECT tags && $1::TEXT[], ARRAY[1] @> $2::TEXT[]"),
            ("SELECT a LIKE ANY (ARRAY['x%', 'y'])", "SELECT ((a LIKE 'x%') OR (a LIKE 'y'))"),
            ("SELECT a NOT ILIKE ANY ('{x}')", "SELECT ((a NOT ILIKE 'x'))"),
            ("SELECT a LIKE ANY ($1)", "SELECT like_any(a, $1::TEXT[], false)"),
            ("SELECT a ~ ANY (ARRAY['x', 'y'])", "SELECT ((a ~ 'x') OR (a ~ 'y'))"),
            ("SELECT a = ANY (SELECT b FROM t)", "SELECT a IN (SELECT b FROM t)"),
            ("SELECT now() AT TIME ZONE 'UTC'", "SELECT timezone('UTC', now())"),
            ("SELECT '1'::uuid, a::jsonb", "SELECT '1'::TEXT, a::TEXT"),
        ] {
            let spelled = spelled(written).map(|text| text.replace(MARK, "#"));
            assert_eq!(spelled.as_deref(), Some(expected), "{written}");
        }
        for written in ["select  1", "SELECT t.a, u.a FROM t, u", "SELECT count(*), a FROM t", "SET a = 1"] {
            assert_eq!(spelled(written), None);
        }
        assert_eq!((shown("a\u{e000}2"), shown("a")), ("a", "a"));
    }
}
