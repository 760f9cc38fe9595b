//! Queries that are under way: who may see them, and stop them.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{Ask, Endpoint};
use crate::{Code, Principal, QueryError, Role};

/// How much of a statement a list shows.
const SQL_BYTES: usize = 4 << 10;

/// Every query under way, by its id.
#[derive(Debug, Default)]
pub(super) struct Watch {
    queries: Mutex<BTreeMap<String, Seen>>,
}

#[derive(Debug)]
struct Seen {
    /// Whose it is, see [`Principal::fingerprint`].
    owner: [u8; 32],
    handle: Option<u128>,
    rows: Arc<AtomicU64>,
    stop: CancellationToken,
    shown: UnderWay,
}

/// A query that waits or runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnderWay {
    /// As `queries` will have it.
    pub query_id: String,
    /// Who asked.
    pub principal: String,
    /// By which way it came.
    pub endpoint: &'static str,
    /// When it was received.
    pub time: DateTime<Utc>,
    /// The statement, its beginning if it is long.
    pub sql: String,
    /// Rows passed on so far.
    pub rows: u64,
}

/// A query's place among them, until it is dropped.
#[derive(Debug)]
pub(super) struct Watched {
    watch: Arc<Watch>,
    query_id: String,
    rows: Arc<AtomicU64>,
    stop: CancellationToken,
}

// === impl Watch ===

impl Watch {
    /// A query has been received.
    pub(super) fn add(
        self: &Arc<Self>,
        query_id: &str,
        principal: &Principal,
        endpoint: Endpoint,
        ask: &Ask,
    ) -> Watched {
        let (rows, stop) = (Arc::default(), CancellationToken::new());
        let sql = ask.sql.get(..ask.sql.floor_char_boundary(SQL_BYTES)).unwrap_or_default();
        let shown = UnderWay {
            query_id: query_id.to_owned(),
            principal: principal.name().to_owned(),
            endpoint: endpoint.as_str(),
            time: Utc::now(),
            sql: sql.to_owned(),
            rows: 0,
        };
        let seen = Seen {
            owner: principal.fingerprint(),
            handle: ask.handle,
            rows: Arc::clone(&rows),
            stop: stop.clone(),
            shown,
        };
        self.lock().insert(query_id.to_owned(), seen);
        Watched { watch: Arc::clone(self), query_id: query_id.to_owned(), rows, stop }
    }

    /// What a principal may see: its own, and everybody's if it reads every tenant.
    pub(super) fn list(&self, principal: &Principal) -> Vec<UnderWay> {
        let (all, owner) = (principal.role() != Role::Tenant, principal.fingerprint());
        let mut list: Vec<UnderWay> = self
            .lock()
            .values()
            .filter(|seen| all || seen.owner == owner)
            .map(|seen| UnderWay { rows: seen.rows.load(Ordering::Relaxed), ..seen.shown.clone() })
            .collect();
        list.sort_by(|one, other| (one.time, &one.query_id).cmp(&(other.time, &other.query_id)));
        list
    }

    /// Stops a query, if it is the principal's own or the principal operates the
    /// server. `false` in every other case, so that nobody learns of others' queries.
    pub(super) fn cancel(&self, principal: &Principal, query_id: &str) -> bool {
        let owner = principal.fingerprint();
        match self.lock().get(query_id) {
            Some(seen) if principal.role() == Role::Admin || seen.owner == owner => {
                seen.stop.cancel();
                true
            }
            _ => false,
        }
    }

    /// Stops the principal's own queries of this handle; whether there was one.
    pub(super) fn cancel_handle(&self, principal: &Principal, handle: u128) -> bool {
        let (queries, owner) = (self.lock(), principal.fingerprint());
        let own = queries.values().filter(|seen| seen.handle == Some(handle) && seen.owner == owner);
        own.map(|seen| seen.stop.cancel()).count() > 0
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Seen>> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Watched ===

impl Watched {
    /// Ends when somebody cancels the query.
    pub(super) fn cancelled(&self) -> Pin<Box<WaitForCancellationFutureOwned>> {
        Box::pin(self.stop.clone().cancelled_owned())
    }

    /// What the query's asker is told then.
    pub(super) fn reason() -> QueryError {
        QueryError::new(Code::Cancelled, "the query was cancelled by a request")
    }

    pub(super) fn passed_on(&self, rows: u64) {
        self.rows.store(rows, Ordering::Relaxed);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watch.lock().remove(&self.query_id);
    }
}
