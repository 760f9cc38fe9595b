//! What PostgreSQL writes otherwise than the engine, and the engine's way to write it.
//!
//! ```text
//!   TABLE alerts                       SELECT * FROM alerts
//!   a LIKE ANY (ARRAY['x%', 'y'])      a LIKE 'x%' OR a LIKE 'y'; like_any(a, …) where it cannot be written out
//!   a = ANY (SELECT …)                 a IN (SELECT …)
//!   time AT TIME ZONE 'Asia/Tokyo'     timezone('Asia/Tokyo', time)
//!   '…'::uuid, '…'::jsonb              '…'::text
//! ```
//!
//! What is written out says a part of the statement many times. It is so only where
//! nothing of the kind is inside, and as long as all of it stays short.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Array, BinaryOperator, CastKind, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, Query, SetExpr, Statement, Value, Visit, VisitMut, Visitor,
    VisitorMut,
};

use super::reading;
use crate::pgwire::array_items;

/// How long all that is written out in one statement may become.
const MOST_BYTES: usize = 1 << 20;

/// Spells a statement as the engine can plan it; whether that is another way.
pub(crate) fn spell(statement: &mut Statement) -> bool {
    let mut spelling = Spelling { changed: false, left_bytes: MOST_BYTES };
    let _ = statement.visit(&mut spelling);
    spelling.changed
}

struct Spelling {
    changed: bool,
    left_bytes: usize,
}

/// Breaks at what could be written out in its turn.
struct Quantifier;

// === impl Spelling ===

