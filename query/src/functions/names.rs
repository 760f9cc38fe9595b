//! Names and object ids: `to_regclass` and its like, and names put in quotes.
//!
//! `'pg_class'::regclass` and `oid::regclass::text` become calls of these, since
//! the engine has no types for object ids.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, Int32Array, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::cast::{as_int32_array, as_string_array};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion_pg_catalog::pg_catalog::format_type::create_format_type_udf;
use pgwire::api::Type;

use crate::pg_catalog;

/// A function of one value.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OfOne {
    name: &'static str,
    signature: Signature,
    work: Work,
}

/// What it does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Work {
    /// The object id of a name; an id stays what it is.
    Find(Kind),
    /// The name of a relation's object id; an unknown id as it is.
    RelationName,
    /// A text as a literal of SQL.
    Quote,
}

/// What a name may be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Relation,
    Type,
    Schema,
}

/// Names of types in SQL that differ from those in `pg_type`.
const SPELLINGS: [(&str, &str); 13] = [
    ("bigint", "int8"),
    ("int", "int4"),
    ("integer", "int4"),
    ("smallint", "int2"),
    ("double precision", "float8"),
    ("real", "float4"),
    ("boolean", "bool"),
    ("character varying", "varchar"),
    ("decimal", "numeric"),
    ("timestamp with time zone", "timestamptz"),
    ("timestamp without time zone", "timestamp"),
    ("character", "bpchar"),
    ("time without time zone", "time"),
];

/// PostgreSQL's types by their names in `pg_type`.
static TYPES: LazyLock<BTreeMap<String, i32>> = LazyLock::new(|| {
    let named = |oid: u32| Some((Type::from_oid(oid)?.name().to_owned(), i32::try_from(oid).ok()?));
    // Ids from here on are not PostgreSQL's own.
    (1..16_384).filter_map(named).collect()
});

/// The object id of what has this name, if it is known here.
pub(crate) fn oid_of(kind: Kind, name: &str) -> Option<i32> {
    if let Ok(oid) = name.parse() {
        return Some(oid);
    }
    let name = bare(name);
    match kind {
        Kind::Relation => pg_catalog::oid_of_name(&name),
        Kind::Schema => pg_catalog::oid_of_schema(&name),
        Kind::Type => {
            let (item, prefix) = match name.strip_suffix("[]") {
                Some(item) => (item, "_"),
                None => (name.as_str(), ""),
            };
            let spelled = SPELLINGS.iter().find(|(spelling, _)| *spelling == item);
            let item = spelled.map_or(item, |(_, own)| own);
            TYPES.get(&format!("{prefix}{item}")).copied()
        }
    }
}

/// A name without its schema and quotes, in lower case where it has none.
fn bare(name: &str) -> String {
    let part = |part: &str| match part.strip_prefix('"').and_then(|part| part.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => part.trim().to_lowercase(),
    };
    match name.split_once('.') {
        Some((_, last)) => part(last),
        None => part(name),
    }
}

/// Every such function.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let mut functions = of_one();
    functions.push(ScalarUDF::new_from_impl(FormatType { upstream: create_format_type_udf() }));
    functions
}

fn of_one() -> Vec<ScalarUDF> {
    [
        ("to_regclass", Work::Find(Kind::Relation)),
        ("to_regtype", Work::Find(Kind::Type)),
        ("to_regnamespace", Work::Find(Kind::Schema)),
        ("regclassout", Work::RelationName),
        ("quote_literal", Work::Quote),
    ]
    .map(|(name, work)| {
        let signature = Signature::any(1, Volatility::Stable);
        ScalarUDF::new_from_impl(OfOne { name, signature, work })
    })
    .into()
}

// === impl OfOne ===

