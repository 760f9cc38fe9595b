//! Types of parameters that the engine cannot tell but the statement's text does.
//!
//! Drivers that send values in binary must know a parameter's type before they
//! encode it. The engine infers types from comparisons, not from `$1::bigint`,
//! nor from `x = ANY($1)`; and a column that is a parameter has no type for it.

pub(super) mod numbers;
pub(super) mod values;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::arrow::datatypes::DataType as ArrowType;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, ExactNumberInfo, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Query, Select, SelectItem, SetExpr, Statement, Value, Values, Visit, VisitMut,
    Visitor, VisitorMut,
};
use pgwire::api::Type;

use crate::gate::reading;

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
        && let Ok(statements) = reading::statements(text)
    {
        let _ = statements.visit(&mut told);
    }
    told
}

/// Gives types to parameters that the engine finds none for. `kind` is the client's type of each, or a cast's.
pub(super) fn fitted(sql: String, kind: &dyn Fn(usize) -> Option<Type>) -> Fitted {
    let as_it_is = |sql| Fitted { sql, described: None, arrays: Vec::new() };
    if !sql.contains('$') {
        return as_it_is(sql);
    }
    let Ok(mut statements) = reading::statements(&sql) else { return as_it_is(sql) };
    let [statement] = statements.as_mut_slice() else { return as_it_is(sql) };
    let mut typed = Typed { kind, changed: false };
    let _ = statement.visit(&mut typed);
    let mut run = statement.clone();
    let mut bare = Bare { kind, changed: false };
    let _ = VisitMut::visit(&mut run, &mut bare);
    let sql = if typed.changed || bare.changed { run.to_string() } else { sql };
    let mut lists = Lists { arrays: Vec::new() };
    let _ = statement.visit(&mut lists);
    let described = (bare.changed || !lists.arrays.is_empty()).then(|| Statement::to_string(statement));
    Fitted { sql, described, arrays: lists.arrays }
}

/// The array of a type, as parameters have it.
pub(super) fn array_of(item: Option<&ArrowType>) -> ArrowType {
    let item = match item {
        Some(ArrowType::Dictionary(_, value)) => value.as_ref().clone(),
        Some(ArrowType::Null) | None => ArrowType::Utf8,
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

/// Casts parameters that stand where nothing else tells their type, or where the engine
/// would take the type of their neighbour: `time - $1`.
struct Typed<'a> {
    kind: &'a dyn Fn(usize) -> Option<Type>,
    changed: bool,
}

// === impl Typed ===

impl Typed<'_> {
    /// Casts a bare parameter to the client's type, or to `otherwise`.
    fn cast(&mut self, expression: &mut Expr, otherwise: Option<DataType>) {
        if let Expr::Nested(inner) = expression {
            return self.cast(inner, otherwise);
        }
        let Some(number) = parameter(expression) else { return };
        let given = (self.kind)(number).and_then(|given| name_of(&given));
        let Some(data_type) = given.or(otherwise) else { return };
        let bare = std::mem::replace(expression, Expr::value(Value::Null));
        let (kind, expr) = (CastKind::DoubleColon, Box::new(bare));
        *expression = Expr::Cast { kind, expr, data_type, array: false, format: None };
        self.changed = true;
    }

    fn arguments(&mut self, function: &mut Function) {
        let FunctionArguments::List(list) = &mut function.args else { return };
        // Where all are of one type, and none says which, it is text.
        let name = function.name.to_string().to_ascii_lowercase();
        let of_one = ["coalesce", "nullif", "greatest", "least"].contains(&name.as_str());
        let tells = |argument: &FunctionArg| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) => match parameter(argument) {
                Some(number) => (self.kind)(number).is_some(),
                None => true,
            },
            _ => true,
        };
        let otherwise = (of_one && !list.args.iter().any(tells)).then_some(DataType::Text);
        for argument in &mut list.args {
            if let FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) = argument {
                self.cast(argument, otherwise.clone());
            }
        }
    }

    /// A column of `VALUES` is text if nothing in it says what it is.
    fn rows(&mut self, values: &mut Values) {
        let columns = values.rows.first().map_or(0, |row| row.content.len());
        for column in 0..columns {
            let tells = |row: &[Expr]| row.get(column).is_some_and(|cell| parameter(cell).is_none());
            let otherwise = (!values.rows.iter().any(|row| tells(&row.content))).then_some(DataType::Text);
            for row in &mut values.rows {
                if let Some(cell) = row.content.get_mut(column) {
                    self.cast(cell, otherwise.clone());
                }
            }
        }
    }
}

