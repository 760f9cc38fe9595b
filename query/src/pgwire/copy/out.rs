//! Sending the rows of a `COPY`.

use pgwire::api::portal::Format;
use pgwire::messages::PgWireBackendMessage as Message;
use pgwire::messages::copy::{CopyData, CopyDone};

use super::{Copy, CopyFormat};
use crate::pgwire::connection::{Connection, Socket, send};
use crate::pgwire::failure::Failure;
use crate::pgwire::simple::complete;

// === impl Connection ===

impl Connection {
    /// Runs the query and sends its rows as a file would hold them.
    pub(in crate::pgwire) async fn copy_out(
        &mut self,
        socket: &mut Socket,
        copy: &Copy,
    ) -> Result<(), Failure> {
        let layout = &copy.layout;
        let format = match layout.format {
            CopyFormat::Binary => Format::UnifiedBinary,
            CopyFormat::Text | CopyFormat::Csv => Format::UnifiedText,
        };
        let (mut answer, interrupt) = self.ask(socket, &copy.sql, Vec::new(), &format).await?;
        let names = answer.names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        send(socket, Message::CopyOutResponse(layout.response(names.len()))).await?;
        // A binary file's head and foot are no messages of their own: clients look for
        // the first row behind the head.
        let mut head = layout.head(&names);
        if layout.format != CopyFormat::Binary
            && let Some(line) = head.take()
        {
            send(socket, Message::CopyData(line)).await?;
        }
        let mut rows: u64 = 0;
        while let Some(row) = answer.next(socket, &interrupt).await? {
            let row = joined(head.take(), layout.row(row, &names));
            send(socket, Message::CopyData(row)).await?;
            rows += 1;
        }
        if let Some(foot) = layout.foot() {
            send(socket, Message::CopyData(joined(head.take(), foot))).await?;
        }
        send(socket, Message::CopyDone(CopyDone::new())).await?;
        answer.warn_if_truncated(socket).await?;
        complete(socket, &format!("COPY {rows}")).await
    }
}

fn joined(head: Option<CopyData>, data: CopyData) -> CopyData {
    match head {
        Some(head) => CopyData::new([head.data, data.data].concat().into()),
        None => data,
    }
}
