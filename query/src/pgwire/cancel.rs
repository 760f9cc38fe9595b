//! Cancelling: a client asks on a second connection that what runs on the first one stops.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use pgwire::messages::ProtocolVersion;
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::startup::SecretKey;
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;

/// Every connection that can be told to stop what it runs.
#[derive(Debug, Default)]
pub(super) struct Cancels {
    by_pid: Mutex<HashMap<i32, Target>>,
}

#[derive(Debug)]
struct Target {
    secret: Bytes,
    running: CancellationToken,
}

/// One connection's place among them; leaving it takes the place away.
#[derive(Debug)]
pub(super) struct Cancellable {
    all: Arc<Cancels>,
    pid: i32,
    secret: SecretKey,
}

// === impl Cancels ===

impl Cancels {
    /// A place under a number that nobody has, with a secret that only its client learns.
    pub(super) fn join(self: &Arc<Self>, version: ProtocolVersion) -> Cancellable {
        let secret = match version {
            ProtocolVersion::PROTOCOL3_0 => SecretKey::I32(rand::random()),
            _ => SecretKey::Bytes(Bytes::copy_from_slice(&rand::random::<[u8; 32]>())),
        };
        let mut by_pid = self.by_pid.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = loop {
            let pid = rand::random_range(1..i32::MAX);
            if !by_pid.contains_key(&pid) {
                break pid;
            }
        };
        by_pid.insert(pid, Target { secret: secret.to_bytes(), running: CancellationToken::new() });
        Cancellable { all: Arc::clone(self), pid, secret }
    }

    /// Stops what a connection runs now, if the secret is right. The protocol has no answer for either case.
    pub(super) fn cancel(&self, request: &CancelRequest) {
        let by_pid = self.by_pid.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(target) = by_pid.get(&request.pid) else { return };
        if target.secret.ct_eq(&request.secret_key.to_bytes()).into() {
            target.running.cancel();
        }
    }
}

// === impl Cancellable ===

impl Cancellable {
    /// The number and secret that the client is told.
    pub(super) fn key(&self) -> (i32, SecretKey) {
        (self.pid, self.secret.clone())
    }

    /// A token for a query that starts; a request that came for an earlier one does not touch it.
    pub(super) fn start(&self) -> CancellationToken {
        let fresh = CancellationToken::new();
        let mut by_pid = self.all.by_pid.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = by_pid.get_mut(&self.pid) {
            target.running = fresh.clone();
        }
        fresh
    }
}

impl Drop for Cancellable {
    fn drop(&mut self) {
        self.all.by_pid.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_secret_stops_and_only_what_runs_now() {
        let cancels = Arc::new(Cancels::default());
        let place = cancels.join(ProtocolVersion::PROTOCOL3_2);
        let (pid, secret) = place.key();
        let first = place.start();
        cancels.cancel(&CancelRequest::new(pid, SecretKey::I32(7)));
        assert!(!first.is_cancelled());
        let second = place.start();
        cancels.cancel(&CancelRequest::new(pid, secret.clone()));
        assert!(second.is_cancelled() && !first.is_cancelled());
        drop(place);
        assert!(cancels.by_pid.lock().unwrap().is_empty());
    }
}
