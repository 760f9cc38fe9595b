//! Places to run in: so many queries at once, so many waiting, the rest refused.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Endpoint;
use crate::metrics::Metrics;
use crate::{Code, Config, QueryError};

/// Scheduled queries that run at once, beside everybody else's: nobody's
/// questions can delay detection.
const SCHEDULED_PLACES: usize = 2;

/// Hands out places.
#[derive(Debug)]
pub(super) struct Admission {
    places: Arc<Semaphore>,
    scheduled: Arc<Semaphore>,
    max_queued: i64,
    metrics: Metrics,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    metrics: Metrics,
    _permit: OwnedSemaphorePermit,
}

/// Counts one who waits, also when it stops waiting by being dropped.
struct Waiting(Gauge);

// === impl Admission ===

impl Admission {
    pub(super) fn new(config: &Config, metrics: Metrics) -> Self {
        Self {
            places: Arc::new(Semaphore::new(config.max_concurrent)),
            scheduled: Arc::new(Semaphore::new(SCHEDULED_PLACES)),
            max_queued: i64::try_from(config.max_queued).unwrap_or(i64::MAX),
            metrics,
        }
    }

    /// Waits for a place, unless too many wait already. Cancel-safe.
    pub(super) async fn enter(&self, endpoint: Endpoint) -> Result<Place, QueryError> {
        let places = match endpoint {
            Endpoint::Scheduled => &self.scheduled,
            _ => &self.places,
        };
        let permit = match Arc::clone(places).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = self.wait()?;
                let stopped = |_| QueryError::new(Code::Cancelled, "the server stops");
                Arc::clone(places).acquire_owned().await.map_err(stopped)?
            }
        };
        self.metrics.running.inc();
        Ok(Place { metrics: self.metrics.clone(), _permit: permit })
    }

    fn wait(&self) -> Result<Waiting, QueryError> {
        let before = self.metrics.waiting.inc();
        let waiting = Waiting(self.metrics.waiting.clone());
        if before < self.max_queued {
            return Ok(waiting);
        }
        let limit = self.max_queued;
        Err(QueryError::new(Code::TooBusy, format!("{limit} queries wait already, try again later")))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.running.dec();
    }
}
