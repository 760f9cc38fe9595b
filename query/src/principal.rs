//! Who asks, in which role, and whose rows are in sight.

mod namespaces;

use std::collections::BTreeSet;
use std::fmt;

use bailiwick_proto::TenantId;
use bailiwick_proto::ids::CLUSTER_TENANT;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use namespaces::{InvalidNamespace, Namespace, Namespaces};

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
    /// Of these tenants' rows those of these namespaces; see `catalog`.
    Namespaces(BTreeSet<TenantId>, Namespaces),
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

    /// The same, seeing no more than these namespaces of its tenants. Who sees
    /// every tenant has no tenants that it could be limited in, and sees nothing then.
    #[must_use]
    pub fn limited_to(mut self, namespaces: Namespaces) -> Self {
        let tenants = match self.scope {
            Scope::All => BTreeSet::new(),
            Scope::Tenants(tenants) | Scope::Namespaces(tenants, _) => tenants,
        };
        self.scope = Scope::Namespaces(tenants, namespaces);
        self
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
        match self.scope.tenants() {
            Some(tenants) if tenants.len() == 1 => tenants.first().map_or(CLUSTER_TENANT, TenantId::as_str),
            _ => CLUSTER_TENANT,
        }
    }
}

// === impl Scope ===

impl Scope {
    /// Whether a tenant's rows are in sight.
    pub fn sees(&self, tenant: &str) -> bool {
        // Scopes are small; the ids are checked names, so text decides.
        self.tenants().is_none_or(|tenants| tenants.iter().any(|known| known.as_str() == tenant))
    }

    /// The tenants' names, `*` for all; `tenant/namespace` where only that is in sight.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::All => vec!["*".to_owned()],
            Self::Tenants(tenants) => tenants.iter().map(ToString::to_string).collect(),
            Self::Namespaces(tenants, namespaces) => tenants
                .iter()
                .flat_map(|tenant| namespaces.iter().map(move |namespace| format!("{tenant}/{namespace}")))
                .collect(),
        }
    }

    /// The tenants that are named; `None` if every one is in sight.
    pub(crate) fn tenants(&self) -> Option<&BTreeSet<TenantId>> {
        match self {
            Self::All => None,
            Self::Tenants(tenants) | Self::Namespaces(tenants, _) => Some(tenants),
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
    fn namespaces_narrow_and_never_widen() {
        let shop = || Namespaces::new(["shop".parse().unwrap(), "shop-*".parse().unwrap()]).unwrap();
        let acme: TenantId = "acme".parse().unwrap();
        let anna = Principal::new("a", Role::Tenant, [acme.clone()]).limited_to(shop());
        assert!(anna.sees(&acme) && !anna.sees(&TenantId::host()) && anna.owner() == "acme");
        assert_eq!(anna.scope().names(), ["acme/shop", "acme/shop-*"]);
        assert_ne!(*anna.scope(), *Principal::new("a", Role::Tenant, [acme.clone()]).scope());
        assert!(!Principal::operator().limited_to(shop()).sees(&acme));
    }

    #[test]
    fn a_query_over_two_tenants_belongs_to_neither() {
        let ids = ["acme", "globex"].map(|name| name.parse::<TenantId>().unwrap());
        assert_eq!(Principal::new("a", Role::Tenant, ids.clone()).owner(), CLUSTER_TENANT);
        assert_eq!(Principal::new("a", Role::Tenant, [ids[0].clone()]).owner(), "acme");
        assert_eq!(Principal::operator().owner(), CLUSTER_TENANT);
    }
}
