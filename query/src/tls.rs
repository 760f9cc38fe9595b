//! One certificate for both listeners.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::{Config, QueryError};

/// Each listener's side of TLS; `None` where none is configured.
#[derive(Default)]
pub(crate) struct Acceptors {
    pub(crate) http: Option<TlsAcceptor>,
    pub(crate) pgwire: Option<TlsAcceptor>,
}

/// Reads certificate and key. A configured certificate that cannot be used is
/// an error: nothing falls back to clear text.
pub(crate) fn acceptors(config: &Config) -> Result<Acceptors, QueryError> {
    let (Some(cert), Some(key)) = (&config.tls_cert_file, &config.tls_key_file) else {
        return Ok(Acceptors::default());
    };
    let acceptor = |alpn: &[&[u8]]| -> Result<Option<TlsAcceptor>, QueryError> {
        let mut server = server(cert, key)?;
        server.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Some(TlsAcceptor::from(Arc::new(server))))
    };
    Ok(Acceptors { http: acceptor(&[b"h2", b"http/1.1"])?, pgwire: acceptor(&[b"postgresql"])? })
}

fn server(cert_file: &Path, key_file: &Path) -> Result<ServerConfig, QueryError> {
    let refused = |field: &str, file: &Path, reason: String| {
        QueryError::config(format!("query.{field} {}: {reason}", file.display()))
    };
    let certs = CertificateDer::pem_file_iter(cert_file).and_then(Iterator::collect);
    let certs: Vec<CertificateDer<'static>> =
        certs.map_err(|error| refused("tls_cert_file", cert_file, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|error| refused("tls_key_file", key_file, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused("tls_cert_file", cert_file, error.to_string()))?;
    builder
        .with_no_client_auth()
        .with_single_cert(certs, key)
        .map_err(|error| refused("tls_cert_file", cert_file, error.to_string()))
}
