//! Receiving from a collector that another ingester received from before.
//!
//! ```text
//!  our log                     the other's log
//!  N    Claim  {c claimed}
//!                              M    Batches {c held, next_seq 7}   ← its newest
//!                              M+1  HandOver {c left}              ← ours, put if absent
//!  N+1  Batches {c held, next_seq 8}
//! ```
//!
//! The order makes it exact. Our claim is durable before other logs are looked
//! at, so of two that claim at once at least one sees the other. The note
//! stands under the very number that the other would write next: whatever it
//! acknowledged of the collector is below the note, where we have read it, and
//! it can acknowledge nothing above the note without having read it. Nobody
//! needs to know whether the other is alive.

use std::collections::BTreeSet;
use std::sync::Arc;

use bailiwick_lake::keys::WalKey;
use bailiwick_lake::{Hold, LakeError, WalHeader, WalKind};
use bailiwick_proto::{CollectorId, IngesterId};

use super::{Pauses, Wal, newest_header};
use crate::IngestError;

// === impl Wal ===

impl Wal {
    /// Receives from these collectors from now on, whoever received from them
    /// before. Tries for as long as the store fails.
    pub async fn claim(&mut self, collectors: &[CollectorId], now_us: i64) -> Result<(), IngestError> {
        let distinct: BTreeSet<&CollectorId> = collectors.iter().collect();
        let new: Vec<CollectorId> =
            distinct.into_iter().filter(|collector| !self.dedupe.holds(collector)).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        self.announce_claim(&new, now_us).await?;
        for other in self.others().await {
            self.part(&other, &new, now_us).await;
        }
        // Whoever claimed them since has left a note under our next number, which
        // is met before anything is taken.
        for collector in &new {
            self.dedupe.hold(collector);
        }
        self.metrics.claimed_collectors.inc_by(new.len() as u64);
        Ok(())
    }

    async fn announce_claim(&mut self, new: &[CollectorId], now_us: i64) -> Result<(), IngestError> {
        loop {
            let mut dedupe = self.dedupe.clone();
            new.iter().for_each(|collector| dedupe.claim(collector, now_us));
            if self.put(WalKind::Claim, &dedupe, &[], now_us).await?.is_some() {
                self.dedupe = dedupe;
                return Ok(());
            }
        }
    }

    /// Every other ingester that ever left a log here.
    async fn others(&self) -> Vec<IngesterId> {
        let mut pauses = Pauses::new(self.retry_at_most);
        loop {
            match self.lake.wal_heads().await {
                Ok(heads) => {
                    let others = heads.into_iter().map(|head| head.ingester);
                    return others.filter(|ingester| *ingester != self.ingester).collect();
                }
                Err(error) => pauses.after(&error).await,
            }
        }
    }

    /// Tells another log that the collectors have left it, and learns how far it came.
    async fn part(&mut self, from: &IngesterId, collectors: &[CollectorId], now_us: i64) {
        let mut pauses = Pauses::new(self.retry_at_most);
        loop {
            match self.try_part(from, collectors, now_us).await {
                Ok(true) => return,
                // It wrote meanwhile: read on.
                Ok(false) => {}
                Err(error) => pauses.after(&error).await,
            }
        }
    }

    async fn try_part(
        &mut self,
        from: &IngesterId,
        collectors: &[CollectorId],
        now_us: i64,
    ) -> Result<bool, LakeError> {
        let lake = Arc::clone(&self.lake);
        let found = lake.wal_keys_of(from).await?;
        let Some(newest) = found.last() else { return Ok(true) };
        let header = match newest_header(&lake, &found).await {
            Ok(Some(header)) => header,
            // None of its objects can be read, so none of its rows can.
            Ok(None) => return Ok(true),
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error),
        };
        let received = |collector: &&CollectorId| {
            header.high_water.get(collector.as_str()).is_some_and(|state| state.hold != Hold::Left)
        };
        let leaving: Vec<&CollectorId> = collectors.iter().filter(received).collect();
        if !leaving.is_empty() {
            let note = self.note(&header, newest.number + 1, &leaving, now_us);
            let key = WalKey { ingester: from.clone(), number: newest.number + 1 };
            match lake.put_wal(&key, note.encode(&[])).await {
                Ok(()) => tracing::info!(%from, collectors = leaving.len(), "collectors taken over"),
                // Perhaps by this very note, whose reply was lost: then it is the
                // newest now and says that they have left.
                Err(error) if error.is_already_there() => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        for collector in collectors {
            if let Some(state) = header.high_water.get(collector.as_str()) {
                self.dedupe.learn(collector, state);
            }
        }
        Ok(true)
    }

    /// What is written into another's log: all that its newest object knows,
    /// but for whom it receives from.
    fn note(&self, newest: &WalHeader, number: u64, leaving: &[&CollectorId], now_us: i64) -> WalHeader {
        let mut high_water = newest.high_water.clone();
        for collector in leaving {
            if let Some(state) = high_water.get_mut(collector.as_str()) {
                state.hold = Hold::Left;
            }
        }
        let collectors = leaving.iter().map(ToString::to_string).collect();
        let kind = WalKind::HandOver { to: self.ingester.to_string(), collectors };
        let (nonce, segments) = (self.nonce.clone(), vec![]);
        WalHeader { nonce, number, written_at_us: now_us, kind, segments, high_water, ..newest.clone() }
    }
}