impl VisitorMut for Spelling {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.changed |= tables(&mut query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        let other = match expression {
            Expr::Like { any: true, .. } | Expr::ILike { any: true, .. } => self.like_any(expression),
            Expr::AnyOp { .. } | Expr::AllOp { .. } => self.quantified(expression),
            Expr::BinaryOp {
                left,
                op: BinaryOperator::PGOverlap | BinaryOperator::AtArrow | BinaryOperator::ArrowAt,
                right,
            } => {
                self.changed |= beside_array(left, right) || beside_array(right, left);
                None
            }
            Expr::AtTimeZone { timestamp, time_zone } => {
                call("timezone", vec![taken(time_zone), taken(timestamp)])
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

impl Spelling {
    /// `LIKE ANY (ARRAY['a%', 'b%'])`: one after the other, or by a function if that is too much.
    fn like_any(&mut self, expression: &mut Expr) -> Option<Expr> {
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
        let patterns = items(pattern);
        let written =
            patterns.as_ref().and_then(|patterns| self.written_out(expr, like, patterns, "OR", "false"));
        if written.is_some() || negated {
            return written;
        }
        let patterns = match patterns {
            Some(elem) => Expr::Array(Array { elem, named: true }),
            None => of_texts(pattern).unwrap_or_else(|| taken(pattern)),
        };
        let is_insensitive = Expr::value(Value::Boolean(is_insensitive));
        call("like_any", vec![taken(expr), patterns, is_insensitive])
    }

    /// `= ANY (SELECT …)`, and operators that the engine does not have for all items of an array.
    fn quantified(&mut self, expression: &mut Expr) -> Option<Expr> {
        let (left, operator, right, is_any) = match expression {
            Expr::AnyOp { left, compare_op, right, .. } => (left, compare_op, right, true),
            Expr::AllOp { left, compare_op, right } => (left, compare_op, right, false),
            _ => return None,
        };
        if let Expr::Subquery(subquery) = right.as_mut() {
            let negated = match (operator, is_any) {
                (BinaryOperator::Eq, true) => false,
                (BinaryOperator::NotEq, false) => true,
                _ => return None,
            };
            let subquery = subquery.clone();
            return Some(Expr::InSubquery { expr: Box::new(taken(left)), subquery, negated });
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
        let (word, none) = if is_any { ("OR", "false") } else { ("AND", "true") };
        self.written_out(left, &written, &items(right)?, word, none)
    }

    /// The comparison with each item; `none` if there is no item.
    fn written_out(
        &mut self,
        left: &Expr,
        operator: &str,
        items: &[Expr],
        word: &str,
        none: &str,
    ) -> Option<Expr> {
        if items.iter().chain([left]).any(|part| part.visit(&mut Quantifier).is_break()) {
            return None;
        }
        let (left, items) = (left.to_string(), items.iter().map(Expr::to_string).collect::<Vec<_>>());
        let length = |item: &String| left.len() + item.len() + operator.len() + word.len() + 6;
        self.left_bytes = self.left_bytes.checked_sub(items.iter().map(length).sum())?;
        let each = items.iter().map(|item| format!("({left} {operator} {item})")).collect::<Vec<_>>();
        let all = each.join(&format!(" {word} "));
        reading::expression(&format!("({})", if all.is_empty() { none } else { &all })).ok()
    }
}

// === impl Quantifier ===

impl Visitor for Quantifier {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        match expression {
            Expr::Like { any: true, .. }
            | Expr::ILike { any: true, .. }
            | Expr::AnyOp { .. }
            | Expr::AllOp { .. } => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// What stands there; a null stays in its place.
fn taken(expression: &mut Expr) -> Expr {
    std::mem::replace(expression, Expr::value(Value::Null))
}

/// A call of a function.
fn call(name: &str, args: Vec<Expr>) -> Option<Expr> {
    let mut called = reading::expression(&format!("{name}()")).ok()?;
    if let Expr::Function(function) = &mut called {
        let args = args.into_iter().map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)));
        let list =
            FunctionArgumentList { duplicate_treatment: None, args: args.collect(), clauses: Vec::new() };
        function.args = FunctionArguments::List(list);
    }
    Some(called)
}

/// `TABLE alerts`, also among others.
fn tables(body: &mut SetExpr) -> bool {
    let (mut left_to_see, mut changed) = (vec![body], false);
    while let Some(body) = left_to_see.pop() {
        match body {
            SetExpr::SetOperation { left, right, .. } => left_to_see.extend([left.as_mut(), right.as_mut()]),
            other => changed |= table(other),
        }
    }
    changed
}

fn table(body: &mut SetExpr) -> bool {
    let SetExpr::Table(table) = body else { return false };
    let Some(name) = &table.table_name else { return false };
    let parts = table.schema_name.iter().chain([name]);
    let name: Vec<Ident> = parts.map(|part| Ident::with_quote('"', part.to_lowercase())).collect();
    let text = format!("SELECT * FROM {}", ObjectName::from(name));
    let Ok(mut statements) = reading::statements(&text) else { return false };
    let Some(Statement::Query(query)) = statements.pop() else { return false };
    *body = *query.body;
    true
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

/// The items of an array that is written out.
fn items(expression: &Expr) -> Option<Vec<Expr>> {
    match expression {
        Expr::Nested(inner) => items(inner),
        Expr::Cast { expr, kind: CastKind::DoubleColon | CastKind::Cast, .. } => items(expr),
        Expr::Array(Array { elem, .. }) => Some(elem.clone()),
        Expr::Tuple(elem) => Some(elem.clone()),
        Expr::Value(value) => {
            let Value::SingleQuotedString(text) = &value.value else { return None };
            let items = array_items(text)?;
            let item =
                |item: Option<String>| Expr::value(item.map_or(Value::Null, Value::SingleQuotedString));
            Some(items.into_iter().map(item).collect())
        }
        _ => None,
    }
}

/// A parameter as an array of texts, as all arrays of the tables are.
fn of_texts(expression: &Expr) -> Option<Expr> {
    match expression {
        Expr::Nested(inner) => of_texts(inner),
        Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
            reading::expression(&format!("{expression}::TEXT[]")).ok()
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
        _ => of_texts(side),
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

    fn spelled(text: &str) -> Option<String> {
        let mut statement = reading::statements(text).unwrap().remove(0);
        spell(&mut statement).then(|| statement.to_string())
    }

    #[test]
    fn each_spelling_becomes_the_engines() {
        for (written, expected) in [
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
            assert_eq!(spelled(written).as_deref(), Some(expected), "{written}");
        }
        for written in ["SELECT 1", "SELECT a = ANY (ARRAY[1])", "SHOW TABLES"] {
            assert_eq!(spelled(written), None, "{written}");
        }
    }

    #[test]
    fn what_is_written_out_stays_short() {
        let list = format!("(ARRAY[{}'x'])", "'x', ".repeat(99));
        // Each level would say the one inside a hundred times.
        let nested = format!("SELECT {}a{}", "(".repeat(8), format!(" LIKE ANY {list})").repeat(8));
        assert!(spelled(&nested).unwrap().len() < 100_000);
        let negated = format!("SELECT {}a{}", "(".repeat(8), format!(" NOT LIKE ANY {list})").repeat(8));
        assert!(spelled(&negated).unwrap().len() < 100_000);
        let long = format!("SELECT '{}' LIKE ANY {list}", "y".repeat(100_000));
        assert!(spelled(&long).unwrap().len() < 102_000);
        let one = format!("'{}' LIKE ANY {list}", "y".repeat(5_000));
        let many = format!("SELECT {}", vec![one; 20].join(", "));
        assert!(spelled(&many).unwrap().len() < 3 * MOST_BYTES / 2);
    }
}
