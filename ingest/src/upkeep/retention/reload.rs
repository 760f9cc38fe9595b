//! The retention in use, replaced when its file changes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::{Retention, RetentionError};
use crate::upkeep::Metrics;

/// The retention in use; clones share it.
#[derive(Debug, Clone, Default)]
pub struct SharedRetention {
    file: Option<PathBuf>,
    current: Arc<RwLock<InUse>>,
}

#[derive(Debug, Default)]
struct InUse {
    retention: Arc<Retention>,
    /// The file as it was looked at last, or why it could not be.
    looked: Option<Result<String, String>>,
}

// === impl SharedRetention ===

impl SharedRetention {
    /// Reads `file`; without one, nothing expires.
    pub fn open(file: Option<&Path>) -> Result<Self, RetentionError> {
        let Some(file) = file else { return Ok(Self::default()) };
        let text = read(file)?;
        let retention = Arc::new(Retention::parse(&file.display().to_string(), &text)?);
        let current = Arc::new(RwLock::new(InUse { retention, looked: Some(Ok(text)) }));
        Ok(Self { file: Some(file.to_owned()), current })
    }

    /// The retention for one pass: the file's, if it is usable. One that is not
    /// leaves the retention as it is, and is named once.
    pub fn look(&self, metrics: &Metrics) -> Arc<Retention> {
        let Some(file) = &self.file else { return self.current() };
        let text = read(file);
        let looked = text.as_ref().map_err(ToString::to_string).cloned();
        let mut in_use = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if in_use.looked.as_ref() == Some(&looked) {
            return Arc::clone(&in_use.retention);
        }
        in_use.looked = Some(looked);
        match text.and_then(|text| Retention::parse(&file.display().to_string(), &text)) {
            Ok(retention) => {
                tracing::info!(file = %file.display(), "retention read anew");
                in_use.retention = Arc::new(retention);
            }
            Err(error) => {
                metrics.retention_failures.inc();
                tracing::error!(%error, "the retention before it stays in use");
            }
        }
        Arc::clone(&in_use.retention)
    }

    /// The retention in use, without a look at the file.
    pub fn current(&self) -> Arc<Retention> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).retention)
    }
}

fn read(file: &Path) -> Result<String, RetentionError> {
    let failed = |source| RetentionError::Read { file: file.display().to_string(), source };
    std::fs::read_to_string(file).map_err(failed)
}

#[cfg(test)]
mod tests {
    use bailiwick_proto::Table;

    use super::*;

    #[test]
    fn a_changed_file_is_taken_up_and_a_wrong_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("retention.yaml");
        let (metrics, tenant) = (Metrics::default(), "a".parse().unwrap());
        std::fs::write(&file, "default_days: 3\n").unwrap();
        let shared = SharedRetention::open(Some(&file)).unwrap();
        let days = || shared.look(&metrics).kept_days(Table::Usage, &tenant);
        assert_eq!(days(), Some(3));
        std::fs::write(&file, "default_days: 4\n").unwrap();
        assert_eq!(days(), Some(4));
        std::fs::write(&file, "default_days: never\n").unwrap();
        assert_eq!((days(), days()), (Some(4), Some(4)));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(days(), Some(4));
        assert_eq!(metrics.retention_failures.get(), 2);
        assert!(SharedRetention::open(Some(&file)).is_err(), "at a start it ends it");
    }
}
