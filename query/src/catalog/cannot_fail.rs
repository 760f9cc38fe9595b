//! Which conditions a scan may evaluate while it reads.
//!
//! An error inside a scan comes back as a text about a damaged file, and the
//! person whose division failed would read of a fault of the server's. So a scan
//! gets what cannot fail, and whatever else a statement asks is evaluated above.

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, Operator};

/// Functions of texts that answer whatever they are given.
const FUNCTIONS: [&str; 6] = ["coalesce", "contains", "ends_with", "lower", "starts_with", "upper"];

/// Whether it has a value for every row.
pub(super) fn cannot_fail(condition: &Expr, schema: &Schema) -> bool {
    let all = |parts: &[&Expr]| parts.iter().all(|part| cannot_fail(part, schema));
    match condition {
        Expr::Column(_) | Expr::Literal(..) => true,
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => has_a_value(*op) && all(&[left, right]),
        Expr::Not(inner)
        | Expr::IsNull(inner)
        | Expr::IsNotNull(inner)
        | Expr::IsTrue(inner)
        | Expr::IsFalse(inner)
        | Expr::IsNotTrue(inner)
        | Expr::IsNotFalse(inner) => all(&[inner]),
        Expr::Between(between) => all(&[&between.expr, &between.low, &between.high]),
        Expr::Like(like) => all(&[&like.expr, &like.pattern]),
        Expr::InList(list) => all(&[&list.expr]) && list.list.iter().all(|value| cannot_fail(value, schema)),
        Expr::ScalarFunction(call) => {
            FUNCTIONS.contains(&call.name()) && call.args.iter().all(|argument| cannot_fail(argument, schema))
        }
        Expr::Cast(cast) => fits(cast, schema),
        _ => false,
    }
}

/// Whether it compares by order.
pub(super) const fn compares(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq
    )
}

fn has_a_value(op: Operator) -> bool {
    let distinct = matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom);
    compares(op) || distinct || op.is_logic_operator()
}

/// A column whose every value has a place in the new type.
fn fits(cast: &Cast, schema: &Schema) -> bool {
    let Expr::Column(column) = cast.expr.as_ref() else { return false };
    let Ok(from) = schema.field_with_name(&column.name) else { return false };
    match (from.data_type(), cast.field.data_type()) {
        (from, DataType::Utf8 | DataType::Utf8View) => !from.is_nested(),
        (from, DataType::Float64) => from.is_integer(),
        (DataType::Int32, DataType::Int64) | (DataType::Timestamp(..), DataType::Date32) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use bailiwick_proto::Table;
    use datafusion::prelude::{cast, col, lit, lower, sqrt};

    use super::*;

    #[test]
    fn what_could_fail_is_told_from_what_cannot() {
        let schema = Table::Syscalls.public_schema();
        let passes = [
            col("evt_type").eq(lit("openat")).and(col("proc_pid").gt(lit(5i64))),
            col("fd_name").like(lit("%.log")).or(col("fd_name").is_null()),
            col("evt_type").in_list(vec![lit("a"), lit("b")], true),
            lower(col("proc_name")).eq(lit("bash")),
            cast(col("time"), DataType::Date32).eq(lit("2026-11-24")),
            cast(col("proc_pid"), DataType::Utf8View).eq(lit("5")),
            cast(col("proc_pid"), DataType::Float64).gt(lit(1.5)),
        ];
        let stays = [
            cast(col("proc_name"), DataType::Int64).eq(lit(5i64)),
            cast(lower(col("proc_name")), DataType::Float64).eq(lit(5.0)),
            (lit(10i64) / col("proc_pid")).gt(lit(1i64)),
            col("proc_pid").gt(lit(1i64)).or((col("proc_pid") + lit(1i64)).gt(lit(1i64))),
            sqrt(col("proc_pid")).gt(lit(1.0)),
            cast(col("no_such"), DataType::Utf8).eq(lit("a")),
        ];
        for condition in passes {
            assert!(cannot_fail(&condition, &schema), "{condition}");
        }
        for condition in stays {
            assert!(!cannot_fail(&condition, &schema), "{condition}");
        }
    }
}