impl ScalarUDFImpl for OfOne {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.work {
            Work::Find(_) => DataType::Int32,
            Work::RelationName | Work::Quote => DataType::Utf8,
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = matches!(arguments.args[0], ColumnarValue::Scalar(_));
        let given = arguments.args[0].to_array(1)?;
        let result: Arc<dyn Array> = match self.work {
            Work::Find(_) if given.data_type().is_integer() => {
                datafusion::arrow::compute::cast(&given, &DataType::Int32)?
            }
            Work::Find(kind) => {
                let texts = datafusion::arrow::compute::cast(&given, &DataType::Utf8)?;
                let found: Int32Array =
                    as_string_array(&texts)?.iter().map(|name| oid_of(kind, name?)).collect();
                Arc::new(found)
            }
            Work::RelationName => {
                let oids = datafusion::arrow::compute::cast(&given, &DataType::Int32)?;
                let name = |oid: i32| match pg_catalog::relation_of_oid(i64::from(oid)) {
                    Some(relation) => relation.name().to_owned(),
                    None => oid.to_string(),
                };
                let names: StringArray = as_int32_array(&oids)?.iter().map(|oid| oid.map(name)).collect();
                Arc::new(names)
            }
            Work::Quote => {
                let texts = datafusion::arrow::compute::cast(&given, &DataType::Utf8)?;
                let quoted: StringArray =
                    as_string_array(&texts)?.iter().map(|text| text.map(literal)).collect();
                Arc::new(quoted)
            }
        };
        match is_constant {
            true => Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&result, 0)?)),
            false => Ok(ColumnarValue::Array(result)),
        }
    }
}

/// `format_type(oid, typmod)`: upstream's, and names of the types that it does not know.
#[derive(Debug, PartialEq, Eq, Hash)]
struct FormatType {
    upstream: ScalarUDF,
}

// === impl FormatType ===

impl ScalarUDFImpl for FormatType {
    fn name(&self) -> &str {
        "format_type"
    }

    fn signature(&self) -> &Signature {
        self.upstream.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.upstream.return_type(types)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let kind = arguments.return_field.data_type().clone();
        let rows = arguments.number_rows;
        let names = self.upstream.invoke_with_args(arguments)?.to_array(rows)?;
        let names = datafusion::arrow::compute::cast(&names, &DataType::Utf8)?;
        let names: StringArray = as_string_array(&names)?.iter().map(|name| name.map(spelled)).collect();
        Ok(ColumnarValue::Array(datafusion::arrow::compute::cast(&names, &kind)?))
    }
}

/// Upstream's name of a type; what it has only a number for is named as PostgreSQL does.
fn spelled(name: &str) -> String {
    let oid = name.strip_prefix("oid(").and_then(|oid| oid.strip_suffix(')')?.parse::<u32>().ok());
    let Some(oid) = oid else { return name.to_owned() };
    let Some(kind) = Type::from_oid(oid) else { return "???".to_owned() };
    match kind.name().strip_prefix('_') {
        Some(item) => format!("{item}[]"),
        None => kind.name().to_owned(),
    }
}

/// A text as PostgreSQL's `quote_literal` writes it.
pub(super) fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    match doubled.contains('\\') {
        true => format!("E'{}'", doubled.replace('\\', "\\\\")),
        false => format!("'{doubled}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_however_they_are_written() {
        for (kind, name, oid) in [
            (Kind::Type, "timestamptz", Some(1184)),
            (Kind::Type, "timestamp with time zone", Some(1184)),
            (Kind::Type, "\"pg_catalog\".\"text\"", Some(25)),
            (Kind::Type, "bigint[]", Some(1016)),
            (Kind::Type, "hstore", None),
            (Kind::Relation, "pg_catalog.pg_class", Some(1259)),
            (Kind::Relation, "\"Usage\"", None),
            (Kind::Schema, "public", Some(2200)),
            (Kind::Relation, "16400", Some(16_400)),
        ] {
            assert_eq!(oid_of(kind, name), oid, "{name}");
        }
        assert_eq!(oid_of(Kind::Relation, "public.SYSCALLS"), oid_of(Kind::Relation, "syscalls"));
        assert!(oid_of(Kind::Relation, "syscalls").is_some());
    }

    #[test]
    fn types_without_a_name_get_one() {
        assert_eq!(
            ["bigint", "oid(2287)", "oid(2249)", "oid(99999)"].map(spelled),
            ["bigint", "record[]", "record", "???"]
        );
    }

    #[test]
    fn quotes_are_doubled_and_backslashes_too() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b"), "E'a\\\\b'");
    }
}
