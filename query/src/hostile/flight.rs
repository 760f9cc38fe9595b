//! The doors of Flight SQL.

use std::fmt::{Debug, Write};

use arrow_flight::FlightInfo;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::display::array_value_to_string;
use futures::TryStreamExt;
use tonic::Status;

use super::doors::{Came, Reply};
use crate::flight::tests::{Client, connected, status, ticket};

/// Asks over a connection of its own, `prepared` or at once.
pub(super) async fn ask(url: &str, token: &str, sql: &str, prepared: bool) -> Reply {
    let mut client = connected(url).await;
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
            Reply { came: Came::by_code(code), rows: vec![], everything }
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
