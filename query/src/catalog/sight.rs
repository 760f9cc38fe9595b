//! Which rows of its tenants' partitions a principal sees: all, or those of its namespaces.
//!
//! Whose rows these are is decided before a plan exists, by partitions. Inside
//! a tenant's partition rows of several namespaces lie side by side, so what is
//! kept back here is kept back by a filter, below a [`super::barrier`].

use std::sync::{Arc, LazyLock};

use bailiwick_proto::Table;
use datafusion::arrow::array::{ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    col, lit,
};

use super::cannot_fail::compares;
use crate::{Namespace, Namespaces, Principal, Scope, text};

/// The rows of a table that are in sight.
#[derive(Debug, Clone)]
pub(super) enum Sight {
    /// All that there are in the principal's partitions.
    All,
    /// None.
    Nothing,
    /// Those for which this is true.
    Where(Box<Expr>),
}

/// Where a table says to which namespace a row belongs.
enum Told {
    Column(&'static str),
    /// In the JSON of this column.
    Fields(&'static str),
    Nowhere,
}

// === impl Sight ===

impl Sight {
    /// What a principal sees of a table.
    pub(super) fn of(principal: &Principal, table: Table) -> Self {
        let Scope::Namespaces(_, namespaces) = principal.scope() else { return Self::All };
        // Its own questions are its own, wherever they were about.
        if table == Table::Queries {
            return Self::Where(Box::new(col("principal").eq(lit(principal.name()))));
        }
        match told(table) {
            Told::Column(name) => Self::Where(Box::new(one_of(&col(name), namespaces))),
            Told::Fields(name) => {
                Self::Where(Box::new(one_of(&NAMESPACE_OF.call(vec![col(name)]), namespaces)))
            }
            Told::Nowhere => Self::Nothing,
        }
    }
}

fn told(table: Table) -> Told {
    match table {
        Table::Syscalls | Table::Usage | Table::Containers => Told::Column("k8s_ns_name"),
        Table::ApiAccess => Told::Column("namespace"),
        Table::Alerts => Told::Fields("output_fields"),
        Table::Losses | Table::Queries => Told::Nowhere,
    }
}

/// A null is no namespace, so rows that name none are in nobody's sight here.
fn one_of(value: &Expr, namespaces: &Namespaces) -> Expr {
    let (prefixes, names): (Vec<&Namespace>, Vec<&Namespace>) =
        namespaces.iter().partition(|namespace| namespace.is_prefix());
    // A namespace's letters mean nothing to LIKE.
    let prefix = |namespace: &Namespace| value.clone().like(lit(format!("{}%", namespace.name())));
    let mut conditions: Vec<Expr> = prefixes.into_iter().map(prefix).collect();
    if !names.is_empty() {
        let names = names.into_iter().map(|namespace| lit(namespace.name())).collect();
        conditions.push(value.clone().in_list(names, false));
    }
    conditions.into_iter().reduce(Expr::or).unwrap_or_else(|| lit(false))
}

/// Whether a condition may be evaluated below a barrier: it compares a column
/// with a constant of the column's own type, which cannot fail and needs no
/// value of a hidden row. It is used for leaving out files and row groups, and
/// evaluated again above.
pub(super) fn is_vetted(table: Table, condition: &Expr) -> bool {
    let schema = text::of_table(table);
    let kind = |column: &Expr| match column {
        Expr::Column(column) => schema.field_with_name(&column.name).ok().map(|field| field.data_type()),
        _ => None,
    };
    let constant = |value: &Expr, kind: &DataType| matches!(value, Expr::Literal(value, _) if value.data_type() == *kind && !kind.is_nested());
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            compares(*op)
                && (kind(left).is_some_and(|kind| constant(right, kind))
                    || kind(right).is_some_and(|kind| constant(left, kind)))
        }
        Expr::Between(between) => kind(&between.expr)
            .is_some_and(|kind| constant(&between.low, kind) && constant(&between.high, kind)),
        Expr::InList(list) => {
            kind(&list.expr).is_some_and(|kind| list.list.iter().all(|value| constant(value, kind)))
        }
        Expr::IsNull(column) | Expr::IsNotNull(column) => kind(column).is_some_and(|kind| !kind.is_nested()),
        _ => false,
    }
}

