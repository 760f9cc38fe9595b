//! Connections: accepted up to a limit, TLS where configured, ended on stop.
//!
//! ```text
//!   accept ─▶ a place ─▶ TLS ─▶ first request ─▶ … ─▶ nothing under way
//!   not_accepted  address_full    no_request    broken_off  idle, ended
//!                 made_room  tls_failed         unread
//! ```

mod patient;
mod requests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router, middleware};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{Peer, Seat, Shown};
use crate::metrics::Metrics;
use crate::places::{Place, Places};
use crate::tls::Tls;
use patient::Patient;
use requests::{Requests, Silence, noted};

/// How long running answers may take to break off on stop.
const FAREWELL: Duration = Duration::from_secs(1);
/// Pause after the system had no connection to give, e.g. too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
/// How long a connection that was told to go may take without a request.
const GOODBYE: Duration = Duration::from_secs(2);
/// Requests of one HTTP/2 connection at once.
const MAX_STREAMS: u32 = 64;

/// How long clients may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For the TLS handshake, and from then to the first request's last header. It
    /// covers what the detection of the protocol's version and HTTP/2 do not limit.
    first: Duration,
    /// For the headers of a further request of HTTP/1.
    headers: Duration,
    /// Without any request under way.
    idle: Duration,
    /// For reading anything at all of what was written.
    unread: Duration,
    /// HTTP/2: how often it is asked whether the other end is there, and for the answer.
    ping: (Duration, Duration),
}

/// What every connection shares.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) tls: Tls,
    pub(crate) app: Router,
    pub(crate) places: Arc<Places>,
    pub(crate) patience: Patience,
    pub(crate) metrics: Metrics,
    pub(crate) stop: CancellationToken,
}

/// Answers until stopped; then every connection is gone.
pub(crate) async fn serve(listener: TcpListener, server: Server) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let (place, tcp, peer) = tokio::select! {
            accepted = server.accept(&listener) => match accepted {
                Some(accepted) => accepted,
                None => continue,
            },
            () = server.stop.cancelled() => break,
        };
        let server = server.clone();
        connections.spawn(async move {
            let place = Arc::new(place);
            let outcome = tokio::select! {
                outcome = server.connection(tcp, peer, &place) => outcome,
                () = place.taken_away() => "made_room",
            };
            server.metrics.connection("http", outcome);
        });
    }
    drop(listener);
    let ended = timeout(FAREWELL, async { while connections.join_next().await.is_some() {} });
    if ended.await.is_err() {
        connections.shutdown().await;
    }
}

// === impl Patience ===

impl Default for Patience {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5),
            headers: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            unread: Duration::from_secs(60),
            ping: (Duration::from_secs(20), Duration::from_secs(10)),
        }
    }
}

// === impl Server ===

impl Server {
    /// The next connection that has a place.
    async fn accept(&self, listener: &TcpListener) -> Option<(Place, TcpStream, SocketAddr)> {
        let (tcp, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                self.metrics.connection("http", "not_accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                return None;
            }
        };
        let Some(place) = self.places.take(peer.ip()).await else {
            tracing::debug!(%peer, "connection refused, its address has its share");
            self.metrics.connection("http", "address_full");
            return None;
        };
        Some((place, tcp, peer))
    }

    /// Answers one connection's requests and says how it ended.
    async fn connection(&self, tcp: TcpStream, peer: SocketAddr, place: &Arc<Place>) -> &'static str {
        // Small answers should not wait for a second packet.
        let _ = tcp.set_nodelay(true);
        let tcp = Patient::new(tcp, self.patience.unread);
        let app = self.app.clone().layer(Extension(Peer(peer))).layer(Extension(Seat(Arc::clone(place))));
        match self.tls.now().http {
            None => self.requests(tcp, app).await,
            Some(tls) => self.encrypted(tls, tcp, app).await,
        }
    }

    async fn encrypted(&self, tls: TlsAcceptor, tcp: Patient<TcpStream>, app: Router) -> &'static str {
        match timeout(self.patience.first, tls.accept(tcp)).await {
            Ok(Ok(stream)) => {
                let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                let app = match shown {
                    Some(certificate) => app.layer(Extension(Shown(Arc::from(certificate.as_ref())))),
                    None => app,
                };
                self.requests(stream, app).await
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "tls handshake failed");
                "tls_failed"
            }
            Err(_) => "tls_too_slow",
        }
    }

    async fn requests(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        app: Router,
    ) -> &'static str {
        let requests = Requests::default();
        let app = app.layer(middleware::from_fn_with_state(requests.clone(), noted));
        let Patience { first, headers, idle, ping, .. } = self.patience;
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(headers);
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS);
        builder.http2().keep_alive_interval(ping.0).keep_alive_timeout(ping.1);
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
        tokio::pin!(connection);
        let idle = tokio::select! {
            ended = connection.as_mut() => return outcome(ended),
            () = requests.silent(Silence { first, idle }) => true,
            () = self.stop.cancelled() => false,
        };
        if idle && !requests.any() {
            return "no_request";
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            ended = connection => if idle { "idle" } else { outcome(ended) },
            // A request that crossed the goodbye is answered still.
            () = requests.silent(Silence { first: GOODBYE, idle: GOODBYE }) => "idle",
        }
    }
}

fn outcome(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) -> &'static str {
    match ended {
        Ok(()) => "ended",
        Err(error) => {
            tracing::debug!(%error, "connection ended early");
            if is_unread(&*error) { "unread" } else { "broken_off" }
        }
    }
}

/// Whether it is [`Patient`] that gave up.
fn is_unread(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
        || error.source().is_some_and(is_unread)
}

#[cfg(test)]
mod tests;
