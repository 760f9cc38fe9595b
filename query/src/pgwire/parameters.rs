//! Types of parameters that the engine cannot tell but the statement's text does.
//!
//! Drivers that send values in binary must know a parameter's type before they
//! encode it. The engine infers types from comparisons, not from `$1::bigint`,
//! and takes the array in `x = ANY($1)` for a single value.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, CastKind, DataType, Expr, Statement, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use pgwire::api::Type;

/// A statement and the types that its casts give to parameters, by number from 1.
pub(super) struct Told {
    pub(super) sql: String,
    pub(super) types: BTreeMap<usize, Type>,
}

struct Casts<'a> {
    typed: &'a dyn Fn(usize) -> bool,
    types: BTreeMap<usize, Type>,
    changed: bool,
}

/// Reads a statement's casts. `typed` says for which parameters the client gave a
/// type; arrays without one are taken as arrays of text.
pub(super) fn told(sql: String, typed: &dyn Fn(usize) -> bool) -> Told {
    let mut casts = Casts { typed, types: BTreeMap::new(), changed: false };
    if !sql.contains('$') {
        return Told { sql, types: casts.types };
    }
    let Ok(mut statements) = Parser::parse_sql(&PostgreSqlDialect {}, &sql) else {
        return Told { sql, types: casts.types };
    };
    let _ = statements.visit(&mut casts);
    let sql = match (casts.changed, statements.as_slice()) {
        (true, [statement]) => Statement::to_string(statement),
        _ => sql,
    };
    Told { sql, types: casts.types }
}

// === impl Casts ===

impl VisitorMut for Casts<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        match expression {
            Expr::AnyOp { right, .. } | Expr::AllOp { right, .. }
                if parameter(right).is_some_and(|number| !(self.typed)(number)) =>
            {
                let array = DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(DataType::Text), None));
                let bare = std::mem::replace(right.as_mut(), Expr::value(Value::Null));
                let (kind, expr) = (CastKind::DoubleColon, Box::new(bare));
                **right = Expr::Cast { kind, expr, data_type: array, array: false, format: None };
                self.changed = true;
            }
            Expr::Cast { expr, data_type, .. } => {
                if let (Some(number), Some(known)) = (parameter(expr), type_of(data_type)) {
                    self.types.entry(number).or_insert(known);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// The number of a bare parameter.
fn parameter(expression: &Expr) -> Option<usize> {
    let Expr::Value(value) = expression else { return None };
    let Value::Placeholder(name) = &value.value else { return None };
    name.strip_prefix('$')?.parse().ok()
}

fn type_of(name: &DataType) -> Option<Type> {
    Some(match name.to_string().to_ascii_lowercase().as_str() {
        "text" | "varchar" | "character varying" => Type::TEXT,
        "bigint" | "int8" => Type::INT8,
        "int" | "integer" | "int4" => Type::INT4,
        "smallint" | "int2" => Type::INT2,
        "double precision" | "float8" => Type::FLOAT8,
        "real" | "float4" => Type::FLOAT4,
        "bool" | "boolean" => Type::BOOL,
        "date" => Type::DATE,
        "timestamp" | "timestamp without time zone" => Type::TIMESTAMP,
        "timestamptz" | "timestamp with time zone" => Type::TIMESTAMPTZ,
        "text[]" => Type::TEXT_ARRAY,
        "bigint[]" | "int8[]" => Type::INT8_ARRAY,
        "int[]" | "integer[]" | "int4[]" => Type::INT4_ARRAY,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_tell_types_and_arrays_are_spelled_out() {
        let sql = "SELECT $1::bigint, CAST($2 AS TIMESTAMP WITH TIME ZONE) FROM t WHERE a = ANY($3) AND b = ANY($4)";
        let told = told(sql.to_owned(), &|number| number == 4);
        assert!(told.sql.ends_with("WHERE a = ANY($3::TEXT[]) AND b = ANY($4)"), "{}", told.sql);
        let expected = [(1, Type::INT8), (2, Type::TIMESTAMPTZ), (3, Type::TEXT_ARRAY)];
        assert_eq!(told.types, BTreeMap::from(expected));
    }

    #[test]
    fn a_statement_that_needs_nothing_is_left_as_it_is() {
        for sql in ["select  1", "select  a from t where b = $1", "not sql $1"] {
            assert_eq!(told(sql.to_owned(), &|_| false).sql, sql);
        }
    }
}
