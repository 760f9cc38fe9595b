//! SQL in PostgreSQL's protocol, version 3: psql, Grafana, drivers.
//!
//! ```text
//!   socket ─▶ TLS? ─▶ startup ─▶ connection: one message after another
//!                     token       ├ simple    Query                        ┐ command: BEGIN, SET, SHOW, … answered here
//!                                 ├ extended  Parse Bind Describe Execute  ┤ dialect: catalog queries rewritten
//!                                 └ cancel    from another connection      ┘ everything else ─▶ Engine ─▶ answer: rows
//! ```
//!
//! The `pgwire` crate brings TLS negotiation, messages and encodings; what a
//! message does is decided here. Its own handlers are not used: they collect a
//! portal's rows in memory, cannot cancel an answer that has begun, and take a
//! client's row limits and format codes at their word.

mod answer;
mod cancel;
mod command;
mod connection;
mod dialect;
mod extended;
mod failure;
mod settings;
mod simple;
mod startup;

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::Engine;
use cancel::Cancels;
use connection::Connection;

/// What every connection shares.
struct Server {
    engine: Arc<Engine>,
    tls: Option<TlsAcceptor>,
    cancels: Arc<Cancels>,
    stop: CancellationToken,
}

/// Answers connections until stopped.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    engine: Arc<Engine>,
    max_connections: usize,
    stop: CancellationToken,
) {
    let cancels = Arc::new(Cancels::default());
    let server = Arc::new(Server { engine, tls, cancels, stop: stop.clone() });
    let places = Arc::new(Semaphore::new(max_connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => {
                log_end(ended);
                continue;
            }
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((socket, place)) = accepted else { continue };
        let connection = Connection::new(Arc::clone(&server));
        connections.spawn(async move {
            let _place = place;
            connection.run(socket).await
        });
    }
    while let Some(ended) = connections.join_next().await {
        log_end(ended);
    }
}

/// Waits for a free place first, so that connections too many stay in the kernel's queue.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((socket, _)) => Some((socket, place)),
        Err(error) => {
            // Usually no file descriptors are left; trying again at once would only burn the processor.
            tracing::warn!(%error, "a connection cannot be accepted");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            None
        }
    }
}

fn log_end(ended: Result<std::io::Result<()>, tokio::task::JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a PostgreSQL connection broke off"),
        // A malformed message that the decoder did not expect ends its own connection only.
        Err(error) => tracing::warn!(%error, "a PostgreSQL connection was ended"),
    }
}

#[cfg(test)]
mod tests;
