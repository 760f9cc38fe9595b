//! The extended protocol: statements prepared, bound to values, and read in portions.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_pg::datatypes::df::deserialize_parameters;
use arrow_pg::datatypes::into_pg_type;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{ParamValues, ScalarValue};
use pgwire::api::Type;
use pgwire::api::portal::{Format, Portal as Bound};
use pgwire::api::results::FieldInfo;
use pgwire::api::stmt::StoredStatement;
use pgwire::messages::PgWireBackendMessage as Message;
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, Parse, ParseComplete, PortalSuspended,
    TARGET_TYPE_BYTE_PORTAL, TARGET_TYPE_BYTE_STATEMENT,
};
use pgwire::messages::response::{EmptyQueryResponse, TransactionStatus};

use super::answer::{Answer, description, fields};
use super::command::{self, Asked, Command};
use super::connection::{Connection, Socket, send};
use super::failure::Failure;
use super::parameters::{self, Told};
use super::simple::{complete, finish};
use crate::Endpoint;

/// Statements and portals that one connection may hold.
const MOST: usize = 1_000;

/// What a connection has prepared and bound, by name; the unnamed one is the empty name.
#[derive(Default)]
pub(super) struct Portals {
    statements: HashMap<String, Arc<Prepared>>,
    portals: HashMap<String, Portal>,
}

/// A statement that can be bound.
struct Prepared {
    kind: Kind,
    /// The parameters' types: the client's own where it gave them.
    parameters: Vec<Type>,
    /// What the engine expects where it knows.
    expected: Vec<Option<DataType>>,
}

enum Kind {
    Empty,
    Command(Command),
    Query { sql: String, tag: &'static str, columns: SchemaRef },
}

/// A statement with its values.
struct Portal {
    prepared: Arc<Prepared>,
    format: Format,
    state: State,
}

enum State {
    Bound(Vec<ScalarValue>),
    Open(Box<Answer>),
    Finished,
}

// === impl Portals ===

impl Portals {
    /// Whether a query is waiting to be read on.
    pub(super) fn any_open(&self) -> bool {
        self.portals.values().any(|portal| matches!(portal.state, State::Open(_)))
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.statements.clear();
        self.portals.clear();
    }

    /// Closes the unnamed portal.
    pub(super) fn close_unnamed(&mut self) {
        self.portals.remove("");
    }

    /// Forgets one statement, or all.
    pub(super) fn deallocate(&mut self, name: Option<&str>) -> Result<(), Failure> {
        match name {
            None => self.statements.clear(),
            Some(name) => {
                self.statements.remove(name).ok_or_else(|| no_statement(name))?;
            }
        }
        Ok(())
    }

    fn statement(&self, name: &str) -> Result<Arc<Prepared>, Failure> {
        self.statements.get(name).map(Arc::clone).ok_or_else(|| no_statement(name))
    }
}

// === impl Prepared ===

impl Prepared {
    fn columns(&self, format: &Format) -> Result<Option<Vec<FieldInfo>>, Failure> {
        match &self.kind {
            Kind::Query { columns, .. } => Ok(Some(fields(columns, format)?)),
            Kind::Command(Command::Show(name)) => {
                let names: Vec<&str> = match name {
                    Some(name) => vec![name],
                    None => vec!["name", "setting", "description"],
                };
                let field = |name: &&str| {
                    let text = pgwire::api::results::FieldFormat::Text;
                    FieldInfo::new(name.to_lowercase(), None, None, Type::TEXT, text)
                };
                Ok(Some(names.iter().map(field).collect()))
            }
            Kind::Empty | Kind::Command(_) => Ok(None),
        }
    }
}

// === impl Connection ===

impl Connection {
    pub(super) async fn parse(&mut self, socket: &mut Socket, message: Parse) -> Result<(), Failure> {
        let name = message.name.unwrap_or_default();
        if !name.is_empty() && self.portals.statements.len() >= MOST {
            return Err(Failure::new("53400", format!("a connection may hold {MOST} prepared statements")));
        }
        let asked = self.check_length(&message.query).and_then(|()| command::parse(&message.query));
        let mut asked = self.noted(&message.query, asked)?;
        let prepared = match (asked.pop(), asked.is_empty()) {
            (None, _) => Prepared { kind: Kind::Empty, parameters: Vec::new(), expected: Vec::new() },
            (Some(asked), true) => {
                self.check_transaction(&asked)?;
                self.prepare(socket, asked, &message.type_oids).await?
            }
            (Some(_), false) => {
                let several = "cannot insert multiple commands into a prepared statement";
                return self.noted(&message.query, Err(Failure::new("42601", several)));
            }
        };
        self.portals.statements.insert(name, Arc::new(prepared));
        Ok(send(socket, Message::ParseComplete(ParseComplete::new())).await?)
    }

