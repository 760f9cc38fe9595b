//! Who asks, in which role, and whose rows are in sight.

use std::collections::BTreeSet;
use std::fmt;

use bailiwick_proto::TenantId;
use bailiwick_proto::ids::CLUSTER_TENANT;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What a principal may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads its own tenants.
    Tenant,
    /// Reads every tenant, and plans.
    Auditor,
    /// Reads every tenant and operates the server.
    Admin,
}

/// Whose rows a principal's catalog is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every tenant's, the reserved ones included.
    All,
    /// These tenants' alone; none when empty.
    Tenants(BTreeSet<TenantId>),
}

/// Somebody who is known.
#[derive(Debug, Clone)]
pub struct Principal {
    name: String,
    role: Role,
    scope: Scope,
    credential: Option<Credential>,
}

/// What a principal logged in with: it is looked at again before every query,
/// so that a revoked token ends its open connections too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credential {
    pub(crate) hash: [u8; 32],
    pub(crate) expires: Option<DateTime<Utc>>,
}

// === impl Role ===

impl Role {
    /// The role's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Principal ===

impl Principal {
    /// A principal without a token; auditors and admins see everything.
    pub fn new(name: impl Into<String>, role: Role, tenants: impl IntoIterator<Item = TenantId>) -> Self {
        let scope = match role {
            Role::Tenant => Scope::Tenants(tenants.into_iter().collect()),
            Role::Auditor | Role::Admin => Scope::All,
        };
        Self { name: name.into(), role, scope, credential: None }
    }

    /// Bailiwick itself.
    pub fn operator() -> Self {
        Self::new("operator", Role::Admin, [])
    }

    pub(crate) fn with_credential(mut self, credential: Credential) -> Self {
        self.credential = Some(credential);
        self
    }

    pub(crate) fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }

    /// The name, as it stands in `queries`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whose rows it sees.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Whether a tenant's rows are in sight.
    pub fn sees(&self, tenant: &TenantId) -> bool {
        self.scope.sees(tenant.as_str())
    }

    /// The tenant that answers for this principal's queries: its own if it has
    /// exactly one, the cluster's otherwise, so that no tenant reads another's.
    pub fn owner(&self) -> &str {
        match &self.scope {
            Scope::Tenants(tenants) if tenants.len() == 1 => {
                tenants.iter().next().map_or(CLUSTER_TENANT, TenantId::as_str)
            }
            _ => CLUSTER_TENANT,
        }
    }
}

// === impl Scope ===

impl Scope {
    /// Whether a tenant's rows are in sight.
    pub fn sees(&self, tenant: &str) -> bool {
        match self {
            Self::All => true,
            // Scopes are small; the ids are checked names, so text decides.
            Self::Tenants(tenants) => tenants.iter().any(|known| known.as_str() == tenant),
        }
    }

    /// The tenants' names, `*` for all.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::All => vec!["*"],
            Self::Tenants(tenants) => tenants.iter().map(TenantId::as_str).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_operators_see_what_is_not_named() {
        let acme: TenantId = "acme".parse().unwrap();
        let tenant = Principal::new("a", Role::Tenant, [acme.clone()]);
        assert!(
            tenant.sees(&acme) && !tenant.sees(&TenantId::host()) && !tenant.sees(&"acme2".parse().unwrap())
        );
        assert!(!Principal::new("b", Role::Tenant, []).sees(&acme));
        assert!(Principal::new("c", Role::Auditor, []).sees(&acme));
        assert!(Principal::operator().sees(&TenantId::unassigned()));
    }

    #[test]
    fn a_query_over_two_tenants_belongs_to_neither() {
        let ids = ["acme", "globex"].map(|name| name.parse::<TenantId>().unwrap());
        assert_eq!(Principal::new("a", Role::Tenant, ids.clone()).owner(), CLUSTER_TENANT);
        assert_eq!(Principal::new("a", Role::Tenant, [ids[0].clone()]).owner(), "acme");
        assert_eq!(Principal::operator().owner(), CLUSTER_TENANT);
    }
}
