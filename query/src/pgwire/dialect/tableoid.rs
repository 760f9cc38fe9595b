//! `alias.tableoid`: the catalog that a row is of, by which psql finds its comment.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Select, TableFactor, TableWithJoins, Value, VisitMut, VisitorMut,
};

use crate::pg_catalog;

/// Puts catalogs' object ids in the place of `tableoid` in a query.
pub(super) fn select(select: &mut Select) {
    let mut catalogs = Vec::new();
    select.from.iter().for_each(|from| collect(from, &mut catalogs));
    if catalogs.is_empty() {
        return;
    }
    let _ = select.visit(&mut TableOid { catalogs });
}

fn collect(from: &TableWithJoins, catalogs: &mut Vec<(String, i32)>) {
    let joined = from.joins.iter().map(|join| &join.relation);
    for relation in std::iter::once(&from.relation).chain(joined) {
        match relation {
            TableFactor::Table { name, alias, args: None, .. } => {
                let Some(table) = name.0.last().and_then(|part| part.as_ident()) else { continue };
                let alias = alias.as_ref().map_or(&table.value, |alias| &alias.name.value);
                if let Some(oid) = pg_catalog::oid_of_name(&table.value) {
                    catalogs.push((alias.clone(), oid));
                }
            }
            TableFactor::NestedJoin { table_with_joins, .. } => collect(table_with_joins, catalogs),
            _ => {}
        }
    }
}

struct TableOid {
    catalogs: Vec<(String, i32)>,
}

// === impl TableOid ===

impl VisitorMut for TableOid {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(names) = expression
            && let [alias, column] = names.as_slice()
            && column.value == "tableoid"
            && let Some((_, oid)) = self.catalogs.iter().find(|(known, _)| *known == alias.value)
        {
            *expression = Expr::value(Value::Number(oid.to_string(), false));
        }
        ControlFlow::Continue(())
    }
}
