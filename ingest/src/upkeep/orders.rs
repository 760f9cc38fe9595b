//! What people ordered about tenants: holds and deletions, kept in the bucket.
//!
//! ```text
//!   orders/<tenant>/1.json   hold      by ann, 2026-11-02, "case 17"
//!   orders/<tenant>/2.json   release   by ann, 2027-01-15, "case 17 closed"
//!   orders/<tenant>/3.json   delete    by bob, 2027-02-01, "contract ended"
//!   orders/<tenant>/4.json   removed   by ingest-0: 12 files of syscalls
//!   orders/<tenant>/5.json   deleted   by ingest-0: all in all
//! ```
//!
//! An order is never changed and none is taken away, so they are their own
//! history. Numbers are taken put-if-absent: of two orders at once one comes
//! first, and the other is judged again in its light.

mod book;

use bailiwick_lake::keys::OrderKey;
use bailiwick_lake::{Lake, LakeError, fresh_name};
use bailiwick_proto::{Action, TenantId};
use serde::{Deserialize, Serialize};

pub use book::{History, OrderBook};

use super::precedence::Ordered;

/// One order about one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Unlike any other order's.
    pub id: String,
    /// What is ordered, or was done.
    #[serde(flatten)]
    pub what: What,
    /// When, microseconds since 1970.
    pub at_us: i64,
    /// Who: a user and a host, or an ingester.
    pub by: String,
    /// Why, in that person's words.
    pub reason: String,
}

/// What is ordered, or was done about an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum What {
    /// Nothing of the tenant may go; ends a deletion that is not complete.
    Hold,
    /// The hold is over.
    Release,
    /// All rows that have arrived go.
    Delete,
    /// Some of them went.
    Removed {
        /// The id of the deletion.
        of: String,
        /// From which table.
        table: String,
        /// How much.
        #[serde(flatten)]
        count: Count,
    },
    /// All of them went.
    Deleted {
        /// The id of the deletion.
        of: String,
        /// How much, all in all.
        #[serde(flatten)]
        count: Count,
    },
}

/// How much went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Data files.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// What a tenant's orders come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The hold that is in force.
    pub hold: Option<Order>,
    /// The deletion that is not complete.
    pub deletion: Option<Order>,
    /// What that deletion removed so far.
    pub removed: Count,
    /// The record of the last deletion that is complete.
    pub deleted: Option<Order>,
    /// An order that cannot be read stands there, so nothing may go.
    pub unreadable: bool,
}

/// An order that cannot be given, or a history that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The bucket failed.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// There is a hold already.
    #[error("{tenant} is on hold already, since {since} by {by}: {reason}")]
    Held {
        /// The tenant.
        tenant: TenantId,
        /// The day of the hold.
        since: String,
        /// Who placed it.
        by: String,
        /// Why.
        reason: String,
    },
    /// There is no hold.
    #[error("{tenant} is not on hold, there is nothing to release")]
    NotHeld {
        /// The tenant.
        tenant: TenantId,
    },
    /// It is being deleted already.
    #[error("the deletion of {tenant} was ordered on {since} by {by} and is under way")]
    Deleting {
        /// The tenant.
        tenant: TenantId,
        /// The day of the order.
        since: String,
        /// Who gave it.
        by: String,
    },
    /// No reason was given.
    #[error("an order about {tenant} needs a reason: it is kept for those who ask later")]
    NoReason {
        /// The tenant.
        tenant: TenantId,
    },
    /// An order in the bucket is not one.
    #[error("{key} cannot be read, so nothing of that tenant may go: {reason}")]
    Unreadable {
        /// The object.
        key: String,
        /// The reader's words.
        reason: String,
    },
}

/// Gives an order about a tenant, if what was ordered before allows it.
pub async fn place(
    lake: &Lake,
    tenant: &TenantId,
    what: What,
    by: &str,
    reason: &str,
    now_us: i64,
) -> Result<Order, OrderError> {
    let order =
        Order { id: fresh_name(), what, at_us: now_us, by: by.to_owned(), reason: reason.trim().to_owned() };
    let book = OrderBook::default();
    loop {
        let history = book.read(lake).await?.remove(tenant).unwrap_or_default();
        history.standing().allows(tenant, &order)?;
        let key = OrderKey { tenant: tenant.clone(), number: history.last_number() + 1 };
        let bytes = serde_json::to_vec_pretty(&order).unwrap_or_default();
        match lake.put_order(&key, bytes.into()).await {
            Ok(()) => return Ok(order),
            Err(error) if error.is_already_there() => {
                // By somebody else, or by a try of ours whose answer was lost.
                let found = lake.read_order(&key).await?;
                if serde_json::from_slice::<Order>(&found).is_ok_and(|found| found.id == order.id) {
                    return Ok(order);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

// === impl OrderError ===

impl OrderError {
    /// What the caller should do.
    pub fn action(&self) -> Action {
        match self {
            Self::Lake(error) => error.action(),
            _ => Action::Fix,
        }
    }
}

// === impl Order ===

impl Order {
    /// The day on which it was given.
    pub fn day(&self) -> String {
        let at = chrono::DateTime::from_timestamp_micros(self.at_us).unwrap_or_default();
        at.date_naive().to_string()
    }
}

// === impl Count ===

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}

// === impl Standing ===

impl Standing {
    /// What orders come to, oldest first.
    pub fn of<'a>(orders: impl IntoIterator<Item = &'a Order>) -> Self {
        let mut standing = Self::default();
        for order in orders {
            standing.take(order);
        }
        standing
    }

    /// In the terms of [`super::precedence`].
    pub fn ordered(&self) -> Ordered {
        Ordered {
            held: self.unreadable || self.hold.is_some(),
            deleted_before_us: self.deletion.as_ref().map(|order| order.at_us),
        }
    }

    fn take(&mut self, order: &Order) {
        let of_this = |of: &str| self.deletion.as_ref().is_some_and(|deletion| deletion.id == of);
        match &order.what {
            What::Hold => {
                self.hold = Some(order.clone());
                self.deletion = None;
            }
            What::Release => self.hold = None,
            What::Delete if self.hold.is_none() && self.deletion.is_none() => {
                self.deletion = Some(order.clone());
                self.removed = Count::default();
            }
            What::Removed { of, count, .. } if of_this(of) => self.removed += *count,
            What::Deleted { of, .. } if of_this(of) => {
                self.deletion = None;
                self.deleted = Some(order.clone());
            }
            What::Delete | What::Removed { .. } | What::Deleted { .. } => {}
        }
    }

    fn allows(&self, tenant: &TenantId, order: &Order) -> Result<(), OrderError> {
        let tenant = tenant.clone();
        if order.reason.is_empty() {
            return Err(OrderError::NoReason { tenant });
        }
        match (&order.what, &self.hold, &self.deletion) {
            (What::Hold | What::Delete, Some(hold), _) => Err(OrderError::Held {
                tenant,
                since: hold.day(),
                by: hold.by.clone(),
                reason: hold.reason.clone(),
            }),
            (What::Release, None, _) => Err(OrderError::NotHeld { tenant }),
            (What::Delete, None, Some(deletion)) => {
                Err(OrderError::Deleting { tenant, since: deletion.day(), by: deletion.by.clone() })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
