//! The simple protocol: a text of statements, answered one after the other in text format.

use pgwire::api::Type;
use pgwire::api::portal::Format;
use pgwire::api::results::{FieldFormat, FieldInfo};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::data::DataRow;
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse, TransactionStatus};
use pgwire::messages::startup::ParameterStatus;

use super::answer::{self, Answer};
use super::command::{self, Asked, Command};
use super::connection::{Connection, Socket, send};
use super::failure::{Failure, notice};
use super::settings::REPORTED;
use crate::{Code, Endpoint, QueryError};

/// What a command answers.
pub(super) struct Done {
    pub(super) table: Option<Shown>,
    pub(super) tag: String,
}

/// A few rows of text.
pub(super) struct Shown {
    pub(super) fields: Vec<FieldInfo>,
    pub(super) rows: Vec<Vec<String>>,
}

// === impl Connection ===

impl Connection {
    /// Answers a text. It is parsed as a whole first; the first statement that
    /// fails ends it, and what came before has been answered by then.
    pub(super) async fn query(&mut self, socket: &mut Socket, text: &str) -> Result<(), Failure> {
        // A new query ends what the unnamed portal had.
        self.portals.close_unnamed();
        let asked = self.check_length(text).and_then(|()| command::parse(text));
        let asked = self.noted(text, asked)?;
        if asked.is_empty() {
            send(socket, PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await?;
        }
        for asked in asked {
            self.check_transaction(&asked)?;
            match asked {
                Asked::Command(command) => {
                    let done = self.obey(socket, command).await?;
                    if let Some(shown) = &done.table {
                        let description = answer::description(&shown.fields);
                        send(socket, PgWireBackendMessage::RowDescription(description)).await?;
                    }
                    finish(socket, done).await?;
                }
                Asked::Query { sql, tag } => self.select(socket, &sql, tag).await?,
            }
        }
        Ok(())
    }

    async fn select(&mut self, socket: &mut Socket, sql: &str, tag: &str) -> Result<(), Failure> {
        let (principal, interrupt) = self.starting()?;
        let running = self.server.engine.run(principal, Endpoint::Pgwire, sql);
        let running = interrupt.guard(socket, running).await??;
        let mut answer = Answer::new(running, &Format::UnifiedText, interrupt)?;
        send(socket, PgWireBackendMessage::RowDescription(answer.description())).await?;
        let mut rows: u64 = 0;
        while let Some(row) = answer.next(socket).await? {
            send(socket, PgWireBackendMessage::DataRow(row)).await?;
            rows += 1;
        }
        complete(socket, &answer, &format!("{tag} {rows}")).await
    }

    /// Records a text that is refused before the engine sees it.
    pub(super) fn noted<T>(&self, text: &str, outcome: Result<T, Failure>) -> Result<T, Failure> {
        if let (Err(Failure::Told(info)), Some(session)) = (&outcome, &self.session) {
            let code = match info.code.as_str() {
                "42601" => Code::Syntax,
                "54000" => Code::TooLarge,
                "0A000" => Code::NotSupported,
                _ => Code::NotAllowed,
            };
            let error = QueryError::new(code, info.message.clone());
            self.server.engine.refuse(&session.principal, Endpoint::Pgwire, text, error);
        }
        outcome
    }

    /// Longer texts are refused before they are parsed.
    pub(super) fn check_length(&self, text: &str) -> Result<(), Failure> {
        let limit = self.server.engine.config().max_sql_bytes;
        match text.len() > limit {
            true => Err(Failure::new("54000", format!("a statement may have {limit} bytes"))),
            false => Ok(()),
        }
    }

    /// In a transaction that failed, only its end is accepted.
    pub(super) fn check_transaction(&self, asked: &Asked) -> Result<(), Failure> {
        let ends = matches!(asked, Asked::Command(Command::Commit | Command::Rollback));
        match self.transaction {
            TransactionStatus::Error if !ends => {
                let message =
                    "current transaction is aborted, commands ignored until end of transaction block";
                Err(Failure::new("25P02", message))
            }
            _ => Ok(()),
        }
    }

    /// Does what a command says.
    pub(super) async fn obey(&mut self, socket: &mut Socket, command: Command) -> Result<Done, Failure> {
        let done = |tag: &str| Done { table: None, tag: tag.to_owned() };
        Ok(match command {
            Command::Begin(tag) => {
                self.transaction = self.transaction.to_in_transaction_state();
                done(tag)
            }
            Command::Commit => {
                let failed = matches!(self.transaction, TransactionStatus::Error);
                self.transaction = TransactionStatus::Idle;
                done(if failed { "ROLLBACK" } else { "COMMIT" })
            }
            Command::Rollback => {
                self.transaction = TransactionStatus::Idle;
                done("ROLLBACK")
            }
            Command::Set(name, value) => {
                self.set(socket, &name, value.as_deref()).await?;
                done("SET")
            }
            Command::Reset(Some(name)) => {
                self.settings.reset(&name)?;
                done("RESET")
            }
            Command::Reset(None) => {
                self.settings.reset_all();
                done("RESET")
            }
            Command::Show(name) => self.show(name.as_deref())?,
            Command::Discard(tag) => {
                self.portals.clear();
                if tag == "DISCARD ALL" {
                    self.settings.reset_all();
                }
                done(tag)
            }
            Command::Deallocate(name) => {
                self.portals.deallocate(name.as_deref())?;
                done(if name.is_some() { "DEALLOCATE" } else { "DEALLOCATE ALL" })
            }
            Command::Nothing(tag) => done(tag),
        })
    }

    async fn set(&mut self, socket: &mut Socket, name: &str, value: Option<&str>) -> Result<(), Failure> {
        match value {
            Some(value) => {
                if let Some(note) = self.settings.set(name, value)? {
                    send(socket, notice("NOTICE", "01000", note)).await?;
                }
            }
            None => self.settings.reset(name)?,
        }
        if let Some(reported) = REPORTED.iter().find(|reported| reported.eq_ignore_ascii_case(name)) {
            let now = self.settings.show(reported)?.to_owned();
            let status = ParameterStatus::new((*reported).to_owned(), now);
            send(socket, PgWireBackendMessage::ParameterStatus(status)).await?;
        }
        Ok(())
    }

    fn show(&self, name: Option<&str>) -> Result<Done, Failure> {
        let table = match name {
            Some(name) => Shown::new(&[name], vec![vec![self.settings.show(name)?.to_owned()]]),
            None => {
                let row =
                    |(name, value): (&str, &str)| vec![name.to_owned(), value.to_owned(), String::new()];
                Shown::new(&["name", "setting", "description"], self.settings.all().map(row).collect())
            }
        };
        Ok(Done { table: Some(table), tag: "SHOW".to_owned() })
    }
}

// === impl Shown ===

impl Shown {
    fn new(names: &[&str], rows: Vec<Vec<String>>) -> Self {
        let field =
            |name: &&str| FieldInfo::new(name.to_lowercase(), None, None, Type::TEXT, FieldFormat::Text);
        Self { fields: names.iter().map(field).collect(), rows }
    }
}

/// Sends a command's rows and its completion. Text is the same in both formats.
pub(super) async fn finish(socket: &mut Socket, done: Done) -> Result<(), Failure> {
    for row in done.table.iter().flat_map(|shown| &shown.rows) {
        send(socket, PgWireBackendMessage::DataRow(text_row(row))).await?;
    }
    Ok(send(socket, PgWireBackendMessage::CommandComplete(CommandComplete::new(done.tag))).await?)
}

/// Sends a query's completion, after a warning if its rows were cut off.
pub(super) async fn complete(socket: &mut Socket, answer: &Answer, tag: &str) -> Result<(), Failure> {
    if answer.truncated() {
        let message = "the answer was cut off at the server's limit of rows or bytes";
        send(socket, notice("WARNING", "01004", message)).await?;
    }
    Ok(send(socket, PgWireBackendMessage::CommandComplete(CommandComplete::new(tag.to_owned()))).await?)
}

fn text_row(cells: &[String]) -> DataRow {
    use bytes::BufMut;
    let mut bytes = bytes::BytesMut::new();
    for cell in cells {
        bytes.put_i32(i32::try_from(cell.len()).unwrap_or(0));
        bytes.put_slice(cell.as_bytes());
    }
    DataRow::new(bytes, i16::try_from(cells.len()).unwrap_or(0))
}
