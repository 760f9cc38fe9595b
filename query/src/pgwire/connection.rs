//! One connection: its messages in order, and what it remembers between them.

use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use pgwire::api::{ClientInfo, PgWireConnectionState};
use pgwire::error::PgWireError;
use pgwire::messages::response::{ReadyForQuery, TransactionStatus};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use pgwire::tokio::server::{MaybeTls, PgWireMessageServerCodec, negotiate_tls};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::codec::Framed;
use tokio_util::sync::CancellationToken;

use super::Server;
use super::answer::Interrupt;
use super::cancel::Cancellable;
use super::failure::{Failure, stopping};
use super::portals::Portals;
use super::settings::Settings;
use crate::Principal;
use crate::places::Place;

/// Bytes in and out, as messages.
pub(super) type Socket = Framed<MaybeTls, PgWireMessageServerCodec<()>>;

/// From the first byte to an encrypted connection, or to a client that wants none.
const TLS_PATIENCE: Duration = Duration::from_secs(5);

/// From there to a valid token. A person types it before: clients ask for it, then connect anew.
const LOGIN_PATIENCE: Duration = Duration::from_secs(10);

/// How long a client may leave what it asked for unread.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);

/// Beyond the longest statement: parameters and the message around them.
const MESSAGE_ROOM: usize = 4 << 20;

/// What one connection remembers.
pub(super) struct Connection {
    pub(super) server: Arc<Server>,
    pub(super) settings: Settings,
    pub(super) transaction: TransactionStatus,
    /// Savepoints of the transaction by name, the newest last.
    pub(super) savepoints: Vec<String>,
    pub(super) portals: Portals,
    /// Set once it is known who asks.
    pub(super) session: Option<LoggedIn>,
}

/// A connection that has logged in.
pub(super) struct LoggedIn {
    pub(super) principal: Principal,
    pub(super) cancellable: Cancellable,
}

/// Whether to go on.
enum Next {
    Message,
    End,
}

// === impl Connection ===

impl Connection {
    pub(super) fn new(server: Arc<Server>) -> Self {
        Self {
            server,
            settings: Settings::default(),
            transaction: TransactionStatus::Idle,
            savepoints: Vec::new(),
            portals: Portals::default(),
            session: None,
        }
    }

    /// Answers messages until the client leaves or the server stops, and says how it ended.
    pub(super) async fn run(mut self, socket: TcpStream, place: &Place) -> io::Result<&'static str> {
        let Ok(socket) = timeout(TLS_PATIENCE, negotiate_tls(socket, self.server.tls.now().pgwire)).await
        else {
            return Ok("no_login");
        };
        let Some(mut socket) = socket? else { return Ok("closed") };
        // Bytes that came before the encryption began are not its client's.
        if socket.is_secure() && !socket.read_buffer().is_empty() {
            return Ok("closed");
        }
        match timeout(LOGIN_PATIENCE, self.start(&mut socket)).await {
            Ok(Ok(true)) => place.logged_in(),
            Ok(Ok(false)) => return Ok("closed"),
            Ok(Err(failure)) => return tell(&mut socket, failure).await.map(|_| "closed"),
            Err(_) => return Ok("no_login"),
        }
        let stop = self.server.stop.clone();
        while let Some(message) = self.wait(&mut socket, &stop).await? {
            match self.take(&mut socket, message).await? {
                Next::Message => {}
                Next::End => break,
            }
        }
        let _ = timeout(Duration::from_secs(1), socket.close()).await;
        Ok("closed")
    }

    /// The next message; `None` when there will be none.
    async fn wait(
        &mut self,
        socket: &mut Socket,
        stop: &CancellationToken,
    ) -> io::Result<Option<PgWireFrontendMessage>> {
        let limit = self.server.engine.config().max_sql_bytes + MESSAGE_ROOM;
        let idle = self.idle_limit();
        let message = tokio::select! {
            () = stop.cancelled() => Err(stopping()),
            () = tokio::time::sleep(idle), if self.portals.any_open() => {
                Err(Failure::fatal("57P05", "terminating connection: rows were left unread for too long"))
            }
            message = next_message(socket, limit) => message,
        };
        match message {
            Ok(message) => Ok(message),
            Err(failure) => tell(socket, failure).await.map(|_| None),
        }
    }

    /// A portal that nobody reads holds a query's place.
    fn idle_limit(&self) -> Duration {
        Duration::from_millis(self.server.engine.config().query_timeout_ms)
    }

    async fn take(&mut self, socket: &mut Socket, message: PgWireFrontendMessage) -> io::Result<Next> {
        use PgWireFrontendMessage as Message;
        // After an error in the extended protocol everything up to Sync is void.
        let skipping = matches!(socket.state(), PgWireConnectionState::AwaitingSync);
        let done = match message {
            Message::Terminate(_) => return Ok(Next::End),
            Message::Sync(_) => self.sync(socket).await,
            _ if skipping => return Ok(Next::Message),
            Message::Query(query) => {
                let done = self.query(socket, &query.query).await;
                return self.after_query(socket, done).await;
            }
            Message::Parse(parse) => self.parse(socket, parse).await,
            Message::Bind(bind) => self.bind(socket, &bind).await,
            Message::Describe(describe) => self.describe(socket, &describe).await,
            Message::Execute(execute) => self.execute(socket, &execute).await,
            Message::Close(close) => self.close(socket, &close).await,
            Message::Flush(_) => socket.flush().await.map_err(Failure::from),
            // Data of a COPY that was refused may still be on its way.
            Message::CopyData(_) | Message::CopyDone(_) | Message::CopyFail(_) => return Ok(Next::Message),
            _ => Err(Failure::fatal("08P01", "this message is not expected here")),
        };
        match done {
            Ok(()) => Ok(Next::Message),
            Err(failure) => {
                socket.set_state(PgWireConnectionState::AwaitingSync);
                self.fail(socket, failure).await
            }
        }
    }

    async fn after_query(&mut self, socket: &mut Socket, done: Result<(), Failure>) -> io::Result<Next> {
        if let Err(failure) = done
            && let Next::End = self.fail(socket, failure).await?
        {
            return Ok(Next::End);
        }
        // A query of its own ends its own transaction.
        if matches!(self.transaction, TransactionStatus::Idle) {
            self.portals.end_transaction(true);
        }
        self.ready(socket).await?;
        Ok(Next::Message)
    }

    async fn fail(&mut self, socket: &mut Socket, failure: Failure) -> io::Result<Next> {
        self.transaction = self.transaction.to_error_state();
        tell(socket, failure).await
    }

    /// Says that the next query may come.
    pub(super) async fn ready(&mut self, socket: &mut Socket) -> io::Result<()> {
        socket.set_state(PgWireConnectionState::ReadyForQuery);
        let ready = PgWireBackendMessage::ReadyForQuery(ReadyForQuery::new(self.transaction));
        send(socket, ready).await?;
        patient(socket.flush()).await
    }

    /// Who asks, and what may interrupt a query that starts now.
    pub(super) fn starting(&self) -> Result<(&Principal, Interrupt), Failure> {
        let session = self.session.as_ref().ok_or_else(|| Failure::fatal("28000", "not logged in"))?;
        let (cancelled, stop) = (session.cancellable.start(), self.server.stop.clone());
        let interrupt = Interrupt::new(cancelled, stop, self.settings.statement_timeout());
        Ok((&session.principal, interrupt))
    }
}

