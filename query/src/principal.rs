//! Who asks, in which role, and whose rows are in sight.

mod namespaces;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bailiwick_proto::TenantId;
use bailiwick_proto::ids::CLUSTER_TENANT;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::grants::Grant;
pub use namespaces::{InvalidNamespace, Namespace, Namespaces};

/// What a principal may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads its own tenants.
    #[default]
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
    /// What is its own, without grants.
    own: Rights,
    /// What it may do now.
    rights: Rights,
    /// The grants that `rights` has more by.
    grants: Vec<Arc<Grant>>,
    credential: Option<Credential>,
}

/// What somebody may do, over whose rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rights {
    pub(crate) role: Role,
    pub(crate) scope: Scope,
}

/// What a principal logged in with: it is looked at again before every query,
/// so that what is revoked or has expired ends its open connections too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    /// One of the token file.
    Token { hash: [u8; 32] },
    /// A signed statement about its bearer, as long as it says.
    Until(DateTime<Utc>),
    /// One that another authority is asked about, again and again.
    Reviewed(Secret),
}

/// A text that must not be printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Arc<str>);

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
    /// A principal without a credential; auditors and admins see everything.
    pub fn new(name: impl Into<String>, role: Role, tenants: impl IntoIterator<Item = TenantId>) -> Self {
        let own = Rights::new(role, tenants);
        Self { name: name.into(), rights: own.clone(), own, grants: Vec::new(), credential: None }
    }

    /// The same, seeing no more than these namespaces of its tenants. Who sees
    /// every tenant has no tenants that it could be limited in, and sees nothing then.
    #[must_use]
    pub fn limited_to(self, namespaces: Namespaces) -> Self {
        let own = self.own.limited_to(namespaces);
        Self { rights: own.clone(), own, grants: Vec::new(), ..self }
    }

    /// Bailiwick itself.
    pub fn operator() -> Self {
        Self::new("operator", Role::Admin, [])
    }

    /// Somebody whose credential is genuine.
    pub(crate) fn known(name: String, own: Rights, credential: Credential) -> Self {
        Self { name, rights: own.clone(), own, grants: Vec::new(), credential: Some(credential) }
    }

    pub(crate) fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }

    /// The same with what these grants give, and nothing that earlier ones gave.
    pub(crate) fn with_grants(mut self, grants: Vec<Arc<Grant>>) -> Self {
        self.rights = grants.iter().fold(self.own.clone(), |rights, grant| rights.and(&grant.rights()));
        self.grants = grants;
        self
    }

    /// The grants that count now.
    pub(crate) fn grants(&self) -> &[Arc<Grant>] {
        &self.grants
    }

    /// What it may do without grants.
    pub(crate) fn own(&self) -> &Rights {
        &self.own
    }

    /// The name, as it stands in `queries`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The role.
    pub fn role(&self) -> Role {
        self.rights.role
    }

    /// Whose rows it sees.
    pub fn scope(&self) -> &Scope {
        &self.rights.scope
    }

    /// Differs where two principals do: in their name, role or the rows in sight. A
    /// name alone is not enough, since two ways to log in may know the same one.
    /// Grants come and go, and leave somebody who he is.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        use sha2::Digest;
        sha2::Sha256::digest(format!("{:?}", (&self.name, self.own.role, &self.own.scope))).into()
    }

    /// Whether a tenant's rows are in sight.
    pub fn sees(&self, tenant: &TenantId) -> bool {
        self.rights.scope.sees(tenant.as_str())
    }

    /// The tenant that answers for this principal's queries: its own if it has
    /// exactly one, the cluster's otherwise, so that no tenant reads another's.
    pub fn owner(&self) -> &str {
        match self.rights.scope.tenants() {
            Some(tenants) if tenants.len() == 1 => tenants.first().map_or(CLUSTER_TENANT, TenantId::as_str),
            _ => CLUSTER_TENANT,
        }
    }
}

// === impl Rights ===

impl Rights {
    pub(crate) fn new(role: Role, tenants: impl IntoIterator<Item = TenantId>) -> Self {
        let scope = match role {
            Role::Tenant => Scope::Tenants(tenants.into_iter().collect()),
            Role::Auditor | Role::Admin => Scope::All,
        };
        Self { role, scope }
    }

    /// The same over no more than these namespaces.
    pub(crate) fn limited_to(self, namespaces: Namespaces) -> Self {
        let tenants = match self.scope {
            Scope::All => BTreeSet::new(),
            Scope::Tenants(tenants) | Scope::Namespaces(tenants, _) => tenants,
        };
        Self { scope: Scope::Namespaces(tenants, namespaces), ..self }
    }

    /// Whether they open nothing at all.
    pub(crate) fn are_none(&self) -> bool {
        self.scope.tenants().is_some_and(BTreeSet::is_empty)
    }

    /// What either gives. Whole tenants and namespaces of other ones have no
    /// scope together: then the tenants count, and the namespaces do not.
    pub(crate) fn and(self, other: &Self) -> Self {
        let scope = match (self.scope, &other.scope) {
            (Scope::All, _) | (_, Scope::All) => Scope::All,
            (Scope::Tenants(mut own), Scope::Tenants(more)) => {
                own.extend(more.iter().cloned());
                Scope::Tenants(own)
            }
            (Scope::Namespaces(own, _), Scope::Tenants(more)) if own.is_empty() || !more.is_empty() => {
                Scope::Tenants(more.clone())
            }
            (own, _) => own,
        };
        Self { role: self.role.max(other.role), scope }
    }
}

// === impl Secret ===

impl Secret {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(withheld)")
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
        let limited = || Rights::new(Role::Tenant, [acme.clone()]).limited_to(shop());
        let nothing = Rights::new(Role::Tenant, []);
        assert!(limited().and(&nothing) == limited() && nothing.clone().and(&limited()) == nothing);
        assert_eq!(
            limited().and(&Rights::new(Role::Tenant, ["globex".parse().unwrap()])).scope.names(),
            ["globex"]
        );
        assert_eq!(limited().and(&Rights::new(Role::Auditor, [])).scope, Scope::All);
    }

    #[test]
    fn rights_add_up_and_a_secret_is_not_printed() {
        let one = |name: &str| Rights::new(Role::Tenant, [name.parse::<TenantId>().unwrap()]);
        let both = one("acme").and(&one("globex"));
        assert_eq!((both.role, both.scope.names().join(" ")), (Role::Tenant, "acme globex".to_owned()));
        assert_eq!(both.and(&Rights::new(Role::Auditor, [])).scope, Scope::All);
        assert!(Rights::new(Role::Tenant, []).are_none() && !Rights::new(Role::Auditor, []).are_none());
        assert!(!format!("{:?}", Credential::Reviewed(Secret::new("hush"))).contains("hush"));
    }

    #[test]
    fn a_query_over_two_tenants_belongs_to_neither() {
        let ids = ["acme", "globex"].map(|name| name.parse::<TenantId>().unwrap());
        assert_eq!(Principal::new("a", Role::Tenant, ids.clone()).owner(), CLUSTER_TENANT);
        assert_eq!(Principal::new("a", Role::Tenant, [ids[0].clone()]).owner(), "acme");
        assert_eq!(Principal::operator().owner(), CLUSTER_TENANT);
    }
}
