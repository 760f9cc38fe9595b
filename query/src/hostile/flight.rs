//! The doors of Flight SQL.

use std::fmt::{Debug, Write};

use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::{FlightInfo, Ticket};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::display::array_value_to_string;
use futures::TryStreamExt;
use tonic::Status;
use tonic::transport::Channel;

use super::doors::{Came, Reply};

type Client = FlightSqlServiceClient<Channel>;

/// Asks over a connection of its own, `prepared` or at once.
pub(super) async fn ask(url: &str, token: &str, sql: &str, prepared: bool) -> Reply {
    let channel = Channel::from_shared(url.to_owned()).unwrap().connect().await.unwrap();
    let mut client = Client::new(channel);
    client.set_token(token.to_owned());
    let mut everything = String::new();
    let answer = match info(&mut client, sql, prepared).await {
        Ok(info) => {
            for bytes in [&info.schema, &info.app_metadata, &ticket(&info).ticket] {
                note(&mut everything, &String::from_utf8_lossy(&without(bytes, sql)));
            }
            fetched(&mut client, &info, &mut everything).await
        }
        Err(error) => Err(error),
    };
    match answer {
        Ok(rows) => Reply { came: Came::Whole, rows, everything },
        Err(error) => {
            note(&mut everything, &error);
            let code = error.metadata().get("x-bailiwick-code").and_then(|code| code.to_str().ok());
            let failed = ["execution_failed", "timeout", "too_large"];
            let came =
                if code.is_some_and(|code| failed.contains(&code)) { Came::Failed } else { Came::Refused };
            Reply { came, rows: vec![], everything }
        }
    }
}

async fn info(client: &mut Client, sql: &str, prepared: bool) -> Result<FlightInfo, Status> {
    if !prepared {
        return client.execute(sql.to_owned(), None).await.map_err(status);
    }
    client.prepare(sql.to_owned(), None).await.map_err(status)?.execute().await.map_err(status)
}

async fn fetched(
    client: &mut Client,
    info: &FlightInfo,
    everything: &mut String,
) -> Result<Vec<String>, Status> {
    let mut answer = client.do_get(ticket(info)).await.map_err(status)?;
    note(everything, answer.headers());
    let mut rows = Vec::new();
    while let Some(batch) = answer.try_next().await.map_err(status)? {
        note(everything, &batch.schema());
        rows.extend((0..batch.num_rows()).map(|row| line(&batch, row)));
    }
    note(everything, &answer.trailers());
    everything.push_str(&rows.join("\n"));
    Ok(rows)
}

fn ticket(info: &FlightInfo) -> Ticket {
    info.endpoint[0].ticket.clone().unwrap()
}

/// A ticket may hold its own statement; that told nothing.
fn without(bytes: &[u8], sql: &str) -> Vec<u8> {
    let at = bytes.windows(sql.len().max(1)).position(|part| part == sql.as_bytes());
    at.map_or_else(|| bytes.to_vec(), |at| [&bytes[..at], &bytes[at + sql.len()..]].concat())
}

fn line(batch: &RecordBatch, row: usize) -> String {
    let cells = batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap());
    cells.collect::<Vec<_>>().join(" ")
}

fn note(everything: &mut String, what: &impl Debug) {
    writeln!(everything, "{what:?}").unwrap();
}

/// The server's status, as the client passes it on.
pub(crate) fn status(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => panic!("{other}"),
    }
}
