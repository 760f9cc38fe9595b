//! Queries that can have no rows, since they join a catalog that has none.
//!
//! Clients look for indexes, constraints, policies, triggers and partitions of
//! every table, in ways that only PostgreSQL's own planner understands. There are
//! none of them here, so that such a query's answer is known without its
//! details: its columns, and no row.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, FunctionArguments, GroupByExpr, Ident, JoinOperator, ObjectName, Query, Select,
    SelectItem, SetExpr, TableFactor, TableWithJoins, Value, Visit, Visitor,
};

use crate::pg_catalog;

/// Functions that make one row of none.
const AGGREGATES: [&str; 12] = [
    "count",
    "sum",
    "min",
    "max",
    "avg",
    "array_agg",
    "string_agg",
    "bool_or",
    "bool_and",
    "every",
    "json_agg",
    "jsonb_agg",
];

/// Leaves of a query that can have no rows nothing but its columns.
pub(super) fn query(query: &mut Query) {
    if body(&mut query.body) {
        query.order_by = None;
        query.limit_clause = None;
        query.with = None;
    }
}

/// Puts the value of a subquery that can have no rows in its place.
pub(super) fn expression(expression: &mut Expr) {
    let value = match expression {
        Expr::Subquery(query) if has_no_rows(query) => Value::Null,
        Expr::Exists { subquery, negated } | Expr::InSubquery { subquery, negated, .. }
            if has_no_rows(subquery) =>
        {
            Value::Boolean(*negated)
        }
        _ => return,
    };
    *expression = Expr::value(value);
}

/// Whether a query can have no rows.
pub(super) fn has_no_rows(query: &Query) -> bool {
    no_rows(&query.body)
}

fn no_rows(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => select_has_no_rows(select),
        SetExpr::Query(query) => has_no_rows(query),
        SetExpr::SetOperation { left, right, .. } => no_rows(left) && no_rows(right),
        _ => false,
    }
}

/// Empties what can be emptied; whether that is all of it.
fn body(body: &mut SetExpr) -> bool {
    match body {
        SetExpr::Select(select) if select_has_no_rows(select) => empty(select),
        SetExpr::Query(query) => {
            self::query(query);
            has_no_rows(query)
        }
        SetExpr::SetOperation { left, right, .. } => {
            let left = self::body(left);
            self::body(right) && left
        }
        _ => false,
    }
}

fn select_has_no_rows(select: &Select) -> bool {
    let is_grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    select.from.iter().any(joins_nothing)
        && (is_grouped || (select.having.is_none() && !select.projection.iter().any(aggregates)))
}

fn joins_nothing(from: &TableWithJoins) -> bool {
    let inner = |operator: &JoinOperator| {
        matches!(operator, JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_))
    };
    let left =
        |operator: &JoinOperator| matches!(operator, JoinOperator::Left(_) | JoinOperator::LeftOuter(_));
    let known = from.joins.iter().all(|join| inner(&join.join_operator) || left(&join.join_operator));
    let joined = from.joins.iter().filter(|join| inner(&join.join_operator));
    known && (is_nothing(&from.relation) || joined.into_iter().any(|join| is_nothing(&join.relation)))
}

fn is_nothing(table: &TableFactor) -> bool {
    match table {
        TableFactor::Table { name, args: None, .. } => is_empty_catalog(name),
        TableFactor::Derived { subquery, .. } => has_no_rows(subquery),
        TableFactor::NestedJoin { table_with_joins, .. } => joins_nothing(table_with_joins),
        _ => false,
    }
}

fn is_empty_catalog(name: &ObjectName) -> bool {
    let parts: Vec<_> = name.0.iter().filter_map(|part| part.as_ident()).collect();
    let is = |ident: &Ident, known: &str| ident.value.eq_ignore_ascii_case(known);
    match parts.as_slice() {
        [table] => table.value.starts_with("pg_") && pg_catalog::is_empty("pg_catalog", &table.value),
        [.., schema, table] if is(schema, "pg_catalog") => pg_catalog::is_empty("pg_catalog", &table.value),
        [.., schema, table] if is(schema, "information_schema") => {
            pg_catalog::is_empty("information_schema", &table.value)
        }
        _ => false,
    }
}

