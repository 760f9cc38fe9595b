//! One shared secret, presented as `authorization: Bearer`.

use std::path::Path;
use std::sync::Arc;

use tonic::{Request, Status};

use crate::IngestError;

/// What callers must present; without one, anybody may call.
#[derive(Clone, Default)]
pub(crate) struct Token {
    expected: Option<Arc<str>>,
}

// === impl Token ===

impl Token {
    pub(crate) fn read(file: Option<&Path>) -> Result<Self, IngestError> {
        let Some(path) = file else { return Ok(Self::default()) };
        let refused = |reason: String| IngestError::Token { path: path.to_owned(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
        match text.trim() {
            "" => Err(refused("it is empty, put a random text of 16 characters or more in it".into())),
            short if short.len() < 16 => Err(refused("it has fewer than 16 characters".into())),
            token => Ok(Self { expected: Some(format!("Bearer {token}").into()) }),
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.expected.is_some()
    }

    pub(crate) fn check<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let Some(expected) = &self.expected else { return Ok(()) };
        let given = request.metadata().get("authorization").map(|value| value.as_bytes());
        if same(given.unwrap_or_default(), expected.as_bytes()) {
            return Ok(());
        }
        Err(Status::unauthenticated("present ingest's token as `authorization: Bearer <token>`"))
    }
}

/// Compares in a time that tells nothing about where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}
