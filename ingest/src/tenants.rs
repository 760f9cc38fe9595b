//! Who answers for what: the tenant mapping, read from YAML.
//!
//! ```yaml
//! tenants:
//!   - tenant: shop
//!     effective_from: 2026-01-01      # optional, a day or an RFC 3339 time
//!     effective_to: 2027-01-01        # optional, the first moment at which it no longer holds
//!     namespaces: [shop-*]            # globs; `*` also matches `/`
//!     cgroups: ["/system.slice/shop*"]
//!     users: ["system:serviceaccount:shop-*"]
//! ```
//!
//! The first entry in file order that matches and is in effect at the event's
//! time claims it.
//!
//! ```yaml
//! collectors:                         # optional
//!   - collectors: [edge-*]            # globs of collector ids
//!     tenants: [shop, _host]          # the only tenants that they may send rows of
//! ```
//!
//! A collector that no entry names may send rows of every tenant.

mod reload;

use bailiwick_proto::{CollectorId, TenantId};
use chrono::{DateTime, NaiveDate, NaiveTime};
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::Deserialize;
use serde_saphyr::Spanned;

pub use reload::SharedMapping;

/// Entries in file order. Empty: nobody claims anything.
#[derive(Debug, Clone, Default)]
pub struct Mapping {
    entries: Vec<Entry>,
    bounds: Vec<Bound>,
}

/// By which property something is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// A Kubernetes namespace.
    Namespace,
    /// A cgroup's path.
    Cgroup,
    /// An authenticated user's name.
    User,
}

/// A mapping that cannot be used; the one before it stays in use.
#[derive(Debug, thiserror::Error)]
pub enum MappingError {
    /// The file cannot be read.
    #[error("tenant mapping {file} cannot be read")]
    Read {
        /// The file.
        file: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// It is no YAML, or not of this shape.
    #[error("tenant mapping {file}:{line}: {reason}")]
    Shape {
        /// The file.
        file: String,
        /// The line, counted from 1.
        line: u64,
        /// The reader's words, which name the field.
        reason: String,
    },
    /// A field has a value that cannot be.
    #[error("tenant mapping {file}:{line}: field {field}: {reason}")]
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

#[derive(Debug, Clone)]
struct Entry {
    tenant: TenantId,
    from_us: i64,
    to_us: i64,
    namespaces: GlobSet,
    cgroups: GlobSet,
    users: GlobSet,
}

/// Which tenants some collectors may send rows of.
#[derive(Debug, Clone)]
struct Bound {
    collectors: GlobSet,
    tenants: Vec<TenantId>,
}

/// The file's root.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    tenants: Vec<RawEntry>,
    #[serde(default)]
    collectors: Vec<RawBound>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBound {
    collectors: Vec<Spanned<String>>,
    tenants: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    tenant: Spanned<String>,
    effective_from: Option<Spanned<String>>,
    effective_to: Option<Spanned<String>>,
    #[serde(default)]
    namespaces: Vec<Spanned<String>>,
    #[serde(default)]
    cgroups: Vec<Spanned<String>>,
    #[serde(default)]
    users: Vec<Spanned<String>>,
}

/// Reads values of one file, so that errors can name it.
struct Reader<'a> {
    file: &'a str,
}

// === impl MappingError ===

impl MappingError {
    fn shape(file: &str, error: &serde_saphyr::Error) -> Self {
        let line = error.location().map_or(1, |location| location.line());
        Self::Shape { file: file.to_owned(), line, reason: error.without_snippet().to_string() }
    }
}

// === impl Mapping ===

impl Mapping {
    /// Reads a mapping; `file` is only for messages.
    pub fn parse(file: &str, text: &str) -> Result<Self, MappingError> {
        let raw: Option<Raw> =
            serde_saphyr::from_str(text).map_err(|error| MappingError::shape(file, &error))?;
        let reader = Reader { file };
        let raw = raw.unwrap_or_default();
        let entries = raw.tenants.iter().map(|entry| reader.entry(entry));
        let bounds = raw.collectors.iter().map(|bound| reader.bound(bound));
        Ok(Self { entries: entries.collect::<Result<_, _>>()?, bounds: bounds.collect::<Result<_, _>>()? })
    }