impl VisitorMut for Typed<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let SetExpr::Values(values) = query.body.as_mut() {
            self.rows(values);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                self.cast(expr, Some(DataType::Text));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        match expression {
            Expr::Function(function) => self.arguments(function),
            Expr::BinaryOp { left, op, right } if computes(op) => {
                self.cast(left, None);
                self.cast(right, None);
            }
            Expr::UnaryOp { expr, .. } => self.cast(expr, None),
            Expr::Array(array) => array.elem.iter_mut().for_each(|item| self.cast(item, None)),
            Expr::Case { conditions, else_result, .. } => {
                conditions.iter_mut().for_each(|when| self.cast(&mut when.result, None));
                if let Some(result) = else_result {
                    self.cast(result, None);
                }
            }
            // Nanoseconds end in 2262.
            Expr::Cast { expr, data_type: DataType::Timestamp(precision @ None, _), .. }
                if parameter(expr).is_some() =>
            {
                *precision = Some(6);
                self.changed = true;
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Operators whose two sides need not be of one type.
fn computes(operator: &BinaryOperator) -> bool {
    use BinaryOperator::{
        Arrow, ArrowAt, AtArrow, Divide, LongArrow, Minus, Modulo, Multiply, PGOverlap, Plus, StringConcat,
    };
    let known =
        [Plus, Minus, Multiply, Divide, Modulo, StringConcat, Arrow, LongArrow, AtArrow, ArrowAt, PGOverlap];
    known.contains(operator)
}

/// Takes casts to `numeric` off: the engine would give each value ten digits behind its
/// point, and a value that comes as one has its own.
struct Bare<'a> {
    kind: &'a dyn Fn(usize) -> Option<Type>,
    changed: bool,
}

// === impl Bare ===

impl VisitorMut for Bare<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if let Expr::Cast { expr, data_type, .. } = expression
            && let Some(number) = parameter(expr)
            && matches!((self.kind)(number), Some(Type::NUMERIC | Type::NUMERIC_ARRAY))
            && is_any_numeric(data_type)
        {
            *expression = expr.as_ref().clone();
            self.changed = true;
        }
        ControlFlow::Continue(())
    }
}