// === the namespace of an alert ===

/// The namespace that the fields of an alert name, as ingest reads it too.
static NAMESPACE_OF: LazyLock<ScalarUDF> =
    LazyLock::new(|| ScalarUDF::from(NamespaceOf { signature: Signature::string(1, Volatility::Immutable) }));

/// Fields by which rules, Falco's and SQL detections name a namespace, the first first.
const NAMED: [&str; 4] = ["k8s.ns.name", "ka.target.namespace", "k8s_ns_name", "namespace"];

#[derive(Debug, PartialEq, Eq, Hash)]
struct NamespaceOf {
    signature: Signature,
}

// === impl NamespaceOf ===

impl ScalarUDFImpl for NamespaceOf {
    fn name(&self) -> &'static str {
        "namespace_of"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    /// Never fails: its errors would tell of hidden rows.
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let found: StringArray =
            match arrays.first().map(|fields| cast(fields, &DataType::Utf8)).transpose()? {
                Some(fields) => fields.as_string::<i32>().iter().map(|fields| namespace(fields?)).collect(),
                None => StringArray::new_null(args.number_rows),
            };
        Ok(ColumnarValue::Array(Arc::new(found) as ArrayRef))
    }
}

fn namespace(fields: &str) -> Option<String> {
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(fields).ok()?;
    let text = |name: &&str| fields.get(*name).and_then(serde_json::Value::as_str).map(str::to_owned);
    NAMED.iter().find_map(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compared_below_the_barrier_cannot_fail() {
        use datafusion::common::ScalarValue;
        use datafusion::prelude::{cast, sqrt};
        // As the engine writes them beside a column.
        let text = |text: &str| lit(ScalarValue::Utf8View(Some(text.to_owned())));
        let passes = [
            col("evt_type").eq(text("openat")),
            lit(5i64).lt(col("proc_pid")),
            col("proc_pid").between(lit(1i64), lit(2i64)),
            col("evt_type").in_list(vec![text("a"), text("b")], true),
            col("proc_name").is_null(),
        ];
        let stays = [
            cast(col("proc_name"), DataType::Int64).eq(lit(5i64)),
            (lit(10i64) / col("proc_pid")).gt(lit(1i64)),
            col("proc_pid").eq(lit("5")),
            col("proc_pid").eq(col("proc_ppid")),
            col("evt_type").like(text("a%")),
            col("evt_type").eq(text("a")).or(col("proc_pid").eq(lit(1i64))),
            col("evt_type").in_list(vec![text("a"), col("proc_name")], false),
            sqrt(col("proc_pid")).gt(lit(1.0)),
            col("no_such").eq(text("a")),
            lit(true),
        ];
        for condition in passes {
            assert!(is_vetted(Table::Syscalls, &condition), "{condition}");
        }
        for condition in stays {
            assert!(!is_vetted(Table::Syscalls, &condition), "{condition}");
        }
    }

    #[test]
    fn an_alert_is_of_the_namespace_that_its_fields_name() {
        for (fields, expected) in [
            (r#"{"k8s.ns.name":"shop","ka.target.namespace":"other"}"#, Some("shop")),
            (r#"{"ka.target.namespace":"shop"}"#, Some("shop")),
            (r#"{"k8s_ns_name":"shop"}"#, Some("shop")),
            (r#"{"k8s.ns.name":null}"#, None),
            (r#"{"k8s.ns.name":["shop"]}"#, None),
            (r#"{"x":"\"k8s.ns.name\":\"shop\""}"#, None),
            ("[", None),
            ("", None),
        ] {
            assert_eq!(namespace(fields).as_deref(), expected, "{fields}");
        }
    }
}
