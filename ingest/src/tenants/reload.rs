//! The mapping in use, replaced when its file changes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Mapping, MappingError};
use crate::metrics::Metrics;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The mapping in use; clones share it.
#[derive(Debug, Clone, Default)]
pub struct SharedMapping {
    current: Arc<RwLock<Arc<Mapping>>>,
    /// The file as it was at the start.
    opened: Option<Arc<str>>,
}

// === impl SharedMapping ===

impl SharedMapping {
    /// Reads `file`; without one, nobody claims anything.
    pub fn open(file: Option<&Path>, metrics: &Metrics) -> Result<Self, MappingError> {
        let mut shared = Self::default();
        if let Some(file) = file {
            let text = read(file)?;
            shared.replace(Mapping::parse(&file.display().to_string(), &text)?, metrics);
            shared.opened = Some(text.into());
        }
        Ok(shared)
    }

    /// The mapping to use for one batch.
    pub fn current(&self) -> Arc<Mapping> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the file until `stop`. A file that cannot be used leaves the
    /// mapping as it is, and is named once.
    pub async fn follow(self, file: PathBuf, metrics: Metrics, stop: CancellationToken) {
        let name = file.display().to_string();
        let mut seen = self.opened.as_deref().map(|text| Ok(text.to_owned()));
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let text = read(&file);
            let looked = text.as_ref().map_err(ToString::to_string).cloned();
            if seen.as_ref() == Some(&looked) {
                continue;
            }
            seen = Some(looked);
            match text.and_then(|text| Mapping::parse(&name, &text)) {
                Ok(mapping) => {
                    tracing::info!(file = name, tenants = mapping.entries.len(), "tenant mapping read anew");
                    self.replace(mapping, &metrics);
                }
                Err(error) => {
                    metrics.mapping_failures.inc();
                    tracing::error!(%error, "the tenant mapping before it stays in use");
                }
            }
        }
    }

    fn replace(&self, mapping: Mapping, metrics: &Metrics) {
        metrics.mapped_tenants.set(mapping.entries.len() as i64);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(mapping);
    }
}

fn read(file: &Path) -> Result<String, MappingError> {
    let failed = |source| MappingError::Read { file: file.display().to_string(), source };
    std::fs::read_to_string(file).map_err(failed)
}
