//! Connections: accepted up to a limit, TLS where configured, ended on stop.

use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{Peer, Shown};
use crate::metrics::Metrics;
use crate::tls::Tls;

/// How long a client may take for its handshake, and for each request's headers.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long running answers may take to break off on stop.
const FAREWELL: Duration = Duration::from_secs(1);
/// Pause after the system had no connection to give, e.g. too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Answers until stopped; then every connection is gone.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Tls,
    app: Router,
    max_connections: usize,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(max_connections));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, (tcp, peer)) = tokio::select! {
            (place, accepted) = accepted => match accepted {
                Ok(accepted) => (place, accepted),
                Err(error) => {
                    tracing::warn!(%error, "no connection could be accepted");
                    metrics.connection("http", "not_accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
        };
        let (app, tls, stop) = (app.clone().layer(Extension(Peer(peer))), tls.now().http, stop.clone());
        let metrics = metrics.clone();
        connections.spawn(async move {
            let outcome = connection(tcp, tls, app, stop).await;
            metrics.connection("http", outcome);
            drop(place);
        });
    }
    drop(listener);
    let ended = timeout(FAREWELL, async { while connections.join_next().await.is_some() {} });
    if ended.await.is_err() {
        connections.shutdown().await;
    }
}

/// Answers one connection's requests and says how it ended.
async fn connection(
    tcp: TcpStream,
    tls: Option<TlsAcceptor>,
    app: Router,
    stop: CancellationToken,
) -> &'static str {
    // Small answers should not wait for a second packet.
    let _ = tcp.set_nodelay(true);
    match tls {
        None => requests(tcp, app, stop).await,
        Some(tls) => match timeout(PATIENCE, tls.accept(tcp)).await {
            Ok(Ok(stream)) => {
                let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                let app = match shown {
                    Some(certificate) => app.layer(Extension(Shown(Arc::from(certificate.as_ref())))),
                    None => app,
                };
                requests(stream, app, stop).await
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "tls handshake failed");
                "tls_failed"
            }
            Err(_) => "tls_too_slow",
        },
    }
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    app: Router,
    stop: CancellationToken,
) -> &'static str {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(64);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    match ended {
        Ok(()) => "ended",
        Err(error) => {
            tracing::debug!(%error, "connection ended early");
            "broken_off"
        }
    }
}
