//! Grants: rights that somebody has for a while, for a reason.
//!
//! ```text
//!   grants/<id>/given.json     to alice, role tenant of acme, until 16:00, by ann@desk: "incident 42"
//!   grants/<id>/revoked.json   by ann@desk, at 14:30
//! ```
//!
//! They lie in the bucket and not in a file beside the tokens, because every
//! server over the bucket must know of one and of its end; because an object that
//! is never changed is its own record; and because whoever may write there could
//! read everything anyway. They end by themselves: a grant says until when, and
//! that is looked at before every query. Of two writers one is first: objects are
//! created if absent.

mod book;
mod table;

use std::collections::BTreeSet;

use bailiwick_lake::keys::GrantKey;
use bailiwick_lake::{Lake, LakeError};
use bailiwick_proto::{Action, TenantId};
use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::Role;
use crate::principal::Rights;

pub(crate) use book::GrantBook;
pub(crate) use table::{Grants, NAME as GRANTS};

/// The longest that a grant lasts. What is needed for longer is a token.
pub const LONGEST: TimeDelta = TimeDelta::days(31);
/// Beyond this an object is no grant.
const MAX_OBJECT_BYTES: usize = 64 << 10;
const MAX_NAME_BYTES: usize = 512;
const MAX_WHY_BYTES: usize = 4 << 10;
const MAX_TENANTS: usize = 1_000;
/// Objects that are read at once.
const READS_AT_ONCE: usize = 16;

/// What somebody may do more than usual, until when, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Unlike any other grant's; sorts by time.
    pub id: String,
    /// The name of the principal who has it, as it stands in `queries`.
    pub to: String,
    /// What may be done by it.
    pub role: Role,
    /// Whose rows it opens if the role is [`Role::Tenant`]; otherwise none are named.
    #[serde(with = "names")]
    pub tenants: BTreeSet<TenantId>,
    /// Who gave it: a user and a host.
    pub by: String,
    /// Why, in that person's words.
    pub why: String,
    /// When it was given.
    pub given: DateTime<Utc>,
    /// From when on it opens nothing.
    pub until: DateTime<Utc>,
}

/// That a grant is over before its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Who says so.
    pub by: String,
    /// Since when.
    pub at: DateTime<Utc>,
}

/// A grant and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// As it was given.
    pub grant: Grant,
    /// How it was ended, if it was.
    pub revoked: Option<Revocation>,
}

/// A grant that cannot be given, ended or read.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// The bucket failed.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// A field has a value that cannot be.
    #[error("grant, field {field}: {reason}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// There is no such grant.
    #[error("there is no grant {id}; `bailiwick grant list --all` has their ids")]
    Unknown {
        /// What was asked for.
        id: String,
    },
    /// It has ended already.
    #[error("grant {id} is over already, since {since}")]
    Over {
        /// Which one.
        id: String,
        /// Since when.
        since: DateTime<Utc>,
    },
    /// An object is not what it should be; it grants nothing.
    #[error("{key} cannot be read, so it grants nothing: {reason}")]
    Unreadable {
        /// The object.
        key: String,
        /// The reader's words.
        reason: String,
    },
}

/// Gives a grant; `id` of the argument is made here.
pub async fn give(lake: &Lake, mut grant: Grant) -> Result<Grant, GrantError> {
    let unique: String = uuid::Uuid::new_v4().simple().to_string().chars().take(12).collect();
    grant.id = format!("{}-{unique}", id_at(grant.given));
    grant.why = grant.why.trim().to_owned();
    grant.check()?;
    let key = GrantKey { id: grant.id.clone(), revoked: false };
    match lake.put_grant(&key, json(&grant)).await {
        // By a try of ours whose answer was lost: nobody else makes this id.
        Err(error) if !error.is_already_there() => Err(error.into()),
        _ => Ok(grant),
    }
}

/// Ends a grant now.
pub async fn revoke(lake: &Lake, id: &str, by: &str, now: DateTime<Utc>) -> Result<Record, GrantError> {
    let unknown = || GrantError::Unknown { id: id.chars().take(100).collect() };
    let mut record =
        list(lake).await?.into_iter().find(|record| record.grant.id == id).ok_or_else(unknown)?;
    let over = |since| GrantError::Over { id: id.to_owned(), since };
    if let Some(since) = record.ended(now) {
        return Err(over(since));
    }
    let revocation = Revocation { by: by.to_owned(), at: now };
    let key = GrantKey { id: id.to_owned(), revoked: true };
    match lake.put_grant(&key, json(&revocation)).await {
        Err(error) if error.is_already_there() => return Err(over(now)),
        done => done?,
    }
    record.revoked = Some(revocation);
    Ok(record)
}

