//! The extended protocol: statements prepared, bound to values, and read in portions.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use pgwire::api::Type;
use pgwire::api::portal::Format;
use pgwire::messages::PgWireBackendMessage as Message;
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, Parse, ParseComplete, PortalSuspended,
    TARGET_TYPE_BYTE_PORTAL, TARGET_TYPE_BYTE_STATEMENT,
};
use pgwire::messages::response::{EmptyQueryResponse, TransactionStatus};

use super::answer::{Interrupt, description, fields};
use super::arrays;
use super::command::{self, Asked, Command};
use super::connection::{Connection, Socket, send};
use super::failure::Failure;
use super::parameters::{self, Told, values};
use super::portals::{Kind, Portal, Prepared, Read, State, no_portal};
use super::simple::{complete, finish};
use crate::{Ask, Endpoint};

// === impl Connection ===

impl Connection {
    pub(super) async fn parse(&mut self, socket: &mut Socket, message: Parse) -> Result<(), Failure> {
        let name = message.name.unwrap_or_default();
        self.portals.check_statements(&name)?;
        let asked = self.check_length(&message.query).and_then(|()| command::parse(&message.query));
        let mut asked = self.noted(&message.query, asked)?;
        let prepared = match (asked.pop(), asked.is_empty()) {
            (None, _) => Prepared::plain(Kind::Empty),
            (Some(asked), true) => {
                self.check_transaction(asked.needs_sound_transaction())?;
                self.prepare(socket, asked, &message.type_oids).await?
            }
            (Some(_), false) => {
                let several = "cannot insert multiple commands into a prepared statement";
                return self.noted(&message.query, Err(Failure::new("42601", several)));
            }
        };
        self.portals.prepared(name, prepared);
        Ok(send(socket, Message::ParseComplete(ParseComplete::new())).await?)
    }

    async fn prepare(&self, socket: &Socket, asked: Asked, oids: &[u32]) -> Result<Prepared, Failure> {
        Ok(match asked {
            Asked::Command(command) => Prepared::plain(Kind::Command(command)),
            Asked::Copy(copy) => Prepared::plain(Kind::Copy(copy)),
            Asked::Query { sql, told, tag } => self.prepare_query(socket, sql, &told, tag, oids).await?,
            Asked::Declare(declared) => {
                let (sql, told) = (declared.sql.clone(), &declared.told);
                let query = self.prepare_query(socket, sql, told, "SELECT", oids).await?;
                let (parameters, expected) = (query.parameters.clone(), query.expected.clone());
                Prepared { kind: Kind::Declare(declared, Arc::new(query)), parameters, expected }
            }
        })
    }

    /// Asks the engine for a query's columns and parameters.
    pub(super) async fn prepare_query(
        &self,
        socket: &Socket,
        sql: String,
        told: &Told,
        tag: &'static str,
        oids: &[u32],
    ) -> Result<Prepared, Failure> {
        let given = |index: usize| {
            let given = oids.get(index).and_then(|oid| Type::from_oid(*oid));
            given.filter(|kind| *kind != Type::UNKNOWN)
        };
        let kind =
            |number: usize| given(number.saturating_sub(1)).or_else(|| told.types.get(&number).cloned());
        let fitted = parameters::fitted(sql, &kind);
        let (principal, interrupt) = self.starting()?;
        let described = fitted.described.as_ref().unwrap_or(&fitted.sql);
        let described = self.server.engine.describe(principal, Endpoint::Pgwire, Ask::new(described));
        let (columns, wanted) = interrupt.guard(socket, described).await??;
        if let Some(named) = wanted.iter().find(|parameter| !parameter.is_numbered()) {
            let message = format!("parameter {}: use $1 to $1000", named.name);
            return Err(Failure::new("0A000", message));
        }
        let mut expected: Vec<Option<DataType>> = wanted.into_iter().map(|wanted| wanted.kind).collect();
        expected.resize(expected.len().max(oids.len()).max(told.count), None);
        for number in &fitted.arrays {
            if let Some(expected) = expected.get_mut(number.saturating_sub(1)) {
                *expected = Some(parameters::array_of(expected.as_ref()));
            }
        }
        let parameter = |(index, expected): (usize, &Option<DataType>)| {
            Prepared::parameter(given(index), told.types.get(&(index + 1)), expected.as_ref())
        };
        let parameters = expected.iter().enumerate().map(parameter).collect::<Result<Vec<_>, _>>()?;
        let kind = Kind::Query { sql: fitted.sql, tag, columns };
        Ok(Prepared { kind, parameters, expected })
    }