fn is_any_numeric(name: &DataType) -> bool {
    match name {
        DataType::Numeric(ExactNumberInfo::None) | DataType::Decimal(ExactNumberInfo::None) => true,
        DataType::Array(_) => type_of(name) == Some(Type::NUMERIC_ARRAY) && !name.to_string().contains('('),
        _ => false,
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
    let one = match bare {
        "text" | "name" => Type::TEXT,
        "varchar" | "character varying" => Type::VARCHAR,
        "bigint" | "int8" => Type::INT8,
        "int" | "integer" | "int4" => Type::INT4,
        "smallint" | "int2" => Type::INT2,
        "double precision" | "float8" => Type::FLOAT8,
        "real" | "float4" => Type::FLOAT4,
        "numeric" | "decimal" => Type::NUMERIC,
        "bool" | "boolean" => Type::BOOL,
        "bytea" => Type::BYTEA,
        "date" => Type::DATE,
        "time" | "time without time zone" => Type::TIME,
        "timestamp" | "timestamp without time zone" => Type::TIMESTAMP,
        "timestamptz" | "timestamp with time zone" => Type::TIMESTAMPTZ,
        "interval" => Type::INTERVAL,
        "oid" => Type::OID,
        "uuid" => Type::UUID,
        "json" => Type::JSON,
        "jsonb" => Type::JSONB,
        _ => return None,
    };
    match array {
        true => ARRAYS.iter().find(|(_, item)| *item == one).map(|(array, _)| array.clone()),
        false => Some(one),
    }
}

/// The arrays that parameters may be, and their items.
pub(super) const ARRAYS: &[(Type, Type)] = &[
    (Type::TEXT_ARRAY, Type::TEXT),
    (Type::VARCHAR_ARRAY, Type::VARCHAR),
    (Type::BPCHAR_ARRAY, Type::BPCHAR),
    (Type::NAME_ARRAY, Type::NAME),
    (Type::INT8_ARRAY, Type::INT8),
    (Type::INT4_ARRAY, Type::INT4),
    (Type::INT2_ARRAY, Type::INT2),
    (Type::FLOAT8_ARRAY, Type::FLOAT8),
    (Type::FLOAT4_ARRAY, Type::FLOAT4),
    (Type::NUMERIC_ARRAY, Type::NUMERIC),
    (Type::BOOL_ARRAY, Type::BOOL),
    (Type::BYTEA_ARRAY, Type::BYTEA),
    (Type::DATE_ARRAY, Type::DATE),
    (Type::TIME_ARRAY, Type::TIME),
    (Type::TIMESTAMP_ARRAY, Type::TIMESTAMP),
    (Type::TIMESTAMPTZ_ARRAY, Type::TIMESTAMPTZ),
    (Type::INTERVAL_ARRAY, Type::INTERVAL),
    (Type::OID_ARRAY, Type::OID),
    (Type::UUID_ARRAY, Type::UUID),
    (Type::JSON_ARRAY, Type::JSON),
    (Type::JSONB_ARRAY, Type::JSONB),
];

/// The type of an array's items.
pub(super) fn item_of(kind: &Type) -> Option<Type> {
    ARRAYS.iter().find(|(array, _)| array == kind).map(|(_, item)| item.clone())
}

/// The name of a type in SQL. The engine keeps identifiers and documents as texts.
fn name_of(kind: &Type) -> Option<DataType> {
    let item = item_of(kind);
    let name = match *item.as_ref().unwrap_or(kind) {
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => "text",
        Type::UUID | Type::JSON | Type::JSONB => "text",
        Type::INT8 => "bigint",
        Type::INT4 | Type::OID => "int",
        Type::INT2 => "smallint",
        Type::FLOAT8 => "double precision",
        Type::FLOAT4 => "real",
        Type::NUMERIC => "numeric",
        Type::BOOL => "boolean",
        Type::BYTEA => "bytea",
        Type::DATE => "date",
        Type::TIME => "time",
        Type::TIMESTAMP => "timestamp(6)",
        Type::TIMESTAMPTZ => "timestamp(6) with time zone",
        Type::INTERVAL => "interval",
        _ => return None,
    };
    let name = if item.is_some() { format!("{name}[]") } else { name.to_owned() };
    reading::data_type(&name).ok()
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

    /// Goal: what stands beside a parameter does not decide its type when the client has.
    #[test]
    fn parameters_keep_their_own_types() {
        let given = |number| [Type::INTERVAL, Type::NUMERIC, Type::INT4_ARRAY].get(number - 1).cloned();
        let fitted = fitted("SELECT now() - $1, $2, $3, $4::timestamptz".to_owned(), &given);
        let (sql, described) = (fitted.sql, fitted.described.unwrap());
        assert_eq!(sql, "SELECT now() - $1::INTERVAL, $2, $3::INT[], $4::TIMESTAMPTZ(6)");
        assert_eq!(described, "SELECT now() - $1::INTERVAL, $2::NUMERIC, $3::INT[], $4::TIMESTAMPTZ(6)");
        let given = |number| (number == 1).then_some(Type::INT2);
        let values =
            super::fitted("SELECT * FROM (VALUES ($1, $2), ($1, $2)) AS v (a, b)".to_owned(), &given);
        assert!(values.sql.contains("($1::SMALLINT, $2::TEXT)"), "{}", values.sql);
    }

    #[test]
    fn a_statement_that_needs_nothing_is_left_as_it_is() {
        for sql in ["select  1", "select  a from t where b = $1", "not sql $1"] {
            let expected = Fitted { sql: sql.to_owned(), described: None, arrays: Vec::new() };
            assert_eq!(fitted(sql.to_owned(), &|_| None), expected);
        }
    }
}
