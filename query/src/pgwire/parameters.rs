//! Types of parameters that the engine cannot tell but the statement's text does.
//!
//! Drivers that send values in binary must know a parameter's type before they
//! encode it. The engine infers types from comparisons, not from `$1::bigint`,
//! nor from `x = ANY($1)`; and a column that is a parameter has no type for it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::arrow::datatypes::DataType as ArrowType;
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Select, SelectItem,
    Statement, Value, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use pgwire::api::Type;

use crate::gate::depth;

/// What a statement's text says of its parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// How many there are; a client gives a value for each, also where none is needed.
    pub(super) count: usize,
    /// The types of casts by number from 1.
    pub(super) types: BTreeMap<usize, Type>,
}

/// A statement as the engine can take it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fitted {
    /// What is run.
    pub(super) sql: String,
    /// What is described in its place where that tells more: `IN` for `= ANY`.
    pub(super) described: Option<String>,
    /// The parameters that are arrays of what `described` has for them.
    pub(super) arrays: Vec<usize>,
}

/// Most parameters of a statement, as in PostgreSQL's protocol.
const MOST: usize = 65_535;

/// Reads a statement's text.
pub(super) fn told(text: &str) -> Told {
    let mut told = Told::default();
    if text.contains('$')
        && let Ok(statements) = Parser::parse_sql(&PostgreSqlDialect {}, text)
    {
        let _ = statements.visit(&mut told);
    }
    told
}

/// Gives types to parameters that the engine finds none for. `given` are the client's.
pub(super) fn fitted(sql: String, given: &dyn Fn(usize) -> Option<Type>) -> Fitted {
    let as_it_is = |sql| Fitted { sql, described: None, arrays: Vec::new() };
    if !sql.contains('$') || depth::check(&sql).is_err() {
        return as_it_is(sql);
    }
    let Ok(mut statements) = Parser::parse_sql(&PostgreSqlDialect {}, &sql) else { return as_it_is(sql) };
    let [statement] = statements.as_mut_slice() else { return as_it_is(sql) };
    let mut typed = Typed { given, changed: false };
    let _ = statement.visit(&mut typed);
    let sql = if typed.changed { Statement::to_string(statement) } else { sql };
    let mut lists = Lists { arrays: Vec::new() };
    let _ = statement.visit(&mut lists);
    let described = (!lists.arrays.is_empty()).then(|| Statement::to_string(statement));
    Fitted { sql, described, arrays: lists.arrays }
}

/// The array of a type, as parameters have it.
pub(super) fn array_of(item: Option<&ArrowType>) -> ArrowType {
    let item = match item {
        Some(ArrowType::Dictionary(_, value)) => value.as_ref().clone(),
        Some(ArrowType::Utf8View | ArrowType::LargeUtf8 | ArrowType::Null) | None => ArrowType::Utf8,
        Some(item) => item.clone(),
    };
    ArrowType::new_list(item, true)
}

// === impl Told ===

impl Visitor for Told {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        if let Some(number) = parameter(expression) {
            self.count = self.count.max(number);
        }
        if let Expr::Cast { expr, data_type, .. } = expression
            && let (Some(number), Some(known)) = (parameter(expr), type_of(data_type))
        {
            self.types.entry(number).or_insert(known);
        }
        ControlFlow::Continue(())
    }
}

/// Casts parameters that stand where nothing else tells their type.
struct Typed<'a> {
    given: &'a dyn Fn(usize) -> Option<Type>,
    changed: bool,
}

// === impl Typed ===

impl Typed<'_> {
    /// Casts a bare parameter to the client's type, or to `otherwise`.
    fn cast(&mut self, expression: &mut Expr, otherwise: Option<DataType>) {
        let Some(number) = parameter(expression) else { return };
        let given = (self.given)(number).and_then(|given| name_of(&given));
        let Some(data_type) = given.or(otherwise) else { return };
        let bare = std::mem::replace(expression, Expr::value(Value::Null));
        let (kind, expr) = (CastKind::DoubleColon, Box::new(bare));
        *expression = Expr::Cast { kind, expr, data_type, array: false, format: None };
        self.changed = true;
    }

    fn arguments(&mut self, function: &mut Function) {
        let FunctionArguments::List(list) = &mut function.args else { return };
        for argument in &mut list.args {
            if let FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) = argument {
                self.cast(argument, None);
            }
        }
    }
}

impl VisitorMut for Typed<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                self.cast(expr, Some(DataType::Text));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expression {
            self.arguments(function);
        }
        ControlFlow::Continue(())
    }
}

/// Makes lists of one item of arrays.
struct Lists {
    arrays: Vec<usize>,
}

// === impl Lists ===

impl VisitorMut for Lists {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        let (left, right, negated) = match expression {
            Expr::AnyOp { left, right, .. } => (left, right, false),
            Expr::AllOp { left, right, .. } => (left, right, true),
            _ => return ControlFlow::Continue(()),
        };
        if let Some(number) = parameter(right) {
            if !self.arrays.contains(&number) {
                self.arrays.push(number);
            }
            let list = vec![right.as_ref().clone()];
            *expression = Expr::InList { expr: left.clone(), list, negated };
        }
        ControlFlow::Continue(())
    }
}

