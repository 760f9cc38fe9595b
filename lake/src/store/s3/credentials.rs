//! Keys in files, read again when they may have been changed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;

use crate::store::S3Config;

/// How old what was read may get.
const READ_EVERY: Duration = Duration::from_secs(10);
/// A key is some dozens of bytes, a token a few thousand.
const MAX_BYTES: u64 = 64 << 10;

/// The files of one access key.
pub(super) struct KeyFiles {
    id: PathBuf,
    secret: PathBuf,
    token: Option<PathBuf>,
    last: Mutex<Option<(Instant, Arc<AwsCredential>)>>,
}

/// The field that a reason belongs to, and the reason.
type Fault = (&'static str, String);

// === impl KeyFiles ===

impl KeyFiles {
    /// The files that are configured, `None` if none are; they must be readable now.
    pub(super) fn of(s3: &S3Config) -> Result<Option<Self>, Fault> {
        let (id, secret) = match (&s3.access_key_id_file, &s3.secret_access_key_file) {
            (Some(id), Some(secret)) => (id.clone(), secret.clone()),
            (None, None) if s3.session_token_file.is_none() => return Ok(None),
            (None, _) => return Err(("access_key_id_file", "not set, and the other key files are".into())),
            (_, None) => {
                return Err(("secret_access_key_file", "not set, and the other key files are".into()));
            }
        };
        let files = Self { id, secret, token: s3.session_token_file.clone(), last: Mutex::default() };
        files.read().map(|_| Some(files))
    }

    fn read(&self) -> Result<Arc<AwsCredential>, Fault> {
        let text = |field, file: &Path| read(file).map_err(|reason| (field, reason));
        let token = self.token.as_deref().map(|file| text("session_token_file", file)).transpose()?;
        Ok(Arc::new(AwsCredential {
            key_id: text("access_key_id_file", &self.id)?,
            secret_key: text("secret_access_key_file", &self.secret)?,
            token,
        }))
    }
}

/// Where they are, never what they say.
impl fmt::Debug for KeyFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyFiles({}, {})", self.id.display(), self.secret.display())
    }
}

#[async_trait]
impl CredentialProvider for KeyFiles {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read_at, credential)) = &*last
            && read_at.elapsed() < READ_EVERY
        {
            return Ok(Arc::clone(credential));
        }
        let failed = |(field, reason): Fault| object_store::Error::Generic {
            store: "S3",
            source: format!("s3.{field}: {reason}").into(),
        };
        let credential = self.read().map_err(failed)?;
        *last = Some((Instant::now(), Arc::clone(&credential)));
        Ok(credential)
    }
}

fn read(file: &Path) -> Result<String, String> {
    let named = |reason: String| format!("{}: {reason}", file.display());
    let metadata = std::fs::metadata(file).map_err(|error| named(error.to_string()))?;
    if metadata.len() > MAX_BYTES {
        return Err(named(format!("has over {MAX_BYTES} bytes, so it is no key")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| named(error.to_string()))?;
    let key = text.trim();
    if key.is_empty() { Err(named("is empty".to_owned())) } else { Ok(key.to_owned()) }
}
