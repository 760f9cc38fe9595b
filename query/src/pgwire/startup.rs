//! The first messages of a connection: a token, and what the client wants set.

use std::io;

use pgwire::api::{ClientInfo, PgWireConnectionState};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, Startup,
};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage, ProtocolVersion};

use super::connection::{Connection, LoggedIn, Socket, next_message, send, shown};
use super::failure::Failure;
use super::settings::REPORTED;
use crate::Principal;
use crate::pg_catalog::DATABASE;

/// Startup and password messages are short; nobody is known yet.
const MESSAGE_LIMIT_BYTES: usize = 16 << 10;

// === impl Connection ===

impl Connection {
    /// Logs in. `false` if there is nothing to go on with.
    pub(super) async fn start(&mut self, socket: &mut Socket) -> Result<bool, Failure> {
        let startup = match next_message(socket, MESSAGE_LIMIT_BYTES).await? {
            Some(PgWireFrontendMessage::Startup(startup)) => startup,
            Some(PgWireFrontendMessage::CancelRequest(request)) => {
                self.server.cancels.cancel(&request);
                return Ok(false);
            }
            _ => return Ok(false),
        };
        let version = agree(socket, &startup).await?;
        // A token must not cross a network in clear text.
        if !socket.is_secure() && !socket.socket_addr().ip().is_loopback() {
            return Err(Failure::fatal("28000", "connections from other machines must be encrypted")
                .hint("connect with sslmode=require or stricter"));
        }
        let Some(principal) = self.log_in(socket).await? else { return Ok(false) };
        check_database(&startup)?;
        self.take_up(&startup)?;
        let cancellable = self.server.cancels.join(version);
        let key = cancellable.key();
        let name = principal.name().to_owned();
        self.session = Some(LoggedIn { principal, cancellable });
        send(socket, PgWireBackendMessage::Authentication(Authentication::Ok)).await?;
        self.report(socket, &name).await?;
        send(socket, PgWireBackendMessage::BackendKeyData(BackendKeyData::new(key.0, key.1))).await?;
        self.ready(socket).await?;
        Ok(true)
    }

    /// Who it is: by a certificate that lets somebody in, else by what comes as
    /// the password. `None` if the client leaves instead.
    async fn log_in(&self, socket: &mut Socket) -> Result<Option<Principal>, Failure> {
        let engine = &self.server.engine;
        if let Some(certificate) = shown(socket)
            && let Some(principal) = engine.authenticate_certificate(&certificate).await
        {
            return Ok(Some(principal));
        }
        let Some(token) = password(socket).await? else { return Ok(None) };
        let refused = || {
            Failure::fatal("28P01", "password authentication failed")
                .hint("the password is a Bailiwick token, see: bailiwick token create")
        };
        engine.authenticate(&token).await.ok_or_else(refused).map(Some)
    }

    /// Settings from the startup message. What is not known is left alone:
    /// drivers send names of their own.
    fn take_up(&mut self, startup: &Startup) -> Result<(), Failure> {
        for (name, value) in &startup.parameters {
            match name.as_str() {
                "user" | "database" => {}
                "replication" => return Err(Failure::fatal("0A000", "replication is not supported")),
                "options" => self.take_up_options(value),
                name => {
                    let _ = self.settings.set(name, value);
                }
            }
        }
        self.settings.started();
        Ok(())
    }

    /// `-c name=value` and `--name=value`, as libpq's `options` has them.
    fn take_up_options(&mut self, options: &str) {
        let mut words = options.split_ascii_whitespace();
        while let Some(word) = words.next() {
            let assignment = match word {
                "-c" => words.next(),
                word => word.strip_prefix("-c").or_else(|| word.strip_prefix("--")),
            };
            if let Some((name, value)) = assignment.and_then(|assignment| assignment.split_once('=')) {
                let _ = self.settings.set(name, value);
            }
        }
    }

    async fn report(&self, socket: &mut Socket, user: &str) -> io::Result<()> {
        let status = |name: &str, value: &str| {
            PgWireBackendMessage::ParameterStatus(ParameterStatus::new(name.to_owned(), value.to_owned()))
        };
        for name in REPORTED {
            send(socket, status(name, self.settings.show(name).unwrap_or_default())).await?;
        }
        send(socket, status("session_authorization", user)).await?;
        send(socket, status("in_hot_standby", "off")).await
    }
}

/// The protocol's version that both sides know.
async fn agree(socket: &mut Socket, startup: &Startup) -> Result<ProtocolVersion, Failure> {
    let (major, minor) = (startup.protocol_number_major, startup.protocol_number_minor);
    let newest = ProtocolVersion::default();
    let version = match ProtocolVersion::from_version_number(major, minor) {
        Some(version) => version,
        None if major == newest.version_number().0 => {
            let offer = NegotiateProtocolVersion::new(newest.into(), Vec::new());
            send(socket, PgWireBackendMessage::NegotiateProtocolVersion(offer)).await?;
            newest
        }
        None => {
            return Err(Failure::fatal(
                "08P01",
                format!("protocol version {major}.{minor} is not supported"),
            ));
        }
    };
    socket.set_protocol_version(version);
    Ok(version)
}

/// Asks for the password; `None` if the client leaves instead.
async fn password(socket: &mut Socket) -> Result<Option<String>, Failure> {
    use futures::SinkExt;
    socket.set_state(PgWireConnectionState::AuthenticationInProgress);
    socket.send(PgWireBackendMessage::Authentication(Authentication::CleartextPassword)).await?;
    match next_message(socket, MESSAGE_LIMIT_BYTES).await? {
        Some(PgWireFrontendMessage::PasswordMessageFamily(message)) => {
            Ok(Some(message.into_password()?.password))
        }
        _ => Ok(None),
    }
}

/// There is one database. A client that names none means the one called like its user.
fn check_database(startup: &Startup) -> Result<(), Failure> {
    match startup.parameters.get("database") {
        Some(name) if name != DATABASE => {
            let name: String = name.chars().take(100).collect();
            Err(Failure::fatal("3D000", format!("database {name:?} does not exist"))
                .hint(format!("connect to database {DATABASE}")))
        }
        _ => Ok(()),
    }
}
