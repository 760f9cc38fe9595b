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
mod arrays;
mod cancel;
mod command;
mod connection;
mod copy;
mod cursor;
mod dialect;
mod extended;
mod failure;
mod fetching;
mod parameters;
mod portals;
mod records;
mod settings;
mod simple;
mod startup;
mod transaction;
mod words;

pub(crate) use arrays::items as array_items;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::places::{Place, Places};
use crate::tls::Tls;
use cancel::Cancels;
use connection::Connection;

/// How long connections may take to say goodbye once the server stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// Pause after the system had no connection to give, e.g. too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// What every connection shares.
struct Server {
    engine: Arc<Engine>,
    tls: Tls,
    cancels: Arc<Cancels>,
    stop: CancellationToken,
}

/// Answers connections until stopped.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Tls,
    engine: Arc<Engine>,
    places: Arc<Places>,
    stop: CancellationToken,
) {
    let server = Arc::new(Server { engine, tls, cancels: Arc::default(), stop: stop.clone() });
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => {
                server.note(ended);
                continue;
            }
            accepted = server.accept(&listener) => accepted,
        };
        let Some((socket, peer)) = accepted else { continue };
        // Not in the choice above: who waits here must not be forgotten because another one ends.
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = server.place(&places, peer) => place,
        };
        let Some(place) = place else { continue };
        let connection = Connection::new(Arc::clone(&server));
        connections.spawn(async move {
            tokio::select! {
                ended = connection.run(socket, &place) => ended,
                () = place.taken_away() => Ok("made_room"),
            }
        });
    }
    drop(listener);
    let ended = timeout(FAREWELL, async {
        while let Some(ended) = connections.join_next().await {
            server.note(ended);
        }
    });
    if ended.await.is_err() {
        connections.shutdown().await;
    }
}

// === impl Server ===

impl Server {
    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
        match listener.accept().await {
            Ok(accepted) => Some(accepted),
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                self.engine.metrics().connection("pgwire", "not_accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                None
            }
        }
    }

    /// A place for who has been accepted; connections behind it stay in the kernel's queue.
    async fn place(&self, places: &Arc<Places>, peer: SocketAddr) -> Option<Place> {
        let place = places.take(peer.ip()).await;
        if place.is_none() {
            tracing::debug!(%peer, "connection refused, its address has its share");
            self.engine.metrics().connection("pgwire", "address_full");
        }
        place
    }

    /// Counts how a connection ended.
    fn note(&self, ended: Result<std::io::Result<&'static str>, JoinError>) {
        let outcome = match ended {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a connection broke off");
                "broken"
            }
            // A malformed message that its decoder did not expect ends its own connection only.
            Err(error) => {
                tracing::warn!(%error, "a connection was ended");
                "panicked"
            }
        };
        self.engine.metrics().connection("pgwire", outcome);
    }
}

/// Reads the statements of a text, for fuzzing.
#[cfg(fuzzing)]
pub(crate) fn read(text: &str) {
    let _ = command::parse(text);
}

/// Reads a parameter, for fuzzing.
#[cfg(fuzzing)]
pub(crate) fn read_parameter(kind: usize, format: u8, bytes: &[u8]) {
    let (_, item) = &parameters::ARRAYS[kind % parameters::ARRAYS.len()];
    let _ = match format / 2 % 2 {
        0 => parameters::values::read(item, format % 2 == 1, bytes),
        _ => arrays::read(item, format % 2 == 1, bytes),
    };
}

#[cfg(test)]
pub(crate) mod tests;