/// The columns of a query without its rows. `false` if a column's name cannot be told.
fn empty(select: &mut Select) -> bool {
    let mut names = BTreeSet::new();
    let mut column = |item: &SelectItem| {
        let (name, kind) = match item {
            SelectItem::ExprWithAlias { expr, alias } => (alias.clone(), type_of(expr)),
            SelectItem::UnnamedExpr(expr) => (Ident::with_quote('"', name_of(expr)), type_of(expr)),
            _ => return None,
        };
        let mut alias = name.clone();
        let mut times = 1;
        while !names.insert(alias.value.clone()) {
            times += 1;
            alias = Ident::with_quote('"', format!("{}_{times}", name.value));
        }
        let null = Box::new(Expr::value(Value::Null));
        let (data_type, kind) = (kind, CastKind::DoubleColon);
        let expr = Expr::Cast { kind, expr: null, data_type, array: false, format: None };
        Some(SelectItem::ExprWithAlias { expr, alias })
    };
    let Some(columns) = select.projection.iter().map(&mut column).collect::<Option<Vec<_>>>() else {
        return false;
    };
    select.projection = columns;
    select.distinct = None;
    select.from = Vec::new();
    select.selection = Some(Expr::value(Value::Boolean(false)));
    select.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
    select.having = None;
    true
}

/// A column's type as far as the text says it.
fn type_of(expression: &Expr) -> DataType {
    let plain = |kind: &DataType| {
        matches!(
            kind,
            DataType::Text
                | DataType::BigInt(_)
                | DataType::Int(_)
                | DataType::Integer(_)
                | DataType::Boolean
        )
    };
    match expression {
        Expr::Cast { data_type, .. } if plain(data_type) => data_type.clone(),
        Expr::Nested(inner) => type_of(inner),
        _ => DataType::Text,
    }
}

/// The name that PostgreSQL gives a column.
fn name_of(expression: &Expr) -> String {
    match expression {
        Expr::Identifier(name) => name.value.clone(),
        Expr::CompoundIdentifier(names) => names.last().map_or_else(String::new, |name| name.value.clone()),
        Expr::Function(function) => function.name.0.last().map_or_else(String::new, ToString::to_string),
        Expr::Cast { expr, .. } | Expr::Nested(expr) => name_of(expr),
        Expr::Case { .. } => "case".to_owned(),
        Expr::Exists { .. } => "exists".to_owned(),
        _ => "?column?".to_owned(),
    }
}

/// Whether an item of a projection is an aggregate, outside of subqueries.
fn aggregates(item: &SelectItem) -> bool {
    item.visit(&mut Aggregates { depth: 0 }).is_break()
}

/// Whether an expression has an aggregate, outside of subqueries.
pub(super) fn is_aggregate(expression: &Expr) -> bool {
    expression.visit(&mut Aggregates { depth: 0 }).is_break()
}

struct Aggregates {
    depth: usize,
}

// === impl Aggregates ===

impl Visitor for Aggregates {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        let Expr::Function(function) = expression else { return ControlFlow::Continue(()) };
        let name = function.name.0.last().map(|part| part.to_string().to_ascii_lowercase());
        let known = name.is_some_and(|name| AGGREGATES.contains(&name.as_str()));
        match known && self.depth == 0 && !matches!(function.args, FunctionArguments::Subquery(_)) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::Statement;

    use super::*;
    use crate::gate::reading;

    fn emptied(text: &str) -> String {
        let mut statement = reading::statements(text).unwrap().remove(0);
        if let Statement::Query(query) = &mut statement {
            self::query(query);
        }
        statement.to_string()
    }

    #[test]
    fn what_joins_a_catalog_without_rows_keeps_its_columns_alone() {
        let asked = "SELECT i.relname AS \"Name\", x.indkey, pg_get_indexdef(x.indexrelid), 1::int \
                     FROM pg_catalog.pg_index x JOIN pg_class i ON i.oid = x.indexrelid ORDER BY 1 LIMIT 5";
        let expected = "SELECT NULL::TEXT AS \"Name\", NULL::TEXT AS \"indkey\", \
                        NULL::TEXT AS \"pg_get_indexdef\", NULL::INT AS \"?column?\" WHERE false";
        assert_eq!(emptied(asked), expected);
        let asked = "SELECT NULL, NULL FROM (SELECT 1 FROM pg_trigger) t, pg_class";
        assert!(emptied(asked).contains("AS \"?column?_2\" WHERE false"), "{}", emptied(asked));
    }

    #[test]
    fn what_may_have_rows_is_left_as_it_is() {
        for text in [
            "SELECT relname FROM pg_class",
            "SELECT c.relname FROM pg_class c LEFT JOIN pg_index i ON i.indrelid = c.oid",
            "SELECT c.relname FROM pg_index i RIGHT JOIN pg_class c ON i.indrelid = c.oid",
            "SELECT count(*) FROM pg_index",
            "SELECT (count(*) > 0)::TEXT FROM pg_index",
            "SELECT * FROM pg_index",
            "SELECT a FROM public.pg_index",
            "SELECT relname FROM pg_class UNION SELECT * FROM pg_index",
        ] {
            assert_eq!(emptied(text), text);
        }
    }
}
