//! Where callers come in: TCP, and a socket of this process's own.
//!
//! Beyond loopback TCP takes TLS and a token. This process's own rows (alerts,
//! records of queries) and its own reader of Tail should need neither, so then
//! there is a Unix socket in a folder that nobody else may enter.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bailiwick_lake::fresh_name;
use tokio::net::{TcpListener, UnixListener};
use tonic::transport::{Certificate, Endpoint, Identity, Server, ServerTlsConfig};

use super::Token;
use crate::IngestError;
use crate::config::Config;

/// Both ways in, bound.
pub(crate) struct Listeners {
    pub(crate) tcp: TcpListener,
    pub(crate) addr: SocketAddr,
    pub(crate) local: Option<UnixListener>,
    pub(crate) door: Arc<LocalDoor>,
    tls: Option<Tls>,
}

/// How this process reaches its own ingester. Dropped, the socket goes.
#[derive(Debug)]
pub(crate) struct LocalDoor {
    url: String,
    endpoint: Endpoint,
    socket: Option<PathBuf>,
    folder: Option<PathBuf>,
}

/// A certificate with its key, where they are from, and whose certificates
/// callers must have.
struct Tls {
    identity: Identity,
    cert_file: PathBuf,
    client_ca: Option<Certificate>,
}

// === impl Listeners ===

impl Listeners {
    /// Binds what is configured; refuses to be open to others without TLS and token.
    pub(crate) async fn bind(config: &Config, token: &Token) -> Result<Self, IngestError> {
        let tls = Tls::read(config)?;
        refuse_exposed(config, tls.is_some())?;
        let unusable = |source| IngestError::Listen { addr: config.listen, source };
        let tcp = TcpListener::bind(config.listen).await.map_err(unusable)?;
        let addr = tcp.local_addr().map_err(unusable)?;
        let (local, door) = match tls.is_some() || token.is_set() {
            true => LocalDoor::socket(config.local_socket.as_deref())?,
            false => (None, LocalDoor::tcp(addr)?),
        };
        Ok(Self { tcp, addr, local, door: Arc::new(door), tls })
    }

    /// Whether callers over TCP must present a certificate.
    pub(crate) fn asks_for_certificates(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some())
    }

    /// The server for TCP, with TLS where it is configured.
    pub(crate) fn server(&self) -> Result<Server, IngestError> {
        let Some(tls) = &self.tls else { return Ok(Server::builder()) };
        // Another room may have chosen the provider first, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = ServerTlsConfig::new().identity(tls.identity.clone());
        if let Some(client_ca) = &tls.client_ca {
            config = config.client_ca_root(client_ca.clone());
        }
        Server::builder().tls_config(config).map_err(|error| {
            let reason =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            IngestError::Tls { field: "tls_cert_file", path: tls.cert_file.clone(), reason }
        })
    }
}

fn refuse_exposed(config: &Config, tls: bool) -> Result<(), IngestError> {
    let known = config.token_file.is_some() || config.client_ca_file.is_some();
    let missing = match (tls, known) {
        _ if config.listen.ip().is_loopback() => return Ok(()),
        (true, true) => return Ok(()),
        (false, true) => "ingest.tls_cert_file and ingest.tls_key_file",
        (true, false) => "ingest.token_file or ingest.client_ca_file",
        (false, false) => {
            "ingest.tls_cert_file, ingest.tls_key_file and ingest.token_file or ingest.client_ca_file"
        }
    };
    Err(IngestError::Exposed { addr: config.listen, missing })
}

// === impl Tls ===

impl Tls {
    fn read(config: &Config) -> Result<Option<Self>, IngestError> {
        let lonely = |field, path: &Path, other: &str| {
            let reason = format!("{other} is not set, TLS takes both");
            Err(IngestError::Tls { field, path: path.to_owned(), reason })
        };
        if let (Some(client_ca), None) = (&config.client_ca_file, &config.tls_cert_file) {
            return lonely("client_ca_file", client_ca, "ingest.tls_cert_file");
        }
        let (cert_file, key_file) = match (&config.tls_cert_file, &config.tls_key_file) {
            (None, None) => return Ok(None),
            (Some(cert), None) => return lonely("tls_cert_file", cert, "ingest.tls_key_file"),
            (None, Some(key)) => return lonely("tls_key_file", key, "ingest.tls_cert_file"),
            (Some(cert), Some(key)) => (cert, key),
        };
        let cert = read("tls_cert_file", cert_file)?;
        let key = read("tls_key_file", key_file)?;
        let client_ca =
            config.client_ca_file.as_deref().map(|file| read("client_ca_file", file)).transpose()?;
        let client_ca = client_ca.map(Certificate::from_pem);
        Ok(Some(Self { identity: Identity::from_pem(cert, key), cert_file: cert_file.clone(), client_ca }))
    }
}

fn read(field: &'static str, path: &Path) -> Result<Vec<u8>, IngestError> {
    let failed =
        |error: std::io::Error| IngestError::Tls { field, path: path.to_owned(), reason: error.to_string() };
    std::fs::read(path).map_err(failed)
}

// === impl LocalDoor ===

impl LocalDoor {
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    #[cfg(test)]
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        self.folder.clone()
    }

    fn tcp(addr: SocketAddr) -> Result<Self, IngestError> {
        let url = format!("http://{addr}");
        let endpoint = Endpoint::from_shared(url.clone())?;
        Ok(Self { url, endpoint, socket: None, folder: None })
    }

    fn socket(configured: Option<&Path>) -> Result<(Option<UnixListener>, Self), IngestError> {
        let (socket, folder) = match configured {
            Some(socket) => (std::path::absolute(socket).unwrap_or_else(|_| socket.to_owned()), None),
            None => {
                let folder = std::env::temp_dir().join(format!("bailiwick-{}", fresh_name()));
                (folder.join("ingest.sock"), Some(folder))
            }
        };
        let failed = |source| IngestError::LocalSocket { path: socket.clone(), source };
        if let Some(folder) = &folder {
            // Nobody else may enter, so nobody else can connect.
            std::fs::DirBuilder::new().mode(0o700).create(folder).map_err(failed)?;
        }
        // A run that was killed leaves its socket behind.
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).map_err(failed)?;
        let url = format!("unix://{}", socket.display());
        let endpoint = Endpoint::from_shared(url.clone())?;
        Ok((Some(listener), Self { url, endpoint, socket: Some(socket), folder }))
    }
}

impl Drop for LocalDoor {
    fn drop(&mut self) {
        // Left behind they would only be litter in the temporary folder.
        if let Some(socket) = &self.socket {
            let _ = std::fs::remove_file(socket);
        }
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir(folder);
        }
    }
}
