//! The grants as a running server knows them: what may still count, looked at again every two seconds.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bailiwick_lake::Lake;
use bailiwick_lake::keys::GrantKey;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{Grant, GrantError, LONGEST, Record, grant, id_at};

/// A grant counts, and a revoked one counts no more, after so long at most.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long the bucket may take to answer.
const LOOK_WITHIN: Duration = Duration::from_secs(5);
/// How long what was seen last counts while the bucket does not answer: it might
/// have been revoked meanwhile.
const BELIEVE_FOR: Duration = Duration::from_secs(30);
/// How far the clock of whoever gives a grant may be behind.
const CLOCKS_APART: TimeDelta = TimeDelta::days(1);

/// Who has which grants.
#[derive(Debug)]
pub(crate) struct GrantBook {
    lake: Arc<Lake>,
    seen: RwLock<Seen>,
    /// Held by the one who looks; what was read already, since it never changes.
    looking: Mutex<HashMap<String, Option<Arc<Grant>>>>,
}

#[derive(Debug, Clone, Default)]
struct Seen {
    /// Neither revoked nor known to be over, by whom they were given to.
    by_name: Arc<HashMap<String, Vec<Arc<Grant>>>>,
    /// When the bucket was asked last, and when it answered.
    asked: Option<Instant>,
    answered: Option<Instant>,
}

// === impl GrantBook ===

impl GrantBook {
    pub(crate) fn new(lake: Arc<Lake>) -> Self {
        Self { lake, seen: RwLock::default(), looking: Mutex::default() }
    }

    /// The grants that somebody has now. None while the bucket has not answered
    /// for long.
    pub(crate) async fn of(&self, name: &str, now: DateTime<Utc>) -> Vec<Arc<Grant>> {
        let seen = self.look().await;
        let granted = seen.by_name.get(name).map(Vec::as_slice).unwrap_or_default();
        granted.iter().filter(|grant| now < grant.until).cloned().collect()
    }

    /// All that were ever given.
    pub(crate) async fn all(&self) -> Result<Vec<Record>, GrantError> {
        super::list(&self.lake).await
    }

    async fn look(&self) -> Seen {
        let seen = self.seen();
        if seen.asked.is_some_and(|asked| asked.elapsed() < LOOK_EVERY) {
            return seen.believed();
        }
        let mut read = match self.looking.try_lock() {
            Ok(read) => read,
            // Somebody looks right now, and what was seen before is good enough.
            Err(_) if seen.is_believed() => return seen,
            Err(_) => self.looking.lock().await,
        };
        let seen = self.seen();
        if seen.asked.is_some_and(|asked| asked.elapsed() < LOOK_EVERY) {
            return seen.believed();
        }
        let looked = timeout(LOOK_WITHIN, self.read(&mut read)).await;
        let mut seen = Seen { asked: Some(Instant::now()), ..seen };
        match looked {
            Ok(Ok(by_name)) => (seen.by_name, seen.answered) = (Arc::new(by_name), seen.asked),
            Ok(Err(error)) => tracing::warn!(%error, "grants cannot be read, trying again"),
            Err(_) => tracing::warn!("grants cannot be read in time, trying again"),
        }
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = seen.clone();
        seen.believed()
    }

    fn seen(&self) -> Seen {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Grants that can still count. Older ids are not even listed.
    async fn read(
        &self,
        read: &mut HashMap<String, Option<Arc<Grant>>>,
    ) -> Result<HashMap<String, Vec<Arc<Grant>>>, GrantError> {
        let oldest = id_at(Utc::now() - LONGEST - CLOCKS_APART);
        let keys = self.lake.grant_keys(&oldest).await?;
        let revoked: HashSet<&str> = keys.iter().filter(|key| key.revoked).map(|key| &*key.id).collect();
        let given: Vec<&GrantKey> = keys.iter().filter(|key| !key.revoked).collect();
        let listed: HashSet<&str> = given.iter().map(|key| &*key.id).collect();
        read.retain(|id, _| listed.contains(id.as_str()));
        let mut by_name: HashMap<String, Vec<Arc<Grant>>> = HashMap::new();
        for key in given.into_iter().filter(|key| !revoked.contains(&*key.id)) {
            let known = match read.get(&key.id) {
                Some(known) => known.clone(),
                None => {
                    let known = self.readable(key).await?;
                    read.insert(key.id.clone(), known.clone());
                    known
                }
            };
            if let Some(grant) = known {
                by_name.entry(grant.to.clone()).or_default().push(grant);
            }
        }
        Ok(by_name)
    }

    /// As if the bucket had been asked just now and had not answered for long.
    #[cfg(test)]
    pub(super) fn forget_answers(&self) {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        (seen.asked, seen.answered) = (Some(Instant::now()), Instant::now().checked_sub(2 * BELIEVE_FOR));
    }

    async fn readable(&self, key: &GrantKey) -> Result<Option<Arc<Grant>>, GrantError> {
        match grant(&self.lake, key).await {
            Ok(grant) => {
                let tenants = grant.tenants.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
                tracing::info!(id = grant.id, to = grant.to, role = %grant.role, tenants, by = grant.by,
                    why = grant.why, until = %grant.until, "a grant was taken up");
                Ok(Some(Arc::new(grant)))
            }
            Err(error @ GrantError::Unreadable { .. }) => {
                tracing::error!(%error, "a grant was left out");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

// === impl Seen ===

impl Seen {
    fn is_believed(&self) -> bool {
        self.answered.is_some_and(|answered| answered.elapsed() < BELIEVE_FOR)
    }

    /// What was seen, or nothing if that is too long ago.
    fn believed(self) -> Self {
        match self.is_believed() {
            true => self,
            false => Self::default(),
        }
    }
}
