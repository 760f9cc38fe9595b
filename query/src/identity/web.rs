//! Asking other servers who somebody is: with a limit on time and size, and never in clear text over a network.

use std::path::Path;
use std::time::Duration;

use reqwest::{Certificate, Client, RequestBuilder, StatusCode, Url, redirect};
use serde::de::DeserializeOwned;

use crate::QueryError;

/// Longer answers are not read.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Another server did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum WebError {
    /// It cannot be reached, or not in time.
    #[error("it cannot be asked: {0}")]
    Unreachable(#[source] reqwest::Error),
    /// It answers with another status.
    #[error("it answers {0}")]
    Status(StatusCode),
    /// Its answer is too long.
    #[error("its answer has more than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
    /// Its answer is something else.
    #[error("its answer is not what it should be: {0}")]
    Shape(String),
}

/// A client that follows no redirection: what was configured is asked, and nobody else.
/// A server on this machine is asked directly.
pub(super) fn client(
    field: &str,
    url: &Url,
    ca_file: Option<&Path>,
    timeout_ms: u64,
) -> Result<Client, QueryError> {
    // Whoever uses this room as a library may have installed none.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let timeout = Duration::from_millis(timeout_ms);
    let mut builder = Client::builder().timeout(timeout).connect_timeout(timeout);
    builder = builder.redirect(redirect::Policy::none()).user_agent("bailiwick");
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    if let Some(file) = ca_file {
        let refused =
            |reason: String| QueryError::config(format!("{field}.ca_file {}: {reason}", file.display()));
        let pem = std::fs::read(file).map_err(|error| refused(error.to_string()))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| refused(error.to_string()))?;
        if certificates.is_empty() {
            return Err(refused("it has no certificate".to_owned()));
        }
        builder = builder.tls_certs_only(certificates);
    }
    builder.build().map_err(|error| QueryError::config(format!("{field}: no client for it: {error}")))
}

/// Reads a URL that secrets or keys may come over.
pub(super) fn secure(field: &str, url: &str) -> Result<Url, QueryError> {
    let refused = |reason: &str| QueryError::config(format!("{field} {url:?}: {reason}"));
    let parsed = Url::parse(url).map_err(|error| refused(&error.to_string()))?;
    match is_secure(&parsed) {
        true => Ok(parsed),
        false => Err(refused("use https, or http to this machine alone, without user and password")),
    }
}

/// Whether what comes from there cannot be changed on its way.
pub(super) fn is_secure(url: &Url) -> bool {
    let bare = url.username().is_empty() && url.password().is_none();
    bare && (url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url)))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|addr| addr.is_loopback())
}

/// Sends a request and reads its answer.
pub(super) async fn ask<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, WebError> {
    // The error's text would have the address twice.
    let unreachable = |error: reqwest::Error| WebError::Unreachable(error.without_url());
    let mut response = request.send().await.map_err(unreachable)?;
    if !response.status().is_success() {
        return Err(WebError::Status(response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(WebError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|error| WebError::Shape(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clear_text_stays_on_this_machine() {
        for good in ["https://id.example", "http://127.0.0.1:1", "http://localhost/x", "http://[::1]:8/"] {
            assert!(secure("f", good).is_ok(), "{good}");
        }
        for bad in [
            "http://id.example",
            "http://127.0.0.1.example/",
            "http://localhost.example",
            "ftp://127.0.0.1",
            "https://u:p@id.example",
            "file:///etc/passwd",
            "id.example",
            "",
        ] {
            assert!(secure("f", bad).unwrap_err().to_string().starts_with("f "), "{bad}");
        }
    }
}
