//! One certificate for both listeners, and whose certificates clients may show.
//!
//! The files are looked at every two seconds. What changed is taken up for new
//! connections; a file that cannot be used leaves what was before, and is told.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::{Config, QueryError};

const LOOK_EVERY: Duration = Duration::from_secs(2);
/// No certificate, key or list of authorities is longer.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Each listener's side of TLS; `None` where none is configured.
#[derive(Clone, Default)]
pub(crate) struct Acceptors {
    pub(crate) http: Option<TlsAcceptor>,
    pub(crate) pgwire: Option<TlsAcceptor>,
}

/// The acceptors as they are now; clones share them.
#[derive(Clone)]
pub(crate) struct Tls {
    files: Option<Files>,
    current: Arc<RwLock<Acceptors>>,
    /// Of the files that were taken up last.
    taken: Hash,
}

type Hash = [u8; 32];

/// Where certificate, key and authorities are.
#[derive(Clone)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

/// What is in them.
struct Material {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

// === impl Tls ===

impl Tls {
    /// Reads the files. A configured certificate that cannot be used is an error:
    /// nothing falls back to clear text.
    pub(crate) fn open(config: &Config) -> Result<Self, QueryError> {
        let (Some(cert), Some(key)) = (&config.tls_cert_file, &config.tls_key_file) else {
            return Ok(Self { files: None, current: Arc::default(), taken: Hash::default() });
        };
        let files = Files { cert: cert.clone(), key: key.clone(), client_ca: config.client_ca_file.clone() };
        let material = files.read()?;
        let current = Arc::new(RwLock::new(files.acceptors(&material)?));
        Ok(Self { files: Some(files), current, taken: material.hash() })
    }

    /// For a connection that comes now.
    pub(crate) fn now(&self) -> Acceptors {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the files until `stop`.
    pub(crate) async fn follow(self, metrics: Metrics, stop: CancellationToken) {
        let Self { files: Some(files), current, taken } = self else { return };
        let mut seen = Ok(taken);
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let material = files.read();
            let looked = material.as_ref().map(Material::hash).map_err(ToString::to_string);
            if looked == seen {
                continue;
            }
            seen = looked;
            match material.and_then(|material| files.acceptors(&material)) {
                Ok(acceptors) => {
                    *current.write().unwrap_or_else(PoisonError::into_inner) = acceptors;
                    metrics.tls_reload("taken_up");
                    tracing::info!(file = %files.cert.display(), "certificates changed and were taken up");
                }
                Err(error) => {
                    metrics.tls_reload("refused");
                    tracing::error!(%error, "certificates changed and cannot be used, the old ones stay");
                }
            }
        }
    }
}

// === impl Files ===

impl Files {
    fn read(&self) -> Result<Material, QueryError> {
        Ok(Material {
            cert: read("tls_cert_file", &self.cert)?,
            key: read("tls_key_file", &self.key)?,
            client_ca: self.client_ca.as_ref().map(|file| read("client_ca_file", file)).transpose()?,
        })
    }

    fn acceptors(&self, material: &Material) -> Result<Acceptors, QueryError> {
        let acceptor = |alpn: &[&[u8]]| -> Result<Option<TlsAcceptor>, QueryError> {
            let mut server = self.server(material)?;
            server.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            Ok(Some(TlsAcceptor::from(Arc::new(server))))
        };
        Ok(Acceptors { http: acceptor(&[b"h2", b"http/1.1"])?, pgwire: acceptor(&[b"postgresql"])? })
    }

    fn server(&self, material: &Material) -> Result<ServerConfig, QueryError> {
        let wrong_cert = |error: &dyn std::fmt::Display| refused("tls_cert_file", &self.cert, error);
        let certs = certificates(&material.cert).map_err(|error| wrong_cert(&error))?;
        let key = PrivateKeyDer::from_pem_slice(&material.key)
            .map_err(|error| refused("tls_key_file", &self.key, &error))?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong_cert(&error))?;
        let builder = match (&self.client_ca, &material.client_ca) {
            (Some(file), Some(pem)) => builder.with_client_cert_verifier(verifier(file, pem)?),
            _ => builder.with_no_client_auth(),
        };
        builder.with_single_cert(certs, key).map_err(|error| wrong_cert(&error))
    }
}

/// Checks what clients show; who shows nothing must log in otherwise.
fn verifier(file: &Path, pem: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, QueryError> {
    let wrong = |error: &dyn std::fmt::Display| refused("client_ca_file", file, error);
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).map_err(|error| wrong(&error))? {
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() {
        return Err(wrong(&"it has no certificate"));
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    verifier.allow_unauthenticated().build().map_err(|error| wrong(&error))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn read(field: &str, file: &Path) -> Result<Vec<u8>, QueryError> {
    let size = std::fs::metadata(file).map_err(|error| refused(field, file, &error))?.len();
    if size > MAX_FILE_BYTES {
        return Err(refused(field, file, &format!("it has {size} bytes, too many")));
    }
    std::fs::read(file).map_err(|error| refused(field, file, &error))
}

fn refused(field: &str, file: &Path, reason: &dyn std::fmt::Display) -> QueryError {
    QueryError::config(format!("query.{field} {}: {reason}", file.display()))
}

// === impl Material ===

impl Material {
    fn hash(&self) -> Hash {
        let mut hasher = Sha256::new();
        for part in [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten() {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize().into()
    }
}