    /// The first of `tenants` that the collector may not send rows of.
    pub fn stranger<'t>(&self, collector: &CollectorId, tenants: Vec<&'t str>) -> Option<&'t str> {
        let of_collector = |bound: &&Bound| bound.collectors.is_match(collector.as_str());
        let bound = self.bounds.iter().find(of_collector)?;
        tenants.into_iter().find(|tenant| !bound.tenants.iter().any(|allowed| allowed.as_str() == *tenant))
    }

    /// Entries that claim `value` at some time, in file order.
    pub fn candidates(&self, claim: Claim, value: &str) -> Vec<usize> {
        let matches = |entry: &Entry| match claim {
            Claim::Namespace => entry.namespaces.is_match(value),
            Claim::Cgroup => entry.cgroups.is_match(value),
            Claim::User => entry.users.is_match(value),
        };
        (0..self.entries.len()).filter(|index| matches(&self.entries[*index])).collect()
    }

    /// The first of `candidates` in effect at `time_us`.
    pub fn in_effect(&self, candidates: &[usize], time_us: i64) -> Option<&TenantId> {
        let mut entries = candidates.iter().filter_map(|index| self.entries.get(*index));
        entries.find(|entry| entry.from_us <= time_us && time_us < entry.to_us).map(|entry| &entry.tenant)
    }
}

// === impl Reader ===

