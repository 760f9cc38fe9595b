//! The tokens as the running server knows them: the file, taken up again when it changes.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use subtle::ConstantTimeEq;

use super::{Token, hash, list, name_in};
use crate::identity::{Known as KnownPrincipal, Refused};
use crate::principal::{Credential, Rights};
use crate::{Principal, QueryError};

/// How often the file is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Who may log in now.
#[derive(Debug)]
pub(crate) struct TokenStore {
    file: Option<PathBuf>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    tokens: HashMap<String, Token>,
    stamp: Option<Stamp>,
    looked: Option<Instant>,
}

/// Differs when the file's content may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

// === impl TokenStore ===

impl TokenStore {
    /// Reads the file, which must be right at start. Without one nobody may log in.
    pub(crate) fn open(file: Option<PathBuf>) -> Result<Self, QueryError> {
        let mut known = Known::default();
        if let Some(file) = &file {
            known.stamp = Stamp::of(file);
            known.tokens = by_name(
                list(file).map_err(|error| QueryError::config(format!("query.tokens_file: {error}")))?,
            );
        }
        Ok(Self { file, known: Mutex::new(known) })
    }

    /// Who presents this token. The whole token's hash is compared, in a time
    /// that tells nothing about where it differs.
    pub(crate) fn authenticate(&self, token: &str, now: DateTime<Utc>) -> Result<KnownPrincipal, Refused> {
        let (name, presented) = (name_in(token).ok_or(Refused::Malformed)?, hash(token));
        self.with_current(|tokens| {
            let known = tokens.get(name).ok_or(Refused::Unknown)?;
            let same: bool = known.hash.ct_eq(&presented).into();
            if !same {
                return Err(Refused::Unknown);
            }
            if known.expired(now) {
                return Err(Refused::Expired);
            }
            let credential = Credential::Token { hash: known.hash };
            Ok(KnownPrincipal { name: known.name.clone(), rights: rights(known), credential })
        })
    }

    /// Whether what somebody logged in with would still let them in, as what they are.
    pub(crate) fn still_valid(&self, principal: &Principal, now: DateTime<Utc>) -> bool {
        let Some(Credential::Token { hash }) = principal.credential() else { return false };
        self.with_current(|tokens| {
            tokens.get(principal.name()).is_some_and(|known| {
                known.hash == *hash && !known.expired(now) && rights(known) == *principal.own()
            })
        })
    }

    fn with_current<T>(&self, work: impl FnOnce(&HashMap<String, Token>) -> T) -> T {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &self.file {
            known.refresh(file);
        }
        work(&known.tokens)
    }
}

// === impl Known ===

impl Known {
    /// Takes up a changed file. One that is gone lets nobody in; one that is
    /// broken changes nothing, since somebody is editing it.
    fn refresh(&mut self, file: &PathBuf) {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return;
        }
        self.looked = Some(Instant::now());
        let stamp = Stamp::of(file);
        if stamp == self.stamp {
            return;
        }
        self.stamp = stamp;
        if stamp.is_none() {
            tracing::error!(file = %file.display(), "token file is gone, nobody can log in");
            self.tokens.clear();
            return;
        }
        match list(file) {
            Ok(tokens) => {
                tracing::info!(file = %file.display(), tokens = tokens.len(), "token file changed and was taken up");
                self.tokens = by_name(tokens);
            }
            Err(error) => {
                tracing::error!(%error, "token file changed and cannot be used, the old tokens stay")
            }
        }
    }
}

fn rights(token: &Token) -> Rights {
    let rights = Rights::new(token.role, token.tenants.iter().cloned());
    match &token.namespaces {
        Some(namespaces) => rights.limited_to(namespaces.clone()),
        None => rights,
    }
}

fn by_name(tokens: Vec<Token>) -> HashMap<String, Token> {
    tokens.into_iter().map(|token| (token.name.clone(), token)).collect()
}

// === impl Stamp ===

impl Stamp {
    fn of(file: &PathBuf) -> Option<Self> {
        let meta = fs::metadata(file).ok()?;
        Some(Self { inode: meta.ino(), size: meta.len(), modified: (meta.mtime(), meta.mtime_nsec()) })
    }
}