    pub(super) async fn bind(&mut self, socket: &mut Socket, message: &Bind) -> Result<(), Failure> {
        let name = message.portal_name.clone().unwrap_or_default();
        self.portals.check_room(&name)?;
        let prepared = self.portals.statement(message.statement_name.as_deref().unwrap_or_default())?;
        let values = bound(message, &prepared)?;
        let format = format_of(&message.result_column_format_codes);
        // Wrong numbers of formats are refused here, before they are used.
        self.portals.columns(&prepared, &format)?;
        self.portals.put(name, Portal::new(prepared, format, values));
        Ok(send(socket, Message::BindComplete(BindComplete::new())).await?)
    }

    pub(super) async fn describe(&mut self, socket: &mut Socket, message: &Describe) -> Result<(), Failure> {
        let name = message.name.as_deref().unwrap_or_default();
        let columns = match message.target_type {
            TARGET_TYPE_BYTE_STATEMENT => {
                let prepared = self.portals.statement(name)?;
                let oids = prepared.parameters.iter().map(Type::oid).collect();
                send(socket, Message::ParameterDescription(ParameterDescription::new(oids))).await?;
                self.portals.columns(&prepared, &Format::UnifiedText)?
            }
            TARGET_TYPE_BYTE_PORTAL => {
                let portal = self.portals.portal(name)?;
                self.portals.columns(&portal.prepared, &portal.format)?
            }
            _ => return Err(Failure::new("08P01", "describe names neither a statement nor a portal")),
        };
        let answer = match columns {
            Some(columns) => Message::RowDescription(description(&columns)),
            None => Message::NoData(NoData::new()),
        };
        Ok(send(socket, answer).await?)
    }

    pub(super) async fn execute(&mut self, socket: &mut Socket, message: &Execute) -> Result<(), Failure> {
        let name = message.name.as_deref().unwrap_or_default();
        // Taken out while it runs: a portal that fails is gone.
        let mut portal = self.portals.take(name)?;
        let prepared = Arc::clone(&portal.prepared);
        match &prepared.kind {
            Kind::Empty => send(socket, Message::EmptyQueryResponse(EmptyQueryResponse::new())).await?,
            Kind::Command(command) => {
                self.check_transaction(!command.ends_failure())?;
                match command {
                    Command::Fetch(fetched) => self.fetch(socket, fetched, Some(&portal.format)).await?,
                    command => {
                        let done = self.obey(socket, command.clone()).await?;
                        finish(socket, done).await?;
                    }
                }
            }
            Kind::Copy(copy) => {
                self.check_transaction(true)?;
                self.copy_out(socket, copy).await?;
            }
            Kind::Declare(declared, query) => {
                self.check_transaction(true)?;
                let State::Bound(values) = &portal.state else { return Err(no_portal(name)) };
                self.declare(declared, Arc::clone(query), values.clone())?;
                complete(socket, "DECLARE CURSOR").await?;
            }
            Kind::Query { tag, .. } => {
                self.check_transaction(true)?;
                // Zero and less mean all rows.
                let limit = u64::try_from(message.max_rows).ok().filter(|most| *most > 0);
                self.read_on(socket, &mut portal, tag, limit).await?;
            }
        }
        if !matches!(prepared.kind, Kind::Command(Command::Discard(_))) {
            self.portals.put(name.to_owned(), portal);
        }
        Ok(())
    }

