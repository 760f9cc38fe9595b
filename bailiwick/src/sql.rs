//! `bailiwick sql`: a question, and its answer as a person or a script wants it.

use std::io::Read;

use crate::cli::{self, Format};
use crate::client::{Answer, Api};
use crate::config::Config;
use crate::failure::Failure;
use crate::say::say;
use crate::table;

/// Asks and prints.
pub(crate) async fn run(config: &Config, args: cli::Sql) -> Result<(), Failure> {
    let statement = match args.statement.as_str() {
        "-" => from_stdin()?,
        given => given.to_owned(),
    };
    let api = Api::new(config, &args.server)?;
    match args.format {
        Format::Table => {
            let answer: Answer = api.sql(&statement).await?;
            say!("{}", rendered(&answer));
        }
        Format::Csv => crate::say::csv(&api.sql_text(&statement, "csv").await?),
        Format::Json => crate::say::json(&api.sql_text(&statement, "json").await?),
    }
    Ok(())
}

/// The answer as a table with its row count, as psql prints it.
pub(crate) fn rendered(answer: &Answer) -> String {
    let header: Vec<String> = answer.columns.iter().map(|column| column.name.clone()).collect();
    let numeric: Vec<bool> = answer.columns.iter().map(|column| is_number(&column.kind)).collect();
    let rows: Vec<Vec<String>> = answer.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    let count = match rows.len() {
        1 => "1 row".to_owned(),
        n => format!("{n} rows"),
    };
    let more = if answer.truncated { ", cut at the server's limit" } else { "" };
    format!("{}\n({count}{more})", table::render(&header, &numeric, &rows))
}

fn is_number(kind: &str) -> bool {
    ["int", "bigint", "smallint", "double", "float", "numeric", "decimal", "real"]
        .iter()
        .any(|name| kind.to_ascii_lowercase().starts_with(name))
}

fn cell(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn from_stdin() -> Result<String, Failure> {
    let mut statement = String::new();
    std::io::stdin()
        .read_to_string(&mut statement)
        .map_err(|error| Failure::failed(format!("standard input: {error}")))?;
    Ok(statement)
}
