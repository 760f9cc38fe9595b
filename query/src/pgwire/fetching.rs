//! Cursors at work: made, read on, closed.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use pgwire::api::portal::Format;
use pgwire::messages::PgWireBackendMessage as Message;
use pgwire::messages::response::{CommandComplete, TransactionStatus};

use super::answer::{Interrupt, description};
use super::connection::{Connection, Socket, send};
use super::cursor::{Declared, Fetched, HowFar, forward_only};
use super::failure::Failure;
use super::portals::{Life, Portal, Prepared, no_portal};

// === impl Connection ===

impl Connection {
    /// Makes a cursor over a prepared query. Nothing is read yet.
    pub(super) fn declare(
        &mut self,
        declared: &Declared,
        query: Arc<Prepared>,
        values: Vec<ScalarValue>,
    ) -> Result<(), Failure> {
        let outside = matches!(self.transaction, TransactionStatus::Idle);
        if outside && !declared.hold {
            return Err(Failure::new("25P01", "DECLARE CURSOR can only be used in transaction blocks")
                .hint("begin a transaction first, or declare the cursor WITH HOLD"));
        }
        let name = &declared.name;
        if self.portals.has(name) {
            let name: String = name.chars().take(100).collect();
            return Err(Failure::new("42P03", format!("cursor {name:?} already exists")));
        }
        self.portals.check_room(name)?;
        let format = if declared.binary { Format::UnifiedBinary } else { Format::UnifiedText };
        let mut portal = Portal::new(query, format, values);
        portal.life = match (declared.hold, outside) {
            (false, _) => Life::Transaction,
            (true, false) => Life::Hold,
            (true, true) => Life::Held,
        };
        self.portals.put(name.clone(), portal);
        Ok(())
    }

    /// Reads on. `format` is the client's; without one the cursor's own holds,
    /// and the rows are announced, as in the simple protocol.
    pub(super) async fn fetch(
        &mut self,
        socket: &mut Socket,
        fetched: &Fetched,
        format: Option<&Format>,
    ) -> Result<(), Failure> {
        // Taken out while it is read: a cursor that fails is gone.
        let mut portal = self.portals.take(&fetched.cursor)?;
        let interrupt = self.open(socket, &mut portal).await?;
        let own = portal.format.clone();
        portal.reformat(format.unwrap_or(&own))?;
        if format.is_none()
            && !fetched.only_moves
            && let Some(columns) = portal.prepared.columns(&own)?
        {
            send(socket, Message::RowDescription(description(&columns))).await?;
        }
        let rows = portal.go(socket, &interrupt, fetched).await?;
        self.portals.put(fetched.cursor.clone(), portal);
        let word = if fetched.only_moves { "MOVE" } else { "FETCH" };
        let done = CommandComplete::new(format!("{word} {rows}"));
        Ok(send(socket, Message::CommandComplete(done)).await?)
    }

    /// Closes a cursor, or all.
    pub(super) fn close_cursor(&mut self, name: Option<&str>) -> Result<&'static str, Failure> {
        match (self.portals.close(name), name) {
            (true, Some(_)) => Ok("CLOSE CURSOR"),
            (true, None) => Ok("CLOSE CURSOR ALL"),
            (false, name) => Err(no_portal(name.unwrap_or_default())),
        }
    }
}

// === impl Portal ===

impl Portal {
    /// Passes over what must be passed over, and reads what is wanted.
    async fn go(
        &mut self,
        socket: &mut Socket,
        interrupt: &Interrupt,
        fetched: &Fetched,
    ) -> Result<u64, Failure> {
        let sends = !fetched.only_moves;
        let further = match fetched.how_far {
            HowFar::Next(most) => return Ok(self.read(socket, interrupt, Some(most), sends).await?.rows),
            HowFar::All => return Ok(self.read(socket, interrupt, None, sends).await?.rows),
            HowFar::Skip(further) => further,
            HowFar::To(0) if self.position == 0 => return Ok(0),
            HowFar::To(number) => match number.checked_sub(self.position) {
                None | Some(0) => return Err(forward_only()),
                Some(further) => further,
            },
        };
        self.read(socket, interrupt, Some(further - 1), false).await?;
        Ok(self.read(socket, interrupt, Some(1), sends).await?.rows)
    }
}