    /// Sends a portal's next rows, and how that ended.
    async fn read_on(
        &self,
        socket: &mut Socket,
        portal: &mut Portal,
        tag: &str,
        limit: Option<u64>,
    ) -> Result<(), Failure> {
        let interrupt = self.open(socket, portal).await?;
        match portal.read(socket, &interrupt, limit, true).await? {
            Read { ended: true, rows } => complete(socket, &format!("{tag} {rows}")).await,
            Read { ended: false, .. } => {
                Ok(send(socket, Message::PortalSuspended(PortalSuspended::new())).await?)
            }
        }
    }

    /// Has the engine begin with a portal's query, unless it has. The answer may
    /// interrupt what is read now.
    pub(super) async fn open(&self, socket: &Socket, portal: &mut Portal) -> Result<Interrupt, Failure> {
        let (State::Bound(values), Kind::Query { sql, columns, .. }) = (&portal.state, &portal.prepared.kind)
        else {
            return Ok(self.starting()?.1);
        };
        let described = fields(columns, &portal.format)?;
        let (answer, interrupt) = self.ask(socket, sql, values.clone(), &portal.format).await?;
        if !answer.has_types_of(&described) {
            // A parameter's value decided a type that could not be told before.
            return Err(Failure::new("0A000", "cached plan must not change result type")
                .hint("give the parameters' types, e.g. $1::text"));
        }
        portal.state = State::Open(Box::new(answer));
        Ok(interrupt)
    }

    pub(super) async fn close(&mut self, socket: &mut Socket, message: &Close) -> Result<(), Failure> {
        let name = message.name.as_deref().unwrap_or_default();
        match message.target_type {
            // There being none is no error here.
            TARGET_TYPE_BYTE_STATEMENT => drop(self.portals.deallocate(Some(name))),
            TARGET_TYPE_BYTE_PORTAL => _ = self.portals.close(Some(name)),
            _ => return Err(Failure::new("08P01", "close names neither a statement nor a portal")),
        }
        Ok(send(socket, Message::CloseComplete(CloseComplete::new())).await?)
    }

    /// Ends a series of messages. Outside of a transaction that ends its portals too.
    pub(super) async fn sync(&mut self, socket: &mut Socket) -> Result<(), Failure> {
        if matches!(self.transaction, TransactionStatus::Idle) {
            self.portals.end_transaction(true);
        }
        Ok(self.ready(socket).await?)
    }
}

/// A bind message's values, as the engine takes them.
fn bound(message: &Bind, prepared: &Prepared) -> Result<Vec<ScalarValue>, Failure> {
    let (given, needed) = (message.parameters.len(), prepared.parameters.len());
    let formats = message.parameter_format_codes.len();
    if given != needed || (formats > 1 && formats != needed) {
        let message =
            format!("bind gives {given} parameters in {formats} formats, the statement has {needed}");
        return Err(Failure::new("08P01", message));
    }
    let is_binary = |place: usize| match message.parameter_format_codes.as_slice() {
        [] => false,
        [code] => *code == 1,
        codes => codes.get(place) == Some(&1),
    };
    let value = |(place, kind): (usize, &Type)| {
        let expected = prepared.expected.get(place).and_then(Option::as_ref);
        let Some(bytes) = &message.parameters[place] else { return values::null(kind, expected) };
        let value = match parameters::item_of(kind) {
            Some(item) => arrays::read(&item, is_binary(place), bytes)?,
            None => values::read(kind, is_binary(place), bytes)?,
        };
        Ok(values::coerced(value, expected))
    };
    prepared.parameters.iter().enumerate().map(value).collect()
}

fn format_of(codes: &[i16]) -> Format {
    match codes {
        [] => Format::UnifiedText,
        [code] => Format::from(*code),
        codes => Format::Individual(codes.to_vec()),
    }
}
