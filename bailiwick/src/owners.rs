//! Whose namespaces and users are whose: the query room asks, the ingest room's tenants file answers.

use std::sync::Arc;

use bailiwick_ingest::tenants::{Claim, SharedMapping};
use bailiwick_proto::TenantId;
use bailiwick_query::Owners;
use chrono::Utc;

/// The tenants file as rows are stamped by it now.
#[derive(Debug)]
pub(crate) struct TenantsFile {
    mapping: SharedMapping,
}

// === impl TenantsFile ===

impl TenantsFile {
    pub(crate) fn new(mapping: SharedMapping) -> Arc<Self> {
        Arc::new(Self { mapping })
    }

    fn owner(&self, claim: Claim, value: &str) -> Option<TenantId> {
        let mapping = self.mapping.current();
        mapping.in_effect(&mapping.candidates(claim, value), Utc::now().timestamp_micros()).cloned()
    }
}

impl Owners for TenantsFile {
    fn of_namespace(&self, namespace: &str) -> Option<TenantId> {
        self.owner(Claim::Namespace, namespace)
    }

    fn of_user(&self, user: &str) -> Option<TenantId> {
        self.owner(Claim::User, user)
    }
}
