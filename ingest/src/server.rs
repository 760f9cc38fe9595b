//! The gRPC server: Ship takes batches, Tail tells what became durable.

mod auth;
mod listen;
mod ship;
mod tail;

use std::sync::Arc;

use bailiwick_proto::v1::{ship_server::ShipServer, tail_server::TailServer};
use bailiwick_proto::wire::MAX_BATCH_BYTES;
use futures::future::{self, Either};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Router;

pub(crate) use auth::{Guard, Token};
pub(crate) use listen::{Listeners, LocalDoor};
pub(crate) use ship::{Shared, ShipService};
pub(crate) use tail::TailService;

use crate::IngestError;

/// Room for the message around a batch of the largest size.
const AROUND_BATCH_BYTES: usize = 64 << 10;

/// Both services, to be offered at every way in.
pub(crate) struct Services {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tail: TailService,
}

// === impl Services ===

impl Services {
    /// Serves until `stop`, then until the streams that were open have ended.
    pub(crate) async fn serve(
        self,
        listeners: Listeners,
        token: Token,
        stop: CancellationToken,
    ) -> Result<(), IngestError> {
        let guard = Guard { token, names: listeners.asks_for_certificates() };
        let tcp = self.router(listeners.server()?, guard);
        let incoming = TcpListenerStream::new(listeners.tcp);
        let tcp = tcp.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
        let local = match listeners.local {
            // Who can open the socket is this process's own user.
            Some(listener) => {
                let router = self.router(Server::builder(), Guard::default());
                let incoming = UnixListenerStream::new(listener);
                Either::Left(router.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()))
            }
            None => Either::Right(future::ready(Ok(()))),
        };
        drop(self);
        future::try_join(tcp, local).await?;
        Ok(())
    }

    fn router(&self, mut server: Server, guard: Guard) -> Router {
        let ship = ShipService { shared: Arc::clone(&self.shared), guard: guard.clone() };
        let tail = TailService { guard, ..self.tail.clone() };
        let ship = ShipServer::new(ship).max_decoding_message_size(MAX_BATCH_BYTES + AROUND_BATCH_BYTES);
        let tail = TailServer::new(tail).max_encoding_message_size(usize::MAX);
        server.add_service(ship).add_service(tail)
    }
}
