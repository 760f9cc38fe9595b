//! The webhook's door: where it listens, with which token and certificate.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use subtle::ConstantTimeEq;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::CollectorError;
use crate::config::Webhook;

/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long requests under way may take after the stop.
const LAST_REQUESTS: Duration = Duration::from_secs(3);
/// How many clients may be in their handshake or wait to be served.
const MAX_WAITING: usize = 64;
/// A token is a line; a larger file is something else.
const MAX_TOKEN_BYTES: u64 = 4096;

/// How to come in.
pub(super) struct Door {
    pub(super) addr: SocketAddr,
    pub(super) token: Option<Token>,
    tls: Option<TlsAcceptor>,
}

/// What a client must present. Never shown.
#[derive(Clone)]
pub(super) struct Token(Arc<str>);

/// Answers requests until `stop`, then those that are under way.
pub(super) async fn run(listener: TcpListener, door: Door, router: Router, stop: CancellationToken) {
    let stopped = stop.clone().cancelled_owned();
    let served = async {
        match door.tls {
            None => axum::serve(listener, router).with_graceful_shutdown(stopped).await,
            Some(tls) => {
                let listener = TlsListener::start(listener, tls, stop.clone());
                axum::serve(listener, router).with_graceful_shutdown(stopped).await
            }
        }
    };
    let patience = async {
        stop.cancelled().await;
        tokio::time::sleep(LAST_REQUESTS).await;
    };
    tokio::select! {
        served = served => {
            if let Err(error) = served {
                tracing::error!(%error, "audit webhook ended");
            }
        }
        () = patience => tracing::warn!("audit webhook ended with requests under way, their sender will repeat them"),
    }
}

// === impl Door ===

impl Door {
    /// Checks the section. Outside of loopback a token and TLS are a must.
    pub(super) fn of(section: &Webhook) -> Result<Self, CollectorError> {
        let addr: SocketAddr = section.listen.parse().map_err(|_| {
            let message = format!("{:?} is not an address and port, e.g. 127.0.0.1:4181", section.listen);
            CollectorError::config("webhook.listen", message)
        })?;
        let token = section.token_file.as_deref().map(Token::read).transpose()?;
        let tls = match (&section.cert_file, &section.key_file) {
            (Some(cert), Some(key)) => Some(acceptor(cert, key)?),
            (None, None) => None,
            _ => {
                return Err(CollectorError::config(
                    "webhook.cert_file",
                    "needs key_file beside it, and the reverse",
                ));
            }
        };
        if (token.is_none() || tls.is_none()) && !addr.ip().is_loopback() {
            let message = format!(
                "{addr} is not loopback: set webhook.token_file, cert_file and key_file, or listen on 127.0.0.1"
            );
            return Err(CollectorError::config("webhook.listen", message));
        }
        Ok(Self { addr, token, tls })
    }

    pub(super) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor, CollectorError> {
    let pem = |field: &'static str, path: &Path, error: &dyn fmt::Display| {
        CollectorError::config(field, format!("{}: {error}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| pem("webhook.cert_file", cert, &error))?;
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| pem("webhook.key_file", key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key_der))
        .map_err(|error| pem("webhook.cert_file", cert, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

// === impl Token ===

impl Token {
    fn read(path: &Path) -> Result<Self, CollectorError> {
        let failed = |source| CollectorError::File {
            field: "webhook.token_file",
            path: path.to_owned(),
            message: "cannot be read",
            source,
        };
        if fs::metadata(path).map_err(failed)?.len() > MAX_TOKEN_BYTES {
            return Err(CollectorError::config("webhook.token_file", "is too large for a token"));
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        match text.trim() {
            "" => Err(CollectorError::config("webhook.token_file", format!("{} is empty", path.display()))),
            token => Ok(Self(token.into())),
        }
    }

    /// Whether an `authorization` header presents it: as the API server does, or
    /// as the password of the user `falco`, which is all that Falco's HTTP client
    /// can be told. Compares in a time that tells nothing but the length.
    pub(super) fn is_sent_as(&self, header: &str) -> bool {
        let is = |expected: &str, sent: &str| -> bool { expected.as_bytes().ct_eq(sent.as_bytes()).into() };
        match header.split_once(' ') {
            Some(("Bearer", sent)) => is(&self.0, sent),
            Some(("Basic", sent)) => is(&base64(format!("falco:{}", self.0).as_bytes()), sent),
            _ => false,
        }
    }
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = usize::try_from(bits >> (18 - 6 * place) & 63).unwrap_or(0);
            let digit = DIGITS.get(digit).copied().unwrap_or(b'=');
            text.push(if place > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// Connections whose handshake is done. One slow client keeps nobody waiting.
struct TlsListener {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    addr: SocketAddr,
}

// === impl TlsListener ===

impl TlsListener {
    fn start(listener: TcpListener, tls: TlsAcceptor, stop: CancellationToken) -> Self {
        let addr = listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
        let (send, ready) = mpsc::channel(MAX_WAITING);
        tokio::spawn(stop.run_until_cancelled_owned(shake_hands(listener, tls, send)));
        Self { ready, addr }
    }
}

async fn shake_hands(
    mut listener: TcpListener,
    tls: TlsAcceptor,
    send: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    loop {
        let Ok(place) = send.clone().reserve_owned().await else { return };
        let (stream, peer) = Listener::accept(&mut listener).await;
        let tls = tls.clone();
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                Ok(Ok(stream)) => drop(place.send((stream, peer))),
                Ok(Err(error)) => tracing::debug!(%peer, %error, "tls handshake failed"),
                Err(_) => tracing::debug!(%peer, "tls handshake took too long"),
            }
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The accepting task ends only with the collector.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }
}
