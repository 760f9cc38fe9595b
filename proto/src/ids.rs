//! Names that several processes must agree on, checked once where they enter.

use std::fmt;
use std::str::FromStr;

/// The tenant that answers for the node itself: kernel threads, host daemons.
pub const HOST_TENANT: &str = "_host";
/// The tenant that answers for cluster-wide API requests nobody else owns.
pub const CLUSTER_TENANT: &str = "_cluster";
/// Where rows go that no mapping claims; never empty of meaning, so it is looked at.
pub const UNASSIGNED_TENANT: &str = "_unassigned";

/// An identifier did not have the shape that file names and SQL literals allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not valid: {rule}")]
pub struct InvalidId {
    /// Which kind of identifier was being read.
    pub what: &'static str,
    /// What was given, cut to 100 characters.
    pub value: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

/// A tenant: whoever answers for a share of the cluster.
///
/// The name is part of an object key and of a partition value, so it is
/// limited to what needs no escaping in either: 1 to 63 characters of
/// `a-z 0-9 - _ .`, starting with a letter or digit. The three reserved names
/// (`_host`, `_cluster`, `_unassigned`) start with an underscore so that no
/// configured tenant can be one of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(String);

/// Who numbers batches: one per spool, stable across restarts.
///
/// 1 to 200 characters of `A-Z a-z 0-9 . _ -`, since it names quarantine objects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CollectorId(String);

/// Who writes one WAL: one per ingester, stable across restarts and takeovers.
///
/// Same alphabet as [`CollectorId`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IngesterId(String);

// === impl TenantId ===

impl TenantId {
    /// Reads a tenant's name as configured by a person; reserved names are refused.
    pub fn configured(name: &str) -> Result<Self, InvalidId> {
        let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if starts_well && name.len() <= 63 && name.chars().all(allowed) {
            return Ok(Self(name.to_owned()));
        }
        Err(InvalidId::new("tenant", name, "use 1 to 63 of a-z 0-9 - _ . and start with a letter or digit"))
    }

    /// The node's own tenant, [`HOST_TENANT`].
    pub fn host() -> Self {
        Self(HOST_TENANT.to_owned())
    }

    /// The cluster's own tenant, [`CLUSTER_TENANT`].
    pub fn cluster() -> Self {
        Self(CLUSTER_TENANT.to_owned())
    }

    /// The tenant of unclaimed rows, [`UNASSIGNED_TENANT`].
    pub fn unassigned() -> Self {
        Self(UNASSIGNED_TENANT.to_owned())
    }

    /// The name, as it stands in the `tenant` column.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantId {
    type Err = InvalidId;

    /// Reads a stored tenant name: configured ones and the reserved ones.
    fn from_str(name: &str) -> Result<Self, InvalidId> {
        match name {
            HOST_TENANT | CLUSTER_TENANT | UNASSIGNED_TENANT => Ok(Self(name.to_owned())),
            _ => Self::configured(name),
        }
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl CollectorId, IngesterId ===

macro_rules! component_id {
    ($name:ident, $what:literal) => {
        impl $name {
            /// The name itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(name: &str) -> Result<Self, InvalidId> {
                component(name, $what).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

component_id!(CollectorId, "collector id");
component_id!(IngesterId, "ingester id");

fn component(name: &str, what: &'static str) -> Result<String, InvalidId> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let dots_only = name.chars().all(|c| c == '.');
    if name.len() <= 200 && !dots_only && name.chars().all(allowed) {
        return Ok(name.to_owned());
    }
    Err(InvalidId::new(what, name, "use 1 to 200 of A-Z a-z 0-9 . _ - and not only dots"))
}

// === impl InvalidId ===

impl InvalidId {
    fn new(what: &'static str, value: &str, rule: &'static str) -> Self {
        Self { what, value: value.chars().take(100).collect(), rule }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reserved_names_are_read_but_cannot_be_configured() {
        for name in [HOST_TENANT, CLUSTER_TENANT, UNASSIGNED_TENANT] {
            assert_eq!(name.parse::<TenantId>().unwrap().as_str(), name);
            assert!(TenantId::configured(name).is_err());
        }
    }

    #[test]
    fn names_that_would_leave_their_folder_are_refused() {
        for name in ["", "..", ".", "a/b", "A", "a b", "a\n", "tenant=x", &"a".repeat(64)] {
            assert!(TenantId::configured(name).is_err(), "{name:?}");
        }
        for name in ["", "..", ".", "a/b", "a b", &"a".repeat(201)] {
            assert!(name.parse::<CollectorId>().is_err(), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn a_name_that_is_read_prints_as_it_was(name in "\\PC{0,70}") {
            if let Ok(tenant) = name.parse::<TenantId>() {
                prop_assert_eq!(tenant.to_string(), name.clone());
                prop_assert!(!name.contains(['/', '\\', '=', '%', '\'']));
            }
        }
    }
}