    async fn prepare(&self, socket: &Socket, asked: Asked, oids: &[u32]) -> Result<Prepared, Failure> {
        let (sql, tag) = match asked {
            Asked::Command(command) => {
                return Ok(Prepared {
                    kind: Kind::Command(command),
                    parameters: Vec::new(),
                    expected: Vec::new(),
                });
            }
            Asked::Query { sql, tag } => (sql, tag),
        };
        let given = |index: usize| oids.get(index).and_then(|oid| Type::from_oid(*oid));
        let Told { sql, types } = parameters::told(sql, &|number| given(number.saturating_sub(1)).is_some());
        let (principal, interrupt) = self.starting()?;
        let described = self.server.engine.describe(principal, &sql);
        let (columns, mut expected) = interrupt.guard(socket, described).await??;
        let count = expected.len().max(oids.len());
        expected.resize(count, None);
        let parameter = |(index, expected): (usize, &Option<DataType>)| match (
            given(index),
            types.get(&(index + 1)),
            expected,
        ) {
            (Some(given), ..) => Ok(given),
            (None, Some(cast), _) => Ok(cast.clone()),
            (None, None, Some(expected)) => into_pg_type(expected).map_err(Failure::from),
            (None, None, None) => Ok(Type::TEXT),
        };
        let parameters = expected.iter().enumerate().map(parameter).collect::<Result<Vec<_>, _>>()?;
        Ok(Prepared { kind: Kind::Query { sql, tag, columns }, parameters, expected })
    }

    pub(super) async fn bind(&mut self, socket: &mut Socket, message: &Bind) -> Result<(), Failure> {
        let name = message.portal_name.clone().unwrap_or_default();
        if !name.is_empty() && self.portals.portals.len() >= MOST {
            return Err(Failure::new("53400", format!("a connection may hold {MOST} portals")));
        }
        let prepared = self.portals.statement(message.statement_name.as_deref().unwrap_or_default())?;
        let values = values(message, &prepared)?;
        let format = format_of(&message.result_column_format_codes);
        // Wrong numbers of formats are refused here, before they are used.
        prepared.columns(&format)?;
        self.portals.portals.insert(name, Portal { prepared, format, state: State::Bound(values) });
        Ok(send(socket, Message::BindComplete(BindComplete::new())).await?)
    }

