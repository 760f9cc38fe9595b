//! The simple protocol: a text of statements, answered one after the other in text format.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use pgwire::api::Type;
use pgwire::api::portal::Format;
use pgwire::api::results::{FieldFormat, FieldInfo};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::data::DataRow;
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse, TransactionStatus};
use pgwire::messages::startup::ParameterStatus;

use super::answer::{self, Answer, Interrupt};
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
        self.portals.close(Some(""));
        let asked = self.check_length(text).and_then(|()| command::parse(text));
        let asked = self.noted(text, asked)?;
        if asked.is_empty() {
            send(socket, PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await?;
        }
        for asked in asked {
            self.check_transaction(asked.needs_sound_transaction())?;
            match asked {
                Asked::Command(Command::Fetch(fetched)) => self.fetch(socket, &fetched, None).await?,
                Asked::Command(command) => {
                    let done = self.obey(socket, command).await?;
                    if let Some(shown) = &done.table {
                        let description = answer::description(&shown.fields);
                        send(socket, PgWireBackendMessage::RowDescription(description)).await?;
                    }
                    finish(socket, done).await?;
                }
                Asked::Query { sql, tag, .. } => self.select(socket, &sql, tag).await?,
                Asked::Copy(copy) => self.copy_out(socket, &copy).await?,
                Asked::Declare(declared) => {
                    let (sql, told) = (declared.sql.clone(), &declared.told);
                    let query = self.prepare_query(socket, sql, told, "SELECT", &[]).await?;
                    self.declare(&declared, Arc::new(query), Vec::new())?;
                    finish(socket, Done { table: None, tag: "DECLARE CURSOR".to_owned() }).await?;
                }
            }
        }
        Ok(())
    }

    async fn select(&mut self, socket: &mut Socket, sql: &str, tag: &str) -> Result<(), Failure> {
        let (mut answer, interrupt) = self.ask(socket, sql, Vec::new(), &Format::UnifiedText).await?;
        send(socket, PgWireBackendMessage::RowDescription(answer.description())).await?;
        let mut rows: u64 = 0;
        while let Some(row) = answer.next(socket, &interrupt).await? {
            send(socket, PgWireBackendMessage::DataRow(row)).await?;
            rows += 1;
        }
        answer.warn_if_truncated(socket).await?;
        complete(socket, &format!("{tag} {rows}")).await
    }

    /// Has the engine run a statement, until its rows begin to come.
    pub(super) async fn ask(
        &self,
        socket: &Socket,
        sql: &str,
        values: Vec<ScalarValue>,
        format: &Format,
    ) -> Result<(Answer, Interrupt), Failure> {
        let (principal, interrupt) = self.starting()?;
        let limit = interrupt.limit();
        let running = self.server.engine.run_within(principal, Endpoint::Pgwire, sql, values, limit);
        let running = interrupt.watch(socket, running).await??;
        Ok((Answer::new(running, format)?, interrupt))
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
    pub(super) fn check_transaction(&self, needs_sound: bool) -> Result<(), Failure> {
        match self.transaction {
            TransactionStatus::Error if needs_sound => {
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
                self.begin(socket).await?;
                done(tag)
            }
            Command::Commit => done(self.end(socket, true).await?),
            Command::Rollback => done(self.end(socket, false).await?),
            Command::Savepoint(name) => {
                self.savepoint(name)?;
                done("SAVEPOINT")
            }
            Command::Release(name) => {
                self.release(&name)?;
                done("RELEASE")
            }
            Command::RollbackTo(name) => {
                self.roll_back_to(&name)?;
                done("ROLLBACK")
            }
            Command::Close(name) => done(self.close_cursor(name.as_deref())?),
            Command::Fetch(_) => return Err(Failure::new("XX000", "FETCH is answered elsewhere")),
            set @ (Command::Set(..) | Command::SetLocal(..) | Command::Reset(_)) => {
                done(self.change_settings(socket, set).await?)
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

    /// Does what a command says about settings; the answer is its tag.
    async fn change_settings(
        &mut self,
        socket: &mut Socket,
        command: Command,
    ) -> Result<&'static str, Failure> {
        let before = self.reported();
        let (tag, note) = match command {
            Command::Set(name, Some(value)) => ("SET", self.settings.set(&name, &value)?),
            Command::SetLocal(name, Some(value)) => ("SET", self.settings.set_local(&name, &value)?),
            Command::Set(name, None) | Command::SetLocal(name, None) => {
                self.settings.reset(&name)?;
                ("SET", None)
            }
            Command::Reset(Some(name)) => {
                self.settings.reset(&name)?;
                ("RESET", None)
            }
            _ => {
                self.settings.reset_all();
                ("RESET", None)
            }
        };
        if let Some(note) = note {
            send(socket, notice("NOTICE", "01000", note)).await?;
        }
        self.report_changes(socket, &before).await?;
        Ok(tag)
    }

    /// The settings that clients are told of, as they are now.
    pub(super) fn reported(&self) -> Vec<String> {
        REPORTED.iter().map(|name| self.settings.show(name).unwrap_or_default().to_owned()).collect()
    }

    /// Tells the client of those that have changed.
    pub(super) async fn report_changes(&self, socket: &mut Socket, before: &[String]) -> Result<(), Failure> {
        for ((name, before), now) in REPORTED.iter().zip(before).zip(self.reported()) {
            if *before != now {
                let status = ParameterStatus::new((*name).to_owned(), now);
                send(socket, PgWireBackendMessage::ParameterStatus(status)).await?;
            }
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

/// Sends a query's completion.
pub(super) async fn complete(socket: &mut Socket, tag: &str) -> Result<(), Failure> {
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
