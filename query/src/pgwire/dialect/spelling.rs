//! Columns' names that PostgreSQL lets be equal, and the engine does not; and other spellings.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Ident, Select, SelectItem, SetExpr, Statement, VisitMut, VisitorMut,
};

use crate::gate::{reading, spelling};

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
    let mut spelling = Names { changed: spelling::spell(statement) };
    if let Statement::Query(query) = statement
        && let SetExpr::Select(select) = query.body.as_mut()
    {
        spelling.changed |= beside_all(select);
    }
    let _ = statement.visit(&mut spelling);
    spelling.changed.then(|| statement.to_string())
}

/// Gives equal names of columns a mark.
struct Names {
    changed: bool,
}

// === impl Names ===

impl VisitorMut for Names {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.changed |= same_names(select);
        ControlFlow::Continue(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_become_others() {
        for (written, expected) in [
            ("SELECT 1::int, 1::bigint", "SELECT 1::INT AS \"int4#1\", 1::BIGINT AS \"int8#2\""),
            ("SELECT 1 AS a, 2 AS A", "SELECT 1 AS a, 2 AS \"a#2\""),
            ("SELECT a, a FROM t", "SELECT a, a AS \"a#2\" FROM t"),
            ("SELECT *, a FROM t", "SELECT *, a AS \"a#2\" FROM t"),
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
