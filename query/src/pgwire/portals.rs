//! What a connection has prepared, bound and declared, and how far it has read.
//!
//! A cursor of `DECLARE` is a portal with a few wishes more, so that both live
//! under one roof and a client may describe one by its name.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use pgwire::api::Type;
use pgwire::api::portal::Format;
use pgwire::api::results::FieldInfo;
use pgwire::messages::PgWireBackendMessage as Message;

use super::answer::{Answer, Interrupt, fields, kind_of};
use super::command::Command;
use super::connection::{Socket, send};
use super::copy::Copy;
use super::cursor::{Declared, Fetched};
use super::failure::Failure;

/// Statements, and portals, that one connection may hold.
pub(super) const MOST: usize = 1_000;

/// What a connection has prepared and bound, by name; the unnamed one is the empty name.
#[derive(Default)]
pub(super) struct Portals {
    statements: HashMap<String, Arc<Prepared>>,
    portals: HashMap<String, Portal>,
}

/// A statement that can be bound.
pub(super) struct Prepared {
    pub(super) kind: Kind,
    /// The parameters' types: the client's own where it gave them.
    pub(super) parameters: Vec<Type>,
    /// What the engine expects where it knows.
    pub(super) expected: Vec<Option<DataType>>,
}

/// What a prepared statement is.
pub(super) enum Kind {
    Empty,
    Command(Command),
    Copy(Copy),
    Declare(Declared, Arc<Prepared>),
    Query { sql: String, tag: &'static str, columns: SchemaRef },
}

/// A statement with its values.
pub(super) struct Portal {
    pub(super) prepared: Arc<Prepared>,
    pub(super) format: Format,
    pub(super) state: State,
    pub(super) life: Life,
    /// Rows that were read, or passed over.
    pub(super) position: u64,
}

/// How far a portal is.
pub(super) enum State {
    Bound(Vec<ScalarValue>),
    Open(Box<Answer>),
    Finished,
}

/// When a portal ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// With its transaction.
    Transaction,
    /// With its transaction if that fails; with its connection otherwise.
    Hold,
    /// With its connection.
    Held,
}