/// All grants that were ever given, oldest first. What cannot be read is logged
/// and left out.
pub async fn list(lake: &Lake) -> Result<Vec<Record>, GrantError> {
    let keys = lake.grant_keys("").await?;
    let given: Vec<GrantKey> = keys.iter().filter(|key| !key.revoked).cloned().collect();
    let read = futures::stream::iter(given).map(|key| async move {
        match grant(lake, &key).await {
            Ok(grant) => Ok(Some(grant)),
            Err(error @ GrantError::Unreadable { .. }) => {
                tracing::error!(%error, "a grant was left out");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    });
    let grants: Vec<Option<Grant>> = read.buffered(READS_AT_ONCE).try_collect().await?;
    let mut records = Vec::new();
    for grant in grants.into_iter().flatten() {
        let key = GrantKey { id: grant.id.clone(), revoked: true };
        let revoked = match keys.contains(&key) {
            true => Some(revocation(lake, &key, &grant).await?),
            false => None,
        };
        records.push(Record { grant, revoked });
    }
    records.sort_by(|a, b| a.grant.id.cmp(&b.grant.id));
    Ok(records)
}

/// Reads a grant and checks it: what it says decides who sees what.
async fn grant(lake: &Lake, key: &GrantKey) -> Result<Grant, GrantError> {
    let unreadable = |reason: String| GrantError::Unreadable { key: key.path().to_string(), reason };
    let bytes = lake.read_grant(key).await?;
    if bytes.len() > MAX_OBJECT_BYTES {
        return Err(unreadable(format!("it has {} bytes", bytes.len())));
    }
    let grant: Grant = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    if grant.id != key.id {
        return Err(unreadable("it has another grant's id".to_owned()));
    }
    grant.check().map_err(|error| unreadable(error.to_string()))?;
    Ok(grant)
}

/// Reads a revocation. One that says nothing sensible counts all the same.
async fn revocation(lake: &Lake, key: &GrantKey, grant: &Grant) -> Result<Revocation, GrantError> {
    let bytes = lake.read_grant(key).await?;
    Ok(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::error!(%error, key = %key.path(), "a revocation cannot be read, it counts all the same");
        Revocation { by: "(unreadable)".to_owned(), at: grant.given }
    }))
}

/// The beginning of the ids of grants that are given at this moment.
fn id_at(time: DateTime<Utc>) -> String {
    time.format("%Y%m%dT%H%M%S").to_string()
}

fn json(value: &impl Serialize) -> bytes::Bytes {
    serde_json::to_vec_pretty(value).unwrap_or_default().into()
}

/// Tenants as a list of their names.
mod names {
    use std::collections::BTreeSet;

    use bailiwick_proto::TenantId;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(tenants: &BTreeSet<TenantId>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(tenants.iter().map(TenantId::as_str))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<TenantId>, D::Error> {
        let names = Vec::<String>::deserialize(from)?;
        names.iter().map(|name| name.parse().map_err(D::Error::custom)).collect()
    }
}

// === impl Grant ===

impl Grant {
    /// What it gives.
    pub(crate) fn rights(&self) -> Rights {
        Rights::new(self.role, self.tenants.iter().cloned())
    }

    fn check(&self) -> Result<(), GrantError> {
        let refused = |field, reason: &str| Err(GrantError::Field { field, reason: reason.to_owned() });
        let plain = |text: &str| !text.is_empty() && !text.contains(char::is_control);
        if !plain(&self.to) || self.to.len() > MAX_NAME_BYTES {
            return refused("to", "use the name of a principal, as it stands in `queries`");
        }
        if !plain(&self.why) || self.why.len() > MAX_WHY_BYTES {
            return refused("why", "say why in one line: it is kept for those who ask later");
        }
        if !plain(&self.by) || self.by.len() > MAX_NAME_BYTES {
            return refused("by", "use a user and a host");
        }
        if self.role == Role::Tenant && (self.tenants.is_empty() || self.tenants.len() > MAX_TENANTS) {
            return refused("tenants", "name 1 to 1000 tenants whose rows it opens");
        }
        if self.role != Role::Tenant && !self.tenants.is_empty() {
            return refused("tenants", "auditors and admins see every tenant: name none");
        }
        if self.until <= self.given || self.until - self.given > LONGEST {
            return refused("until", "a grant lasts up to 31 days; make a token for what is needed longer");
        }
        Ok(())
    }
}

// === impl Record ===

impl Record {
    /// Since when it opens nothing, if that is so at `now`.
    pub fn ended(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let over = (self.grant.until <= now).then_some(self.grant.until);
        self.revoked.as_ref().map(|revocation| revocation.at.min(self.grant.until)).or(over)
    }

    /// `active`, `expired` or `revoked`.
    pub fn state(&self, now: DateTime<Utc>) -> &'static str {
        match (&self.revoked, self.ended(now)) {
            (Some(_), _) => "revoked",
            (None, Some(_)) => "expired",
            (None, None) => "active",
        }
    }
}

// === impl GrantError ===

impl GrantError {
    /// What the caller should do.
    pub fn action(&self) -> Action {
        match self {
            Self::Lake(error) => error.action(),
            _ => Action::Fix,
        }
    }
}

#[cfg(test)]
mod tests;
