//! Who may call: a shared secret, presented as `authorization: Bearer`, and
//! certificates that are in their sender's name.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use tonic::{Request, Status};

use crate::IngestError;

/// What callers must present; without one, anybody may call.
#[derive(Clone, Default)]
pub(crate) struct Token {
    expected: Option<Arc<str>>,
}

/// What is asked of every caller at one way in.
#[derive(Clone, Default)]
pub(crate) struct Guard {
    pub(crate) token: Token,
    /// Whether a sender's certificate must be in its collector's name. That it
    /// is from the right authority was asked when the connection was made.
    pub(crate) names: bool,
}

// === impl Guard ===

impl Guard {
    pub(crate) fn check<T>(&self, request: &Request<T>) -> Result<(), Status> {
        self.token.check(request)
    }

    /// Whether a sender is who it says it is: one of its certificate's DNS
    /// names is its collector id.
    pub(crate) fn check_name(
        &self,
        certificates: Option<&Vec<CertificateDer<'static>>>,
        collector_id: &str,
    ) -> Result<(), Status> {
        if !self.names {
            return Ok(());
        }
        let certificate = certificates.and_then(|certificates| certificates.first());
        let certificate = certificate.and_then(|der| webpki::EndEntityCert::try_from(der).ok());
        let name = ServerName::try_from(collector_id).ok();
        let named = certificate
            .zip(name)
            .is_some_and(|(certificate, name)| certificate.verify_is_valid_for_subject_name(&name).is_ok());
        if named {
            return Ok(());
        }
        Err(Status::permission_denied(
            "the client certificate is in another name: give this collector one whose DNS names include its collector id",
        ))
    }
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
