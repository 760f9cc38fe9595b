//! Whole queries of clients that no rule helps, and what answers them.

use datafusion::sql::sqlparser::ast::{Query, Statement};

use crate::gate::reading;

/// asyncpg's look at types that it does not know, and at those that they are made of,
/// is recursive, with subqueries that the engine cannot plan. There are no domains,
/// ranges or composite types of one's own here, so that one step is all of it.
const ASYNCPG_TYPES: &str = "\
SELECT t.oid AS oid, n.nspname AS ns, t.typname AS name, t.typtype AS kind, NULL::int AS basetype,
  CASE WHEN t.typelem = 0 THEN NULL ELSE t.typelem END AS elemtype, e.typdelim AS elemdelim,
  NULL::int AS range_subtype, NULL::text AS attrtypoids, NULL::text AS attrnames, 0 AS depth,
  NULL::text AS basetype_name, CASE WHEN t.typelem = 0 THEN NULL ELSE e.typname END AS elemtype_name,
  NULL::text AS range_subtype_name
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
  LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem
WHERE t.oid = ANY($1) OR t.oid IN (SELECT a.typelem FROM pg_catalog.pg_type a WHERE a.oid = ANY($1))
ORDER BY t.typelem";

/// Puts a query that can be planned in the place of one that is known not to.
pub(super) fn query(query: &mut Query) {
    let names = query.with.iter().flat_map(|with| &with.cte_tables).map(|cte| cte.alias.name.value.as_str());
    let known = match names.collect::<Vec<_>>().as_slice() {
        ["typeinfo_tree"] => ASYNCPG_TYPES,
        _ => return,
    };
    if let Ok(mut statements) = reading::statements(known)
        && let Some(Statement::Query(known)) = statements.pop()
    {
        *query = *known;
    }
}
