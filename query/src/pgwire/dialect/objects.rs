//! Casts between names and object ids: `'syscalls'::regclass`, `oid::regtype::text`.

use datafusion::sql::sqlparser::ast::{DataType, Expr, Value};

use crate::functions::names::{Kind, oid_of};
use crate::gate::reading;

/// Puts an object id, or a function that finds it, in the place of a cast.
pub(super) fn expression(expression: &mut Expr) {
    let Expr::Cast { expr, data_type, .. } = expression else { return };
    if type_name(data_type) == "oid"
        && let Expr::Cast { expr: inner, data_type: object, .. } = expr.as_ref()
        && type_name(object).starts_with("regproc")
        && let Expr::Value(value) = inner.as_ref()
        && let Value::SingleQuotedString(name) = &value.value
    {
        let name = bare_function(name).replace('\'', "''");
        let found = format!("(SELECT max(p.oid) FROM pg_catalog.pg_proc p WHERE p.proname = '{name}')");
        if let Ok(found) = reading::expression(&found) {
            *expression = found;
        }
        return;
    }
    if is_text(data_type)
        && let Expr::Cast { expr: inner, data_type: object, .. } = expr.as_ref()
        && !matches!(inner.as_ref(), Expr::Value(_))
    {
        let name = match type_name(object).as_str() {
            "regtype" => reading::expression(&format!("format_type({inner}, NULL)")),
            "regclass" => reading::expression(&format!("regclassout({inner})")),
            _ => return,
        };
        if let Ok(name) = name {
            *expression = name;
        }
        return;
    }
    let (kind, function) = match type_name(data_type).as_str() {
        // Functions are named, and not numbered, where `pg_type` speaks of them.
        "regproc" | "regprocedure" => return function_name(expression),
        "regclass" => (Kind::Relation, "to_regclass"),
        "regtype" => (Kind::Type, "to_regtype"),
        "regnamespace" => (Kind::Schema, "to_regnamespace"),
        _ => return,
    };
    let found = match expr.as_ref() {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(name) => oid_of(kind, name).map(|oid| oid.to_string()),
            _ => Some(format!("{function}({expr})")),
        },
        _ => Some(format!("{function}({expr})")),
    };
    if let Some(Ok(found)) = found.map(|found| reading::expression(&found)) {
        *expression = found;
    }
}

/// `'pg_catalog.array_in'::regproc`, or a column of such names, as the name alone.
fn function_name(expression: &mut Expr) {
    let Expr::Cast { expr, data_type, .. } = expression else { return };
    match expr.as_ref() {
        Expr::Value(value) => {
            if let Value::SingleQuotedString(name) = &value.value {
                let bare = bare_function(name).to_owned();
                *expression = Expr::value(Value::SingleQuotedString(bare));
            }
        }
        _ => *data_type = DataType::Text,
    }
}

/// A function's name without its schema and arguments.
fn bare_function(name: &str) -> &str {
    let name = name.strip_prefix("pg_catalog.").unwrap_or(name);
    name.split_once('(').map_or(name, |(name, _)| name)
}

fn is_text(kind: &DataType) -> bool {
    ["text", "varchar", "name"].contains(&type_name(kind).as_str())
}

fn type_name(kind: &DataType) -> String {
    let name = kind.to_string().to_ascii_lowercase();
    name.strip_prefix("pg_catalog.").map_or(name.clone(), str::to_owned)
}
