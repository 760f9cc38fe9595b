//! All orders in the bucket, each read once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use bailiwick_lake::Lake;
use bailiwick_lake::keys::OrderKey;
use bailiwick_proto::TenantId;

use super::{Order, OrderError, Standing};

/// Reads orders; remembers what it has read, since an order never changes.
#[derive(Debug, Default)]
pub struct OrderBook {
    read: Mutex<HashMap<OrderKey, Arc<Order>>>,
}

/// The orders about one tenant, oldest first.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Those that can be read.
    pub orders: Vec<Arc<Order>>,
    last_number: u64,
    unreadable: bool,
}

// === impl OrderBook ===

impl OrderBook {
    /// Every tenant's orders as they are now.
    pub async fn read(&self, lake: &Lake) -> Result<BTreeMap<TenantId, History>, OrderError> {
        let mut found: BTreeMap<TenantId, History> = BTreeMap::new();
        for key in lake.order_keys().await? {
            let order = self.order(lake, &key).await;
            let history = found.entry(key.tenant.clone()).or_default();
            history.last_number = key.number;
            match order {
                Ok(order) => history.orders.push(order),
                Err(error @ OrderError::Unreadable { .. }) => {
                    tracing::error!(%error, "an order about a tenant cannot be read");
                    history.unreadable = true;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// What every tenant's orders come to.
    pub async fn standings(&self, lake: &Lake) -> Result<BTreeMap<TenantId, Standing>, OrderError> {
        let histories = self.read(lake).await?;
        Ok(histories.into_iter().map(|(tenant, history)| (tenant, history.standing())).collect())
    }

    async fn order(&self, lake: &Lake, key: &OrderKey) -> Result<Arc<Order>, OrderError> {
        if let Some(order) = self.read.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
            return Ok(Arc::clone(order));
        }
        let bytes = lake.read_order(key).await?;
        let unreadable = |error: serde_json::Error| OrderError::Unreadable {
            key: key.path().to_string(),
            reason: error.to_string(),
        };
        let order: Arc<Order> = Arc::new(serde_json::from_slice(&bytes).map_err(unreadable)?);
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), Arc::clone(&order));
        Ok(order)
    }
}

// === impl History ===

impl History {
    /// What they come to.
    pub fn standing(&self) -> Standing {
        let mut standing = Standing::of(self.orders.iter().map(|order| &**order));
        standing.unreadable = self.unreadable;
        standing
    }

    /// The number of the newest one.
    pub fn last_number(&self) -> u64 {
        self.last_number
    }
}
