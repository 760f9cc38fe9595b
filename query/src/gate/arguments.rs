//! Parameters among the arguments of a function that makes a table, e.g.
//! `process_tree($1)`. Such a call is planned at once and wants constants, so that
//! values take their places before anything is planned.

use std::ops::ControlFlow;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Statement, TableFactor, Value, VisitMut, VisitorMut,
};

use crate::engine::Params;
use crate::{Code, QueryError, views};

/// A parameter's name, and the type that its place has.
pub(crate) type Argument = (String, DataType);

/// Puts the values in.
pub(super) fn fill(statement: &mut Statement, params: &Params) -> Result<(), QueryError> {
    each(statement, &mut |_, _, name| {
        let value = params.value(name).ok_or_else(|| {
            let name: String = name.chars().take(100).collect();
            wrong(format!("no value came for the parameter {name}"))
        })?;
        literal(value).map(Some)
    })
}

/// The parameters, in their order. Functions of the engine's own, which take no
/// parameter even to be described, are given a number.
pub(super) fn describe(statement: &mut Statement) -> Result<Vec<Argument>, QueryError> {
    let mut found = Vec::new();
    each(statement, &mut |function, position, name| {
        let kind = views::argument_type(function, position);
        let is_ours = kind.is_some();
        found.push((name.to_owned(), kind.unwrap_or(DataType::Int64)));
        Ok((!is_ours).then(|| Value::Number("1".to_owned(), false)))
    })?;
    Ok(found)
}

/// What takes a parameter's place, told its function, position and name.
type Replace<'a> = dyn FnMut(&str, usize, &str) -> Result<Option<Value>, QueryError> + 'a;

fn each(statement: &mut Statement, replace: &mut Replace<'_>) -> Result<(), QueryError> {
    match statement.visit(&mut Tables { replace }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Tables<'a, 'b> {
    replace: &'a mut Replace<'b>,
}

impl VisitorMut for Tables<'_, '_> {
    type Break = QueryError;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<QueryError> {
        let (name, arguments) = match factor {
            TableFactor::Table { name, args: Some(given), .. } => (name, &mut given.args),
            TableFactor::Function { name, args, .. } => (name, args),
            _ => return ControlFlow::Continue(()),
        };
        let function =
            name.0.last().and_then(|part| part.as_ident()).map(|name| name.value.to_ascii_lowercase());
        let function = function.unwrap_or_default();
        for (position, argument) in arguments.iter_mut().enumerate() {
            if let FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) = argument {
                value.visit(&mut Values { function: &function, position, replace: self.replace })?;
            }
        }
        ControlFlow::Continue(())
    }
}

struct Values<'a, 'b> {
    function: &'a str,
    position: usize,
    replace: &'a mut Replace<'b>,
}

impl VisitorMut for Values<'_, '_> {
    type Break = QueryError;

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<QueryError> {
        let Expr::Value(value) = expression else { return ControlFlow::Continue(()) };
        let Value::Placeholder(name) = &value.value else { return ControlFlow::Continue(()) };
        match (self.replace)(self.function, self.position, name) {
            Ok(Some(other)) => value.value = other,
            Ok(None) => {}
            Err(error) => return ControlFlow::Break(error),
        }
        ControlFlow::Continue(())
    }
}

/// A value as it would be written. Times are texts, which the functions read.
fn literal(value: &ScalarValue) -> Result<Value, QueryError> {
    let text = || match value.cast_to(&DataType::Utf8) {
        Ok(ScalarValue::Utf8(Some(text))) => Ok(text),
        _ => Err(wrong(format!("a value of the type {} cannot stand here", value.data_type()))),
    };
    Ok(match value {
        value if value.is_null() => Value::Null,
        ScalarValue::Boolean(Some(truth)) => Value::Boolean(*truth),
        value if value.data_type().is_numeric() => Value::Number(text()?, false),
        _ => Value::SingleQuotedString(text()?),
    })
}

fn wrong(message: String) -> QueryError {
    QueryError::new(Code::InvalidQuery, message)
}