    pub(super) async fn describe(&mut self, socket: &mut Socket, message: &Describe) -> Result<(), Failure> {
        let name = message.name.as_deref().unwrap_or_default();
        let columns = match message.target_type {
            TARGET_TYPE_BYTE_STATEMENT => {
                let prepared = self.portals.statement(name)?;
                let oids = prepared.parameters.iter().map(Type::oid).collect();
                send(socket, Message::ParameterDescription(ParameterDescription::new(oids))).await?;
                prepared.columns(&Format::UnifiedText)?
            }
            TARGET_TYPE_BYTE_PORTAL => {
                let portal = self.portals.portals.get(name).ok_or_else(|| no_portal(name))?;
                portal.prepared.columns(&portal.format)?
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
        let mut portal = self.portals.portals.remove(name).ok_or_else(|| no_portal(name))?;
        let prepared = Arc::clone(&portal.prepared);
        match &prepared.kind {
            Kind::Empty => send(socket, Message::EmptyQueryResponse(EmptyQueryResponse::new())).await?,
            Kind::Command(command) => {
                self.check_transaction(&Asked::Command(command.clone()))?;
                let done = self.obey(socket, command.clone()).await?;
                finish(socket, done).await?;
            }
            Kind::Query { sql, tag, columns } => {
                self.check_transaction(&Asked::Query { sql: sql.clone(), tag })?;
                if let State::Bound(values) = &portal.state {
                    let described = fields(columns, &portal.format)?;
                    let answer = self.open(socket, sql, values.clone(), &portal.format, &described).await?;
                    portal.state = State::Open(Box::new(answer));
                }
                // Zero and less mean all rows.
                let limit = u64::try_from(message.max_rows).ok().filter(|most| *most > 0);
                portal.read(socket, tag, limit).await?;
            }
        }
        if !matches!(prepared.kind, Kind::Command(Command::Discard(_))) {
            self.portals.portals.insert(name.to_owned(), portal);
        }
        Ok(())
    }

    async fn open(
        &self,
        socket: &Socket,
        sql: &str,
        values: Vec<ScalarValue>,
        format: &Format,
        described: &[FieldInfo],
    ) -> Result<Answer, Failure> {
        let (principal, interrupt) = self.starting()?;
        let running = self.server.engine.run_with(principal, Endpoint::Pgwire, sql, values);
        let running = interrupt.guard(socket, running).await??;
        let answer = Answer::new(running, format, interrupt)?;
        match answer.has_types_of(described) {
            true => Ok(answer),
            // A parameter's value decided a type that could not be told before.
            false => Err(Failure::new("0A000", "cached plan must not change result type")
                .hint("give the parameters' types, e.g. $1::text")),
        }
    }

    pub(super) async fn close(&mut self, socket: &mut Socket, message: &Close) -> Result<(), Failure> {
        let name = message.name.as_deref().unwrap_or_default();
        match message.target_type {
            TARGET_TYPE_BYTE_STATEMENT => drop(self.portals.statements.remove(name)),
            TARGET_TYPE_BYTE_PORTAL => drop(self.portals.portals.remove(name)),
            _ => return Err(Failure::new("08P01", "close names neither a statement nor a portal")),
        }
        Ok(send(socket, Message::CloseComplete(CloseComplete::new())).await?)
    }

    /// Ends a series of messages. Outside of a transaction that ends its portals too.
    pub(super) async fn sync(&mut self, socket: &mut Socket) -> Result<(), Failure> {
        if !matches!(self.transaction, TransactionStatus::Transaction) {
            self.portals.portals.clear();
        }
        Ok(self.ready(socket).await?)
    }
}

// === impl Portal ===

impl Portal {
    /// Sends rows, at most `limit` if there is one.
    async fn read(&mut self, socket: &mut Socket, tag: &str, limit: Option<u64>) -> Result<(), Failure> {
        let State::Open(answer) = &mut self.state else {
            let tag = format!("{tag} 0");
            let done = pgwire::messages::response::CommandComplete::new(tag);
            return Ok(send(socket, Message::CommandComplete(done)).await?);
        };
        let mut rows = 0;
        while limit != Some(rows) {
            match answer.next(socket).await? {
                Some(row) => send(socket, Message::DataRow(row)).await?,
                None => {
                    complete(socket, answer, &format!("{tag} {rows}")).await?;
                    self.state = State::Finished;
                    return Ok(());
                }
            }
            rows += 1;
        }
        Ok(send(socket, Message::PortalSuspended(PortalSuspended::new())).await?)
    }
}

/// A bind message's values, as the engine takes them.
fn values(message: &Bind, prepared: &Prepared) -> Result<Vec<ScalarValue>, Failure> {
    let (given, needed) = (message.parameters.len(), prepared.parameters.len());
    let formats = message.parameter_format_codes.len();
    if given != needed || (formats > 1 && formats != needed) {
        let message =
            format!("bind gives {given} parameters in {formats} formats, the statement has {needed}");
        return Err(Failure::new("08P01", message));
    }
    let types = prepared.parameters.iter().map(|kind| Some(kind.clone())).collect();
    let statement = StoredStatement::new(String::new(), (), types);
    let bound = Bound::try_new(message, Arc::new(statement))?;
    let expected: Vec<_> = prepared.expected.iter().map(Option::as_ref).collect();
    match deserialize_parameters(&bound, &expected)? {
        ParamValues::List(values) => Ok(values.into_iter().map(|value| value.value).collect()),
        ParamValues::Map(_) => Err(Failure::new("XX000", "parameters have numbers, not names")),
    }
}

fn format_of(codes: &[i16]) -> Format {
    match codes {
        [] => Format::UnifiedText,
        [code] => Format::from(*code),
        codes => Format::Individual(codes.to_vec()),
    }
}

fn no_statement(name: &str) -> Failure {
    let name: String = name.chars().take(100).collect();
    Failure::new("26000", format!("prepared statement {name:?} does not exist"))
}

fn no_portal(name: &str) -> Failure {
    let name: String = name.chars().take(100).collect();
    Failure::new("34000", format!("portal {name:?} does not exist"))
}