impl Reader<'_> {
    fn entry(&self, raw: &RawEntry) -> Result<Entry, MappingError> {
        let tenant = TenantId::configured(&raw.tenant.value)
            .map_err(|error| self.field("tenant", &raw.tenant, error.to_string()))?;
        Ok(Entry {
            tenant,
            from_us: self.time("effective_from", raw.effective_from.as_ref())?.unwrap_or(i64::MIN),
            to_us: self.time("effective_to", raw.effective_to.as_ref())?.unwrap_or(i64::MAX),
            namespaces: self.globs("namespaces", &raw.namespaces)?,
            cgroups: self.globs("cgroups", &raw.cgroups)?,
            users: self.globs("users", &raw.users)?,
        })
    }

    fn bound(&self, raw: &RawBound) -> Result<Bound, MappingError> {
        let tenant = |tenant: &Spanned<String>| {
            tenant
                .value
                .parse()
                .map_err(|error: bailiwick_proto::InvalidId| self.field("tenants", tenant, error.to_string()))
        };
        let tenants = raw.tenants.iter().map(tenant).collect::<Result<_, _>>()?;
        Ok(Bound { collectors: self.globs("collectors", &raw.collectors)?, tenants })
    }

    fn time(&self, field: &'static str, raw: Option<&Spanned<String>>) -> Result<Option<i64>, MappingError> {
        let Some(raw) = raw else { return Ok(None) };
        let day = raw.value.parse::<NaiveDate>().map(|day| day.and_time(NaiveTime::MIN).and_utc());
        let time = day.or_else(|_| DateTime::parse_from_rfc3339(&raw.value).map(|time| time.to_utc()));
        let wrong = |_| self.field(field, raw, "use 2026-01-31 or 2026-01-31T12:00:00Z".into());
        time.map(|time| Some(time.timestamp_micros())).map_err(wrong)
    }

    fn globs(&self, field: &'static str, raw: &[Spanned<String>]) -> Result<GlobSet, MappingError> {
        let mut globs = GlobSetBuilder::new();
        for pattern in raw {
            globs.add(
                Glob::new(&pattern.value).map_err(|error| self.field(field, pattern, error.to_string()))?,
            );
        }
        // Each glob alone is fine, so only their number can be too much.
        let whole = |error: globset::Error| {
            let line = raw.first().map_or(1, |first| first.referenced.line());
            MappingError::Field { file: self.file.to_owned(), line, field, reason: error.to_string() }
        };
        globs.build().map_err(whole)
    }

    fn field(&self, field: &'static str, at: &Spanned<String>, reason: String) -> MappingError {
        MappingError::Field { file: self.file.to_owned(), line: at.referenced.line(), field, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(mapping: &Mapping, claim: Claim, value: &str, day: &str) -> Option<String> {
        let time_us = day.parse::<NaiveDate>().unwrap().and_time(NaiveTime::MIN).and_utc().timestamp_micros();
        mapping.in_effect(&mapping.candidates(claim, value), time_us).map(ToString::to_string)
    }

    #[test]
    fn the_first_entry_in_effect_claims() {
        let text = "tenants:\n- tenant: old\n  effective_to: 2026-02-01\n  namespaces: [shop-*]\n\
                    - tenant: new\n  namespaces: [\"shop-?\", x]\n  users: [ann]\n  cgroups: [/a/*]\n";
        let mapping = Mapping::parse("t.yaml", text).unwrap();
        assert_eq!(owner(&mapping, Claim::Namespace, "shop-1", "2026-01-31").unwrap(), "old");
        assert_eq!(owner(&mapping, Claim::Namespace, "shop-1", "2026-02-01").unwrap(), "new");
        assert_eq!(owner(&mapping, Claim::Namespace, "shop-10", "2026-02-01"), None);
        assert_eq!(owner(&mapping, Claim::User, "ann", "2026-01-01").unwrap(), "new");
        assert_eq!(owner(&mapping, Claim::Cgroup, "/a/b/c", "2026-01-01").unwrap(), "new");
    }

    #[test]
    fn a_wrong_file_is_named_with_line_and_field() {
        let refused = |text: &str| Mapping::parse("t.yaml", text).unwrap_err().to_string();
        insta::assert_snapshot!(
            [
                refused("tenants:\n- tenant: a\n- tenant: _host\n"),
                refused("tenants:\n- tenant: a\n  effective_from: soon\n"),
                refused("tenants:\n- tenant: a\n  namespaces: [\"x[\"]\n"),
                refused("tenants:\n- tenant: a\n  namespace: [x]\n"),
                refused("tenants:\n- namespaces: [x]\n"),
                refused("tenants:\n- tenant: a\n  users: ann\n"),
                refused("- tenant: a\n"),
                refused("tenants: [\n"),
            ]
            .join("\n")
        );
    }

    #[test]
    fn a_bound_collector_may_send_rows_of_its_tenants_only() {
        let text = "collectors:\n- collectors: [edge-*]\n  tenants: [shop, _host]\n- collectors: [edge-1]\n  tenants: [bank]\n";
        let mapping = Mapping::parse("t.yaml", text).unwrap();
        let stranger = |collector: &str, tenants| mapping.stranger(&collector.parse().unwrap(), tenants);
        assert_eq!(stranger("edge-1", vec!["shop", "_host"]), None);
        assert_eq!(stranger("edge-1", vec!["shop", "bank"]), Some("bank"), "the first entry counts");
        assert_eq!(stranger("node-1", vec!["bank"]), None, "others are not bound");
        let refused =
            Mapping::parse("t.yaml", "collectors:\n- collectors: [a]\n  tenants: [a/b]\n").unwrap_err();
        assert!(refused.to_string().starts_with("tenant mapping t.yaml:3: field tenants:"), "{refused}");
    }

    #[test]
    fn an_empty_file_claims_nothing() {
        for text in ["", "# nobody yet\n", "tenants: []\n"] {
            assert!(Mapping::parse("t.yaml", text).unwrap().entries.is_empty(), "{text:?}");
        }
    }
}
