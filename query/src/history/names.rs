//! The addresses of the names that rules compare with, before rules run over history.
//!
//! Stored events have addresses, and no answer of a name server: what a name
//! stood for then is not known, only what it stands for now. Who reads
//! every tenant's rows has its names looked up. A tenant has not, since its
//! rules could make the server ask anything of anybody; it gets what the rules
//! that run have looked up already.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use bailiwick_rules::Domains;
use futures::StreamExt;
use tokio::time::timeout;

use super::RulesInUse;
use crate::principal::Role;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Names that are asked for at once.
const AT_ONCE: usize = 16;
/// The most names that a trial has looked up.
const MAX_NAMES: usize = 512;

/// Looks names up. A name that cannot be keeps the addresses that it had.
pub async fn look_up_names(domains: &Domains, names: Vec<String>) {
    let asked = futures::stream::iter(names).map(|name| look_up(domains.clone(), name));
    asked.buffer_unordered(AT_ONCE).collect::<()>().await;
}

async fn look_up(domains: Domains, name: String) {
    match timeout(PATIENCE, tokio::net::lookup_host((name.as_str(), 0))).await {
        Ok(Ok(found)) => {
            let addresses: BTreeSet<IpAddr> = found.map(|address| address.ip().to_canonical()).collect();
            domains.put(&name, addresses);
        }
        Ok(Err(error)) => tracing::debug!(name, %error, "a rule's domain name was not found"),
        Err(_) => tracing::debug!(name, "a rule's domain name was not found in time"),
    }
}

/// Makes the names of rules known as far as this principal may have it; answers
/// those that are not, with which no event compares equal.
pub(super) async fn resolve(domains: &Domains, in_use: &RulesInUse, role: Role) -> Vec<String> {
    domains.learn_from(in_use.get().domains());
    let unknown = || -> Vec<String> {
        domains.names().into_iter().filter(|name| domains.addresses(name).is_empty()).collect()
    };
    if role != Role::Tenant {
        look_up_names(domains, unknown().into_iter().take(MAX_NAMES).collect()).await;
    }
    unknown()
}