/// Rows that were read, and whether there are no more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read {
    pub(super) rows: u64,
    pub(super) ended: bool,
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

    /// Closes what ends with a transaction.
    pub(super) fn end_transaction(&mut self, commits: bool) {
        self.portals.retain(|_, portal| match portal.life {
            Life::Held => true,
            Life::Hold => commits,
            Life::Transaction => false,
        });
        for portal in self.portals.values_mut() {
            portal.life = Life::Held;
        }
    }

    /// Closes one portal, or all. `false` if there is none of this name.
    pub(super) fn close(&mut self, name: Option<&str>) -> bool {
        match name {
            Some(name) => self.portals.remove(name).is_some(),
            None => {
                self.portals.clear();
                true
            }
        }
    }

    /// Takes a portal out, to be put back if it can be read on.
    pub(super) fn take(&mut self, name: &str) -> Result<Portal, Failure> {
        self.portals.remove(name).ok_or_else(|| no_portal(name))
    }

    pub(super) fn put(&mut self, name: String, portal: Portal) {
        self.portals.insert(name, portal);
    }

    pub(super) fn portal(&self, name: &str) -> Result<&Portal, Failure> {
        self.portals.get(name).ok_or_else(|| no_portal(name))
    }

    /// Fails if there is no place for one more of this name.
    pub(super) fn check_room(&self, name: &str) -> Result<(), Failure> {
        match !name.is_empty() && self.portals.len() >= MOST {
            true => Err(Failure::new("53400", format!("a connection may hold {MOST} portals"))),
            false => Ok(()),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.portals.contains_key(name)
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

    pub(super) fn statement(&self, name: &str) -> Result<Arc<Prepared>, Failure> {
        self.statements.get(name).map(Arc::clone).ok_or_else(|| no_statement(name))
    }

    /// Keeps a statement under its name.
    pub(super) fn prepared(&mut self, name: String, statement: Prepared) {
        self.statements.insert(name, Arc::new(statement));
    }

    /// Fails if there is no place for one more statement of this name.
    pub(super) fn check_statements(&self, name: &str) -> Result<(), Failure> {
        match !name.is_empty() && self.statements.len() >= MOST {
            true => Err(Failure::new("53400", format!("a connection may hold {MOST} prepared statements"))),
            false => Ok(()),
        }
    }

    /// The columns that a statement or a portal answers with, if it has any.
    pub(super) fn columns(
        &self,
        prepared: &Prepared,
        format: &Format,
    ) -> Result<Option<Vec<FieldInfo>>, Failure> {
        match &prepared.kind {
            Kind::Command(Command::Fetch(Fetched { cursor, only_moves: false, .. })) => {
                match self.portals.get(cursor) {
                    Some(portal) => portal.prepared.columns(format),
                    None => Ok(None),
                }
            }
            _ => prepared.columns(format),
        }
    }
}

// === impl Prepared ===

impl Prepared {
    /// Something without parameters.
    pub(super) fn plain(kind: Kind) -> Self {
        Self { kind, parameters: Vec::new(), expected: Vec::new() }
    }

    /// The columns that follow from the statement alone.
    pub(super) fn columns(&self, format: &Format) -> Result<Option<Vec<FieldInfo>>, Failure> {
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
            Kind::Empty | Kind::Command(_) | Kind::Copy(_) | Kind::Declare(..) => Ok(None),
        }
    }

    /// The type that a parameter has for a client: its own, a cast's, the engine's, or text.
    pub(super) fn parameter(
        given: Option<Type>,
        cast: Option<&Type>,
        expected: Option<&DataType>,
    ) -> Result<Type, Failure> {
        match (given, cast, expected) {
            (Some(given), ..) => Ok(given),
            (None, Some(cast), _) => Ok(cast.clone()),
            (None, None, Some(expected)) => kind_of(expected),
            (None, None, None) => Ok(Type::TEXT),
        }
    }
}

// === impl Portal ===

impl Portal {
    pub(super) fn new(prepared: Arc<Prepared>, format: Format, values: Vec<ScalarValue>) -> Self {
        Self { prepared, format, state: State::Bound(values), life: Life::Transaction, position: 0 }
    }

    /// From the next row on in another format.
    pub(super) fn reformat(&mut self, format: &Format) -> Result<(), Failure> {
        match &mut self.state {
            State::Open(answer) => answer.reformat(format),
            State::Bound(_) | State::Finished => Ok(()),
        }
    }

    /// Reads rows, at most `limit` if there is one, and sends them unless they are only passed over.
    pub(super) async fn read(
        &mut self,
        socket: &mut Socket,
        interrupt: &Interrupt,
        limit: Option<u64>,
        sends: bool,
    ) -> Result<Read, Failure> {
        let mut rows = 0;
        let State::Open(answer) = &mut self.state else { return Ok(Read { rows, ended: true }) };
        while limit != Some(rows) {
            match answer.next(socket, interrupt).await? {
                Some(row) if sends => send(socket, Message::DataRow(row)).await?,
                Some(_) => {}
                None => {
                    answer.warn_if_truncated(socket).await?;
                    self.state = State::Finished;
                    return Ok(Read { rows, ended: true });
                }
            }
            rows += 1;
            self.position += 1;
        }
        Ok(Read { rows, ended: false })
    }
}

fn no_statement(name: &str) -> Failure {
    let name: String = name.chars().take(100).collect();
    Failure::new("26000", format!("prepared statement {name:?} does not exist"))
}

/// There is no portal, or cursor, of this name.
pub(super) fn no_portal(name: &str) -> Failure {
    let name: String = name.chars().take(100).collect();
    Failure::new("34000", format!("portal {name:?} does not exist"))
}