/// The number of a bare parameter.
fn parameter(expression: &Expr) -> Option<usize> {
    let Expr::Value(value) = expression else { return None };
    let Value::Placeholder(name) = &value.value else { return None };
    name.strip_prefix('$')?.parse().ok().filter(|number| (1..=MOST).contains(number))
}

fn type_of(name: &DataType) -> Option<Type> {
    let name = name.to_string().to_ascii_lowercase().replace('"', "").replace("pg_catalog.", "");
    let (bare, array) = match name.strip_suffix("[]") {
        Some(bare) => (bare, true),
        None => (name.as_str(), false),
    };
    let bare = bare.split_once('(').map_or(bare, |(bare, _)| bare).trim();
    let (one, many) = match bare {
        "text" | "name" => (Type::TEXT, Type::TEXT_ARRAY),
        "varchar" | "character varying" => (Type::VARCHAR, Type::VARCHAR_ARRAY),
        "bigint" | "int8" => (Type::INT8, Type::INT8_ARRAY),
        "int" | "integer" | "int4" => (Type::INT4, Type::INT4_ARRAY),
        "smallint" | "int2" => (Type::INT2, Type::INT2_ARRAY),
        "double precision" | "float8" => (Type::FLOAT8, Type::FLOAT8_ARRAY),
        "real" | "float4" => (Type::FLOAT4, Type::FLOAT4_ARRAY),
        "numeric" | "decimal" => (Type::NUMERIC, Type::NUMERIC_ARRAY),
        "bool" | "boolean" => (Type::BOOL, Type::BOOL_ARRAY),
        "bytea" => (Type::BYTEA, Type::BYTEA_ARRAY),
        "date" => (Type::DATE, Type::DATE_ARRAY),
        "timestamp" | "timestamp without time zone" => (Type::TIMESTAMP, Type::TIMESTAMP_ARRAY),
        "timestamptz" | "timestamp with time zone" => (Type::TIMESTAMPTZ, Type::TIMESTAMPTZ_ARRAY),
        "interval" => (Type::INTERVAL, Type::INTERVAL_ARRAY),
        "oid" => (Type::OID, Type::OID_ARRAY),
        _ => return None,
    };
    Some(if array { many } else { one })
}

/// The name of a type in SQL.
fn name_of(kind: &Type) -> Option<DataType> {
    let name = match *kind {
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => "text",
        Type::INT8 => "bigint",
        Type::INT4 | Type::OID => "int",
        Type::INT2 => "smallint",
        Type::FLOAT8 => "double precision",
        Type::FLOAT4 => "real",
        Type::BOOL => "boolean",
        Type::DATE => "date",
        Type::TIMESTAMP => "timestamp",
        Type::TIMESTAMPTZ => "timestamptz",
        _ => return None,
    };
    Parser::new(&PostgreSqlDialect {}).try_with_sql(name).ok()?.parse_data_type().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_tell_types_and_every_parameter_counts() {
        let told = told(
            "SELECT $1::bigint, CAST($2 AS TIMESTAMP WITH TIME ZONE), $3::text[], $4::VARCHAR FROM t WHERE a = $7",
        );
        let expected = [(1, Type::INT8), (2, Type::TIMESTAMPTZ), (3, Type::TEXT_ARRAY), (4, Type::VARCHAR)];
        assert_eq!((told.count, told.types), (7, BTreeMap::from(expected)));
        assert_eq!(super::told("SELECT '$1', $$ $2 $$, 5").count, 0);
    }

    #[test]
    fn arrays_are_described_by_their_items() {
        let sql = "SELECT a FROM t WHERE a = ANY($1) AND b <> ALL($2) AND c = ANY($3::int[]) AND d = ANY($1)";
        let fitted = fitted(sql.to_owned(), &|_| None);
        assert_eq!((fitted.sql.as_str(), fitted.arrays.as_slice()), (sql, [1, 2].as_slice()));
        let described = fitted.described.unwrap();
        assert!(described.contains("a IN ($1) AND b NOT IN ($2) AND c = ANY($3::INT[])"), "{described}");
    }

    #[test]
    fn a_column_that_is_a_parameter_gets_a_type() {
        let given = |number| (number == 2).then_some(Type::INT8);
        let sql = fitted("SELECT $1 AS a, $2, upper($3), abs($2) FROM t WHERE b = $2".to_owned(), &given).sql;
        assert_eq!(sql, "SELECT $1::TEXT AS a, $2::BIGINT, upper($3), abs($2::BIGINT) FROM t WHERE b = $2");
    }

    #[test]
    fn a_statement_that_needs_nothing_is_left_as_it_is() {
        for sql in ["select  1", "select  a from t where b = $1", "not sql $1"] {
            let expected = Fitted { sql: sql.to_owned(), described: None, arrays: Vec::new() };
            assert_eq!(fitted(sql.to_owned(), &|_| None), expected);
        }
    }
}
