//! How far detection has come, kept in the bucket.

use std::collections::BTreeMap;

use bailiwick_lake::{Lake, LakeError};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

const SCHEDULE: &str = "detect-schedule.json";

/// Up to where events were evaluated and their alerts are durable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Each ingester's last WAL object.
    pub(crate) wal: BTreeMap<String, u64>,
    /// The highest `ingest_time` evaluated, microseconds.
    pub(crate) ingest_time_us: i64,
}

/// Up to where each scheduled detection has looked, microseconds of `ingest_time`.
pub(crate) type Schedule = BTreeMap<String, i64>;

/// Under which name the place of whoever follows this ingester is kept: each
/// ingester of a bucket has a follower of its own.
pub(crate) fn place_name(ingester: &str) -> String {
    format!("detect-live-{ingester}.json")
}

pub(crate) async fn load_place(lake: &Lake, name: &str) -> Result<Option<Place>, LakeError> {
    Ok(lake.get_state(name).await?.and_then(|bytes| parse(name, &bytes)))
}

pub(crate) async fn save_place(lake: &Lake, name: &str, place: &Place) -> Result<(), LakeError> {
    lake.put_state(name, json(place)).await
}

pub(crate) async fn load_schedule(lake: &Lake) -> Result<Schedule, LakeError> {
    Ok(lake.get_state(SCHEDULE).await?.and_then(|bytes| parse(SCHEDULE, &bytes)).unwrap_or_default())
}

pub(crate) async fn save_schedule(lake: &Lake, schedule: &Schedule) -> Result<(), LakeError> {
    lake.put_state(SCHEDULE, json(schedule)).await
}

/// A place that cannot be read is as good as none; starting over without one
/// skips events, so it is said aloud.
fn parse<T: for<'de> Deserialize<'de>>(name: &str, bytes: &Bytes) -> Option<T> {
    serde_json::from_slice(bytes)
        .inspect_err(
            |error| tracing::error!(%error, name, "saved place is damaged, detection starts from now"),
        )
        .ok()
}

/// Maps of texts and integers: there is nothing in them that JSON cannot hold.
fn json<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

// === impl Place ===

impl Place {
    /// Takes note of a WAL object that was evaluated.
    pub(crate) fn advance(&mut self, ingester: &str, wal_number: u64, ingest_time_us: Option<i64>) {
        let known = self.wal.entry(ingester.to_owned()).or_insert(wal_number);
        *known = (*known).max(wal_number);
        self.ingest_time_us = self.ingest_time_us.max(ingest_time_us.unwrap_or(i64::MIN));
    }
}