/// The certificate that the other end has shown, DER; its chain was checked.
pub(super) fn shown(socket: &Socket) -> Option<Vec<u8>> {
    match socket.get_ref() {
        MaybeTls::Tls(tls) => tls.get_ref().1.peer_certificates()?.first().map(|der| der.to_vec()),
        _ => None,
    }
}

/// Puts a message into the socket's buffer, which is sent when it is full.
pub(super) async fn send(socket: &mut Socket, message: PgWireBackendMessage) -> io::Result<()> {
    patient(socket.feed(message)).await
}

async fn patient(sending: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let too_slow = |_| io::Error::new(io::ErrorKind::TimedOut, "the client does not read what it asked for");
    timeout(WRITE_PATIENCE, sending).await.map_err(too_slow)?
}

/// Tells a failure. A `FATAL` one, or one that cannot be told, ends the connection.
async fn tell(socket: &mut Socket, failure: Failure) -> io::Result<Next> {
    let info = match failure {
        Failure::Told(info) => info,
        Failure::Gone(error) => return Err(error),
    };
    let fatal = info.is_fatal();
    send(socket, PgWireBackendMessage::ErrorResponse((*info).into())).await?;
    patient(socket.flush()).await?;
    Ok(if fatal { Next::End } else { Next::Message })
}

/// The next message of at most `limit` bytes; `None` at the end of the stream.
pub(super) async fn next_message(
    socket: &mut Socket,
    limit: usize,
) -> Result<Option<PgWireFrontendMessage>, Failure> {
    std::future::poll_fn(|context| {
        let polled = socket.poll_next_unpin(context);
        // Looked at while the message is incomplete: its length is announced first.
        if polled.is_pending() && announced(socket.read_buffer()) > limit {
            let error = PgWireError::MessageTooLarge(limit, announced(socket.read_buffer()));
            return Poll::Ready(Err(Failure::from(error)));
        }
        polled.map(|message| message.transpose().map_err(Failure::from))
    })
    .await
}

/// The length that an incomplete message claims to have.
fn announced(buffer: &[u8]) -> usize {
    let claimed = buffer.get(1..5).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
    usize::try_from(claimed).unwrap_or(usize::MAX).max(buffer.len())
}

/// Waits until the client has closed its end.
pub(super) async fn hung_up(socket: &Socket) -> io::Error {
    let tcp = match socket.get_ref() {
        MaybeTls::Plain(tcp) => tcp,
        MaybeTls::Tls(tls) => tls.get_ref().0,
        _ => return std::future::pending().await,
    };
    match tcp.peek(&mut [0]).await {
        Ok(0) => io::ErrorKind::UnexpectedEof.into(),
        Err(error) => error,
        // It has sent its next message already, and so is there.
        Ok(_) => std::future::pending().await,
    }
}
