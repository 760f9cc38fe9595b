//! The addresses of the domain names that rules compare with.
//!
//! ```text
//!   fd.sip.name in (kubernetes.default.svc)      a name server
//!        │ names()                                    │
//!        └──▶ whoever runs the rules ── looks up ─────┘
//!                        │ put(name, addresses)
//!                        ▼
//!             fd.sip is one of the name's addresses
//! ```
//!
//! As in Falco it is the rule's names that are looked up, not the event's
//! addresses, and until a name is known no address is its.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

/// How many addresses of one name are kept.
const MAX_ADDRESSES: usize = 256;

/// Names and their addresses, shared by everyone who has a clone.
#[derive(Debug, Clone, Default)]
pub struct Domains(Arc<RwLock<BTreeMap<String, Vec<IpAddr>>>>);

// === impl Domains ===

impl Domains {
    /// The names that some rule compares with, known or not.
    pub fn names(&self) -> Vec<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// What a name stands for from now on.
    pub fn put(&self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        let addresses = addresses.into_iter().take(MAX_ADDRESSES).collect();
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), addresses);
    }

    /// What a name stands for; nothing while that is not known.
    pub fn addresses(&self, name: &str) -> Vec<IpAddr> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }

    /// Takes over what others know of the same names, so that rules that were
    /// loaded again need not wait.
    pub fn learn_from(&self, others: &Self) {
        for name in self.names() {
            let known = others.addresses(&name);
            if !known.is_empty() {
                self.put(&name, known);
            }
        }
    }

    pub(crate) fn ask_for(&self, name: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default();
    }

    pub(crate) fn is_of_any(&self, address: IpAddr, names: &[String]) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        names.iter().filter_map(|name| known.get(name)).any(|addresses| addresses.contains(&address))
    }
}
