//! A client that sends exactly the messages it is told to, and shows exactly what comes back.

use std::net::SocketAddr;

use bytes::{Buf, BytesMut};
use pgwire::messages::response::TransactionStatus;
use pgwire::messages::startup::{Authentication, Password, PasswordMessageFamily, SecretKey, Startup};
use pgwire::messages::{DecodeContext, PgWireBackendMessage, PgWireFrontendMessage, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One connection.
pub(crate) struct Raw {
    stream: TcpStream,
    buffer: BytesMut,
    /// What a cancel request needs.
    pub(crate) key: (i32, SecretKey),
}

// === impl Raw ===

impl Raw {
    /// Logs in; the error's code and message if it is refused.
    pub(crate) async fn log_in(
        addr: SocketAddr,
        parameters: &[(&str, &str)],
        token: &str,
    ) -> Result<Self, String> {
        let stream = TcpStream::connect(addr).await.unwrap();
        let mut raw = Self { stream, buffer: BytesMut::new(), key: (0, SecretKey::default()) };
        let mut startup = Startup::new();
        startup.parameters.insert("user".to_owned(), "anybody".to_owned());
        for (name, value) in parameters {
            startup.parameters.insert((*name).to_owned(), (*value).to_owned());
        }
        raw.send(&[PgWireFrontendMessage::Startup(startup)]).await;
        loop {
            match raw.next().await.expect("the server ends the connection without a word") {
                PgWireBackendMessage::Authentication(Authentication::CleartextPassword) => {
                    let password = PasswordMessageFamily::Password(Password::new(token.to_owned()));
                    raw.send(&[PgWireFrontendMessage::PasswordMessageFamily(password)]).await;
                }
                PgWireBackendMessage::ErrorResponse(error) => return Err(said(&error.fields)),
                PgWireBackendMessage::BackendKeyData(key) => raw.key = (key.pid, key.secret_key),
                PgWireBackendMessage::ReadyForQuery(_) => return Ok(raw),
                _ => {}
            }
        }
    }

    /// Sends messages.
    pub(crate) async fn send(&mut self, messages: &[PgWireFrontendMessage]) {
        let mut bytes = BytesMut::new();
        messages.iter().for_each(|message| message.encode(&mut bytes).unwrap());
        self.send_bytes(&bytes).await;
    }

    /// Sends anything.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next message, `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<PgWireBackendMessage> {
        let context = DecodeContext::new(ProtocolVersion::PROTOCOL3_0);
        loop {
            // The decoder asks for more than a header before it looks at one.
            if let Some(message) = PgWireBackendMessage::decode(&mut self.buffer, &context).unwrap() {
                return Some(message);
            }
            if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Asks on a connection of its own that what runs on this one ends.
    pub(super) async fn cancel(&self, addr: SocketAddr) {
        let (pid, secret_key) = self.key.clone();
        let request = pgwire::messages::cancel::CancelRequest::new(pid, secret_key);
        let mut bytes = BytesMut::new();
        PgWireFrontendMessage::CancelRequest(request).encode(&mut bytes).unwrap();
        TcpStream::connect(addr).await.unwrap().write_all(&bytes).await.unwrap();
    }

    /// Sends messages and answers with everything up to `ReadyForQuery`, one line a message.
    pub(crate) async fn ask(&mut self, messages: &[PgWireFrontendMessage]) -> Vec<String> {
        self.send(messages).await;
        let mut lines = Vec::new();
        while let Some(message) = self.next().await {
            let last = matches!(message, PgWireBackendMessage::ReadyForQuery(_));
            lines.push(line(message));
            if last {
                break;
            }
        }
        lines
    }
}

/// A message as one line.
fn line(message: PgWireBackendMessage) -> String {
    use PgWireBackendMessage as Message;
    match message {
        Message::ParseComplete(_) => "parsed".to_owned(),
        Message::BindComplete(_) => "bound".to_owned(),
        Message::CloseComplete(_) => "closed".to_owned(),
        Message::NoData(_) => "no data".to_owned(),
        Message::EmptyQueryResponse(_) => "empty".to_owned(),
        Message::PortalSuspended(_) => "suspended".to_owned(),
        Message::ParameterDescription(parameters) => format!("parameters {:?}", parameters.types),
        Message::RowDescription(row) => {
            let field = |field: &pgwire::messages::data::FieldDescription| {
                format!("{}:{}:{}", field.name, field.type_id, field.format_code)
            };
            format!("columns {}", row.fields.iter().map(field).collect::<Vec<_>>().join(" "))
        }
        Message::DataRow(mut row) => {
            let mut cells = Vec::new();
            for _ in 0..row.field_count {
                match usize::try_from(row.data.get_i32()) {
                    Ok(length) => cells.push(shown(&row.data.split_to(length))),
                    Err(_) => cells.push("null".to_owned()),
                }
            }
            format!("row {}", cells.join(" "))
        }
        Message::CopyOutResponse(copy) => format!("copy {} {:?}", copy.format, copy.column_formats),
        Message::CopyData(copy) => format!("data {}", copied(&copy.data)),
        Message::CopyDone(_) => "copied".to_owned(),
        Message::CommandComplete(done) => format!("done {}", done.tag),
        Message::ErrorResponse(error) => format!("error {}", said(&error.fields)),
        Message::NoticeResponse(notice) => format!("notice {}", said(&notice.fields)),
        Message::ParameterStatus(status) => format!("now {}={}", status.name, status.value),
        Message::ReadyForQuery(ready) => match ready.status {
            TransactionStatus::Idle => "ready".to_owned(),
            TransactionStatus::Transaction => "ready, in a transaction".to_owned(),
            TransactionStatus::Error => "ready, in a failed transaction".to_owned(),
        },
        other => format!("{other:?}"),
    }
}

fn said(fields: &[(u8, String)]) -> String {
    let field = |code| fields.iter().find(|(name, _)| *name == code).map_or("", |(_, value)| value.as_str());
    format!("{} {}", field(b'C'), field(b'M'))
}

/// Text as it is, anything else as hexadecimal.
fn shown(cell: &[u8]) -> String {
    match std::str::from_utf8(cell) {
        Ok(text) if !text.contains(|letter: char| letter.is_control()) => text.to_owned(),
        _ => format!("0x{}", hex::encode(cell)),
    }
}

/// A line of a copy as it is, anything else as hexadecimal.
fn copied(data: &[u8]) -> String {
    match std::str::from_utf8(data) {
        Ok(text) if text.ends_with('\n') => text.to_owned(),
        _ => shown(data),
    }
}
