//! How long rows are kept, read from YAML.
//!
//! ```yaml
//! default_days: 400          # without it nothing expires that is not named below
//! tables:
//!   syscalls: 30
//!   queries: forever
//! tenants:
//!   - tenant: shop           # also _host, _cluster, _unassigned
//!     default_days: 90
//!     tables:
//!       syscalls: 7
//! ```
//!
//! The most particular line counts: a tenant's table, the tenant, the table,
//! the default. Days are those of the rows' `date`; a day counts once it is over.

mod reload;

use std::collections::{BTreeMap, HashMap};

use bailiwick_proto::{Table, TenantId};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

pub use reload::SharedRetention;

/// For how many days rows are kept; `None` is for ever.
pub type KeptDays = Option<u32>;

/// How long rows are kept, by table and tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    everyone: Kept,
    tenants: HashMap<TenantId, Kept>,
}

/// A retention that cannot be used; the one before it stays in use.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// The file cannot be read.
    #[error("retention {file} cannot be read")]
    Read {
        /// The file.
        file: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// It is no YAML, or not of this shape.
    #[error("retention {file}:{line}: {reason}")]
    Shape {
        /// The file.
        file: String,
        /// The line, counted from 1.
        line: u64,
        /// The reader's words, which name the field.
        reason: String,
    },
    /// A field has a value that cannot be.
    #[error("retention {file}:{line}: field {field}: {reason}")]
    Field {
        /// The file.
        file: String,
        /// The line, counted from 1.
        line: u64,
        /// The field's name.
        field: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Kept {
    default: Option<KeptDays>,
    tables: HashMap<Table, KeptDays>,
}

/// The file's root.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    default_days: Option<Spanned<Days>>,
    tables: BTreeMap<String, Spanned<Days>>,
    tenants: Vec<RawTenant>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTenant {
    tenant: Spanned<String>,
    default_days: Option<Spanned<Days>>,
    #[serde(default)]
    tables: BTreeMap<String, Spanned<Days>>,
}

/// A number of days, or `forever`, as it stands in the file.
#[derive(Debug, Clone)]
enum Days {
    Number(i64),
    Word(String),
}

/// Reads values of one file, so that errors can name it.
struct Reader<'a> {
    file: &'a str,
}

// === impl Retention ===

impl Retention {
    /// Reads a retention; `file` is only for messages.
    pub fn parse(file: &str, text: &str) -> Result<Self, RetentionError> {
        let raw: Option<Raw> = serde_saphyr::from_str(text).map_err(|error| {
            let line = error.location().map_or(1, |location| location.line());
            RetentionError::Shape { file: file.to_owned(), line, reason: error.without_snippet().to_string() }
        })?;
        let (reader, raw) = (Reader { file }, raw.unwrap_or_default());
        let everyone = reader.kept(raw.default_days.as_ref(), &raw.tables)?;
        let mut tenants = HashMap::new();
        for entry in &raw.tenants {
            let wrong = |reason| reader.field("tenant", entry.tenant.referenced.line(), reason);
            let tenant: TenantId = entry
                .tenant
                .value
                .parse()
                .map_err(|error: bailiwick_proto::InvalidId| wrong(error.to_string()))?;
            let kept = reader.kept(entry.default_days.as_ref(), &entry.tables)?;
            if tenants.insert(tenant, kept).is_some() {
                return Err(wrong("this tenant has an entry already, put both into one".into()));
            }
        }
        Ok(Self { everyone, tenants })
    }

    /// For how many days rows of a table are kept for a tenant.
    pub fn kept_days(&self, table: Table, tenant: &TenantId) -> KeptDays {
        let own = self.tenants.get(tenant);
        let in_order = [
            own.and_then(|kept| kept.tables.get(&table).copied()),
            own.and_then(|kept| kept.default),
            self.everyone.tables.get(&table).copied(),
            self.everyone.default,
        ];
        in_order.into_iter().flatten().next().flatten()
    }
}

// === impl Days ===

impl<'de> Deserialize<'de> for Days {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Days;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of days or `forever`")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Days, E> {
                Ok(Days::Number(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Days, E> {
                Ok(Days::Number(i64::try_from(number).unwrap_or(i64::MAX)))
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Days, E> {
                Ok(Days::Word(word.to_owned()))
            }
        }
        from.deserialize_any(Either)
    }
}

// === impl Reader ===

impl Reader<'_> {
    fn kept(
        &self,
        default: Option<&Spanned<Days>>,
        tables: &BTreeMap<String, Spanned<Days>>,
    ) -> Result<Kept, RetentionError> {
        let default = default.map(|days| self.days("default_days", days)).transpose()?;
        let mut by_table = HashMap::new();
        for (name, days) in tables {
            let line = days.referenced.line();
            let table: Table =
                name.parse().map_err(|error| self.field("tables", line, format!("{error}")))?;
            by_table.insert(table, self.days("tables", days)?);
        }
        Ok(Kept { default, tables: by_table })
    }

    fn days(&self, field: &'static str, days: &Spanned<Days>) -> Result<KeptDays, RetentionError> {
        let wrong = |found: &dyn std::fmt::Display| {
            let reason = format!("{found} is not a number of days from 1 to 36500, nor `forever`");
            self.field(field, days.referenced.line(), reason)
        };
        match &days.value {
            Days::Word(word) if word == "forever" => Ok(None),
            Days::Word(word) => Err(wrong(&format_args!("{word:?}"))),
            Days::Number(number @ 1..=36_500) => Ok(Some(*number as u32)),
            Days::Number(number) => Err(wrong(number)),
        }
    }

    fn field(&self, field: &'static str, line: u64, reason: String) -> RetentionError {
        RetentionError::Field { file: self.file.to_owned(), line, field, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_particular_line_counts() {
        let text = "default_days: 400\ntables:\n  syscalls: 30\n  queries: forever\n\
                    tenants:\n- tenant: shop\n  default_days: 90\n  tables: {syscalls: 7}\n\
                    - tenant: _host\n  tables: {usage: forever}\n";
        let retention = Retention::parse("r.yaml", text).unwrap();
        let kept = |table, tenant: &str| retention.kept_days(table, &tenant.parse().unwrap());
        assert_eq!(kept(Table::Syscalls, "shop"), Some(7));
        assert_eq!(kept(Table::Queries, "shop"), Some(90));
        assert_eq!(kept(Table::Syscalls, "_host"), Some(30));
        assert_eq!(kept(Table::Usage, "_host"), None);
        assert_eq!(kept(Table::Queries, "other"), None);
        assert_eq!(kept(Table::Alerts, "other"), Some(400));
        for empty in ["", "# nothing\n", "tenants: []\n"] {
            assert_eq!(Retention::parse("r.yaml", empty).unwrap(), Retention::default(), "{empty:?}");
        }
    }

    #[test]
    fn a_wrong_file_is_named_with_line_and_field() {
        let refused = |text: &str| Retention::parse("r.yaml", text).unwrap_err().to_string();
        insta::assert_snapshot!(
            [
                refused("default_days: 0\n"),
                refused("tables:\n  syscalls: soon\n"),
                refused("tables:\n  syscall: 3\n"),
                refused("tenants:\n- tenant: A\n"),
                refused("tenants:\n- tenant: a\n- tenant: a\n"),
                refused("tenants:\n- tenant: a\n  tables:\n    usage: -1\n"),
                refused("tenants:\n- tenant: a\n  days: 3\n"),
                refused("default_days: [1]\n"),
                refused("tenants: [\n"),
            ]
            .join("\n")
        );
    }
}
